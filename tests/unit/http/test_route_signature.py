"""A route is good for one task, one attempt, one worker, one minute."""

from __future__ import annotations

import pytest

from api.http.route_signature import LIFETIME, RouteRefused, sign, verify

KEY, NOW = b"k" * 32, 1_800_000_000.0


def test_a_signed_route_tells_the_attempt() -> None:
    assert verify(KEY, sign(KEY, 17, 3, NOW), 17, NOW + 1) == 3


@pytest.mark.parametrize(
    ("value", "key", "task_id", "now"),
    [
        (sign(KEY, 17, 3, NOW), b"other" * 4, 17, NOW),
        (sign(KEY, 17, 3, NOW), KEY, 18, NOW),
        (sign(KEY, 17, 3, NOW), KEY, 17, NOW + LIFETIME + 2),
        (sign(KEY, 17, 3, NOW), KEY, 17, NOW - 2 * LIFETIME),
        (sign(KEY, 17, 3, NOW).replace("17.3.", "17.4."), KEY, 17, NOW),
        (sign(KEY, 17, 3, NOW)[:-1], KEY, 17, NOW),
        ("", KEY, 17, NOW),
        ("１7.3.1800000060." + "0" * 64, KEY, 17, NOW),
    ],
)
def test_any_other_is_refused(value: str, key: bytes, task_id: int, now: float) -> None:
    with pytest.raises(RouteRefused):
        verify(key, value, task_id, now)
