"""What a submission by gRPC may be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from actors.model.errors import BadValue
from actors.model.submission import ARGS_BYTES
from actors.model.task import NewTask
from protos.generated.callboard import v1 as wire
from transport.tasks import filter_from_wire, new_task_from_wire, new_task_to_wire, page_from_wire

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_a_submission_arrives_as_it_was() -> None:
    task = NewTask(
        name="thumbnail",
        args='{"url":"x"}',
        queue="images",
        priority=1,
        run_at=datetime(2030, 1, 31, 12, tzinfo=UTC),
        timeout=2.5,
        max_tries=3,
        backoff={"kind": "exponential", "base": 1.0, "cap": 3600.0, "jitter": True},
        expires_at=datetime(2031, 1, 1, tzinfo=UTC),
        exclusive=True,
        retry_on_crash=False,
        tags=["a"],
        metadata={"k": "v"},
        submitted_by="me",
    )
    assert new_task_from_wire(new_task_to_wire(task), NOW) == task


def test_what_is_not_given_is_left_to_the_handler() -> None:
    assert new_task_from_wire(wire.NewTask(name="noop"), NOW) == NewTask(name="noop")


def test_a_backslash_before_u0000_is_text() -> None:
    args = r'{"x": "\\u0000"}'
    assert new_task_from_wire(wire.NewTask(name="noop", args=args), NOW).args == args


def test_the_same_submission_has_the_same_fingerprint() -> None:
    def fingerprint(**values: Any) -> bytes | None:
        return new_task_from_wire(wire.NewTask(name="n", idempotency_key="k", **values), NOW).request_hash

    assert fingerprint(metadata={"a": "1", "b": "2"}) == fingerprint(metadata={"b": "2", "a": "1"})
    assert fingerprint(args="{}") == fingerprint()
    assert fingerprint(priority=1) != fingerprint(priority=2)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "x" * 201}),
        ("name", {"name": "a\0b"}),
        ("args", {"args": "[1]"}),
        ("args", {"args": "{bad"}),
        ("args", {"args": '{"x": NaN}'}),
        ("args.x", {"args": '{"x": "\\u0000"}'}),
        ("args.x", {"args": '{"x": "\\ud800"}'}),
        ("args", {"args": "[" * 200_000}),
        ("args", {"args": '{"x":"' + "y" * ARGS_BYTES + '"}'}),
        ("priority", {"priority": 0}),
        ("priority", {"priority": 5}),
        ("delay", {"delay": -1.0}),
        ("delay", {"delay": float("nan")}),
        ("delay", {"delay": 1.0, "run_at": "2030-01-31T12:00:00Z"}),
        ("run_at", {"run_at": "tomorrow"}),
        ("run_at", {"run_at": "2030-01-31T12:00:00"}),
        ("timeout", {"timeout": 0.0}),
        ("max_tries", {"max_tries": 0}),
        ("backoff", {"backoff": "-3"}),
        ("metadata.k", {"metadata": {"k": "a\0"}}),
        ("tags[0]", {"tags": [""]}),
    ],
)
def test_a_bad_value_is_named(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(BadValue) as caught:
        new_task_from_wire(wire.NewTask(**{"name": "noop", **values}), NOW)
    assert caught.value.field == field


def test_lists_are_paged_by_given_cursors_only() -> None:
    assert page_from_wire(wire.ListTasksRequest()) == (50, None)
    assert page_from_wire(wire.ListTasksRequest(limit=10, cursor="77")) == (10, 77)
    for bad in ("x", "-1", "²", "9" * 30):
        with pytest.raises(BadValue):
            page_from_wire(wire.ListTasksRequest(cursor=bad))
    with pytest.raises(BadValue):
        filter_from_wire(wire.ListTasksRequest(states=["sleeping"]))
