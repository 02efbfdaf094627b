"""The project's own promises: the published .env, the stop budget, what is installed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from api import up
from storage.embedded import server

ROOT = Path(__file__).parents[2]


def test_the_env_example_is_the_published_one() -> None:
    assert (ROOT / ".env.example").read_text() == (
        'DATABASE_URL="postgresql://postgres:admin@postgres:5432/postgres?schema=public"\n'
        'COORDINATOR_ADDRESS="http://localhost:8081"\n'
    )


def test_the_steps_of_a_stop_fit_into_five_seconds() -> None:
    assert up.DEFAULTS["drain"] + up.DEFAULTS["cancel_grace"] < up.WORKERS_LIMIT
    assert up.WORKERS_LIMIT + up.SERVER_LIMIT + up.POSTGRES_IMMEDIATE < up.STOP_LIMIT < 5
    assert server.IMMEDIATE_LIMIT == up.POSTGRES_IMMEDIATE


def test_the_wheel_puts_one_name_into_site_packages() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["callboard"]
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} - {"callboard"}
    assert wheel["force-include"] == {room: f"callboard/_rooms/{room}" for room in rooms}


def test_locks_pin_every_line_and_name_no_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        for line in (ROOT / name).read_text().splitlines():
            assert line.startswith("#") or re.fullmatch(r"[a-z0-9._-]+==[^\s]+", line), line
