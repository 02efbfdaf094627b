"""What attempts do in simulated executors: their arguments say it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from callboard.errors import CancelReason
from callboard.executor.outcomes import STOPPED, Outcome
from tests.simulation.history import Execution

SIGSEGV = -11


class Process(Protocol):
    """What a handler can do to the process that it runs in."""

    @property
    def gone(self) -> trio.Event: ...
    def exit(self, code: int) -> None: ...
    def stand_still_for(self, seconds: float) -> None: ...


@dataclass(slots=True)
class Attempt:
    id: int
    number: int
    key: bytes
    name: str
    args: dict[str, Any]
    timeout: float
    sequence: int
    queued_at: float
    reason: CancelReason | None = None
    scope: trio.CancelScope | None = None
    ended: bool = False
    execution: Execution | None = None


async def behave(process: Process, attempt: Attempt) -> tuple[int, bytes]:
    """The handlers: how the attempt ended, if nothing stopped it."""
    args = attempt.args
    seconds = float(args.get("seconds", 0.0))
    if args.get("stubborn"):
        await nothing_but_death_stops(process, seconds)
    else:
        await trio.sleep(seconds)
    if attempt.number <= int(args.get("kills", 0)):
        process.exit(SIGSEGV)
        await trio.sleep_forever()
    if attempt.number <= int(args.get("blocks", 0)):
        process.stand_still_for(float(args.get("block_seconds", 5.0)))
        await trio.lowlevel.checkpoint()
    if attempt.number <= int(args.get("snoozes", 0)):
        return Outcome.SNOOZED, said("Snooze", "later", after=0.3)
    if attempt.number <= int(args.get("fails", 0)):
        return Outcome.FAILED, said("ValueError", f"attempt {attempt.number} fails")
    return Outcome.SUCCEEDED, json.dumps({"attempt": attempt.number}).encode()


async def nothing_but_death_stops(process: Process, seconds: float) -> None:
    """Nothing shields from the end of the process."""
    with trio.move_on_after(seconds, shield=True):
        await process.gone.wait()


def said(kind: str, message: str, after: float | None = None) -> bytes:
    body: dict[str, Any] = {"type": kind, "message": message}
    if after is not None:
        body["after"] = after
    return json.dumps(body).encode()


def reason_of(text: str) -> CancelReason:
    """As an executor takes what a node says: what it does not know is the end of the session."""
    return CancelReason(text) if text in list(CancelReason) else CancelReason.SESSION


def stopped(reason: CancelReason) -> tuple[int, bytes]:
    kind, what, message = STOPPED[reason]
    return kind, said(what, message)
