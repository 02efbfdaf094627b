"""Every refusal as an RFC 9457 problem, and the one table from our errors to statuses."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec
from typing_extensions import TypedDict

from actors.model.errors import (
    ActorCrashed,
    BadValue,
    Conflict,
    IdempotencyConflict,
    MailboxClosed,
    NotFound,
    QueueFull,
    StorageRefused,
    StorageUnavailable,
)
from actors.model.wrong import Wrong

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
LISTED = 100  # errors in one answer; the detail says how many there are
RETRY_AFTER = 2  # seconds


class FieldProblem(TypedDict):
    """One thing wrong with one field; the path of a nested one is like ``[3].args.items[0]``."""

    field: str
    code: str
    detail: str


@dataclass(kw_only=True)
class Problem(Exception):
    """Raised by handlers, and rendered in one place."""

    status: int
    code: str
    detail: str
    errors: Sequence[FieldProblem] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)  # further members: `state` of a conflict

    def body(self, request_id: str) -> bytes:
        return msgspec.json.encode(
            {
                "type": "about:blank",
                "title": HTTPStatus(self.status).phrase,
                "status": self.status,
                "code": self.code,
                "detail": self.detail,
                "errors": list(self.errors[:LISTED]),
                "request_id": request_id,
                **self.extra,
            }
        )


def field_problems(found: Iterable[Wrong]) -> list[FieldProblem]:
    """As clients are shown them."""
    return [FieldProblem(field=one.field, code=one.code, detail=one.detail) for one in found]


def malformed(code: str, detail: str) -> Problem:
    return Problem(status=400, code=code, detail=detail)


def not_found(detail: str) -> Problem:
    return Problem(status=404, code="not_found", detail=detail)


def invalid(errors: Sequence[FieldProblem]) -> Problem:
    """422 with every error; 413 when all that is wrong is size."""
    too_large = all(error["code"] == "too_large" for error in errors)
    first = f"{errors[0]['field']}: {errors[0]['detail']}" if errors[0]["field"] else errors[0]["detail"]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(
        status=413 if too_large else 422,
        code="too_large" if too_large else "invalid",
        detail=first + more,
        errors=errors,
    )


def problem_of(error: BaseException) -> Problem:
    """What an error means to a client; anything unexpected is a 500 that says nothing of the inside."""
    match error:
        case Problem():
            return error
        case NotFound():
            return not_found(str(error))
        case Conflict():
            return Problem(status=409, code="conflict", detail=str(error), extra={"state": error.state})
        case IdempotencyConflict():
            return Problem(status=422, code="idempotency_conflict", detail=str(error))
        case BadValue():
            return invalid([FieldProblem(field=error.field, code="invalid", detail=error.detail)])
        case QueueFull():
            return Problem(status=429, code="queue_full", detail=str(error), headers={"Retry-After": "5"})
        case StorageUnavailable() | ActorCrashed() | MailboxClosed():
            log.info("answered 503: %s", error)
            return unavailable()
        case StorageRefused():
            log.error("the database refuses: %s", error)
            return Problem(
                status=503,
                code="database_refused",
                detail="the database refuses this node; its log and /healthz say why, and a person must act",
                headers={"Retry-After": "30"},
            )
        case _:
            return Problem(
                status=500,
                code="internal",
                detail="something went wrong on the server; its log has the details under this request_id",
            )


def unavailable() -> Problem:
    return Problem(
        status=503,
        code="unavailable",
        detail="the database does not answer at the moment. A change may or may not have been made: repeat the "
        "request; a submission with the same Idempotency-Key is stored at most once",
        headers={"Retry-After": str(RETRY_AFTER)},
    )
