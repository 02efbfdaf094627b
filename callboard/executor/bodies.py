"""The bodies of outcomes: a result as JSON that PostgreSQL can hold, or what went wrong."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import msgspec

from callboard.errors import Cancelled, CancelReason, Fail, Retry, Snooze
from callboard.executor.outcomes import STOPPED, Outcome
from callboard.finite import has_infinite

MAX_RESULT = 256 * 1024  # bytes of JSON
MAX_MESSAGE = 8 * 1024  # bytes
MAX_TRACEBACK = 16 * 1024  # bytes
_FRAMES = 60  # of a traceback, the innermost
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_OURS = os.path.dirname(os.path.abspath(__file__))
_NULL = b"null"

_encode = msgspec.json.Encoder().encode


class InvalidResult(ValueError):
    """A result that can't be kept; running the handler again would not help."""

    kind = "InvalidResult"


class ResultTooLarge(InvalidResult):
    kind = "ResultTooLarge"


def encode_result(value: Any) -> bytes:
    """JSON of at most MAX_RESULT bytes. Raises InvalidResult or ResultTooLarge."""
    if value is None:
        return _NULL
    try:
        body = _encode(value)
    except UnicodeEncodeError as error:
        raise InvalidResult(f"the result holds a lone surrogate, which is no text: {error.object[:40]!r}") from None
    except Exception as error:  # whatever msgspec or a user's class says
        raise InvalidResult(f"the result can't be written as JSON: {error}; return dicts, lists, strings…") from None
    if len(body) > MAX_RESULT:
        raise ResultTooLarge(
            f"the result has {len(body)} bytes as JSON, at most {MAX_RESULT} are kept; store it elsewhere and return "
            "where it is"
        )
    if b"\\u0000" in body and _NUL.search(body):
        raise InvalidResult("the result holds a NUL character (\\u0000), which PostgreSQL can't keep")
    if _NULL in body and has_infinite(value):  # msgspec writes NaN and infinity as null
        raise InvalidResult("the result holds a number that is not finite (NaN or infinity), which JSON doesn't have")
    return body


def failure(kind: str, message: str, trace: str = "", after: float | None = None) -> bytes:
    """{"type", "message", "traceback", "after"}; what there is none of is left out."""
    body: dict[str, Any] = {"type": clean(kind, 200), "message": clean(message, MAX_MESSAGE)}
    if trace:
        body["traceback"] = clean(trace, MAX_TRACEBACK, keep_end=True)
    if after is not None:
        body["after"] = after
    return _encode(body)


def stopped(reason: CancelReason) -> tuple[Outcome, bytes]:
    """The outcome of an attempt that had to stop."""
    outcome, kind, message = STOPPED[reason]
    return outcome, failure(kind, message)


def judge(error: BaseException) -> tuple[Outcome, bytes]:
    """What an attempt ended with whose handler raised this, without being told to stop."""
    wish = _wish(error)
    if isinstance(wish, Fail):
        return Outcome.FAILED_FINAL, failure("Fail", said(wish), trace_of(wish))
    if isinstance(wish, Snooze):
        return Outcome.SNOOZED, failure("Snooze", said(wish), after=wish.after)
    if isinstance(wish, Retry):
        return Outcome.FAILED, failure("Retry", said(wish), trace_of(wish), wish.after)
    if isinstance(error, Cancelled) and error.reason is CancelReason.TIMEOUT:
        return stopped(error.reason)
    return Outcome.FAILED, failure(type(error).__qualname__, said(error), trace_of(error))


def _wish(error: BaseException) -> BaseException | None:
    """Retry, Fail or Snooze, also out of a nursery's group: a Fail counts wherever it is, the others alone."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, Fail):
            return leaf
    if all(isinstance(leaf, Retry | Snooze) for leaf in leaves):
        return leaves[0]
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def said(error: BaseException) -> str:
    """Its message; a class may fail even at that."""
    try:
        return str(error)
    except Exception as broken:
        return f"(its message can't be shown: {type(broken).__name__})"


def trace_of(error: BaseException) -> str:
    """The traceback from the user's first frame on."""
    begin: TracebackType | None = error.__traceback__
    while begin is not None and _is_ours(begin.tb_frame.f_code.co_filename):
        begin = begin.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, begin, limit=-_FRAMES))
    except Exception as broken:
        return f"(its traceback can't be shown: {type(broken).__name__})"


def _is_ours(filename: str) -> bool:
    return filename.startswith((_OURS, os.path.join(_SITE, "trio"), os.path.join(_SITE, "outcome")))


_SITE = os.path.dirname(os.path.dirname(os.path.abspath(msgspec.__file__)))


def clean(text: str, limit: int, *, keep_end: bool = False) -> str:
    """At most `limit` bytes of UTF-8, without what PostgreSQL can't hold."""
    data = text.replace("\x00", "\ufffd").encode("utf-8", "replace")
    if len(data) > limit:
        mark = "…".encode()
        data = mark + data[len(mark) - limit :] if keep_end else data[: limit - len(mark)] + mark
    return data.decode("utf-8", "ignore")


def as_dict(body: bytes) -> Mapping[str, Any]:
    """A failure's body as it was before."""
    found: dict[str, Any] = msgspec.json.decode(body)
    return found
