"""One of two stores that are asked the same, with its answers in a form that can be compared.

Ids become places in the order of creation, times become distances from now, hashes become whether there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from actors.model.columns import Outcome, Outcomes
from actors.model.errors import CallboardError, Conflict
from actors.model.ports import Claimed, ClaimOffer, Submitted, TaskFilter, TaskPatch
from actors.model.task import SHOWN_STATES, NewTask
from actors.model.worker import HandlerInfo, Held, Session, WorkerInfo
from tests.support.bench import LEASE, Bench, Moment, outcomes

BODIES: Sequence[bytes] = (
    b"{}", b'{"after": 0}', b'{"after": 50, "type": "E"}', b'{"after": "x", "b": 1.50, "a": 1e2}', b"[1]", b"", b"{",
    b'{"x": "\\u0000", "after": 3}', b'{"type": "E", "evidence": {"signal": 9}}', b'{"after": "1e400"}', b"7",
    b'{"until": "2100-01-01T00:00:00+00:00"}', b'{"evidence": null, "after": 1e400}',
)  # fmt: skip
NEWEST = 8  # so many of each kind can be named
TOLERANCE = 4.0  # seconds between what is asked of the one and of the other


class Near:
    """A number that is nearly the same on both sides."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and abs(self.value - other.value) < TOLERANCE

    __hash__ = None  # type: ignore[assignment]  # nearness is not transitive

    def __repr__(self) -> str:
        return f"≈{self.value:.1f}"


class Twin:
    """Remembers what it was answered, so that a step names things by their place."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.tasks: list[int] = []
        self.sessions: list[Session] = []
        self.out: list[Held] = []
        self.keys: list[bytes] = []

    async def do(self, name: str, *args: Any) -> Any:
        """One step; its answer, comparable."""
        try:
            answer = await getattr(self, name)(*args)
        except CallboardError as error:
            answer = error
        return self._comparable(answer, await self.bench.clock())

    async def rows(self) -> Any:
        """Everything that is stored, comparable."""
        now = await self.bench.clock()
        tables = {name: await self.bench.rows(name) for name in ("tasks", "attempts", "workers", "idempotency_keys")}
        for attempt in tables["attempts"]:
            del attempt["id"]
        for task in tables["tasks"]:
            del task["lane_id"]
            task.pop("counted", None)  # by limits, which only PostgreSQL has
        tables["attempts"].sort(key=_place_of)
        return self._comparable(tables, now)

    # --- tasks ------------------------------------------------------------------------------------

    async def submit(self, news: Sequence[dict[str, Any]]) -> list[Any]:
        return self._created(await self.bench.tasks.submit(await self._news(news)))

    async def post(self, news: Sequence[dict[str, Any]], slots: Sequence[int]) -> Any:
        offer = await self._offer(slots)
        posted = await self.bench.dispatch.post(await self._news(news), offer)
        return self._created(posted.answers), self._shares(posted.shares), posted.seen

    async def _news(self, news: Sequence[dict[str, Any]]) -> list[NewTask]:
        now = await self.bench.clock()
        backoff = {"kind": "fixed", "base": 30, "cap": 30, "jitter": False}
        return [
            NewTask(name="demo", backoff=backoff, **{name: _moment(value, now) for name, value in new.items()})
            for new in news
        ]

    def _created(self, answers: list[Submitted | Exception]) -> list[Any]:
        self.tasks += [answer.id for answer in answers if isinstance(answer, Submitted) and answer.created]
        return [
            (self._task(answer.id), answer.created, answer.first) if isinstance(answer, Submitted) else answer
            for answer in answers
        ]

    async def cancel(self, place: int) -> Any:
        return await self.bench.tasks.cancel(self._pick(self.tasks, place, 10**12))

    async def retry(self, place: int) -> Any:
        made = await self.bench.tasks.retry(self._pick(self.tasks, place, 10**12), submitted_by="me")
        self.tasks.append(made)
        return self._task(made)

    async def patch(self, place: int, fields: dict[str, Any]) -> Any:
        now = await self.bench.clock()
        values = {name: _moment(value, now) for name, value in fields.items()}
        patch = TaskPatch(fields=frozenset(fields), **values)
        return await self.bench.tasks.patch(self._pick(self.tasks, place, 10**12), patch)

    async def look(self, place: int) -> Any:
        task, tasks = self._pick(self.tasks, place, 10**12), self.bench.tasks
        seen = await tasks.get(task), await tasks.route(task)
        attempts = sorted(map(asdict, await tasks.attempts(task)), key=_place_of)
        return *seen, attempts, task in await tasks.final_among([task]), await tasks.key_hash("a")

    async def overview(self) -> Any:
        tasks = self.bench.tasks
        found = {
            state: [task.id for task in await tasks.find(TaskFilter(states=[state]), limit=5, before_id=None)]
            for state in SHOWN_STATES
        }
        places = {state: list(map(self._task, ids)) for state, ids in found.items()}
        return places, await tasks.stats(), await tasks.workers(), await tasks.known_handlers()

    async def prune(self) -> Any:
        return await self.bench.tasks.prune(100)

    # --- sessions ---------------------------------------------------------------------------------

    async def open_session(self, coordinator: str) -> Any:
        session = await self.bench.session(f"w{len(self.sessions)}", coordinator=coordinator)
        self.sessions.append(session)
        return session.epoch

    async def resume(self, place: int, secret: bytes, remembered: bool) -> Any:
        """Not remembered: whoever asks next has the old epoch still."""
        old = self._session_at(place)
        info = WorkerInfo(id=old.worker, name=old.worker, slots=3, handlers=[HandlerInfo(name="demo")])
        new = await self.bench.dispatch.resume_session(
            old.id, worker=info, secret_hash=secret, coordinator_id="c1", lease=LEASE
        )
        if new is not None and remembered:
            self.sessions[self.sessions.index(old)] = new
        return new and new.epoch

    async def renew(self, age: float) -> Any:
        sessions = [(one.id, one.epoch, age) for one in self.sessions]
        renewed = await self.bench.dispatch.renew("c1", sessions, lease=LEASE, health={})
        wishes = renewed.wishes
        cancels = {self._session(number): self._held(held) for number, held in wishes.cancels.items()}
        return [sorted(map(self._session, some)) for some in (renewed.sessions, wishes.paused, wishes.drain)], cancels

    async def wish(self, place: int, paused: bool | None, drain: bool | None) -> Any:
        return await self.bench.tasks.set_worker(self._session_at(place).worker, paused=paused, drain=drain)

    async def end_session(self, place: int, how: str) -> Any:
        one, dispatch = self._session_at(place), self.bench.dispatch
        if how == "convict":
            return list(map(self._session, await dispatch.convict([(one.id, one.epoch)], "c1")))
        await (dispatch.close_session if how == "close" else dispatch.begin_drain)(one.id, one.epoch)
        return None

    async def sweep(self, coordinator: str, judging: bool, sent: bool) -> Any:
        keys = self.keys[-1:] if sent else []
        linked = [one.id for one in self.sessions]
        lease = LEASE if judging else None
        swept = await self.bench.dispatch.sweep(500, coordinator, lease=lease, sent=keys, linked=linked)
        taken = {self._session(number): self._held(held) for number, held in swept.taken.items()}
        return swept.count, sorted(map(self._session, swept.convicted)), taken

    # --- attempts ---------------------------------------------------------------------------------

    async def claim(self, slots: Sequence[int], waits_are_over: bool) -> Any:
        if waits_are_over:
            await self.pass_time("waits")
        offer = await self._offer(slots)
        shares, seen = await self.bench.dispatch.claim(**{k: v for k, v in asdict(offer).items() if k != "rooms"})
        return self._shares(shares), seen

    async def claimed(self) -> Any:
        key = self.keys[-1] if self.keys else bytes(16)
        sessions = [(one.id, one.epoch) for one in self.sessions]
        return self._shares(await self.bench.dispatch.claimed(key, sessions), remember=False)

    async def complete(self, ends: Sequence[tuple[int, Outcome, int]]) -> Any:
        batch = Outcomes()
        for place, kind, body in ends:
            held = self._pick(self.out, place, Held(10**12, 1, bytes(16)))
            one = outcomes([held], kind, BODIES[body % len(BODIES)])
            batch.key_index.append(len(batch.keys))
            batch.keys += one.keys
            for name in ("ids", "attempts", "kinds", "sizes"):
                getattr(batch, name).extend(getattr(one, name))
            batch.bodies += one.bodies
        return await self.bench.dispatch.complete(batch)

    async def mark(self, accepted: Sequence[int], started: Sequence[int]) -> None:
        nobody = Held(10**12, 1, bytes(16))
        some = [[self._pick(self.out, place, nobody) for place in places] for places in (accepted, started)]
        await self.bench.dispatch.mark(*some)

    async def progress(self, place: int, text: str) -> None:
        held = self._pick(self.out, place, Held(10**12, 1, bytes(16)))
        await self.bench.dispatch.save_progress([(held.task_id, held.attempt, text)])

    # --- time -------------------------------------------------------------------------------------

    async def pass_time(self, what: str) -> None:
        """Something is over long since."""
        past = await self.bench.clock() - timedelta(seconds=100)
        match what:
            case "leases":
                for state in ("live", "draining"):
                    await self.bench.change("workers", {"state": state}, lease_until=past)
            case "windows":
                await self.bench.change("tasks", {"state": "assigned"}, ack_by=past)
            case "limits":
                await self.bench.change("tasks", {"state": "running"}, exec_until=past)
            case "waits":
                due = await self.bench.clock() - timedelta(seconds=1)
                await self.bench.change("tasks", {"state": "queued"}, run_at=due)

    # --- names ------------------------------------------------------------------------------------

    async def _offer(self, slots: Sequence[int]) -> ClaimOffer:
        self.keys.append(len(self.keys).to_bytes(16, "big"))
        sessions = [(one.id, one.epoch) for one in self.sessions[-3:]]
        turns = [slot % len(sessions) for slot in slots if sessions]
        return ClaimOffer(self.keys[-1], [await self.bench.lane()], sessions, turns, 30.0, 2.0)

    def _shares(self, shares: Sequence[Claimed], remember: bool = True) -> Any:
        for share in sorted(shares, key=lambda share: share.slot):
            one = share.assignment
            if remember:
                self.out += [Held(task, n, one.lease_key) for task, n in zip(one.ids, one.attempts, strict=True)]
        return {
            share.slot: {**asdict(share.assignment), "ids": list(map(self._task, share.assignment.ids))}
            for share in shares
        }

    def _held(self, held: Sequence[Held]) -> list[Any]:
        return sorted((self._task(one.task_id), one.attempt, one.lease_key) for one in held)

    @staticmethod
    def _pick(some: Sequence[Any], place: int, otherwise: Any) -> Any:
        """The newest is 0; now and then one that does not exist."""
        return some[-1 - place] if place < min(len(some), NEWEST) else otherwise

    def _session_at(self, place: int) -> Session:
        return self._pick(self.sessions, place, Session(id=10**12, epoch=1, worker="nobody"))  # type: ignore[no-any-return]

    def _task(self, number: int | None) -> int | None:
        return None if number is None else self.tasks.index(number)

    def _session(self, number: int) -> int:
        return next(place for place, one in enumerate(self.sessions) if one.id == number)

    def _comparable(self, value: Any, now: datetime, name: str = "") -> Any:
        match value:
            case Conflict():
                return "Conflict", value.state
            case Exception():
                return type(value).__name__
            case datetime():
                return Near((value - now).total_seconds())
            case float():
                return Near(value)
            case dict():
                return {key: self._comparable(one, now, str(key)) for key, one in value.items()}
            case list() | tuple():
                return [self._comparable(one, now) for one in value]
            case int() if name in ("result_hash", "outcome_hash"):
                return "a hash"
            case int() if name in ("session_id", "session", "failed_in"):
                return self._session(value)
            case int() if name in ("id", "task_id", "retry_of"):
                return self._task(value)
            case _:
                return self._comparable(asdict(value), now) if is_dataclass(value) else value  # type: ignore[arg-type]


def _place_of(attempt: dict[str, Any]) -> tuple[Any, ...]:
    """Ends that came together have no order of their own."""
    names = ("task_id", "attempt", "accepted", "outcome")
    return *(attempt[name] for name in names), str(attempt["evidence"])


def _moment(value: Any, now: datetime) -> Any:
    return now + timedelta(seconds=value.ahead) if isinstance(value, Moment) else value
