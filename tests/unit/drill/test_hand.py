"""What strikes: only what it was told to, and what is frozen never stays so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from actors.runtime.process_mark import mark, this_process
from api.cli.exits import FAILED, NOT_ALLOWED, USAGE, CommandFailed
from api.drill.hand import CommandHand, SignalHand, is_here, struck
from api.drill.system import Target

HERE = this_process()
ME = Target(
    kind="worker", id="w-aa", name="w", host=str(HERE["host"]), pid=os.getpid(), process=mark(os.getpid()),
    serves_api=False,
)  # fmt: skip


def test_a_mark_names_one_process_and_no_other() -> None:
    assert is_here(HERE)
    assert not is_here({**HERE, "pid": os.getppid()})
    assert not is_here({**HERE, "process": "0" * 12})
    assert not is_here({"host": "old release"})
    assert mark(2**22 + 1) is None


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (ME, "is no Callboard node"),
        (replace(ME, process="0" * 12), "not a process that can be seen from here"),
        (replace(ME, pid=2**22 + 1), "not a process that can be seen from here"),
        (replace(ME, process=None), "does not say which process it is"),
    ],
)
def test_only_nodes_of_this_machine_are_signalled(target: Target, said: str) -> None:
    with pytest.raises(CommandFailed, match=said) as failed:
        SignalHand(target, freeze=False)
    assert failed.value.code == NOT_ALLOWED


def test_a_command_gets_the_nodes_names_and_no_shell(tmp_path: Path) -> None:
    note = tmp_path / "note; rm"
    CommandHand(ME, f"sh -c 'echo $0 $1 > \"$2\"' {{id}} {{name}} '{note}'", None, freeze=False).strike()
    assert note.read_text() == "w-aa w\n"


@pytest.mark.parametrize(
    ("by", "undo", "freeze", "code", "said"),
    [
        ("docker pause {host}", None, True, USAGE, "needs --undo"),
        ("docker kill {nobody}", None, False, USAGE, "{nobody}"),
        ("docker 'kill", None, False, USAGE, "can't be read"),
        (" ", None, False, USAGE, "empty"),
    ],
)
def test_a_command_that_can_not_be_read_strikes_nothing(
    by: str, undo: str | None, freeze: bool, code: int, said: str
) -> None:
    with pytest.raises(CommandFailed) as failed:
        CommandHand(ME, by, undo, freeze=freeze)
    assert failed.value.code == code
    assert said in str(failed.value)


@pytest.mark.parametrize(
    ("by", "said"), [("sh -c 'echo no such container; exit 3'", "no such container"), ("/nope", "did not start")]
)
def test_a_command_that_fails_says_why(by: str, said: str) -> None:
    with pytest.raises(CommandFailed, match=said) as failed:
        CommandHand(ME, by, None, freeze=False).strike()
    assert failed.value.code == FAILED


def interrupt() -> None:
    raise KeyboardInterrupt


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def fail() -> None:
    raise CommandFailed("the API broke")


@pytest.mark.parametrize("end", [interrupt, terminate, hang_up, fail])
def test_a_freeze_is_taken_back_however_the_drill_ends(tmp_path: Path, end: Callable[[], None]) -> None:
    log, said = tmp_path / "log", list[str]()
    hand = CommandHand(ME, f"sh -c 'echo pause >> {log}'", f"sh -c 'echo unpause >> {log}'", freeze=True)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises((KeyboardInterrupt, CommandFailed)):
        with struck(hand, lambda: said.append("unfrozen")):
            end()
    assert log.read_text().split() == ["pause", "unpause"]
    assert said == ["unfrozen"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_freeze_is_taken_back_once(tmp_path: Path) -> None:
    log, said = tmp_path / "log", list[str]()
    hand = CommandHand(ME, "true", f"sh -c 'echo unpause >> {log}'", freeze=True)
    with struck(hand, lambda: said.append("unfrozen")):
        assert hand.undo()
    assert log.read_text().split() == ["unpause"]
    assert said == []


def test_a_freeze_that_fails_half_way_is_taken_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    hand = CommandHand(ME, "sh -c 'exit 1'", f"sh -c 'echo unpause >> {log}'", freeze=True)
    with pytest.raises(CommandFailed, match="ended with 1"):
        hand.strike()
    assert log.read_text().split() == ["unpause"]
