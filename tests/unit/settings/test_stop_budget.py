"""Every step of a stop has its seconds, and whoever kills waits longer than all of them together."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from api import up
from api.settings import Settings
from api.stop_budget import (
    DEFAULT_DRAIN,
    SERVER_LIMIT,
    SPARE,
    WORKER_LIMIT,
    coordinator_steps,
    front_steps,
    limit,
    notice,
    requests,
    server_steps,
    total,
    worker_steps,
)

ROOT = Path(__file__).parents[3]
ROLES = ("scheduler", "coordinator", "api")


def test_a_worker_needs_less_than_what_is_documented() -> None:
    settings = Settings()
    assert settings.drain == DEFAULT_DRAIN
    assert total(worker_steps(settings.drain, settings.cancel_grace)) + SPARE <= WORKER_LIMIT


@pytest.mark.parametrize("roles", [ROLES, ("coordinator",), ("scheduler",), ("api",)])
def test_a_server_node_needs_less_than_what_is_documented(roles: tuple[str, ...]) -> None:
    assert total(server_steps(DEFAULT_DRAIN, roles)) + SPARE <= SERVER_LIMIT


def test_outcomes_are_committed_while_requests_end() -> None:
    steps = server_steps(0.0, ROLES)
    assert total(steps) >= total(coordinator_steps()) > total(front_steps(0.0))
    assert total(server_steps(DEFAULT_DRAIN, ROLES)) < total(coordinator_steps()) + total(front_steps(DEFAULT_DRAIN))


def test_load_balancers_and_requests_get_their_time_by_default_and_less_in_a_hurry() -> None:
    assert (notice(DEFAULT_DRAIN), requests(DEFAULT_DRAIN)) == (2.0, 10.0)
    assert (notice(10_000), requests(10_000)) == (2.0, 10.0)
    assert notice(0) == requests(0) == 0


def test_the_limit_follows_the_settings() -> None:
    assert limit(300, 5, ["worker"]) - limit(30, 5, ["worker"]) == pytest.approx(270)
    both = limit(30, 5, ["worker", *ROLES])
    assert both == pytest.approx(limit(30, 5, ["worker"]) + limit(30, 5, ROLES) - SPARE)


def test_containers_are_killed_later_than_their_node_needs() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    grace = re.search(r"x-node: &node.*?stop_grace_period: (\d+)s", compose, re.DOTALL)
    assert grace is not None
    assert float(grace[1]) >= WORKER_LIMIT >= SERVER_LIMIT


def test_the_documents_say_the_same() -> None:
    text = (ROOT / "docs/deployment.md").read_text()
    assert f"at most {math.ceil(total(worker_steps(DEFAULT_DRAIN, 5.0)))} s: 30 s for what runs" in text
    assert f"at most {math.ceil(total(server_steps(DEFAULT_DRAIN, ROLES)))} s: an api says" in text
    assert f"`stop_grace_period` {WORKER_LIMIT:g} s" in text
    assert f"{SERVER_LIMIT:g} s are enough" in text


def test_a_supervisor_that_is_asked_for_time_gives_all_of_it() -> None:
    def limits(**settings: float) -> tuple[float, float]:
        supervisor = up.Up(Settings(**{**up.DEFAULTS, **settings}), lambda addresses: None)
        return supervisor._stop_limit(up.WORKERS_LIMIT, ["worker"]), supervisor._stop_limit(up.SERVER_LIMIT, ROLES)

    assert limits() == (up.WORKERS_LIMIT, up.SERVER_LIMIT)  # Ctrl-C is quick
    assert limits(drain=30.0) == (limit(30.0, 0.4, ["worker"]), limit(30.0, 0.4, ROLES))
    assert limits(cancel_grace=5.0)[0] > 5.0
