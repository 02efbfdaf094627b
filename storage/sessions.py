"""Sessions of workers: opened, resumed, renewed, convicted; and what they held, swept back to its queue."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from actors.model.errors import StorageError, StorageUnavailable
from actors.model.ports import History, Renewed, Swept, Wishes
from actors.model.task import DEFAULT_MAX_TRIES
from actors.model.worker import Held, Session, WorkerInfo
from storage.notify import Notifier
from storage.pool import Pool
from storage.queries import sql
from storage.sanitize import storable

log = logging.getLogger(__name__)

# The name of the log's present file begins with the timeline, in hexadecimal digits.
HISTORY = """
    SELECT (SELECT system_identifier FROM pg_control_system()) AS system,
           CASE WHEN NOT pg_is_in_recovery()
                THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END AS timeline,
           CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_insert_lsn() - '0/0')::bigint END AS position
"""


class PostgresSessions:
    """The part of the DispatchStore port about sessions. `control` is reserved for it."""

    def __init__(self, control: Pool, notifier: Notifier) -> None:
        self._control, self._notifier = control, notifier
        self._tells_history = True

    async def open_session(
        self, worker: WorkerInfo, *, secret_hash: bytes, coordinator_id: str, lease: float
    ) -> Session:
        row = await self._control.fetchrow(
            sql("open_session"), worker.id, worker.name, secret_hash, coordinator_id, lease, *declared(worker)
        )
        assert row is not None
        return Session(id=row["session_id"], epoch=row["epoch"], worker=worker.id)

    async def resume_session(
        self, session_id: int, *, worker: WorkerInfo, secret_hash: bytes, coordinator_id: str, lease: float
    ) -> Session | None:
        row = await self._control.fetchrow(
            sql("resume_session"), session_id, secret_hash, coordinator_id, lease, *declared(worker)
        )
        return None if row is None else Session(id=row["session_id"], epoch=row["epoch"], worker=worker.id)

    async def held_by(self, session_id: int) -> list[Held]:
        rows = await self._control.fetch(
            "SELECT id, attempt, lease_key, weight FROM callboard_tasks"
            " WHERE session_id = $1 AND state IN ('assigned', 'running')",
            session_id,
        )
        return [Held(row["id"], row["attempt"], row["lease_key"].bytes, row["weight"]) for row in rows]

    async def renew(
        self,
        coordinator_id: str,
        sessions: Sequence[tuple[int, int, float]],
        *,
        lease: float,
        health: Mapping[int, Mapping[str, Any]],
    ) -> Renewed:
        ordered = sorted(sessions)  # two statements never lock in opposite order
        history = await self._history()  # before: what it had written by then is older than what is acknowledged below
        rows = await self._control.fetch(
            sql("renew"),
            [session for session, _, _ in ordered],
            [epoch for _, epoch, _ in ordered],
            [age for _, _, age in ordered],
            [health_text(health.get(session, {})) for session, _, _ in ordered],
            lease,
        )
        row = rows[0]
        return Renewed(
            sessions=frozenset(row["sessions"] or ()),
            wishes=Wishes(
                by_session(row["wish_sessions"], row["wish_ids"], row["wish_attempts"], row["wish_keys"]),
                frozenset(row["paused"] or ()),
                frozenset(row["drain"] or ()),
            ),
            server_started=row["server_started"],
            history=history,
            clock=row["clock"],
            moved=frozenset(row["moved"] or ()),
        )

    async def _history(self) -> History | None:
        """None where the role may not ask, or the server is none that could say."""
        if not self._tells_history:
            return None
        try:
            row = await self._control.fetchrow(HISTORY)
        except StorageUnavailable:
            raise
        except StorageError as error:
            log.info("commits that a failover loses can't be noticed here: %s", error)
            self._tells_history = False
            return None
        assert row is not None
        return None if row["position"] is None else History(row["system"], row["timeline"], row["position"])

    async def begin_drain(self, session_id: int, epoch: int) -> None:
        await self._control.execute(
            "UPDATE callboard_workers SET state = 'draining' WHERE session_id = $1 AND epoch = $2 AND state = 'live'",
            session_id,
            epoch,
        )

    async def close_session(self, session_id: int, epoch: int) -> None:
        await self._control.execute(
            "UPDATE callboard_workers SET state = 'closed', ended_at = clock_timestamp()"
            " WHERE session_id = $1 AND epoch = $2 AND state IN ('live', 'draining')",
            session_id,
            epoch,
        )

    async def convict(
        self, sessions: Sequence[tuple[int, int]], coordinator_id: str, *, until: float | None = None
    ) -> list[int]:
        ordered = sorted(sessions)
        rows = await self._control.fetch(
            sql("convict"), [session for session, _ in ordered], [epoch for _, epoch in ordered], coordinator_id, until
        )
        return [row["session_id"] for row in rows]

    async def sweep(
        self,
        limit: int,
        coordinator_id: str,
        *,
        lease: float | None,
        until: float | None = None,
        sent: Collection[bytes] = (),
        linked: Collection[int] = (),
    ) -> Swept:
        keys = [uuid.UUID(bytes=key) for key in sent]
        due = self._notifier.channel("due")
        rows = await self._control.fetch(
            sql("sweep"), limit, coordinator_id, DEFAULT_MAX_TRIES, lease, due, keys, until, list(linked)
        )
        row = rows[0]
        if row["final"]:
            self._notifier.final()
            self._notifier.parents()
        if row["count"] > row["final"]:
            self._notifier.due()
        taken = by_session(row["sessions"], row["ids"], row["attempts"], row["keys"])
        return Swept(row["count"], row["convicted"] or (), taken)


def health_text(health: Mapping[str, Any]) -> str:
    """What one worker says of itself must cost the others nothing: what JSON can't hold is left out whole."""
    try:
        return storable(json.dumps(dict(health), allow_nan=False))
    except ValueError:
        return "{}"


def by_session(
    sessions: Iterable[int] | None,
    ids: Iterable[int] | None,
    attempts: Iterable[int] | None,
    keys: Iterable[Any] | None,
) -> dict[int, list[Held]]:
    """Columns of attempts, which are NULL when there are none, put under their sessions."""
    found: dict[int, list[Held]] = {}
    for session, task, attempt, key in zip(sessions or (), ids or (), attempts or (), keys or (), strict=True):
        found.setdefault(session, []).append(Held(task, attempt, key.bytes))
    return found


def declared(worker: WorkerInfo) -> tuple[Any, ...]:
    """What a session row says of its worker."""
    return (
        worker.slots,
        list(worker.queues),
        [handler.name for handler in worker.handlers],
        storable(json.dumps(dict(worker.labels))),
        worker.version,
        worker.http_address,
    )
