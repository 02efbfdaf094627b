"""The database as nodes reach it: a store in memory behind a network that loses questions and answers.

A statement is carried out in a task of the database, so that neither the death nor the freeze of its client changes
what becomes of it. The client's side keeps the rules of the product's pools: limits for each kind of statement, one
repeat where a repeat is safe, and the difference between "nothing happened" and "nobody knows".
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import trio

from actors.model.errors import CallboardError, StorageTimeout, StorageUnavailable
from actors.model.ports import DispatchStore, Swept, TaskStore
from actors.runtime.mailbox import Reply
from tests.simulation.dice import Dice
from tests.simulation.network import Network
from tests.simulation.timeline import Timeline

HOST = "db"
CONTROL, WORK, API, SLACK = 2.0, 5.0, 10.0, 0.5  # seconds, as the product's pools have them
LIMITS = dict.fromkeys(
    ["sign_in", "sign_out", "open_session", "resume_session", "held_by", "renew", "begin_drain", "close_session",
     "convict", "sweep"], CONTROL,
) | dict.fromkeys(
    ["declare", "lanes", "claim", "post", "claimed", "complete", "mark", "save_progress"], WORK
)  # fmt: skip
WRITES = ("submit", "claim", "post", "complete", "mark", "renew", "cancel", "sweep", "convict", "open_session",
          "resume_session", "close_session", "begin_drain")  # fmt: skip


# The statement that a task of the database carries out.
doing: ContextVar[str] = ContextVar("doing", default="")


class _Lost(Exception):
    """The connection was lost while the answer was awaited."""


class _NoEffect(Exception):
    """The server said that it did nothing."""


@dataclass(slots=True, eq=False)
class Question:
    """A statement on its way."""

    host: str
    name: str
    statement: Callable[[], Any]
    limit: float
    fate: str = ""  # "lose question", "lose answer", "refuse"
    void: bool = False  # its connection ended before it arrived
    reply: Reply[Any] = field(default_factory=Reply)


@dataclass(slots=True)
class Trouble:
    """What happens to statements of these names: the chance of each fate."""

    names: frozenset[str]
    lose_question: float = 0.0
    lose_answer: float = 0.0
    refuse: float = 0.0  # answered no, and not done: a full disk, too many connections
    slow: float = 0.0  # seconds at most, added on the way
    only: str | None = None  # host
    left: int = 1_000_000  # statements that it still concerns


class Database:
    """One server. `backing` is the store in memory."""

    def __init__(self, backing: Any, timeline: Timeline, network: Network, dice: Dice, nursery: trio.Nursery) -> None:
        self.backing, self._timeline, self._network = backing, timeline, network
        self._dice, self._nursery = dice, nursery
        self.troubles: list[Trouble] = []
        self.down = 0  # so many faults keep it down
        self.locked = 0  # somebody holds a lock that everything needs
        self._open: dict[Question, None] = {}  # asked and not answered
        self._blocked: list[Question] = []  # wait for a way that is blocked
        self._waiting_for_lock: list[Question] = []
        self.hooks: list[Callable[[str, str, str], None]] = []  # (stage, host, statement)

    # --- faults -------------------------------------------------------------------------------------

    def crash(self) -> None:
        """It ends at once: what it was asked for and had not done is not done, and nobody is answered."""
        self.down += 1
        for question in list(self._open):
            question.void = True
            self._answer(question, _Lost("the server closed the connection"))

    def start(self) -> None:
        self.down -= 1
        if not self.down:
            self.backing.restart()

    def unblock(self, host: str) -> None:
        """What waited for the way arrives late: long after its client has given up, perhaps."""
        waiting = [one for one in self._blocked if one.host == host]
        self._blocked = [one for one in self._blocked if one.host != host]
        for question in waiting:
            if self._dice.happens(0.5):
                self._timeline.after(self._delay(host, HOST), partial(self._arrive, question))

    def unlock(self) -> None:
        self.locked -= 1
        if not self.locked:
            waiting, self._waiting_for_lock = self._waiting_for_lock, []
            for question in waiting:
                if not question.void:
                    self._execute(question)

    # --- a statement's way --------------------------------------------------------------------------

    def _delay(self, source: str, target: str) -> float:
        return self._network.delay(self._network.way(source, target))

    def ask(self, question: Question) -> None:
        self._hook("asked", question)
        question.fate, slow = self._fate(question)
        wait = self._delay(question.host, HOST) + slow
        self._open[question] = None
        if question.fate == "lose question":
            self._timeline.after(wait, partial(self._answer, question, _Lost("connection reset")))
        else:
            self._timeline.after(wait, partial(self._arrive, question))

    def _fate(self, question: Question) -> tuple[str, float]:
        """What becomes of it, and by how many seconds it is late."""
        for trouble in self.troubles:
            if question.name not in trouble.names or trouble.only not in (None, question.host) or not trouble.left:
                continue
            slow = self._dice.uniform(0, trouble.slow) if trouble.slow else 0.0
            fates = {
                "lose question": trouble.lose_question,
                "lose answer": trouble.lose_answer,
                "refuse": trouble.refuse,
            }
            for fate, chance in fates.items():
                if chance and self._dice.happens(chance):
                    trouble.left -= 1
                    return fate, slow
            return "", slow
        return "", 0.0

    def _arrive(self, question: Question) -> None:
        if question.void:
            return
        if self._network.way(question.host, HOST).blocked:
            self._blocked.append(question)
        elif self.down:
            self._answer(question, _NoEffect("connection refused"))
        elif question.fate == "refuse":
            self._answer(question, StorageUnavailable("the database answered 53100: refused, no space left"))
        elif self.locked:
            self._waiting_for_lock.append(question)
            self._timeline.after(question.limit, partial(self._give_up, question))
        else:
            self._execute(question)

    def _give_up(self, question: Question) -> None:
        if question in self._waiting_for_lock:
            self._waiting_for_lock.remove(question)
            self._answer(question, StorageTimeout("the database gave up a statement"))

    def _execute(self, question: Question) -> None:
        self._nursery.start_soon(self._carry_out, question)

    async def _carry_out(self, question: Question) -> None:
        doing.set(question.name)
        try:
            answer: Any = await question.statement()
        except CallboardError as error:
            answer = error
        self._hook("done", question)
        lost = question.fate == "lose answer"
        self._timeline.note("statement", question.host, question.name, shown(answer), *["answer lost"] * lost)
        if lost:
            answer = _Lost("connection reset")
        delay = self._delay(HOST, question.host)
        self._timeline.after(delay, partial(self._arrive_back, question, answer))

    def _arrive_back(self, question: Question, answer: Any) -> None:
        if not self._network.way(HOST, question.host).blocked:
            self._answer(question, answer)

    def _answer(self, question: Question, answer: Any) -> None:
        if self._open.pop(question, 0) is None:
            if isinstance(answer, Exception):
                question.reply.fail(answer)
            else:
                question.reply.send(answer)
            self._hook("answered", question)

    def forget(self, question: Question) -> None:
        self._open.pop(question, None)

    def _hook(self, stage: str, question: Question) -> None:
        for hook in self.hooks:
            hook(stage, question.host, question.name)


class Client:
    """What one node has of the database: both ports, by name."""

    def __init__(self, database: Database, host: str, dice: Dice) -> None:
        self._database, self._host, self._dice = database, host, dice
        self.dead = False  # its node was killed: nothing it still says is heard

    @property
    def dispatch(self) -> DispatchStore:
        return cast("DispatchStore", _Port(self, self._database.backing.dispatch))

    @property
    def tasks(self) -> TaskStore:
        return cast("TaskStore", _Port(self, self._database.backing.tasks))

    async def call(self, name: str, statement: Callable[[], Any], repeatable: bool) -> Any:
        limit = LIMITS.get(name, API)
        for last in (False, True):
            try:
                return await self._once(name, statement, limit)
            except (_Lost, _NoEffect) as error:
                if isinstance(error, _Lost) and not repeatable:
                    raise StorageTimeout(f"the connection was lost while it waited for an answer: {error}") from None
                if last:
                    raise StorageUnavailable(f"the database does not answer: {error}") from None
            await trio.sleep(self._dice.uniform(0.01, 0.05))
        raise AssertionError("unreachable")

    async def _once(self, name: str, statement: Callable[[], Any], limit: float) -> Any:
        if self.dead:
            await trio.sleep(limit)
            raise StorageTimeout("this node is dead")
        question = Question(self._host, name, statement, limit)
        self._database.ask(question)
        try:
            with trio.move_on_after(limit + SLACK):
                return await question.reply.wait()
        finally:
            self._database.forget(question)
        raise StorageTimeout(f"the database did not answer within {limit:g} s")


class _Port:
    """A port of which every verb is a statement."""

    def __init__(self, client: Client, port: Any) -> None:
        self._client, self._port = client, port

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._port, name)

        async def call(*args: Any, **named: Any) -> Any:
            return await self._client.call(name, partial(verb, *args, **named), repeatable(name, args))

        return call


def repeatable(name: str, args: tuple[Any, ...]) -> bool:
    """Whether the product's pool repeats it by itself after a lost connection."""
    if name == "submit":
        return all(task.idempotency_key is not None for task in args[0])
    return name not in ("claim", "post")


def shown(answer: Any) -> str:
    """A short form for the trace, free of what differs between equal runs."""
    if isinstance(answer, Exception):
        return f"{type(answer).__name__}: {answer}"[:80]
    if isinstance(answer, tuple) and isinstance(answer[0], list):
        return f"{sum(len(share.assignment) for share in answer[0])} of {answer[1]}"
    if isinstance(answer, list):
        return f"{len(answer)} rows"
    if isinstance(answer, Swept):
        taken = sorted(one.task_id for held in answer.taken.values() for one in held)
        return f"swept {answer.count}, convicted {list(answer.convicted)}, took {taken}"
    return type(answer).__name__ if not isinstance(answer, int | str | None) else str(answer)
