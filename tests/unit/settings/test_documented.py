"""docs/deployment.md names every setting, and no other; its lease times are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

from actors.model.lease import DEFAULT, FAST
from api.settings_keys import BY_VARIABLE, LEASE_KEYS, OTHER_VARIABLES

PAGE = (Path(__file__).parents[3] / "docs" / "deployment.md").read_text()
ROWS = [line for line in PAGE.split("\n## Settings\n")[1].splitlines() if line.startswith("| `")]


def test_every_setting_is_documented_and_no_other() -> None:
    named = {name for row in ROWS for name in re.findall(r"`([A-Z_]{5,})`", row.split("|")[1])}
    assert named == set(BY_VARIABLE) | (OTHER_VARIABLES - {"CALLBOARD_USER_PATH"})


def test_the_lease_times_are_those_of_the_profiles() -> None:
    shown = {row.split("`")[1]: tuple(float(cell) for cell in row.split("|")[2:4]) for row in ROWS[-len(LEASE_KEYS) :]}
    assert shown == {f"CALLBOARD_{key.upper()}": (getattr(DEFAULT, key), getattr(FAST, key)) for key in LEASE_KEYS}
