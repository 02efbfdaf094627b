"""Our errors ↔ gRPC status: one table, read in both directions."""

from __future__ import annotations

import logging

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from actors.model import errors
from transport.columns import CodecError

log = logging.getLogger(__name__)

# The first entry that fits decides: for an error by its class, for a status by equality.
TABLE: tuple[tuple[type[Exception], Status], ...] = (
    (errors.BadValue, Status.INVALID_ARGUMENT),
    (CodecError, Status.INVALID_ARGUMENT),
    (errors.AccessDenied, Status.UNAUTHENTICATED),
    (errors.NotFound, Status.NOT_FOUND),
    (errors.Conflict, Status.FAILED_PRECONDITION),
    (errors.IdempotencyConflict, Status.ALREADY_EXISTS),
    (errors.QueueFull, Status.RESOURCE_EXHAUSTED),
    (errors.StorageTimeout, Status.DEADLINE_EXCEEDED),
    (errors.StorageUnavailable, Status.UNAVAILABLE),
    (errors.StorageRefused, Status.INTERNAL),
    (errors.LinkRejected, Status.PERMISSION_DENIED),
    (errors.LinkLost, Status.UNAVAILABLE),
    (errors.MailboxClosed, Status.UNAVAILABLE),
    (errors.ActorCrashed, Status.UNAVAILABLE),
    (errors.RestartLimitReached, Status.UNAVAILABLE),
)
HIDDEN = (Status.INTERNAL, Status.UNKNOWN)  # their texts are for our log: they may name what callers must not see


def to_grpc(error: BaseException) -> GRPCError:
    """What a caller is told. Errors that nobody foresaw are logged here, and say nothing to the caller."""
    if isinstance(error, GRPCError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return to_grpc(error.exceptions[0])
    if isinstance(error, (StreamTerminatedError, OSError)):
        return GRPCError(Status.UNAVAILABLE, "the stream broke")
    for kind, status in TABLE:
        if isinstance(error, kind):
            if status in HIDDEN:
                log.error("a call failed: %s", error)
                return GRPCError(status, "the server can't do this now; its log says why")
            return GRPCError(status, str(error))
    log.error("a call crashed", exc_info=error)
    return GRPCError(Status.INTERNAL, "internal error; the server's log says more")


def from_grpc(error: BaseException, where: str) -> errors.CallboardError:
    """What a failed call at `where` means here."""
    if isinstance(error, errors.CallboardError):
        return error
    if isinstance(error, GRPCError):
        text = error.message or error.status.name
        match error.status:
            case Status.INVALID_ARGUMENT:
                return errors.BadValue("request", text)
            case Status.PERMISSION_DENIED:
                return errors.AccessDenied(text)
        for kind, status in TABLE:
            if status is error.status and status not in HIDDEN:
                assert issubclass(kind, errors.CallboardError)
                return kind(text)
        return errors.LinkLost(f"{where}: {error.status.name}: {text}")
    if isinstance(error, TimeoutError):
        return errors.StorageTimeout(f"{where} did not answer in time")
    if isinstance(error, StreamTerminatedError):
        return errors.LinkLost(f"{where}: {error}")
    return errors.LinkLost(f"{where}: {type(error).__name__}: {error}")
