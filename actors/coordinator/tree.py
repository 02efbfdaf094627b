"""The coordinator's supervision tree: start reading here.

Dispatcher, completers and session keeper are restarted one by one; each link is an actor of its own
that ends with its stream. State after a restart is what the links and the table say.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

import trio

from actors.coordinator.completer import Completer
from actors.coordinator.dispatcher import Dispatcher
from actors.coordinator.express import Express
from actors.coordinator.link import Desk, LinkActor
from actors.coordinator.membership import Membership
from actors.coordinator.sessions import SessionKeeper
from actors.model.errors import StorageError
from actors.model.lease import LeaseTerms
from actors.model.link import CoordinatorEnd
from actors.model.ports import DispatchStore, Wakeups
from actors.runtime.supervisor import RestartPolicy, Run, describe, keep_running
from actors.runtime.tree import TreeNode

log = logging.getLogger(__name__)

LEAF = RestartPolicy(intensity=5, period=30)
COMPLETERS = 2
NOTE_LIMIT = SIGN_OUT_LIMIT = 2.0  # seconds each, at the end


class Coordinator:
    """Composes the actors; `serve_link` is what the transport calls for every stream."""

    def __init__(
        self,
        *,
        coordinator_id: str,
        address: str,
        version: str,
        store: DispatchStore,
        wakeups: Wakeups,
        terms: LeaseTerms,
        token: str | None,
        node: TreeNode,
    ) -> None:
        self.id, self.node, self._store, self._terms = coordinator_id, node, store, terms
        self.membership = Membership()
        self.completer = Completer(store)
        self.dispatcher = Dispatcher(store, self.membership, wakeups.subscribe("due"), terms)
        self.express = Express(store, self.dispatcher)
        self.sessions = SessionKeeper(
            coordinator_id, address, version, store, self.membership, wakeups.subscribe("wishes"), terms,
            lambda: self.dispatcher.claiming,
        )  # fmt: skip
        self._links = node.child("links", "supervisor")
        self._links.enter("running")
        self._desk = Desk(
            coordinator_id=coordinator_id,
            store=store,
            membership=self.membership,
            completer=self.completer,
            terms=terms,
            token=token,
            reply=self.sessions.reply,
            coordinators=lambda: self.sessions.coordinators,
            declared=self.dispatcher.forget_lanes,
            left=self.sessions.left,
        )
        self._served = 0

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(COMPLETERS):
                await nursery.start(self._keep, f"completer {number + 1}", self.completer.run)
            await nursery.start(self._keep, "sessions", self.sessions.run)
            await nursery.start(self._keep, "dispatcher", self.dispatcher.run)
            self.node.enter("running")
            task_status.started()

    async def _keep(self, name: str, run: Run, *, task_status: trio.TaskStatus[Any]) -> None:
        child = self.node.child(name)
        if name.startswith("completer"):
            child.depth = self.completer.address.depth
        await keep_running(name, run, LEAF, node=child, task_status=task_status)

    async def serve_link(self, end: CoordinatorEnd) -> None:
        """One stream, one actor; an error in it is its own."""
        self._served += 1
        name = f"link {self._served}"
        child = self._links.child(name)
        child.enter("running")
        try:
            await LinkActor(self._desk, end).serve()
        except Exception as error:
            child.last_error = describe(error)
            log.error("%s from %s crashed: %s", name, end.peer, child.last_error, exc_info=error)
        finally:
            self._links.forget(name)

    async def stop(self, limit: float) -> None:
        """Stops claiming, flushes outcomes and starts, signs out: workers resume elsewhere, their tasks unharmed.

        Outcomes get `limit` seconds.
        """
        self.dispatcher.paused = True
        with trio.move_on_after(limit):
            await self.completer.wait_idle()
        with trio.move_on_after(NOTE_LIMIT):
            await self._while_it_answers("note what has started", self.sessions.note_all())
        with trio.move_on_after(SIGN_OUT_LIMIT):
            await self._while_it_answers("sign out", self._store.sign_out(self.id))

    async def _while_it_answers(self, what: str, call: Awaitable[None]) -> None:
        try:
            await call
        except StorageError as error:
            log.warning("the coordinator could not %s: %s", what, error)
