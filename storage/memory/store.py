"""The whole store in memory, behind the same ports as the one over PostgreSQL.

It is for tests of what people write, and for simulations; a running node never uses it, because nothing of it outlives
its process. Time is what the given clock says and chance what the given source draws, so that under a virtual clock
equal calls have equal answers. Each verb is one transaction: a checkpoint first, then all of it at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from actors.runtime.chance import Chance
from storage.memory.audit import AuditRow
from storage.memory.dispatch import MemoryDispatch
from storage.memory.overview import MemoryOverview
from storage.memory.tables import Tables
from storage.memory.tasks import MemoryTasks
from storage.memory.wakeups import MemoryWakeups


class SeededJitter(Chance):
    """The same in each run; only for jitter."""

    def __init__(self) -> None:
        self._random = random.Random(0)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


class MemoryTaskStore(MemoryTasks, MemoryOverview):
    """The TaskStore port."""

    def __init__(self, tables: Tables, wakeups: MemoryWakeups) -> None:
        MemoryTasks.__init__(self, tables, wakeups)
        MemoryOverview.__init__(self, tables, wakeups)


class Memory:
    """`tasks`, `dispatch` and `wakeups` are the ports; `tables` is for judges, who read only."""

    def __init__(
        self,
        clock: Callable[[], float],
        chance: Chance | None = None,
        *,
        default_timeout: float | None = None,
        actor: Callable[[], str] = str,
    ) -> None:
        """`clock` gives database time in seconds since the epoch; it may step. `default_timeout` (seconds) holds where
        neither task nor handler says one. `actor` names who is asking, for the audit."""
        self.tables = Tables(clock, chance or SeededJitter(), actor)
        self.wakeups = MemoryWakeups()
        self.tasks = MemoryTaskStore(self.tables, self.wakeups)
        self.dispatch = MemoryDispatch(self.tables, self.wakeups, default_timeout)

    @property
    def audit(self) -> Sequence[AuditRow]:
        """Every change of a task, a session or a coordinator so far, in order."""
        return self.tables.audit

    def restart(self) -> None:
        """As if the server had been restarted: the data stays, coordinators begin a new quiet period."""
        self.tables.server_started = self.tables.now()

    def all_final(self) -> bool:
        return not self.tables.unfinished
