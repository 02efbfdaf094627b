"""What Quart needs to be told about requests, and how handlers read bodies and queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quart import Response, request
from quart_trio.wrappers import TrioRequest

from actors.model.submission import KEY_WANTED, is_key
from actors.model.wrong import shown
from api.http import json_text
from api.http.problems import FieldProblem, Problem, invalid, malformed

BODY_BYTES = 1_048_576
BATCH_BYTES = 16_777_216
# Of whoever posts many tasks at once.
BATCH_PATHS = frozenset({"/api/v1/tasks/batch", "/api/v1/workflows"})
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


class LimitedRequest(TrioRequest):
    """A body beyond the limit of its route is refused by its length, or once the limit is passed."""

    def __init__(self, method: str, scheme: str, path: str, *args: Any, **options: Any) -> None:
        options["max_content_length"] = BATCH_BYTES if path in BATCH_PATHS else BODY_BYTES
        super().__init__(method, scheme, path, *args, **options)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON that no cache keeps."""
    response = Response(json_text.encode(value), status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers.extend(headers or {})
    return response


async def read_object(*, optional: bool = False) -> Any:
    """The JSON body; {} for none where it is optional. Raises Problem 400, 413, 415, 422."""
    raw = await _raw()
    if optional and not raw.strip():
        return {}
    _need_type({"application/json"})
    return json_text.parse(raw)


async def read_items(limit: int) -> list[Any]:
    """An array, or NDJSON. Raises Problem 400, 413, 415, 422."""
    raw = await _raw()
    _need_type({"application/json", *NDJSON})
    values = json_text.parse_lines(raw, limit) if request.mimetype in NDJSON else json_text.parse(raw)
    if not isinstance(values, list):
        raise invalid([FieldProblem(field="", code="wrong_type", detail="must be an array of tasks")])
    if not values:
        raise invalid([FieldProblem(field="", code="out_of_range", detail="the batch is empty: send 1 task or more")])
    if len(values) > limit:
        count = f"{len(values):,}" if request.mimetype not in NDJSON else f"more than {limit:,}"
        raise Problem(
            status=413, code="too_large", detail=f"{count} tasks in one batch; at most {limit:,}: send several batches"
        )
    return values


async def _raw() -> bytes:
    if len(request.headers.getlist("Content-Type")) > 1:
        raise malformed("header_twice", "the Content-Type header is there twice")
    raw = await request.get_data(cache=False)
    assert isinstance(raw, bytes)
    return raw


def _need_type(wanted: Iterable[str]) -> None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype not in wanted or charset not in ("utf-8", "utf8"):
        given = shown(request.headers.get("Content-Type", ""))
        names = " or ".join(sorted(set(wanted) - {"application/ndjson", "application/jsonl"}))
        raise Problem(status=415, code="media_type", detail=f"send the body as {names} in UTF-8, not as {given}")


def idempotency_key() -> str | None:
    """Raises Problem 400 for one that is empty, too long, not plain ASCII, or there twice."""
    keys = request.headers.getlist("Idempotency-Key")
    if not keys:
        return None
    if len(keys) > 1 or not is_key(keys[0]):
        raise malformed("idempotency_key_invalid", f"Idempotency-Key {KEY_WANTED}")
    return keys[0]


def no_condition() -> None:
    """Raises Problem 412 for a change under a condition: tasks have no versions that one could name."""
    for name in ("If-Match", "If-Unmodified-Since"):
        if name in request.headers and request.headers[name].strip() != "*":
            raise Problem(
                status=412,
                code="condition_failed",
                detail=f"{name}: tasks have no versions here; leave it out: a task that no longer waits answers 409",
            )


def no_query() -> None:
    """For routes without parameters. Raises Problem 422 naming the first."""
    for name in request.args:
        raise unknown_parameter(name, ())


def unknown_parameter(name: str, known: Iterable[str]) -> Problem:
    listed = ", ".join(known)
    detail = f"there is no such parameter; known: {listed}" if listed else "this route takes no parameters"
    return invalid([FieldProblem(field=shown(name).strip("'"), code="unknown_parameter", detail=detail)])
