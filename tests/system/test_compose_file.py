"""The compose file and the image, as far as can be judged without an engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.cli.probe import LIMIT
from api.settings import load
from api.settings_keys import BY_VARIABLE
from api.settings_sources import from_env_file

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# Every block of two spaces' indent below `services:`.
SERVICES = dict(re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", COMPOSE.split("\nservices:\n")[1], re.MULTILINE))


def test_the_services_are_the_published_ones() -> None:
    assert list(SERVICES) == ["postgres", "scheduler", "coordinator", "worker"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_heals_by_itself(name: str) -> None:
    service = SERVICES[name]
    assert "healthcheck:" in service
    assert "restart: unless-stopped" in service or "<<: *node" in service
    assert "container_name" not in service  # it would forbid --scale


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [
        line for name in SERVICES for line in re.findall(r'^      - "(.*:\d+)"$', SERVICES[name], re.MULTILINE)
    ]
    assert published == ["127.0.0.1:8080:8080", "127.0.0.1:8081:8081"]


def test_a_stop_outlasts_the_drain() -> None:
    grace = re.search(r"^  stop_grace_period: (\d+)s", COMPOSE, re.MULTILINE)
    settings = load({"roles": "worker"}, environ={}, files=False)
    assert grace is not None
    assert int(grace[1]) > settings.drain + settings.cancel_grace + 10  # seconds for the outcomes


def test_workers_dial_the_coordinator_inside_the_network() -> None:
    """The address in `.env` is for the host; interpolating it would send workers to themselves."""
    assert "COORDINATOR_ADDRESS: http://coordinator:8081" in SERVICES["worker"]
    assert "${COORDINATOR_ADDRESS" not in COMPOSE


def test_the_database_of_the_env_example_is_the_one_that_is_started() -> None:
    url = from_env_file(ROOT / ".env.example")["database_url"].text
    assert f"DATABASE_URL: ${{DATABASE_URL:-{url}}}" in COMPOSE
    assert "://postgres:admin@postgres:5432/postgres" in url
    assert "${POSTGRES_PASSWORD:-admin}" in SERVICES["postgres"]
    assert "pg_isready, -h, 127.0.0.1" in SERVICES["postgres"]


def test_commands_in_every_container_find_the_api() -> None:
    assert "CALLBOARD_API_URL: http://scheduler:8080" in COMPOSE.split("x-settings:")[1].split("\nservices:")[0]


def test_a_probe_may_take_as_long_as_it_waits() -> None:
    timeout = re.search(r"^x-health:.*?\n  timeout: (\d+)s", COMPOSE, re.MULTILINE | re.DOTALL)
    assert timeout is not None
    assert int(timeout[1]) > LIMIT


def test_every_setting_that_is_passed_on_exists() -> None:
    given = set(re.findall(r"\b(CALLBOARD_[A-Z_]+|DATABASE_URL|COORDINATOR_ADDRESS)\b", COMPOSE))
    assert given <= set(BY_VARIABLE)


@pytest.mark.bad_input("CF18")
def test_the_image_runs_as_nobody_special_and_needs_no_frontend_image() -> None:
    assert "# syntax=" not in DOCKERFILE
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER callboard$", last, re.MULTILINE)


def test_the_build_gets_what_it_copies() -> None:
    copied = [
        word.split("/")[0]
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for word in line.split()
    ]
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(copied) == set(allowed)
