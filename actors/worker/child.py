"""One child process and the socket pair to it. Frames in, frames out; nothing here knows what they mean."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import trio

from callboard.executor import page as pages
from callboard.executor.page import Page

log = logging.getLogger(__name__)

CHUNK = 256 * 1024  # bytes read at once
STDERR = 2  # what user code prints goes where the node's own log goes


class Child(Protocol):
    """What an executor's actor needs of its process."""

    pid: int

    @property
    def unsent(self) -> int:
        """Bytes that the child has not taken yet."""
        ...

    @property
    def begun(self) -> int | None:
        """Attempts that it has begun, in the order in which they were given; None: it does not say."""
        ...

    def share_deadline(self, at: float | None) -> None:
        """Where it is seen even while the child's loop stands still."""
        ...

    def send(self, data: bytes) -> None:
        """Never waits; what the socket does not take is kept for `pump`."""
        ...

    async def pump(self) -> None:
        """Sends what is kept, until cancelled."""
        ...

    async def receive(self) -> bytes:
        """Some bytes; none at the end of the stream."""
        ...

    def receive_rest(self) -> bytes:
        """What the socket holds now; for a child that has ended."""
        ...

    def kill(self) -> None:
        """SIGKILL to the process and everything that it started."""
        ...

    async def wait(self) -> int:
        """The exit code; negative for a signal."""
        ...

    def close(self) -> None: ...


Launch = Callable[[], Awaitable[Child]]
Command = Callable[[int, int], list[str]]  # (socket, lifeline) → command line


class ChildProcess:
    """A real one. Its lifeline ends with this object, and with this process."""

    def __init__(self, process: trio.Process, sock: socket.socket, lifeline: int, page: Page) -> None:
        self.pid, self._page = process.pid, page
        self._process, self._socket, self._lifeline = process, sock, lifeline
        self._kept: deque[memoryview] = deque()
        self._unsent = 0
        self._wake = trio.Event()

    @property
    def unsent(self) -> int:
        return self._unsent

    @property
    def begun(self) -> int:
        return self._page.begun

    def share_deadline(self, at: float | None) -> None:
        self._page.deadline = at

    def send(self, data: bytes) -> None:
        sent = 0
        if not self._kept:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                return  # it has ended: the reader notices, and what it held is accounted for there
        if sent < len(data):
            self._kept.append(memoryview(data)[sent:])
            self._unsent += len(data) - sent
            self._wake.set()

    async def pump(self) -> None:
        while True:
            await self._wake.wait()
            while self._kept:
                await trio.lowlevel.wait_writable(self._socket)
                try:
                    sent = self._socket.send(self._kept[0])
                except BlockingIOError:
                    continue
                except OSError:
                    return
                self._unsent -= sent
                if sent == len(self._kept[0]):
                    self._kept.popleft()
                else:
                    self._kept[0] = self._kept[0][sent:]
            self._wake = trio.Event()

    async def receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                return b""

    def receive_rest(self) -> bytes:
        found = bytearray()
        while True:
            try:
                part = self._socket.recv(CHUNK)
            except OSError:
                return bytes(found)
            if not part:
                return bytes(found)
            found += part

    def kill(self) -> None:
        """Also when it has ended: what it started lives on in its process group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:
            log.warning("executor %d left processes that belong to another user", self.pid)

    async def wait(self) -> int:
        return await self._process.wait()

    def close(self) -> None:
        self._socket.close()
        self._page.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        self._kept.clear()
        self._unsent = 0


async def launch(command: Command, environment: Mapping[str, str]) -> ChildProcess:
    """Starts an executor in a process group of its own; raises OSError.

    Each has a lifeline pipe of its own: whom the kernel signals at its end is a property of the open pipe.
    """
    ours, theirs = socket.socketpair()
    lifeline, lifeline_end = os.pipe()
    page, shared = pages.create()
    try:
        ours.setblocking(False)
        process = await trio.lowlevel.open_process(
            command(theirs.fileno(), lifeline),
            env={**environment, pages.VARIABLE: str(shared)},
            stdin=subprocess.DEVNULL,
            stdout=STDERR,
            process_group=0,
            pass_fds=(theirs.fileno(), lifeline, shared),
        )
    except BaseException:
        ours.close()
        os.close(lifeline_end)
        page.close()
        raise
    finally:
        theirs.close()
        os.close(lifeline)
        os.close(shared)
    return ChildProcess(process, ours, lifeline_end, page)
