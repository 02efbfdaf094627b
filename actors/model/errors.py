"""Every error that the rooms raise on purpose.

::

    CallboardError
    ├── StorageError
    │   ├── StorageUnavailable    the database does not answer; try again later
    │   ├── WritesRefused         it answers, and takes no writes for now: disk full, read-only
    │   ├── StorageTimeout        it did not answer in time: the outcome of a write is unknown
    │   ├── StorageRefused        it answered no: password, rights, schema; a person must act
    │   └── BadValue              it can't hold this value; names the field
    ├── LinkError
    │   ├── LinkLost              the stream ended or fell silent
    │   └── LinkRejected          the coordinator said no, with a reason that a person can act on
    ├── MailboxClosed             the actor behind the address has ended for good
    ├── ActorCrashed              the actor crashed while the question was open
    ├── RestartLimitReached       a supervisor gave up
    ├── ConfigurationError        exit 78; carries every problem at once
    ├── QueueFull                 as much waits in the queue as may wait; try again later
    ├── Conflict                  the state does not allow it
    ├── NotFound
    ├── AccessDenied              the token is missing or wrong
    └── IdempotencyConflict       same key, other body
"""

from __future__ import annotations

from collections.abc import Sequence


class CallboardError(Exception):
    """Base of every error raised on purpose."""


class StorageError(CallboardError):
    """Something between us and the database."""


class StorageUnavailable(StorageError):
    """The database does not answer, or refuses connections for now."""


class WritesRefused(StorageUnavailable):
    """The database answers, and takes no writes for now: its disk is full, or it is read-only."""


class StorageTimeout(StorageUnavailable):
    """No answer within the limit; a write may or may not have happened."""


class StorageRefused(StorageError):
    """The database answered, and a person must act: wrong password, missing right, wrong schema."""


class BadValue(StorageError):
    """A value that the database can't hold."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field, self.detail = field, detail


class LinkError(CallboardError):
    """Something between a worker and its coordinator."""


class LinkLost(LinkError):
    """The stream ended or fell silent."""


class LinkRejected(LinkError):
    """The coordinator refused the worker; the message says what to do."""

    def __init__(self, reason: str, *, retry: bool) -> None:
        super().__init__(reason)
        self.reason, self.retry = reason, retry


class MailboxClosed(CallboardError):
    """The actor behind the address has ended for good; the message was not delivered."""


class ActorCrashed(CallboardError):
    """The actor crashed while this question was open."""


class RestartLimitReached(CallboardError):
    """A supervisor gave up on a child."""


class ConfigurationError(CallboardError):
    """One or more settings are wrong; the process exits 78."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class QueueFull(CallboardError):
    """As many tasks wait in the queue as may wait; nothing was stored, try again later."""


class Conflict(CallboardError):
    """The state of the thing does not allow what was asked."""

    def __init__(self, detail: str, *, state: str | None = None) -> None:
        super().__init__(detail)
        self.state = state


class NotFound(CallboardError):
    """No such thing, or it was pruned."""


class AccessDenied(CallboardError):
    """The token is missing or wrong."""


class IdempotencyConflict(CallboardError):
    """The idempotency key was used with another body."""
