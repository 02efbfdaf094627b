"""A real executor at the other end of a socket pair, and the node's side of it in a few words."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from callboard.executor import frames
from callboard.executor.frames import Boot, Broken, Cutter, Done, Ready, Run, Stop, ToExecutor, ToNode
from callboard.executor.outcomes import Outcome
from callboard.executor.start import command, environment

APP = Path(__file__).with_name("app.py")
LIMIT = 10.0
KEY = b"k" * 16

Frame = TypeVar("Frame")


@dataclass(frozen=True)
class End:
    """One outcome, taken out of its columns."""

    kind: Outcome
    body: Any
    attempt: int
    key: bytes

    @property
    def seen(self) -> tuple[Outcome, str | None]:
        return self.kind, self.body["type"] if isinstance(self.body, dict) and "type" in self.body else None


@dataclass
class Node:
    """Blocks; every wait has a limit."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    lifeline: int
    frames: list[ToNode] = field(default_factory=list)  # all that came, but for outcomes
    ends: dict[int, End] = field(default_factory=dict)
    history: list[End] = field(default_factory=list)  # the same in their order, also of superseded attempts
    cutter: Cutter = field(default_factory=Cutter)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def send(self, frame: ToExecutor) -> None:
        self.connection.sendall(frames.encode(frame))

    def run(
        self, name: str, *payloads: Any, timeout: float = 0, attempt: int = 1, key: bytes = KEY, ids: Any = None
    ) -> list[int]:
        """Sends one frame; the ids of its tasks."""
        raws = [json.dumps(payload).encode() for payload in payloads or ({},)]
        ids = ids or list(itertools.islice(self.numbers, len(raws)))
        count = len(ids)
        self.send(
            Run(
                key, ids, [attempt] * count, [name], [0] * count, [round(timeout * 1000)] * count,
                list(map(len, raws)), b"".join(raws),
            )
        )  # fmt: skip
        return list(ids)

    def stop(self, *ids: int, reason: str = "cancelled") -> None:
        self.send(Stop(list(ids), reason))

    def pump(self, until: float) -> bool:
        """Takes what has come; False at the end of the stream."""
        self.connection.settimeout(max(0.001, until - time.monotonic()))
        data = self.connection.recv(1 << 18)
        for body in self.cutter.feed(data):
            self._take(frames.for_node(body))
        return bool(data)

    def _take(self, frame: ToNode) -> None:
        if not isinstance(frame, Done):
            self.frames.append(frame)
            return
        begin = 0
        for id, attempt, kind, size in zip(frame.ids, frame.attempts, frame.kinds, frame.sizes, strict=True):
            assert id not in self.ends or self.ends[id].attempt != attempt, "two outcomes of one attempt"
            body = json.loads(frame.bodies[begin : begin + size])
            self.ends[id] = End(Outcome(kind), body, attempt, frame.key)
            self.history.append(self.ends[id])
            begin += size

    def wait(self, condition: Callable[[], Any], limit: float = LIMIT) -> Any:
        """Until it is true."""
        until = time.monotonic() + limit
        while not (found := condition()):
            assert time.monotonic() < until, f"not within {limit} s; {self.ends} {self.frames}"
            assert self.pump(until), "the executor has ended"
        return found

    def end(self, id: int, limit: float = LIMIT) -> End:
        found: End = self.wait(lambda: self.ends.get(id), limit)
        return found

    def of(self, kind: type[Frame]) -> list[Frame]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def wait_for(self, kind: type[Frame], count: int = 1, limit: float = LIMIT) -> Frame:
        """The newest frame of a kind, once there are so many."""
        found: list[Frame] = self.wait(lambda: len(self.of(kind)) >= count and self.of(kind), limit)
        return found[-1]

    def wait_gone(self, limit: float) -> tuple[int, float]:
        """Exit code, and how long that took."""
        began = time.monotonic()
        code = self.process.wait(limit)
        return code, time.monotonic() - began

    def close_lifeline(self) -> None:
        os.close(self.lifeline)
        self.lifeline = -1


Start = Callable[..., Node]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts executors; `boot=False` returns before it said that it is ready."""
    nodes: list[Node] = []
    folder = tempfile.mkdtemp(prefix="cb-")  # short: pytest's own are too long for the path of a socket

    def make(
        *apps: str, slots: int = 4, start_limit: float = 5.0, stop_after: float = 0.3, environ: Any = None,
        boot: bool = True,
    ) -> Node:  # fmt: skip
        node = _spawn({**os.environ, "CALLBOARD_USER_PATH": os.devnull, "TMPDIR": folder, **(environ or {})})
        nodes.append(node)
        node.send(Boot(list(apps) or [str(APP)], slots, start_limit, stop_after))
        if boot:
            node.wait(lambda: node.of(Ready) or node.of(Broken), 30)
        return node

    yield make
    for node in nodes:
        node.process.kill()
        node.process.wait()
        node.connection.close()
        if node.lifeline >= 0:
            os.close(node.lifeline)
    shutil.rmtree(folder)


def _spawn(environ: dict[str, str]) -> Node:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    process = subprocess.Popen(
        command(theirs.fileno(), read), pass_fds=(theirs.fileno(), read), env=environment(environ)
    )
    theirs.close()
    os.close(read)
    return Node(process, ours, write)
