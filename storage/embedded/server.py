"""Running the server: start or adopt, wait until it answers, start again after a crash, stop for certain."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from actors.model.errors import ConfigurationError, RestartLimitReached, StorageRefused, StorageUnavailable
from storage.embedded.home import Home, answers, find_home, make_home
from storage.embedded.owner import Owner, server_owner
from storage.embedded.process import initialise, last_lines, start

log = logging.getLogger(__name__)

START_LIMIT = 60.0  # recovery after a crash with much log to replay takes long
FAST_LIMIT = 10.0  # for the final checkpoint; without it the next start has to recover
IMMEDIATE_LIMIT = 0.5
# After a SIGKILL of the postmaster its last backends need a moment to notice.
_STILL_IN_USE = "still in use"
CRASHES, PERIOD = 5, 60.0  # more crashes than this in so many seconds: give up


class Postmaster:
    """One server process, our child or adopted. The descriptor names it even after its id is reused."""

    def __init__(self, pid: int, sockets: Path, child: trio.Process | None) -> None:
        self.pid, self.sockets, self.adopted = pid, sockets, child is None
        self._child = child
        self._descriptor = os.pidfd_open(pid)

    async def wait(self) -> int | None:
        """Until it has ended; the exit code, None of an adopted one."""
        if self._child is not None:
            return await self._child.wait()
        await trio.lowlevel.wait_readable(self._descriptor)
        return None

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    async def stop(self, fast_limit: float) -> None:
        """Fast, then immediate, then for certain."""
        for number, limit in ((signal.SIGINT, fast_limit), (signal.SIGQUIT, IMMEDIATE_LIMIT), (signal.SIGKILL, 5.0)):
            self.send(number)
            with trio.move_on_after(limit, shield=True):
                await self.wait()
                return

    def close(self) -> None:
        os.close(self._descriptor)


class EmbeddedServer:
    """The server of one data folder, as its supervisor sees it."""

    def __init__(self, data: Path) -> None:
        self.owner: Owner = server_owner()
        self.home: Home = make_home(data, self.owner)
        self.fast_limit = FAST_LIMIT  # seconds that a stop leaves for the final checkpoint
        self.restarts = 0  # after crashes, not by hand
        self._sockets: Path | None = None  # the same for every process: clients keep the address
        self._postmaster: Postmaster | None = None

    @property
    def url(self) -> str:
        """Valid once the server was started, and through all restarts."""
        assert self._sockets is not None
        return self.home.url(self._sockets)

    @property
    def pid(self) -> int | None:
        return self._postmaster.pid if self._postmaster else None

    @property
    def adopted(self) -> bool:
        return self._postmaster is not None and self._postmaster.adopted

    async def run(self, *, task_status: trio.TaskStatus[EmbeddedServer] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps the server running until cancelled, then stops it. Started means that it answers."""
        crashes: deque[float] = deque()
        started = False
        with _FolderLock(self.home.path):
            while True:
                self._postmaster = process = await self._begin()
                try:
                    if await self._answered(process) and not started:
                        task_status.started(self)
                        started = True
                    code = await process.wait()
                except BaseException:
                    with trio.CancelScope(shield=True):  # bounded: stop() ends with SIGKILL
                        await process.stop(self.fast_limit)
                    self.home.remove_sockets(process.sockets)
                    raise
                finally:
                    process.close()
                if not started and _STILL_IN_USE not in last_lines(self.home.log):
                    raise StorageUnavailable(f"PostgreSQL does not start; {self.home.log}: {last_lines(self.home.log)}")
                if not self._asked_for_restart(process.pid):
                    await self._after_end(crashes, process.pid, code)

    async def _begin(self) -> Postmaster:
        running = self.home.running()
        if running is not None:
            log.info("adopted the PostgreSQL server that runs in %s (process %d)", self.home.path, running.pid)
            self._sockets = running.socket
            return Postmaster(running.pid, running.socket, None)
        self.home.forget_stale_pid()
        if self.home.major is None:
            await initialise(self.home, self.owner)
        self._sockets = self._sockets or self.home.sockets(self.owner)
        child = await start(self.home, self.owner, self._sockets)
        return Postmaster(child.pid, self._sockets, child)

    async def _answered(self, process: Postmaster) -> bool:
        """Waits until it answers (True) or has ended (False)."""
        ready = False

        async def poll() -> None:
            nonlocal ready
            while not ready:
                ready = await trio.to_thread.run_sync(answers, process.sockets, 0.5)
                await trio.sleep(0 if ready else 0.02)
            nursery.cancel_scope.cancel()

        with trio.move_on_after(START_LIMIT) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                await process.wait()
                nursery.cancel_scope.cancel()
        if limit.cancelled_caught:
            raise StorageUnavailable(f"PostgreSQL does not answer after {START_LIMIT:g} s; see {self.home.log}")
        return ready

    def _asked_for_restart(self, pid: int) -> bool:
        try:
            asked = int(self.home.restart_marker.read_text()) == pid
        except (FileNotFoundError, ValueError):
            return False
        self.home.restart_marker.unlink(missing_ok=True)
        return asked

    async def _after_end(self, crashes: deque[float], pid: int, code: int | None) -> None:
        """Reports, counts, and waits before the next start. Exit code 0 means that a person stopped it."""
        log.warning("PostgreSQL (process %d) ended by itself, exit code %s; starting it again", pid, code)
        if code == 0:
            await trio.sleep(0.1)
            return
        now = trio.current_time()
        crashes.append(now)
        self.restarts += 1
        while crashes[0] < now - PERIOD:
            crashes.popleft()
        if len(crashes) > CRASHES:
            raise RestartLimitReached(
                f"PostgreSQL ended {len(crashes)} times in {PERIOD:g} s: {last_lines(self.home.log)} ({self.home.log})"
            )
        await trio.sleep(0.1 * 2 ** (len(crashes) - 1))


class _FolderLock:
    """One supervisor for each cluster. The kernel drops it with the process, and there is no file to leave behind."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._descriptor = folder, -1

    def __enter__(self) -> None:
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise ConfigurationError(
                [f"{self._folder} is in use by another `callboard up`; stop that one or choose another --data"]
            ) from None

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @classmethod
    def is_held(cls, folder: Path) -> bool:
        try:
            with cls(folder):
                return False
        except ConfigurationError:
            return True


@asynccontextmanager
async def open_server(data: Path) -> AsyncIterator[EmbeddedServer]:
    """The server of a data folder, started or adopted, kept running, and stopped at the end.

    Errors of the server while it runs leave as an exception group; those of its start as they are.
    """
    server = EmbeddedServer(data)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield server
        nursery.cancel_scope.cancel()


async def restart(data: Path, *, immediate: bool = False, limit: float = START_LIMIT) -> None:
    """Asks the supervisor for a new server process; returns when that answers."""
    home = find_home(data)
    old = home.running()
    if old is None:
        raise StorageUnavailable(f"no PostgreSQL runs in {home.path}; start it with: callboard up")
    try:
        if not _FolderLock.is_held(home.path):
            raise StorageUnavailable(f"nothing would start PostgreSQL again in {home.path}; run: callboard up")
        home.restart_marker.write_text(str(old.pid))
        os.kill(old.pid, signal.SIGQUIT if immediate else signal.SIGINT)
    except PermissionError:
        raise StorageRefused(f"PostgreSQL in {home.path} belongs to another user; run as that user") from None
    with trio.move_on_after(limit):
        while True:
            new = home.running()
            if new is not None and new.pid != old.pid and answers(new.socket):
                return
            await trio.sleep(0.05)
    raise StorageUnavailable(f"PostgreSQL did not answer within {limit:g} s; see {home.log}")
