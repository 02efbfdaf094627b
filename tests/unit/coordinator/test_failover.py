"""Commits that the database acknowledged and lost are noticed; what only looks like it is not."""

from __future__ import annotations

from actors.coordinator.failover import SHOWN, Acknowledged
from actors.model.ports import History

BEFORE = History(7, 1, 0x1_2345_6789)


def watch(*found: tuple[History | None, bool]) -> list[str | None]:
    known = Acknowledged()
    return [known.seen(one, 0.0, wrote=wrote) for one, wrote in found]


def test_a_log_that_ends_before_what_was_acknowledged_has_lost_commits() -> None:
    known = Acknowledged()
    assert known.seen(BEFORE, 1.0, wrote=True) is None
    why = known.seen(History(7, 2, BEFORE.position - 1), 2.0, wrote=True)
    assert why is not None
    assert "1/23456788 of timeline 2, and had reached 1/23456789 of timeline 1" in why
    assert (known.lost, known.shown(3.0)) == (1, why)
    assert known.shown(2.0 + SHOWN) is None


def test_a_failover_that_loses_nothing_is_none() -> None:
    assert watch((BEFORE, True), (History(7, 2, BEFORE.position), True)) == [None, None]
    assert watch((BEFORE, True), (History(7, 2, BEFORE.position + 9), True)) == [None, None]


def test_a_backup_that_was_restored_is_noticed_on_its_own_timeline() -> None:
    assert watch((BEFORE, True), (History(7, 1, 5), True))[1]


def test_another_system_is_another_database() -> None:
    assert "another database system" in str(watch((BEFORE, True), (History(8, 1, BEFORE.position), True))[1])


def test_what_was_written_and_not_acknowledged_may_be_lost() -> None:
    later = History(7, 1, BEFORE.position + 1_000)
    assert watch((BEFORE, True), (later, False), (History(7, 2, BEFORE.position), True)) == [None] * 3


def test_it_is_told_once_and_watched_from_there_on() -> None:
    after = History(7, 2, 100)
    told = watch((BEFORE, True), (after, True), (History(7, 2, 101), True), (History(7, 3, 50), True))
    assert [bool(one) for one in told] == [False, True, False, True]


def test_a_database_that_does_not_say_is_believed() -> None:
    assert watch((None, True), (BEFORE, True), (None, True), (BEFORE, True)) == [None] * 4
