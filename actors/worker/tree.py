"""The worker's supervision tree: start reading here.

The crew's executors and the link are restarted one by one. The link starts when the executors have said which
handlers there are; it ends last, when nothing is left to report.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from actors.model.lease import LeaseTerms
from actors.model.worker import WorkerInfo
from actors.runtime import chance, probe
from actors.runtime.periodic import boottime
from actors.runtime.supervisor import RestartPolicy, keep_running
from actors.runtime.tree import TreeNode
from actors.worker.child import Launch
from actors.worker.crew import Crew
from actors.worker.facts import Facts
from actors.worker.limits import Limits
from actors.worker.link import Dial, WorkerLink

log = logging.getLogger(__name__)

LINK = RestartPolicy(intensity=5, period=60)
KILL_LIMIT = 1.5  # seconds from the end of the grace until every executor is gone
FLUSH_LIMIT = 10.0  # seconds that unacknowledged outcomes get at the end
SETTLE = 0.1  # seconds beyond the grace in which executors report
SIGN_OUT = 1.0  # seconds until the goodbye is heard
HURRIED_GRACE, HURRIED_FLUSH = 0.2, 0.5  # what is left of them when somebody insists


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """What a worker is."""

    id: str  # name + random part; new for every process
    name: str
    apps: Sequence[str]
    slots: int
    executors: int
    addresses: Sequence[str]  # of coordinators
    terms: LeaseTerms
    limits: Limits
    queues: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    token: str = ""
    drain: float = 30.0  # seconds that running attempts get when an operator asks for a drain
    frozen_limit: float | None = None  # seconds that work goes on while nobody can renew its lease; None: for ever
    flush: float = FLUSH_LIMIT


class Worker:
    """Composes the actors. `run` ends when it was drained."""

    def __init__(
        self,
        config: WorkerConfig,
        *,
        launch: Launch,
        dial: Dial,
        node: TreeNode,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self.config, self.node, self.worker_id = config, node, config.id
        self.http_address: str | None = None  # told to coordinators; set before `run`
        self._secret = chance.secret(32)
        self.crew = Crew(
            apps=config.apps,
            slots=config.slots,
            executors=config.executors,
            launch=launch,
            limits=config.limits,
            node=node,
            clock=clock,
        )
        self.link = WorkerLink(
            worker=self.info,
            secret=self._secret,
            token=config.token,
            addresses=config.addresses,
            dial=dial,
            crew=self.crew,
            terms=config.terms,
            health=lambda: self.facts.health(),
            tree=self.tree,
            on_drain=self._on_drain,
            clock=clock,
            frozen_limit=config.frozen_limit,
        )
        self.facts = Facts(self.crew, self.link)
        self.crew.listener = self.link
        self._crew_scope = trio.CancelScope()
        self._crew_gone, self._ended = trio.Event(), trio.Event()
        self._drain_wish, self._insisted = trio.Event(), trio.Event()
        self._draining = False

    def info(self) -> WorkerInfo:
        """The worker's account of itself, for Hello."""
        config = self.config
        return WorkerInfo(
            id=config.id,
            name=config.name,
            slots=config.slots,
            queues=list(config.queues),
            handlers=self.crew.handlers,
            labels=config.labels,
            version=config.version,
            http_address=self.http_address,
        )

    # --- its life ---------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Started when every executor is ready. Raises ConfigurationError, RestartLimitReached."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._run_crew)
            link = self.node.child("link")
            await nursery.start(partial(keep_running, "link", self.link.run, LINK, node=link))
            nursery.start_soon(self._drain_when_wished)
            self.node.enter("running")
            task_status.started()
            await self._ended.wait()
            nursery.cancel_scope.cancel("drained")
        self.node.enter("stopped")

    async def _run_crew(self, *, task_status: trio.TaskStatus[Any]) -> None:
        try:
            with self._crew_scope:
                await self.crew.run(task_status=task_status)
        finally:
            self._crew_gone.set()

    def _on_drain(self, reason: str) -> None:
        log.warning("draining: %s", reason)
        self._drain_wish.set()

    async def _drain_when_wished(self) -> None:
        await self._drain_wish.wait()
        await self.drain(self.config.drain, self.config.limits.cancel_grace)

    # --- leaving ----------------------------------------------------------------------------------

    def insist(self) -> None:
        """A drain that goes on, or begins, waits for nobody any more."""
        self._insisted.set()

    async def drain(self, limit: float, cancel_grace: float) -> None:
        """Takes nothing more, lets what runs finish, hands back the rest, signs out; `run` then ends.

        What runs gets `limit` seconds, then it is told to stop and gets `cancel_grace`, then it is killed.
        Outcomes get WorkerConfig.flush seconds to be acknowledged. A second caller waits for the first.
        """
        if self._draining:
            await self._ended.wait()
            return
        self._draining = True
        await self._step("begin")
        self.link.begin_drain()
        self.crew.hand_back_queued()
        await self._unless_insisted(limit, self.crew.wait_idle)
        await self._step("waited")
        grace = min(cancel_grace, HURRIED_GRACE) if self._insisted.is_set() else cancel_grace
        if self.crew.held:
            self.crew.stop_all("drain", grace)
            with trio.move_on_after(grace + SETTLE):
                await self.crew.wait_idle()
        self._crew_scope.cancel("drained")
        with trio.move_on_after(KILL_LIMIT):
            await self._crew_gone.wait()
        await self._step("stopped")
        await self._unless_insisted(self.config.flush, self._flush)
        await self._step("flushed")
        if self.link.ledger.unacknowledged:
            log.warning("%d outcomes could not be reported before the end", self.link.ledger.unacknowledged)
        await self.link.sign_out(SIGN_OUT)
        await self._step("signed_out")
        self._ended.set()

    async def _step(self, name: str) -> None:
        if probe.armed is not None:
            probe.armed.note("drain", step=name)
            await probe.armed.reach(f"drain.{name}")

    async def _flush(self) -> None:
        await self.link.flush(self.config.flush)

    async def _unless_insisted(self, limit: float, wait: Callable[[], Any]) -> None:
        """Waits at most `limit` seconds, and hardly any longer once somebody insists."""
        with trio.move_on_after(limit):
            async with trio.open_nursery() as nursery:

                async def hurry() -> None:
                    await self._insisted.wait()
                    nursery.cancel_scope.deadline = min(
                        nursery.cancel_scope.deadline, trio.current_time() + HURRIED_FLUSH
                    )

                nursery.start_soon(hurry)
                await wait()
                nursery.cancel_scope.cancel("it came to pass")

    # --- facts ------------------------------------------------------------------------------------

    def tree(self) -> dict[str, Any]:
        """The supervision tree of this worker, as it is shown."""
        return {**self.node.as_json(), "name": f"worker {self.worker_id}"}

    def checks(self) -> dict[str, dict[str, Any]]:
        return self.facts.checks()

    def ready(self) -> tuple[bool, str]:
        return self.facts.ready()

    def running(self) -> list[dict[str, Any]]:
        return self.facts.running()

    def server_of(self, task_id: int) -> tuple[int, str] | None:
        return self.facts.server_of(task_id)

    def secret_hash(self) -> bytes:
        """SHA-256 of the session secret, which the coordinator's table holds too: key of the proxy's signatures."""
        return hashlib.sha256(self._secret).digest()
