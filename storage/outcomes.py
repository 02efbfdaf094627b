"""Outcomes of attempts: accepted once, fenced when superseded, and never a batch lost to one bad row."""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

from actors.model.columns import Outcome, Outcomes, Verdict, split_blob
from actors.model.errors import BadValue
from actors.model.task import DEFAULT_MAX_TRIES
from actors.model.worker import Held
from storage.notify import Notifier
from storage.pool import Pool
from storage.queries import sql
from storage.sanitize import storable

log = logging.getLogger(__name__)

Columns = tuple[list[int], list[int], list[uuid.UUID], list[int], list[str]]  # ids, attempts, keys, kinds, bodies

INVALID_RESULT = json.dumps(
    {
        "type": "InvalidResult",
        "message": "the database can't hold the result: it must be JSON without NUL characters, lone surrogates, "
        "numbers beyond PostgreSQL's range or thousands of levels",
        "traceback": None,
    }
)


class PostgresOutcomes:
    """The part of the DispatchStore port about attempts."""

    def __init__(self, work: Pool, notifier: Notifier, default_timeout: float | None) -> None:
        self._work, self._notifier, self._default_timeout = work, notifier, default_timeout

    async def complete(self, outcomes: Outcomes) -> list[Verdict]:
        """One verdict each. Rows are locked in the order of ids, so that two batches never wait for each other."""
        keys = [uuid.UUID(bytes=key) for key in outcomes.keys]
        columns: Columns = (
            outcomes.ids,
            outcomes.attempts,
            [keys[index] for index in outcomes.key_index],
            outcomes.kinds,
            texts(outcomes),
        )
        ids = outcomes.ids
        order = sorted(range(len(ids)), key=ids.__getitem__)
        if all(place == index for index, place in enumerate(order)):
            verdicts = await self._complete(columns)
        else:
            verdicts = [Verdict.FENCED] * len(ids)
            for place, verdict in zip(order, await self._complete(pick(columns, order)), strict=True):
                verdicts[place] = verdict
        self._notifier.final()
        if any(outcomes.kinds):
            self._notifier.due()
        return verdicts

    async def _complete(self, columns: Columns) -> list[Verdict]:
        """A row that the database can't hold ends up alone, and gets an outcome that it can hold."""
        try:
            return await self._try_to_complete(columns)
        except BadValue as error:
            count = len(columns[0])
            if count > 1:
                first, rest = range(count // 2), range(count // 2, count)
                return [*await self._complete(pick(columns, first)), *await self._complete(pick(columns, rest))]
            log.warning("an outcome of task %d was made storable: %s", columns[0][0], error)
        ids, attempts, leases, [kind], [body] = columns
        kind, body = substitute(kind, body)
        try:
            return await self._try_to_complete((ids, attempts, leases, [kind], [body]))
        except BadValue as error:
            log.error("an outcome of task %d can't be stored: %s", ids[0], error)
            return [Verdict.FENCED]

    async def _try_to_complete(self, columns: Columns) -> list[Verdict]:
        ids, _, _, kinds, _ = columns
        verdicts = [Verdict.FENCED] * len(ids)
        good = [place for place, kind in enumerate(kinds) if kind == Outcome.SUCCEEDED] if any(kinds) else None
        parents, freed = False, False
        if good is None or good:
            part = columns if good is None else pick(columns, good)
            rows = await self._work.fetch(sql("succeed"), part[0], part[1], part[2], part[4])
            accept(verdicts, rows[0][0], good)
            parents, freed = bool(rows[0][1]), bool(rows[0][2])
        if good is not None and len(good) < len(ids):
            rest = [place for place, kind in enumerate(kinds) if kind != Outcome.SUCCEEDED]
            rows = await self._work.fetch(sql("settle"), *pick(columns, rest), DEFAULT_MAX_TRIES)
            accept(verdicts, rows[0][0], rest)
            parents, freed = parents or bool(rows[0][1]), freed or bool(rows[0][2])
        if parents:
            self._notifier.parents()
        if freed:
            self._notifier.freed()
        doubtful = [place for place, verdict in enumerate(verdicts) if verdict is Verdict.FENCED]
        if doubtful:
            await self._judge(columns, doubtful, verdicts)
        return verdicts

    async def _judge(self, columns: Columns, doubtful: Sequence[int], verdicts: list[Verdict]) -> None:
        part = pick(columns, doubtful)
        others = [substitute(kind, body) for kind, body in zip(part[3], part[4], strict=True)]
        rows = await self._work.fetch(sql("judge"), *part, [kind for kind, _ in others], [body for _, body in others])
        for place in rows[0][0] or ():
            verdicts[doubtful[place - 1]] = Verdict.ACCEPTED_BEFORE

    async def mark(self, accepted: Sequence[Held], started: Sequence[Held]) -> None:
        if accepted:
            await self._work.execute(sql("mark_accepted"), *held_columns(accepted))
        if started:
            await self._work.execute(sql("mark_started"), *held_columns(started), self._default_timeout)

    async def save_progress(self, values: Sequence[tuple[int, int, str]]) -> None:
        ordered = sorted({(task, attempt): value for task, attempt, value in values}.items())
        try:
            await self._work.execute(
                sql("save_progress"),
                [task for (task, _), _ in ordered],
                [attempt for (_, attempt), _ in ordered],
                [storable(value) for _, value in ordered],
            )
        except BadValue as error:
            if len(values) == 1:
                log.info("progress of task %d was dropped: %s", values[0][0], error)
                return
            half = len(values) // 2
            await self.save_progress(values[:half])
            await self.save_progress(values[half:])


def texts(outcomes: Outcomes) -> list[str]:
    """The bodies; what is no UTF-8 is made so, always in the same way, because a repeat must be recognised."""
    try:
        return outcomes.texts()
    except UnicodeDecodeError:
        return [body.decode(errors="replace") for body in split_blob(outcomes.sizes, outcomes.bodies)]


def substitute(kind: int, body: str) -> tuple[int, str]:
    """What is stored in place of an outcome that can't be: always the same for the same one."""
    if kind == Outcome.SUCCEEDED:
        return int(Outcome.FAILED_FINAL), INVALID_RESULT
    try:
        given = json.loads(storable(body))
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        given = {"type": "Error", "message": storable(body)[:2_000]}
    safe = {name: str(given.get(name) or "")[:20_000] for name in ("type", "message", "traceback")}
    wait: dict[str, float | str] = {}
    after, until = given.get("after"), given.get("until")
    if isinstance(after, int | float) and math.isfinite(after):
        wait["after"] = min(max(float(after), 0.0), 1e9)
    if isinstance(until, str) and is_time(until):
        wait["until"] = until
    return kind, storable(json.dumps({**safe, **wait}, ensure_ascii=False))


def is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def held_columns(held: Iterable[Held]) -> tuple[list[int], list[int], list[uuid.UUID]]:
    """In the order of ids, so that two statements never lock in opposite order."""
    ordered = sorted(held, key=lambda one: one.task_id)
    return (
        [one.task_id for one in ordered],
        [one.attempt for one in ordered],
        [uuid.UUID(bytes=one.lease_key) for one in ordered],
    )


def pick(columns: Columns, places: Sequence[int]) -> Columns:
    """Some places of all columns."""
    ids, attempts, keys, kinds, bodies = columns
    return (
        [ids[place] for place in places],
        [attempts[place] for place in places],
        [keys[place] for place in places],
        [kinds[place] for place in places],
        [bodies[place] for place in places],
    )


def accept(verdicts: list[Verdict], numbers: Sequence[int] | None, places: Sequence[int] | None) -> None:
    """Enters the accepted ones; `numbers` count from 1 within `places`, None means every place."""
    if numbers is None:
        return
    if places is None:
        if len(numbers) == len(verdicts):
            verdicts[:] = [Verdict.ACCEPTED] * len(verdicts)
            return
        places = range(len(verdicts))
    for number in numbers:
        verdicts[places[number - 1]] = Verdict.ACCEPTED
