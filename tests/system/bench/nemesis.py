"""What strikes. Every blow is written down with what it kills, and again when it is seen to have taken effect."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence

import psutil
import trio

from tests.system.bench.system import System

TAKEN_LIMIT = 5.0  # seconds until a blow must be seen to have taken effect


class Nemesis:
    """Strikes a system. `faults` counts the blows that took effect."""

    def __init__(self, system: System) -> None:
        self.system, self._note = system, system.nemesis.note
        self._number = 0
        self.faults = 0
        self.kinds: list[str] = []
        self._stopped: list[int] = []
        self._open: dict[str, str] = {}  # target → fault that goes on

    def on(self, kind: str, target: str, kills: Iterable[int] = ()) -> str:
        """A blow begins; its id."""
        self._number += 1
        fault = f"f{self._number}"
        self._note("fault_on", id=fault, kind=kind, target=target, kills=list(kills))
        self.kinds.append(kind)
        self._open[target] = fault
        return fault

    def took(self, fault: str, how: str) -> None:
        self._note("fault_took", id=fault, how=how)
        self.faults += 1

    def off(self, target: str) -> None:
        """What was done to this target is over."""
        fault = self._open.pop(target, None)
        if fault is not None:
            self._note("fault_off", id=fault)

    # --- processes ----------------------------------------------------------------------------------

    async def kill(self, *names: str, kind: str | None = None) -> None:
        """SIGKILL to nodes, all at once; their executors end with them."""
        blows: list[tuple[str, str, list[int]]] = []
        for name in names:
            pids = self.system.pids(name)
            if pids:
                self.system.stopping.add(name)
                blows.append((name, self.on(kind or self._death_of(name), name, pids), pids))
        for name, _, _ in blows:
            self.system.nodes[name].kill()
        for name, fault, pids in blows:
            await self.system.nodes[name].process.wait()
            await self.gone(pids)
            self.took(fault, "the processes are gone")

    def _death_of(self, name: str) -> str:
        if name in self.system.layout.coordinator_names:
            return "coordinator_death"
        return "visible_death" if name in self.system.layout.worker_names else "other"

    async def kill_while_starting(self, name: str, after: float) -> None:
        """Starts it, and kills it so many seconds later, ready or not."""
        async with trio.open_nursery() as nursery:
            started = trio.Event()

            async def start() -> None:
                try:
                    await self.system.start(name)
                except* AssertionError:
                    pass  # it ended before it was ready, as it was meant to
                started.set()

            before = self.system.lives.get(name, 0)
            nursery.start_soon(start)
            await self.system.when(
                lambda: self.system.lives.get(name, 0) > before and self.system.alive(name), f"{name} runs"
            )
            await trio.sleep(after)
            await self.kill(name)
            await started.wait()

    async def dies(self, name: str, pids: list[int], limit: float = 30.0) -> None:
        """Waits for a node that was told to end itself, and writes its death down. `pids` are what it was."""
        node = self.system.nodes[name]
        with trio.move_on_after(limit):
            while node.process.poll() is None:
                pids = self.system.pids(name) or pids
                await trio.sleep(0.005)
        if node.process.poll() is None:
            return
        self.system.stopping.add(name)
        fault = self.on(self._death_of(name), name, pids)
        await self.gone(pids)
        self.took(fault, "the processes are gone")

    async def kill_executor(self, name: str) -> None:
        pid = self.system.pids(name)[1]
        fault = self.on("other", f"executor of {name}", [pid])
        os.kill(pid, signal.SIGKILL)
        await self.gone([pid])
        self.took(fault, "the process is gone")
        self.off(f"executor of {name}")

    async def gone(self, pids: Sequence[int], limit: float = TAKEN_LIMIT) -> None:
        """Until none of these runs. Raises AssertionError when one survives: an orphan."""
        await self.system.when(lambda: not any(map(runs, pids)), f"processes {pids} are gone", limit)

    async def freeze(self, name: str, *, executors: bool = True, kind: str = "silent") -> None:
        """SIGSTOP for a node, with or without its executors."""
        pids = self.system.pids(name)
        pids = pids if executors else pids[:1]
        fault = self.on(kind, name)
        for pid in reversed(pids):  # the executors first, or they would see their node stop
            os.kill(pid, signal.SIGSTOP)
        self._stopped += pids
        await self.system.when(lambda: all(status(pid) == psutil.STATUS_STOPPED for pid in pids), "all are stopped", 5)
        self.took(fault, f"{len(pids)} processes are stopped")

    def thaw(self, name: str | None = None) -> None:
        """SIGCONT for everything that was stopped."""
        for pid in self._stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        self._stopped.clear()
        if name is not None:
            self.off(name)

    async def back(self, *names: str) -> None:
        """Nodes that were killed are started again."""
        await self.system.start(*(name for name in names if not self.system.alive(name)))
        for name in names:
            self.off(name)

    # --- the database -------------------------------------------------------------------------------

    async def stop_database(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT: as if it crashed; SIGINT: fast."""
        fault = self.on("database", "postgres")
        await trio.to_thread.run_sync(self.system.server.stop, how)
        self.took(fault, "the server has ended")

    async def start_database(self) -> None:
        await trio.to_thread.run_sync(self.system.server.start)
        self.off("postgres")

    async def freeze_database(self) -> None:
        assert self.system.server.process is not None
        fault = self.on("database", "postgres")
        root = psutil.Process(self.system.server.process.pid)
        pids = [root.pid, *(one.pid for one in root.children(recursive=True))]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self._stopped += pids
        self.took(fault, f"{len(pids)} processes are stopped")

    # --- links --------------------------------------------------------------------------------------

    async def cut(self, worker: str, coordinator: str | None = None, *, up: bool = True, down: bool = True) -> None:
        """Holds everything back between this worker and one coordinator, or all: what TCP makes of dropped packets."""
        fault = self.on("link" if coordinator else "silent", worker)
        for name in [coordinator] if coordinator else self.system.layout.coordinator_names:
            if up:
                self.system.links[name].up(worker, held=True)
            if down:
                self.system.links[name].down(worker, held=True)
        places = [place for place, wanted in enumerate((up, down)) if wanted]
        ways = [proxy.ways(worker)[place] for proxy in self.system.links.values() for place in places if coordinator is
                None or proxy is self.system.links[coordinator]]  # fmt: skip
        await trio.sleep(0.1)  # what was being written is through
        before = [way.passed for way in ways]
        await trio.sleep(0.5)
        if [way.passed for way in ways] == before:
            self.took(fault, "nothing passed for half a second")

    def mend(self, worker: str) -> None:
        for proxy in self.system.links.values():
            proxy.calm(worker)
        self.off(worker)


def runs(pid: int) -> bool:
    """Whether it is there, and no zombie."""
    return status(pid) not in (None, psutil.STATUS_ZOMBIE)


def status(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None
