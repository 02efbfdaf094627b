"""A database clock that jumps ahead stops the firing until it is believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from actors.model.clock_guard import BETWEEN, ClockGuard

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(steady: float, ahead: float = 0.0) -> datetime:
    return NOON + timedelta(seconds=steady + ahead)


def test_clocks_that_go_along_and_small_steps_are_believed() -> None:
    guard = ClockGuard()
    assert guard.read(at(0), 0)
    assert guard.read(at(86_400), 86_400)  # nobody looked for a day: no jump
    assert guard.read(at(86_401, ahead=299), 86_401)
    assert guard.read(at(86_402, ahead=-9_000), 86_402)  # backwards


def test_a_jump_is_believed_after_three_readings_in_step() -> None:
    guard = ClockGuard()
    guard.read(at(0), 0)
    hour = 3600.0
    assert not guard.read(at(1, hour), 1)
    assert guard.holds
    assert round(guard.jump) == hour
    for soon in (2, 5, 1 + BETWEEN - 0.1):  # too soon to count
        assert not guard.read(at(soon, hour), soon)
    assert not guard.read(at(11, hour), 11)
    assert not guard.read(at(20, hour), 20)
    assert guard.read(at(21, hour), 21)
    assert not guard.holds
    assert guard.read(at(22, hour), 22)


def test_a_clock_that_keeps_jumping_is_not_believed() -> None:
    guard = ClockGuard()
    guard.read(at(0), 0)
    for turn in range(1, 12):
        assert not guard.read(at(turn * 11, 1_000.0 * turn), turn * 11)


def test_the_old_time_is_believed_at_once() -> None:
    guard = ClockGuard()
    guard.read(at(0), 0)
    assert not guard.read(at(5, 5_000), 5)
    assert guard.read(at(6), 6)
    assert not guard.holds
