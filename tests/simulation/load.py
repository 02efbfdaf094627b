"""What clients want: tasks of every kind, some with keys that they repeat when they were not answered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from actors.model.errors import CallboardError
from actors.model.ports import Submitted
from actors.model.task import NewTask
from callboard.executor.frames import Declared
from tests.simulation.history import CancelAnswer, Submission

if TYPE_CHECKING:
    from tests.simulation.nodes import ServerNode
    from tests.simulation.world import World

FAST_BACKOFF = {"kind": "fixed", "base": 0.2, "cap": 0.2, "jitter": False}
DECLARED = [
    Declared(name, None, None, None, FAST_BACKOFF, {}, name == "alone")
    for name in ("short", "medium", "long", "flaky", "poison", "alone")
]
ANSWER_LIMIT = 5.0  # seconds that a client waits for an answer
REPEATS = 12  # times that it asks again with the same key


CALM = (
    (50, "short"), (14, "medium"), (6, "long"), (6, "fails once"), (2, "always fails"), (3, "snoozes"),
    (4, "exclusive"), (3, "at most once"), (4, "times out"), (4, "later"), (4, "cancelled"),
)  # fmt: skip
LASTING = ((45, "short"), (20, "long"), (15, "medium"), (15, "exclusive"), (3, "at most once"), (2, "cancelled"))
ALL_KINDS = (
    *CALM, (1, "poison"), (2, "kills once"), (2, "blocks"), (2, "stubborn"), (3, "alone"), (3, "cancelled at once"),
    (1, "obstinate"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the kinds of tasks, and how many."""

    tasks: int = 40
    rate: float = 6.0  # a second
    kinds: tuple[tuple[float, str], ...] = CALM
    keyed: float = 0.7


def task_of(kind: str, world: World, number: int) -> NewTask:
    dice = world.load_dice
    args: dict[str, Any] = {"n": number, "seconds": round(dice.uniform(0.01, 0.08), 3)}
    more: dict[str, Any] = {}
    name = "short"
    match kind:
        case "medium":
            name, args["seconds"] = "medium", round(dice.uniform(0.5, 1.5), 3)
        case "long" | "cancelled" | "cancelled at once":
            name, args["seconds"] = "long", round(dice.uniform(2.0, 6.0), 3)
        case "fails once":
            name, args["fails"] = "flaky", 1
        case "always fails":
            name, args["fails"], more["max_tries"] = "flaky", 1000, 3
        case "snoozes":
            args["snoozes"] = 2
        case "exclusive":
            name, args["seconds"], more["exclusive"] = "medium", round(dice.uniform(0.3, 5.0), 3), True
            args["exclusive"] = True
        case "at most once":
            name, args["seconds"], more["retry_on_crash"] = "medium", round(dice.uniform(0.3, 3.0), 3), False
        case "times out":
            name, args["seconds"], more["timeout"], more["max_tries"] = "long", 30.0, 0.5, 2
        case "later":
            more["delay"] = round(dice.uniform(0.3, 2.0), 3)
        case "poison":
            name, args["kills"] = "poison", 1000
        case "kills once":
            name, args["kills"] = "poison", 1
        case "blocks":
            name, args["blocks"], args["block_seconds"] = "medium", 1, 2.0
        case "stubborn":
            name, args["seconds"], args["stubborn"] = "long", 60.0, True
            more["max_tries"], more["timeout"] = 1, 2.0
        case "obstinate":
            name, args["seconds"], args["stubborn"] = "long", 6.0, True
        case "alone":
            name, args["seconds"] = "alone", round(dice.uniform(0.1, 1.0), 3)
    key = f"key {number}" if dice.happens(world.mix.keyed) else None
    text = json.dumps(args)
    return NewTask(
        name=name, args=text, priority=dice.pick((1, 2, 2, 3)), backoff=FAST_BACKOFF,
        idempotency_key=key, request_hash=hashlib.sha256(text.encode()).digest() if key else None, **more,
    )  # fmt: skip


class Clients:
    """Submits at a steady rate, to whichever node answers."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> None:
        """Returns when everything was asked for and answered, or given up."""
        world, mix = self._world, self._world.mix
        async with trio.open_nursery() as nursery:
            for number in range(mix.tasks):
                kind = world.load_dice.weighted(mix.kinds)
                nursery.start_soon(self._submit, number, kind, task_of(kind, world, number))
                await trio.sleep(world.load_dice.uniform(0.0, 2.0 / mix.rate))

    async def _submit(self, number: int, kind: str, task: NewTask) -> None:
        world = self._world
        submission = Submission(number, task.idempotency_key, task, kind, trio.current_time())
        world.history.submissions.append(submission)
        for _ in range(REPEATS):
            answer = await self._ask(task)
            if isinstance(answer, Submitted):
                submission.ids.append(answer.id)
                world.timeline.note("submitted", kind, answer.id)
                if task.idempotency_key is not None and world.load_dice.happens(0.1):
                    continue  # the answer was lost on the way to the client, which asks again
                if kind.startswith("cancelled"):
                    await trio.sleep(world.load_dice.uniform(0.0, 0.02 if kind == "cancelled at once" else 2.0))
                    await self._cancel(answer.id)
                return
            if answer == "unknown" and task.idempotency_key is None:
                submission.unknown = True
                return
            await trio.sleep(world.load_dice.uniform(0.2, 1.0))
        submission.unknown = True

    def _node(self) -> ServerNode | None:
        nodes = [node for node in self._world.servers if node.alive and node.ready.is_set()]
        return self._world.load_dice.pick(nodes) if nodes else None

    async def _ask(self, task: NewTask) -> Submitted | str:
        """The answer; "refused": nothing was done; "unknown"."""
        answer = await self._call(lambda node: node.submit([task]))
        if isinstance(answer, str):
            return answer
        (found,) = answer
        if isinstance(found, Submitted):
            return found
        raise AssertionError(f"a submission was refused: {found!r}")

    async def _call(self, ask: Any) -> Any:
        node = self._node()
        if node is None:
            return "refused"
        answers: list[Any] = []
        answered = trio.Event()

        async def call() -> None:
            try:
                answers.append(await ask(node))
            except CallboardError as error:
                answers.append("unknown" if "refused" not in str(error) else "refused")
            answered.set()

        life = node.life
        node.spawn(node.while_alive, call)
        with trio.move_on_after(ANSWER_LIMIT):
            await answered.wait()
        return answers[0] if answers and life not in self._world.dead else "unknown"

    async def _cancel(self, task: int) -> None:
        world = self._world
        for _ in range(REPEATS):
            asked = trio.current_time()
            answer = await self._call(lambda node: node.cancel(task))
            world.history.cancels.append(CancelAnswer(task, asked, trio.current_time(), str(answer)))
            world.timeline.note("cancel", task, answer)
            if answer != "unknown":
                return
            await trio.sleep(0.5)
