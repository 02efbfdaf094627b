"""The bench recognises our statements on their way to PostgreSQL, however the bytes are cut."""

from __future__ import annotations

import struct
from typing import Any, cast

import pytest

from storage.queries import sql
from tests.system.bench.chaosproxy import Pipe
from tests.system.bench.statements import Statements


class Line:
    """Stands for a connection."""


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def conversation() -> bytes:
    start = struct.pack("!II", 8 + 5, 196608) + b"user\0"
    prepare = message(b"P", b"s1\0" + sql("claim").encode() + b"\0" + struct.pack("!H", 0))
    other = message(b"P", b"s2\0SELECT 1\0" + struct.pack("!H", 0))
    return start + prepare + other + message(b"S", b"")


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_a_trap_springs_at_its_statement_and_once(size: int) -> None:
    statements, pipe = Statements(), cast(Pipe, Line())
    bind = message(b"B", b"\0s1\0" + struct.pack("!HHH", 0, 0, 0))
    harmless = message(b"B", b"\0s2\0" + struct.pack("!HHH", 0, 0, 0))
    head = conversation()
    chunks: list[Any] = [head[:size] if size > 13 else head[:13]]
    rest = head[len(chunks[0]) :]
    chunks += [rest[at : at + size] for at in range(0, len(rest), size)]
    assert not any(statements.watch(pipe, chunk) for chunk in chunks)
    statements.trap("claim", "lose_answer")
    assert statements.watch(pipe, harmless) == ""
    assert statements.watch(pipe, bind) == "lose_answer"
    assert statements.watch(pipe, bind) == ""
    assert statements.sprung == ["claim"]
