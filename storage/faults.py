"""What the driver raises, sorted: worth another try, broken, harmless; and translated into our errors."""

from __future__ import annotations

import socket
import ssl

import asyncpg
from asyncpg import exceptions as pg

from actors.model.errors import (
    BadValue,
    StorageError,
    StorageRefused,
    StorageTimeout,
    StorageUnavailable,
    WritesRefused,
)

# The connection is gone, or must be given up: an answer may be on its way.
BROKEN = (
    pg.PostgresConnectionError,  # 08
    pg.AdminShutdownError,  # 57P01
    pg.CrashShutdownError,  # 57P02
    pg.CannotConnectNowError,  # 57P03
    pg.ReadOnlySQLTransactionError,  # a standby: connect anew, to the new primary
    pg.InterfaceError,
    pg.InternalClientError,
    OSError,
    EOFError,
)
# Worth one more try: the statement had no effect, or may be repeated.
AGAIN = (
    *BROKEN,
    pg.SerializationError,  # 40001
    pg.DeadlockDetectedError,  # 40P01
    pg.LockNotAvailableError,  # 55P03
    pg.TooManyConnectionsError,  # 53300
    pg.InvalidCachedStatementError,  # a migration changed the table under a prepared statement
)
# The server answered no to one statement; the connection is as good as before.
HARMLESS = (
    pg.QueryCanceledError,
    pg.DataError,
    pg.IntegrityConstraintViolationError,
    pg.SerializationError,
    pg.DeadlockDetectedError,
    pg.LockNotAvailableError,
    pg.ProgramLimitExceededError,
    UnicodeError,
)
# Of the broken ones, those that come instead of an execution: the server says so, or the driver never sent it.
_WITHOUT_EFFECT = (
    pg.AdminShutdownError,
    pg.CannotConnectNowError,
    pg.ReadOnlySQLTransactionError,
    pg.InterfaceError,
)
_REFUSED = (
    pg.InvalidAuthorizationSpecificationError,  # 28
    pg.InvalidCatalogNameError,  # 3D000
    pg.InvalidSchemaNameError,  # 3F000
    pg.InsufficientPrivilegeError,  # 42501
    pg.ClientConfigurationError,
    ssl.SSLError,
)
_POOLER_SAYS = "unsupported startup parameter"  # PgBouncer: it passes few settings on
_POOLER_WAY_OUT = "add pgbouncer=true to DATABASE_URL, and set CALLBOARD_DIRECT_URL to an address without it"
_SCHEMA = (pg.UndefinedTableError, pg.UndefinedColumnError, pg.UndefinedFunctionError)
# A text too long for an index, JSON too deep: class 54.
_INPUT = (pg.CheckViolationError, pg.NotNullViolationError, pg.DataError, pg.ProgramLimitExceededError, UnicodeError)


def had_no_effect(error: BaseException) -> bool:
    """Whether the one statement, or the transaction, that a broken connection was asked for certainly did nothing."""
    if type(error) is pg.InternalClientError:  # the connection had been ended before; the driver noticed at the start
        return "cannot switch to state" in str(error)
    return isinstance(error, _WITHOUT_EFFECT)


def _why_unreachable(error: BaseException) -> str | None:
    """In words, where the driver gives numbers."""
    match error:
        case socket.gaierror():
            return "no such host name: correct DATABASE_URL"
        case ConnectionRefusedError():
            return "nothing accepts connections there: start PostgreSQL, or correct DATABASE_URL"
        case FileNotFoundError():
            return "there is no such socket: start PostgreSQL, or correct DATABASE_URL"
        case _:
            return None


def translated(error: BaseException) -> BaseException:
    """Ours for the driver's: nothing of asyncpg leaves this room. What is neither travels as it is."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, pg.QueryCanceledError):
        return StorageTimeout(f"the database gave up a statement: {text}")
    if isinstance(error, pg.DiskFullError):
        return WritesRefused(f"the database's disk is full: make room there ({text})")
    if isinstance(error, pg.ReadOnlySQLTransactionError):
        return WritesRefused(f"the database is read-only: a standby, or set so by its administrator ({text})")
    if isinstance(error, asyncpg.PostgresError) and text.startswith(_POOLER_SAYS):
        return StorageRefused(f"{text}: a pooler is in front of the database: {_POOLER_WAY_OUT}")
    if isinstance(error, _REFUSED):
        wrong_address = isinstance(error, pg.InvalidAuthorizationSpecificationError | pg.InvalidCatalogNameError)
        return StorageRefused(f"the database refused: {text}{': correct DATABASE_URL' if wrong_address else ''}")
    if isinstance(error, _SCHEMA):
        return StorageRefused(f"the schema does not fit this program ({text}): run `callboard db migrate`")
    if isinstance(error, _INPUT):
        return BadValue("value", text)
    if isinstance(error, AGAIN):
        return StorageUnavailable(f"the database does not answer: {_why_unreachable(error) or text}")
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        kind = StorageUnavailable if code[:2] in ("08", "40", "53", "55", "57", "58") else StorageError
        return kind(f"the database answered {code}: {text}")
    return error
