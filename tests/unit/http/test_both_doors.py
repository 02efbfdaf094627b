"""The same submission by HTTP and by gRPC: the same verdict, in the same words."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actors.model.errors import BadValue
from actors.model.submission import ARGS_BYTES, fingerprint
from api.http import json_text
from api.http.problems import Problem, problem_of
from api.http.schemas import new_task
from protos.generated.callboard import v1 as wire
from transport.tasks import new_task_from_wire

TEXTS = ("args", "backoff")  # JSON in the published form
WRONG: list[dict[str, Any]] = [
    {"name": ""},
    {"name": "x" * 201},
    {"name": "a b"},
    {"name": "<lambda>"},
    {"name": "a\x00b"},
    {"queue": "q\n"},
    {"queue": ""},
    {"priority": 0},
    {"priority": 5},
    {"delay": -1.0},
    {"delay": 1e300},
    {"delay": 1.0, "run_at": "2026-11-26T00:00:00Z"},
    {"run_at": "tomorrow"},
    {"run_at": "2026-02-30T00:00:00Z"},
    {"run_at": "2020-01-01T00:00:00Z"},
    {"run_at": "2999-01-01T00:00:00Z"},
    {"timeout": 0.0},
    {"timeout": 86_401.0},
    {"max_tries": 0},
    {"max_tries": 1001},
    {"backoff": -1},
    {"backoff": {"bse": 1}},
    {"backoff": {"base": "1"}},
    {"backoff": {"base": 10, "cap": 5}},
    {"expires_at": "2020-01-01T00:00:00Z"},
    {"tags": [""]},
    {"tags": ["x" * 129]},
    {"tags": ["x"] * 33},
    {"metadata": {"k": "v" * 1025}},
    {"metadata": {"": "v"}},
    {"metadata": {str(n): "" for n in range(65)}},
    {"args": []},
    {"args": {"n": 2**63}},
    {"args": {"x": "\x00"}},
    {"args": {"x": "y" * ARGS_BYTES}},
    {"name": "", "priority": 9, "tags": [""]},
]


def by_grpc(fields: dict[str, Any]) -> wire.NewTask:
    shown: dict[str, Any] = {name: json.dumps(value, separators=(",", ":")) if name in TEXTS else value
             for name, value in fields.items()}  # fmt: skip
    return wire.NewTask(**shown)


@pytest.mark.parametrize("fields", WRONG, ids=lambda fields: ",".join(f"{k}={v!r:.12}" for k, v in fields.items()))
def test_a_refusal_says_the_same(fields: dict[str, Any]) -> None:
    whole = {"name": "job", **fields}
    with pytest.raises(Problem) as http:
        new_task(json_text.parse(json.dumps(whole).encode()))
    with pytest.raises(BadValue) as grpc:
        new_task_from_wire(by_grpc(whole), datetime.now(UTC))
    told = problem_of(grpc.value)
    assert told.errors[0]["field"] == http.value.errors[0]["field"]
    assert told.detail == http.value.detail


def test_what_is_accepted_becomes_the_same_task_with_the_same_fingerprint() -> None:
    now = datetime.now(UTC)
    whole: dict[str, Any] = {
        "name": "images.thumbnail", "args": {"x": "é"}, "queue": "q", "priority": 1, "timeout": 2.5, "max_tries": 3,
        "run_at": (now + timedelta(days=1)).isoformat(), "expires_at": (now + timedelta(days=2)).isoformat(),
        "backoff": {"base": 2.0}, "exclusive": True, "retry_on_crash": False, "tags": ["a"], "metadata": {"k": ""},
    }  # fmt: skip
    sent = by_grpc({**whole, "idempotency_key": "k"})
    sent.args = '{"x":"é"}'
    ours = new_task_from_wire(sent, now)
    assert ours.request_hash == fingerprint(whole)
    assert replace(ours, idempotency_key=None, request_hash=None) == new_task(whole)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä", "batch k 0"])
def test_a_key_that_http_refuses_is_refused(key: str) -> None:
    with pytest.raises(BadValue, match="printable ASCII characters without spaces"):
        new_task_from_wire(wire.NewTask(name="job", idempotency_key=key), datetime.now(UTC))
