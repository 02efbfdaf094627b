"""The worker's deadline comes before the table lets go."""

from __future__ import annotations

import pytest

from actors.model.lease import DEFAULT, FAST, TEST
from actors.worker.lease import WorkerLease


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.bad_input("CF17")
def test_the_deadline_counts_from_the_sending_of_the_confirmed_heartbeat() -> None:
    clock = _Clock()
    lease = WorkerLease(FAST, clock=clock)
    assert lease.left() is None
    assert lease.signed_in(FAST, 100.0) == 100.0 + FAST.lease - FAST.margin
    clock.now = 101.0
    first = lease.beat()
    clock.now = 102.0
    lease.beat()
    clock.now = 103.0
    assert lease.confirmed(first) == 101.0 + FAST.lease - FAST.margin


def test_an_older_confirmation_never_shortens_the_lease() -> None:
    clock = _Clock()
    lease = WorkerLease(FAST, clock=clock)
    first = lease.beat()
    clock.now = 105.0
    second = lease.beat()
    until = lease.confirmed(second)
    assert lease.confirmed(first) == until


def test_every_profile_keeps_its_inequalities() -> None:
    for terms in (DEFAULT, FAST, TEST):
        assert terms.violations() == []
