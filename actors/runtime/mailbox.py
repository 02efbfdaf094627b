"""Mailboxes: where to send messages to an actor, and how to ask it something.

The sender's side outlives restarts: each incarnation clones the inbox, so that a crash closes the
clone and the mail stays. Closing the address for good turns every blocked sender's wait into MailboxClosed.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import outcome
import trio

from actors.model.errors import MailboxClosed

T = TypeVar("T")
M = TypeVar("M")


class Reply(Generic[T]):
    """One answer to one question: set once by the actor, awaited once by the asker."""

    def __init__(self) -> None:
        self._answered = trio.Event()
        self._outcome: outcome.Outcome[T] | None = None

    def send(self, value: T) -> None:
        self._settle(outcome.Value(value))

    def fail(self, error: Exception) -> None:
        self._settle(outcome.Error(error))

    def _settle(self, result: outcome.Outcome[T]) -> None:
        if self._outcome is None:  # a second answer, or one to an asker that left, is not an error
            self._outcome = result
            self._answered.set()

    @property
    def settled(self) -> bool:
        return self._outcome is not None

    async def wait(self) -> T:
        """The answer; raises what the actor failed it with. The asker owns the deadline."""
        await self._answered.wait()
        assert self._outcome is not None
        return self._outcome.unwrap()


class Question(Protocol[T]):
    """A message that carries its reply."""

    @property
    def reply(self) -> Reply[T]: ...


class Address(Generic[M]):
    """Where to send messages; `capacity` bounds what may wait."""

    def __init__(self, capacity: int) -> None:
        self._send, self.inbox = trio.open_memory_channel[M](capacity)

    async def tell(self, message: M) -> None:
        """Waits for room; raises MailboxClosed."""
        try:
            await self._send.send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise MailboxClosed(f"{type(message).__name__} was not delivered: the actor has ended") from None

    def tell_nowait(self, message: M) -> None:
        """Raises trio.WouldBlock when full, MailboxClosed when ended."""
        try:
            self._send.send_nowait(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise MailboxClosed(f"{type(message).__name__} was not delivered: the actor has ended") from None

    def depth(self) -> int:
        return self._send.statistics().current_buffer_used

    def close(self) -> None:
        """For good: nobody will read again."""
        self.inbox.close()


def drain_into(inbox: trio.MemoryReceiveChannel[M], first: M, limit: int) -> list[M]:
    """`first` and whatever else waits already, at most `limit`: the body of every group commit."""
    batch = [first]
    while len(batch) < limit:
        try:
            batch.append(inbox.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            break
    return batch
