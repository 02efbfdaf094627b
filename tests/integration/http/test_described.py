"""What /openapi.json describes is what the server does: requests made from it, right and wrong ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from actors.model.task import TaskState
from api.http.app import create_app
from api.http.openapi import OPERATIONS, description
from tests.support.fake_store import FakeStore, a_task
from tests.support.http_api import services
from tests.support.serving import serving

EXAMPLES = 12  # requests of each kind for one operation
CHECKS: list[Callable[..., bool | None]] = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
BUDGET = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def a_full_store() -> FakeStore:
    """Low ids of every kind, so that made-up ids meet something."""
    store = FakeStore()
    states = itertools.cycle(TaskState)
    store.tasks = {number: a_task(number, state=next(states)) for number in range(1, 10)}
    return store


def ask_all(port: int, mode: GenerationMode) -> set[str]:
    """Asks for every operation, and returns those that could be asked in this way."""
    asked = set[str]()
    for found in schemathesis.openapi.from_dict(description()).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.label not in labels(fallible=mode is GenerationMode.NEGATIVE):
            continue

        @given(case=operation.as_strategy(generation_mode=mode), task=st.integers(1, 12), worker=st.integers(1, 2))
        @BUDGET
        def ask(case: Any, task: int, worker: int) -> None:
            known = {"task_id": str(task), "worker_id": f"w-{worker}", "name": "nightly", "workflow_id": "1"}
            if mode is GenerationMode.POSITIVE:
                case.path_parameters.update((name, known[name]) for name in case.path_parameters)
            headers = {"Authorization": "Bearer sesame"}
            case.call_and_validate(base_url=f"http://127.0.0.1:{port}", headers=headers, checks=CHECKS, timeout=5)

        ask()
        asked.add(operation.label)
    return asked


def labels(*, fallible: bool) -> set[str]:
    """Of all operations, or of those of which a description can be broken: they take a query or a body."""
    return {
        f"{one.method.upper()} {one.path}" for one in OPERATIONS if not fallible or one.body or one.parameters
    }  # fmt: skip


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
async def test_every_answer_is_a_documented_one(mode: GenerationMode) -> None:
    async with serving(create_app(services(a_full_store()))) as port:
        asked = await trio.to_thread.run_sync(ask_all, port, mode)
    assert asked == labels(fallible=mode is GenerationMode.NEGATIVE)
