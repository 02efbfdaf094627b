"""Errors keep their meaning on the way to a caller, and tell no secrets."""

from __future__ import annotations

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from actors.model import errors
from transport.columns import CodecError
from transport.status import HIDDEN, TABLE, from_grpc, to_grpc


def make(kind: type[Exception]) -> Exception:
    if kind is errors.BadValue:
        return errors.BadValue("queue", "is odd")
    if kind is errors.LinkRejected:
        return errors.LinkRejected("is odd", retry=False)
    return kind("is odd")


@pytest.mark.parametrize(("kind", "status"), TABLE, ids=lambda one: getattr(one, "__name__", str(one)))
def test_each_error_has_its_status_and_says_why(kind: type[Exception], status: Status) -> None:
    told = to_grpc(make(kind))
    assert told.status is status
    assert ("is odd" in (told.message or "")) == (status not in HIDDEN)


@pytest.mark.parametrize(
    "kind",
    [
        errors.BadValue,
        errors.AccessDenied,
        errors.NotFound,
        errors.Conflict,
        errors.IdempotencyConflict,
        errors.StorageTimeout,
        errors.StorageUnavailable,
    ],
)
def test_a_caller_gets_the_same_error(kind: type[Exception]) -> None:
    assert type(from_grpc(to_grpc(make(kind)), "http://x:1")) is kind


def test_an_error_that_nobody_foresaw_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told = to_grpc(RuntimeError("postgresql://user:secret@host"))
    assert told.status is Status.INTERNAL
    assert "secret" not in (told.message or "")
    assert "a call crashed" in caplog.text


def test_a_group_is_judged_by_its_first_error() -> None:
    assert to_grpc(ExceptionGroup("", [CodecError("x"), RuntimeError()])).status is Status.INVALID_ARGUMENT


def test_a_failed_connection_is_a_lost_link() -> None:
    assert isinstance(from_grpc(ConnectionResetError("reset"), "http://x:1"), errors.LinkLost)
    assert isinstance(from_grpc(GRPCError(Status.UNIMPLEMENTED), "http://x:1"), errors.LinkLost)
