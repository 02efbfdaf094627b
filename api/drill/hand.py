"""What strikes: signals to a process of this machine, or the operator's own command."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from actors.runtime.process_mark import mark
from api.cli.exits import FAILED, NOT_ALLOWED, USAGE, CommandFailed
from api.drill.system import Row, Target

COMMAND_LIMIT = 60.0  # seconds for the operator's command
_NODE, _EXECUTOR = "callboard/launcher.py", "callboard/executor/__main__.py"
_STOPPED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Hand(Protocol):
    """Strikes once; `undo` takes a freeze back, and does nothing when there is none any more."""

    @property
    def what(self) -> str:
        """What it does, for the prompt."""
        ...

    @property
    def back(self) -> str:
        """What `undo` does, said when it is done."""
        ...

    @property
    def restarted_by(self) -> str | None:
        """What starts the process again, as far as can be seen from here."""
        ...

    def strike(self) -> None: ...
    def undo(self) -> bool:
        """Whether there was something to take back."""
        ...


def is_here(facts: Row) -> bool:
    """Whether what a node says of its process names one of this machine, of this PID namespace."""
    return bool(facts.get("process")) and mark(int(facts["pid"])) == facts["process"]


class SignalHand:
    """Holds the process by a descriptor, so that a number that is given out again hits nobody else."""

    def __init__(self, target: Target, *, freeze: bool) -> None:
        """Raises CommandFailed 77 for a process that is elsewhere, is no Callboard node, or belongs to another user."""
        self._freeze, self._struck = freeze, False
        self._pids: dict[int, int] = {}  # process → its descriptor
        self.pid = self._open_node(target)
        self.restarted_by = None if freeze else _supervisor(self.pid)

    def _open_node(self, target: Target) -> int:
        if target.pid is None or target.process is None:
            raise CommandFailed(
                f"{target.title} does not say which process it is: it is too old, or not on Linux; use --by",
                NOT_ALLOWED,
            )
        pid = target.pid
        try:
            self._pids[pid] = os.pidfd_open(pid)
        except OSError:
            raise _elsewhere(target) from None
        if mark(pid) != target.process:
            raise _elsewhere(target)
        if not _runs(pid, _NODE):
            raise CommandFailed(f"process {pid} is no Callboard node: {' '.join(_command(pid))[:80]}", NOT_ALLOWED)
        try:
            signal.pidfd_send_signal(self._pids[pid], 0)
        except PermissionError:
            raise CommandFailed(
                f"process {pid} of {target.title} belongs to another user: run the drill as that user", NOT_ALLOWED
            ) from None
        return pid

    @property
    def what(self) -> str:
        if self._freeze:
            return f"SIGSTOP to process {self.pid} and its executors, and SIGCONT afterwards"
        return f"SIGKILL to process {self.pid}"

    @property
    def back(self) -> str:
        return f"SIGCONT sent to process {self.pid} and its executors"

    def strike(self) -> None:
        if not self._freeze:
            self._send(self.pid, signal.SIGKILL)
            return
        self._struck = True
        self._send(self.pid, signal.SIGSTOP)  # first: what is stopped starts no more executors
        for pid in _executors(self.pid):
            try:
                self._pids[pid] = os.pidfd_open(pid)
            except OSError:
                continue  # it ended just now
            self._send(pid, signal.SIGSTOP)

    def undo(self) -> bool:
        if not self._struck:
            return False
        for pid in reversed(list(self._pids)):  # executors first: their node must not find them silent
            self._send(pid, signal.SIGCONT)
        self._struck = False
        return True

    def _send(self, pid: int, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self._pids[pid], number)
        except ProcessLookupError:
            pass  # it has ended: that is what a strike wants, and what an undo need not mind

    def close(self) -> None:
        for descriptor in self._pids.values():
            os.close(descriptor)
        self._pids.clear()


def _elsewhere(target: Target) -> CommandFailed:
    return CommandFailed(
        f"{target.title} (process {target.pid} on {target.host}) is not a process that can be seen from here: run the "
        "drill where it runs, or say how to reach it with --by, as in --by 'docker kill {host}'",
        NOT_ALLOWED,
    )


class CommandHand:
    """Runs the operator's command, without a shell. `{id}`, `{name}`, `{host}` and `{pid}` are filled in."""

    restarted_by = None

    def __init__(self, target: Target, by: str, undo: str | None, *, freeze: bool) -> None:
        """Raises CommandFailed 2 for a command that can't be read, or a freeze that nothing would end."""
        if freeze and undo is None:
            raise CommandFailed("--freeze with --by needs --undo: the command that ends the freeze", USAGE)
        values = {"id": target.id, "name": target.name, "host": str(target.host), "pid": str(target.pid)}
        self._by = _words(by, values, "--by")
        self._undo = _words(undo, values, "--undo") if undo is not None and freeze else None
        self._struck = False

    @property
    def what(self) -> str:
        after = f", and afterwards: {shlex.join(self._undo)}" if self._undo else ""
        return f"runs: {shlex.join(self._by)}{after}"

    @property
    def back(self) -> str:
        return f"ran: {shlex.join(self._undo or ())}"

    def strike(self) -> None:
        try:
            _run(self._by)
        except BaseException:
            if self._undo is not None:  # it may have done its work all the same
                with suppress(CommandFailed):
                    _run(self._undo)
            raise
        self._struck = True

    def undo(self) -> bool:
        if self._undo is None or not self._struck:
            return False
        _run(self._undo)
        self._struck = False
        return True


def _words(text: str, values: Mapping[str, str], option: str) -> list[str]:
    try:
        words = [word.format_map(values) for word in shlex.split(text)]
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise CommandFailed(
            f'{option}="{text}" can\'t be read ({error}): {{id}}, {{name}}, {{host}} and {{pid}} are filled in', USAGE
        ) from None
    if not words:
        raise CommandFailed(f"{option} is empty: write a command, as in 'docker kill {{host}}'", USAGE)
    return words


def _run(words: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_LIMIT
        )
    except OSError as error:
        raise CommandFailed(f"the command did not start ({shlex.join(words)}): {error.strerror}", FAILED) from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"the command took more than {COMMAND_LIMIT:g} s ({shlex.join(words)})", FAILED) from None
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        detail = f": {said[-1]}" if said else ""
        raise CommandFailed(f"the command ended with {done.returncode} ({shlex.join(words)}){detail}", FAILED)


@contextmanager
def struck(hand: Hand, taken_back: Callable[[], None]) -> Iterator[None]:
    """Strikes, and takes it back however the block ends: by itself, by an error, by Ctrl-C, SIGTERM or SIGHUP.

    `taken_back` is called when there was something to take back that the block had left.
    """
    with _asked_to_stop():
        try:
            hand.strike()
            yield
        finally:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPED)  # a second Ctrl-C waits until this is done
            try:
                if hand.undo():
                    taken_back()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _asked_to_stop() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind as Ctrl-C does; by default they would leave what is frozen frozen."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGHUP):
            stack.callback(signal.signal, number, signal.signal(number, stop))
        yield


# --- /proc ----------------------------------------------------------------------------------------


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def _runs(pid: int, file: str, *words: str) -> bool:
    """Whether the process runs this file of ours, with these words after it."""
    line = _command(pid)
    at = next((number for number, word in enumerate(line) if word.endswith(file)), None)
    return at is not None and line[at + 1 : at + 1 + len(words)] == list(words)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _supervisor(pid: int) -> str | None:
    parent = _parent(pid)
    return f"`callboard up` (process {parent})" if _runs(parent, _NODE, "up") else None


def _executors(pid: int) -> list[int]:
    found = [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(int(name)) == pid]
    return [one for one in found if _runs(one, _EXECUTOR, "run")]
