"""Real executors: what becomes of attempts when their process is killed, blocked, or left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio

from actors.model.columns import SOLO, Outcome
from actors.model.errors import ConfigurationError
from actors.runtime.periodic import boottime
from tests.integration.worker.conftest import APP, Open
from tests.support.worker import an_assignment


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def wait_gone(*pids: int | None) -> None:
    while not all(is_gone(pid) for pid in pids if pid is not None):
        await trio.sleep(0.01)


async def test_batches_go_through_and_come_back(open_crew: Open) -> None:
    async with open_crew(slots=4, executors=2) as (crew, notes):
        crew.assign(an_assignment(*range(1, 501)))
        crew.assign(an_assignment(501, name="report", key=b"r" * 16))
        await notes.wait_ended(*range(1, 502))
        assert set(notes.ended.values()) == {Outcome.SUCCEEDED}
        assert crew.held == 0
        assert notes.progress
        assert notes.reports < 60


@pytest.mark.bad_input("CF19")
async def test_a_killed_executor_is_reported_and_back_within_a_second(open_crew: Open) -> None:
    async with open_crew() as (crew, notes):
        [executor] = crew.executors
        crew.assign(an_assignment(1, 2, 3, name="nap", args=b'{"seconds": 30}'))
        while len(notes.begun) < 2:
            await trio.sleep(0.01)
        former = executor.pid
        assert former is not None
        began = trio.current_time()
        os.kill(former, signal.SIGKILL)
        await notes.wait_ended(1, 2, 3)
        assert trio.current_time() - began < 1
        assert notes.ended == {1: Outcome.CRASHED, 2: Outcome.CRASHED, 3: Outcome.RELEASED}
        assert json.loads(notes.bodies[1])["evidence"] == {"pid": former, "signal": "SIGKILL"}
        crew.assign(an_assignment(4, key=b"n" * 16))
        await notes.wait_ended(4)
        assert notes.ended[4] is Outcome.SUCCEEDED
        assert executor.pid != former


async def test_an_idle_executor_that_its_alarm_ended_is_back_without_a_fuss(
    open_crew: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """The node was frozen beyond the lease, and is back before it looks at its own deadline."""
    async with open_crew() as (crew, notes):
        [executor] = crew.executors
        former = executor.pid
        assert former is not None
        os.kill(former, signal.SIGALRM)
        with trio.fail_after(10):
            while crew.executors[0].pid == former or not crew.executors[0].up:
                await trio.sleep(0.01)
        crew.assign(an_assignment(1))
        await notes.wait_ended(1)
        assert notes.ended[1] is Outcome.SUCCEEDED
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_handler_that_kills_its_executor_leaves_its_signal_as_evidence(open_crew: Open) -> None:
    async with open_crew() as (crew, notes):
        crew.assign(an_assignment(1, name="die"))
        await notes.wait_ended(1)
        assert notes.ended == {1: Outcome.CRASHED}
        assert json.loads(notes.bodies[1])["evidence"]["signal"] == "SIGSEGV"


async def test_a_killer_among_many_quick_tasks_is_always_counted(open_crew: Open) -> None:
    async with open_crew() as (crew, notes):
        batch = an_assignment(*range(1, 301))
        batch.names, batch.name_index[150] = ["noop", "die_now"], 1
        crew.assign(batch)
        await notes.wait_ended(*range(1, 301))
        assert notes.ended[151] is Outcome.CRASHED
        assert notes.ended[300] is Outcome.RELEASED
        assert set(notes.ended.values()) <= {Outcome.SUCCEEDED, Outcome.CRASHED, Outcome.RELEASED}


async def test_a_handler_that_holds_its_loop_beyond_a_lease_goes_on_while_the_node_renews(open_crew: Open) -> None:
    async with open_crew() as (crew, notes):
        crew.set_deadline(boottime() + 0.5)
        crew.assign(an_assignment(1, name="spin", args=b'{"seconds": 2}'))
        while not notes.ended:
            crew.set_deadline(boottime() + 0.5)
            await trio.sleep(0.1)
        assert notes.ended == {1: Outcome.SUCCEEDED}
        crew.assign(an_assignment(2, key=b"n" * 16))
        await notes.wait_ended(2)
        assert notes.ended[2] is Outcome.SUCCEEDED


async def test_a_handler_that_ignores_its_cancel_is_killed_and_its_neighbour_released(open_crew: Open) -> None:
    async with open_crew() as (crew, notes):
        crew.assign(an_assignment(1, name="stubborn"))
        crew.assign(an_assignment(2, name="nap", args=b'{"seconds": 30}', key=b"n" * 16))
        while len(notes.begun) < 2:
            await trio.sleep(0.01)
        began = trio.current_time()
        crew.cancel([1], "cancelled")
        await notes.wait_ended(1, 2)
        assert 0.3 <= trio.current_time() - began < 1
        assert notes.ended == {1: Outcome.CANCELLED, 2: Outcome.RELEASED}


async def test_a_handler_that_ignores_its_timeout_is_killed(open_crew: Open) -> None:
    async with open_crew() as (crew, notes):
        crew.assign(an_assignment(1, name="stubborn", timeout=300))
        began = trio.current_time()
        await notes.wait_ended(1)
        assert notes.ended == {1: Outcome.TIMED_OUT}
        assert trio.current_time() - began < 1.5


async def test_a_blocked_executor_holds_up_nobody_else(open_crew: Open) -> None:
    async with open_crew(slots=10, executors=2) as (crew, notes):
        crew.assign(an_assignment(1, name="spin", args=b'{"seconds": 3}'))
        await trio.sleep(0.5)
        began = trio.current_time()
        for number in range(20):
            crew.assign(an_assignment(10 + number, key=bytes([number]) * 16))
            await notes.wait_ended(10 + number)
        assert trio.current_time() - began < 1
        assert 1 not in notes.ended
        await notes.wait_ended(1)
        assert notes.ended[1] is Outcome.SUCCEEDED


async def test_executors_stop_by_themselves_at_the_deadline(open_crew: Open) -> None:
    async with open_crew() as (crew, notes):
        crew.assign(an_assignment(1, name="nap", args=b'{"seconds": 30}'))
        crew.assign(an_assignment(2, name="spin", args=b'{"seconds": 30}', key=b"n" * 16))
        crew.set_deadline(boottime() + 0.3)
        began = trio.current_time()
        await notes.wait_ended(1, 2)
        assert trio.current_time() - began < 1.5
        assert notes.ended == {1: Outcome.RELEASED, 2: Outcome.RELEASED}


async def test_solo_and_isolated_attempts_have_processes_of_their_own_that_end(open_crew: Open) -> None:
    async with open_crew(slots=3) as (crew, notes):
        [executor] = crew.executors
        crew.assign(an_assignment(1, 2, name="who"))
        crew.assign(an_assignment(3, name="report", key=b"n" * 16, flags=SOLO))
        await notes.wait_ended(1, 2, 3)
        pids = [int(notes.bodies[1]), int(notes.bodies[2]), json.loads(notes.bodies[3])["pid"]]
        assert len({*pids, executor.pid}) == 4
        await wait_gone(*pids)
        assert executor.pid is not None
        assert not is_gone(executor.pid)
        assert crew.held == 0


async def test_what_user_code_started_ends_with_its_executor(open_crew: Open) -> None:
    async with open_crew() as (crew, notes):
        [executor] = crew.executors
        crew.assign(an_assignment(1, name="leave_a_child"))
        await notes.wait_ended(1)
        child = int(notes.bodies[1])
        assert not is_gone(child)
        assert executor.pid is not None
        os.kill(executor.pid, signal.SIGKILL)
        await wait_gone(child)


async def test_everything_ends_with_the_crew(open_crew: Open) -> None:
    async with open_crew(slots=2, executors=2) as (crew, notes):
        crew.assign(an_assignment(1, name="stubborn"))
        await trio.sleep(0.2)
        pids = [executor.pid for executor in crew.executors]
    assert notes.ended == {1: Outcome.RELEASED}
    with trio.fail_after(1):
        await wait_gone(*pids)


async def test_executors_are_gone_within_half_a_second_of_their_node() -> None:
    node = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.integration.worker.node", APP], stdout=subprocess.PIPE
    )
    assert node.stdout is not None
    with trio.fail_after(20):
        line = b""
        while not line.endswith(b"\n"):
            line += await node.stdout.receive_some(100)
        pids = [int(word) for word in line.split()]
        assert len(pids) == 2
        assert not any(is_gone(pid) for pid in pids)
        node.kill()
        await node.wait()
    with trio.fail_after(0.5):
        await wait_gone(*pids)


async def test_an_app_that_can_not_be_imported_is_a_configuration_error(open_crew: Open, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def f(:\n")
    with pytest.RaisesGroup(ConfigurationError, flatten_subgroups=True, match=None) as caught:
        async with open_crew(app=str(broken), executors=2):
            pytest.fail("it must not start")
    assert "broken.py" in str(caught.value.exceptions[0]) or "broken.py" in repr(caught.value)
