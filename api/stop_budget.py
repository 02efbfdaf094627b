"""What a stop may take: the steps of every role with their seconds, in one place. Pure.

Whoever supervises our processes must wait longer than `total` before it kills: WORKER_LIMIT and SERVER_LIMIT hold for
the defaults, and `limit` for every setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.coordinator.tree import NOTE_LIMIT, SIGN_OUT_LIMIT
from actors.worker.tree import FLUSH_LIMIT as WORKER_FLUSH_LIMIT
from actors.worker.tree import KILL_LIMIT, SETTLE, SIGN_OUT
from api.http.serve import GRACE, LIFESPAN_LIMIT
from transport.client import LEAVE_LIMIT
from transport.server import CLOSE_LIMIT, CUT_LIMIT, GOODBYE_LIMIT

WORKER_LIMIT, SERVER_LIMIT = 60.0, 20.0  # seconds; documented, and used by docker-compose.yml
DEFAULT_DRAIN = 30.0
SPARE = 2.0  # seconds for the machine to be busy

COORDINATOR_FLUSH = 5.0  # seconds that a coordinator gets to commit the outcomes it holds
MOST_NOTICE, MOST_REQUESTS = 2.0, 10.0

Steps = Mapping[str, float]


def notice(drain: float) -> float:
    """Seconds that an api node still answers though it says that it is not ready: load balancers look now and then."""
    return min(MOST_NOTICE, drain / 15)


def requests(drain: float) -> float:
    """Seconds that open requests get then."""
    return min(MOST_REQUESTS, drain / 3)


def worker_steps(drain: float, cancel_grace: float) -> Steps:
    """One after the other."""
    return {
        "what runs may finish": drain,
        "the rest is told to stop": cancel_grace + SETTLE,
        "executors are killed": KILL_LIMIT,
        "outcomes are handed in": WORKER_FLUSH_LIMIT,
        "it signs out": SIGN_OUT,
        "its stream ends": LEAVE_LIMIT,
        "its HTTP server ends": GRACE + LIFESPAN_LIMIT,
    }


def coordinator_steps() -> Steps:
    """It stops claiming at once; beside `front_steps`."""
    return {"outcomes are committed": COORDINATOR_FLUSH, "starts are noted": NOTE_LIMIT, "it signs out": SIGN_OUT_LIMIT}


def front_steps(drain: float) -> Steps:
    """The HTTP server of a server node: an api fails its readiness first."""
    return {
        "it is seen to be not ready": notice(drain),
        "open requests end": requests(drain),
        "its tasks end": LIFESPAN_LIMIT,
    }


def server_steps(drain: float, roles: Sequence[str]) -> Steps:
    """One after the other; a scheduler has nothing to wait for but the transaction that runs."""
    coordinator = total(coordinator_steps()) if "coordinator" in roles else 0.0
    return {
        "requests end and outcomes are committed": max(coordinator, total(front_steps(drain))),
        "streams and calls end": CLOSE_LIMIT,
        "connections are told": GOODBYE_LIMIT,
        "connections are cut": CUT_LIMIT,
    }


def total(steps: Steps) -> float:
    return sum(steps.values())


def limit(drain: float, cancel_grace: float, roles: Sequence[str]) -> float:
    """Seconds after which a supervisor may kill a node with these settings. A worker ends before its server does."""
    found = SPARE
    if "worker" in roles:
        found += total(worker_steps(drain, cancel_grace))
    if set(roles) - {"worker"}:
        found += total(server_steps(drain, roles))
    return found
