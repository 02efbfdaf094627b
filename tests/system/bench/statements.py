"""Reads what goes to PostgreSQL, to know which of our statements is on its way: then it, or its answer, can be lost."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from storage.queries import sql
from tests.system.bench.chaosproxy import Pipe

NAMES = ("submit", "claim", "renew", "succeed", "settle", "mark_accepted", "mark_started", "sweep", "cancel", "sign_in",
         "open_session", "resume_session", "convict")  # fmt: skip


class Statements:
    """For each connection: what was prepared under which name, and what is not a whole message yet."""

    def __init__(self) -> None:
        self._names = {sql(name).encode(): name for name in NAMES}
        self._prepared: WeakKeyDictionary[Pipe, dict[bytes, str]] = WeakKeyDictionary()
        self._rest: WeakKeyDictionary[Pipe, bytes] = WeakKeyDictionary()
        self._traps: dict[str, str] = {}  # statement → what becomes of it
        self.sprung: list[str] = []

    def trap(self, name: str, what: str) -> None:
        """The next such statement is lost (`lose`), or its answer is (`lose_answer`)."""
        assert name in NAMES, name
        self._traps[name] = what

    def watch(self, pipe: Pipe, data: bytes) -> str:
        """What becomes of these bytes of the client's; nothing when they pass."""
        verdict = ""
        for kind, body in self._messages(pipe, data):
            prepared = self._prepared.setdefault(pipe, {})
            if kind == b"P":
                name, text, _ = body.split(b"\0", 2)
                prepared[name] = self._names.get(text, "")
            elif kind == b"B":
                name = prepared.get(body.split(b"\0", 2)[1], "").encode()
                if what := self._traps.pop(name.decode(), ""):
                    self.sprung.append(name.decode())
                    verdict = what
        return verdict

    def _messages(self, pipe: Pipe, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Whole messages. The first of a connection has no kind, and says nothing of interest."""
        if pipe not in self._rest:
            self._rest[pipe] = b""
            data = data[struct.unpack("!I", data[:4])[0] :]
        data = self._rest[pipe] + data
        while len(data) >= 5 and len(data) >= 1 + (length := struct.unpack("!I", data[1:5])[0]):
            yield data[:1], data[5 : 1 + length]
            data = data[1 + length :]
        self._rest[pipe] = data
