"""The client: submits a mix of tasks at a steady pace, repeats what got no answer, and reads everything at the end."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from tests.system.bench.system import System

ANSWER_LIMIT = 8.0  # seconds for one request
REPEAT_AFTER, REPEAT_MOST = 0.3, 3.0  # seconds; twice as long each time
AT_ONCE = 60  # requests: a client that storms a system in trouble only tests itself
GIVE_UP = 60.0  # seconds after which a submission without an answer stays unknown
READERS = 8
MOST = 5_000  # tasks, however long a blow lasts


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How many, how fast, and of which kinds. Shares of the whole; the rest are short naps."""

    tasks: int = 150
    pace: float = 18.0  # a second
    short: float = 0.05
    medium: float = 0.6
    long: float = 6.0
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "medium": 0.20, "long": 0.04, "flaky": 0.10, "bad": 0.02, "spin": 0.02, "block": 0.03, "exclusive": 0.02,
            "cancelled": 0.03,
        }
    )  # fmt: skip


def body(mix: Mix, kind: str, marker: str) -> dict[str, Any]:
    """What is posted for one task of this kind."""
    match kind:
        case "medium" | "long" | "exclusive" | "cancelled":
            seconds = mix.long if kind == "long" else mix.medium * (3 if kind == "cancelled" else 1)
            return {"name": "nap", "args": {"seconds": seconds}, "exclusive": kind == "exclusive", "tags": [kind]}
        case "flaky":
            return {"name": "flaky", "args": {"seconds": mix.short, "marker": marker}}
        case "bad":
            return {"name": "bad", "args": {"seconds": mix.short}}
        case "spin" | "block":
            return {"name": kind, "args": {"seconds": 0.2}}
    return {"name": "nap", "args": {"seconds": mix.short}}


class Load:
    """`run` submits; `submitted` are the tasks of which the client was told."""

    def __init__(self, system: System, mix: Mix, seed: int, name: str = "load") -> None:
        self._system, self._mix, self._name = system, mix, name
        self._random = random.Random(f"{name} {seed}")
        self._record = system.client.note
        self.submitted: dict[int, str] = {}  # task → kind
        self.unknown = 0  # submissions that never got an answer
        self.invoked = 0
        self.most = MOST
        self._op = 0
        self._room = trio.CapacityLimiter(AT_ONCE)

    def kinds(self) -> list[str]:
        """The kinds in the order in which they are submitted: the same for the same seed."""
        mix = self._mix
        kinds = [kind for kind, share in mix.shares.items() for _ in range(max(1, round(share * mix.tasks)))]
        kinds += ["short"] * (mix.tasks - len(kinds))
        self._random.shuffle(kinds)
        return kinds[: mix.tasks]

    async def run(self, until: trio.Event | None = None) -> None:
        """The whole mix, and again as long as `until` has not come."""
        began, number = trio.current_time(), 0
        async with trio.open_nursery() as nursery:
            while number == 0 or (until is not None and not until.is_set() and number < self.most):
                for kind in self.kinds():
                    if number >= self._mix.tasks and (until is None or until.is_set()):
                        break
                    await trio.sleep_until(began + number / self._mix.pace)
                    nursery.start_soon(self._one, kind, f"{self._name}-{number}")
                    number += 1

    async def _one(self, kind: str, marker: str) -> None:
        task = await self.submit(body(self._mix, kind, marker), kind, marker)
        if task is not None and kind == "cancelled":
            await trio.sleep(self._mix.medium)
            await self.cancel(task)

    # --- one request --------------------------------------------------------------------------------

    async def submit(self, what: dict[str, Any], kind: str, key: str) -> int | None:
        """Repeats under one key until it is told; the task, or None when it stays unknown or is refused."""
        key = f"{self._name}:{self._system.history.parent.name}:{key}"
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
        self.invoked += 1
        give_up, pause = trio.current_time() + GIVE_UP, REPEAT_AFTER
        while trio.current_time() < give_up:
            op = self._next()
            self._record("submit_invoke", op=op, key=key, body_hash=digest, name=what["name"])
            answer = await self._ask("POST", "tasks", json=what, headers={"Idempotency-Key": key})
            if isinstance(answer, str):
                self._record("submit_info", op=op, why=answer)
            elif answer.is_success:
                task = int(answer.json()["id"])
                self._record("submit_ok", op=op, task=task)
                self.submitted[task] = kind
                return task
            elif answer.status_code < 500:
                self._record("submit_fail", op=op, code=answer.status_code)
                return None
            else:  # 503: refused, or the outcome is unknown
                self._record("submit_info", op=op, why=f"status {answer.status_code}")
            await trio.sleep(pause * self._random.uniform(0.5, 1.5))
            pause = min(REPEAT_MOST, 2 * pause)
        self.unknown += 1
        return None

    async def crowd(self, count: int, delay: float, seconds: float = 0.01) -> list[int]:
        """So many small tasks in one request, due at one instant."""
        bodies = [{"name": "nap", "args": {"seconds": seconds}, "delay": delay} for _ in range(count)]
        answer = await self._ask("POST", "tasks/batch", json=bodies)
        assert not isinstance(answer, str), answer
        assert answer.is_success, answer.text
        ids = [int(one) for one in answer.json()["ids"]]
        for task in ids:
            self.asked_for(task, f"crowd-{task}")
        return ids

    def asked_for(self, task: int, key: str) -> None:
        """A task that a schedule of this client's made."""
        op = self._next()
        self._record("submit_invoke", op=op, key=key, body_hash="schedule", name="nap")
        self._record("submit_ok", op=op, task=task)
        self.submitted[task] = "schedule"

    async def cancel(self, task: int) -> bool:
        """Whether it was answered."""
        op = self._next()
        self._record("cancel_invoke", op=op, task=task)
        answer = await self._ask("POST", f"tasks/{task}/cancel")
        if isinstance(answer, str):
            self._record("cancel_info", op=op, why=answer)
        elif answer.is_success:
            self._record("cancel_ok", op=op, task=task, answer=answer.json()["state"])
        elif answer.status_code < 500:
            self._record("cancel_fail", op=op, code=answer.status_code)
        else:
            self._record("cancel_info", op=op, why=f"status {answer.status_code}")
        return not isinstance(answer, str)

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response | str:
        """The answer, or why there is none."""
        try:
            async with self._room:
                answer = await self._system.cluster.http.request(method, path, timeout=ANSWER_LIMIT, **more)
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code >= 400:
            text = answer.text
            self._record("answer", status=answer.status_code, body_bytes=len(answer.content), text=text[:1500])
        return answer

    def _next(self) -> int:
        self._op += 1
        return self._op

    # --- the end ------------------------------------------------------------------------------------

    async def read_all(self) -> None:
        """What a client sees of each task."""
        left = sorted(self.submitted)
        async with trio.open_nursery() as nursery:
            for _ in range(READERS):
                nursery.start_soon(self._read, left)

    async def _read(self, left: list[int]) -> None:
        while left:
            task = left.pop()
            answer = await self._ask("GET", f"tasks/{task}")
            if not isinstance(answer, str) and answer.is_success:
                found = answer.json()
                self._record("read", task=task, state=found["state"], result_hash=digest_of(found.get("result")))


def digest_of(result: object) -> str | None:
    """Of a result as JSON, its keys in order; None for none."""
    if result is None:
        return None
    return hashlib.sha256(json.dumps(result, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
