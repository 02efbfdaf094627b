"""The OpenAPI description: one table of operations over schemas that come from the models themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, Literal, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from actors.model.task import SHOWN_STATES
from api.http import bulk, explain_shapes, queue_shapes, schedule_shapes, shapes, workflow_shapes
from api.http.access import OPEN
from api.http.problems import CONTENT_TYPE, FieldProblem
from api.http.schemas import SENT
from callboard import __version__


class ProblemJson(TypedDict):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldProblem]
    request_id: str
    state: NotRequired[str | None]


_SHOWN: Mapping[str, Any] = {
    "TaskShown": shapes.TaskJson, "TaskPage": shapes.TaskPage, "AttemptPage": shapes.AttemptPage,
    "WorkerShown": shapes.WorkerJson, "WorkerPage": shapes.WorkerPage, "CoordinatorPage": shapes.CoordinatorPage,
    "ScheduleShown": schedule_shapes.ScheduleJson, "SchedulePage": schedule_shapes.SchedulePage,
    "SlotShown": schedule_shapes.SlotJson, "SlotPage": schedule_shapes.SlotPage,
    "Preview": schedule_shapes.PreviewPage, "Backfilled": schedule_shapes.BackfillJson,
    "Deleted": schedule_shapes.DeletedJson,
    "WorkflowShown": workflow_shapes.WorkflowJson, "WorkflowPage": workflow_shapes.WorkflowPage,
    "WorkflowPosted": workflow_shapes.WorkflowPosted, "WorkflowCancelled": workflow_shapes.WorkflowCancelled,
    "Explanation": explain_shapes.ExplanationJson,
    "CancelledMany": bulk.CancelledMany, "RetriedMany": bulk.RetriedMany,
    "QueueShown": queue_shapes.QueueJson, "QueuePage": queue_shapes.QueuePage,
    "HandlerShown": queue_shapes.HandlerJson, "HandlerPage": queue_shapes.HandlerPage,
    "Trees": shapes.TreePage, "Batch": shapes.BatchJson, "Cancelled": shapes.CancelJson, "Stats": shapes.StatsJson,
    "Health": shapes.HealthJson, "Status": shapes.StatusJson, "Version": shapes.VersionJson, "Problem": ProblemJson,
}  # fmt: skip

TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": 1024}
TIME: Mapping[str, Any] = {"type": "string", "format": "date-time"}


def _query(name: str, schema: Mapping[str, Any], description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": dict(schema)}


_IDEMPOTENCY = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "The same key and body again: 200 with the first answer's task; another body: 422",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}  # fmt: skip
_PAGE = [
    _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
    _query("cursor", {"type": "string", "maxLength": 64}, "next_cursor of the page before; good for the same query"),
]
_FEW = [_query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}), _PAGE[1]]
_FILTERS = [
    _query("state", {"type": "string"}, f"One or more, separated by commas: {', '.join(SHOWN_STATES)}"),
    _query("name", TEXT), _query("queue", TEXT), _query("tag", TEXT), _query("worker", TEXT),
    _query("schedule", TEXT, "The name of the schedule that posted it"),
    _query("workflow", {"type": "string", "pattern": "^[0-9]{1,19}$"}, "The id of a workflow"),
    _query("created_after", TIME), _query("created_before", TIME),
    _query("metadata.KEY", TEXT, "The value of a metadata key; KEY is any key, the parameter may be there for several"),
    *_PAGE,
]  # fmt: skip
_COUNT = _query("count", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10})
_WAIT = _query("wait", {"type": "number", "minimum": 0, "maximum": 60}, "Seconds to wait until the task is final")
_ENDED = _query("ended", {"type": "boolean", "default": False}, "Also those that ended within the hour")

_JSON, _NDJSON = "application/json", "application/x-ndjson"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    method: str
    path: str
    summary: str
    answers: Mapping[int, str]  # status → name of a schema; "" for text
    problems: Sequence[int] = ()
    parameters: Sequence[Mapping[str, Any]] = ()
    body: str = ""  # name of a schema
    body_required: bool = True
    tag: str = "tasks"


_BODY = (400, 408, 413, 415, 417, 422)
_STORE = (503,)
_V1 = "/api/v1"
_ONE = f"{_V1}/schedules/{{name}}"


def _of_schedules(method: str, path: str, summary: str, answers: Mapping[int, str], **fields: Any) -> Operation:
    """A route of schedules; what has a body can be wrong in all the ways that bodies can."""
    body = _BODY if fields.get("body") else (400, 422)
    problems = {*body, *_STORE, *fields.pop("problems", ())} | ({404} if "{name}" in path else set())
    return Operation(
        method=method, path=path, summary=summary, answers=answers, problems=sorted(problems), tag="schedules", **fields
    )


_SCHEDULES = (
    _of_schedules("post", f"{_V1}/schedules", "Create a schedule", {201: "ScheduleShown"}, body="Schedule",
                  problems=[409]),
    _of_schedules("get", f"{_V1}/schedules", "List schedules, the newest first", {200: "SchedulePage"},
                  parameters=_PAGE),
    _of_schedules("post", f"{_V1}/schedules/preview", "When a schedule would fire, without storing it",
                  {200: "Preview"}, body="ScheduleNamed", parameters=[_COUNT]),
    _of_schedules("get", _ONE, "Get a schedule", {200: "ScheduleShown"}),
    _of_schedules("put", _ONE, "Create a schedule, or replace its definition", body="ScheduleNamed",
                  answers={200: "ScheduleShown", 201: "ScheduleShown"}),
    _of_schedules("patch", _ONE, "Change some of a schedule", {200: "ScheduleShown"}, body="ScheduleChange",
                  problems=[409]),
    _of_schedules("delete", _ONE, "Delete a schedule; its tasks stay", {200: "Deleted"}),
    _of_schedules("post", f"{_ONE}/pause", "Fire nothing until resumed", {200: "ScheduleShown"}, body="Pause",
                  body_required=False),
    _of_schedules("post", f"{_ONE}/resume", "Fire again, from now on", {200: "ScheduleShown"}, body="Empty",
                  body_required=False),
    _of_schedules("post", f"{_ONE}/trigger", "Fire once, now", {201: "SlotShown"}, body="Empty",
                  body_required=False, problems=[409]),
    _of_schedules("post", f"{_ONE}/backfill", "Post the nominal times of the past that have not fired, oldest first",
                  {200: "Backfilled"}, body="Backfill"),
    _of_schedules("get", f"{_ONE}/preview", "When it will fire next", {200: "Preview"}, parameters=[_COUNT]),
    _of_schedules("get", f"{_ONE}/slots", "The ledger of its nominal times, the latest entry first",
                  {200: "SlotPage"}, parameters=_PAGE),
)  # fmt: skip
OPERATIONS: Sequence[Operation] = (
    Operation(method="post", path=f"{_V1}/tasks", summary="Post a task", body="Task", parameters=[_IDEMPOTENCY],
              answers={201: "TaskShown", 200: "TaskShown"}, problems=_BODY + _STORE),
    Operation(method="post", path=f"{_V1}/tasks/batch", body="Batch of tasks", parameters=[_IDEMPOTENCY],
              summary="Post up to 10,000 tasks, all or nothing", answers={201: "Batch", 200: "Batch"},
              problems=_BODY + _STORE),
    Operation(method="get", path=f"{_V1}/tasks", summary="List tasks, the newest first", parameters=_FILTERS,
              answers={200: "TaskPage"}, problems=(400, 422, *_STORE)),
    Operation(method="get", path=f"{_V1}/tasks/{{task_id}}", summary="Get a task, or wait until it is final",
              parameters=[_WAIT], answers={200: "TaskShown"}, problems=(404, 422, *_STORE)),
    Operation(method="patch", path=f"{_V1}/tasks/{{task_id}}", summary="Change a waiting task", body="Patch",
              answers={200: "TaskShown"}, problems=(404, 409, 412, *_BODY, *_STORE)),
    Operation(method="get", path=f"{_V1}/tasks/{{task_id}}/attempts",
              summary="Attempts that ended otherwise than with success, and refused late outcomes",
              answers={200: "AttemptPage"}, problems=(404, 422, *_STORE)),
    Operation(method="get", path=f"{_V1}/tasks/{{task_id}}/explain",
              summary="Why it waits, where it went, why it is not tried again", answers={200: "Explanation"},
              problems=(404, 422, *_STORE)),
    Operation(method="post", path=f"{_V1}/tasks/{{task_id}}/cancel", body="Empty", body_required=False,
              summary="Cancel a task: 200 nothing will start, 202 its handler is being stopped",
              answers={200: "Cancelled", 202: "Cancelled"}, problems=(404, 409, *_BODY, *_STORE)),
    Operation(method="post", path=f"{_V1}/tasks/{{task_id}}/retry", summary="Post a finished task anew", body="Retry",
              body_required=False, answers={201: "TaskShown"}, problems=(404, 409, *_BODY, *_STORE)),
    Operation(method="post", path=f"{_V1}/tasks/cancel", summary="Cancel many tasks, by ids or by a filter",
              body="Selection", answers={200: "CancelledMany"}, problems=_BODY + _STORE),
    Operation(method="post", path=f"{_V1}/tasks/retry", summary="Post many finished tasks anew, by ids or by a filter",
              body="Selection", answers={200: "RetriedMany"}, problems=_BODY + _STORE),
    *_SCHEDULES,
    Operation(method="post", path=f"{_V1}/workflows", summary="Post a graph of up to 10,000 tasks, all or nothing",
              body="Workflow", parameters=[_IDEMPOTENCY], answers={201: "WorkflowPosted", 200: "WorkflowPosted"},
              problems=_BODY + _STORE, tag="workflows"),
    Operation(method="get", path=f"{_V1}/workflows", summary="List workflows, the newest first", parameters=_FEW,
              answers={200: "WorkflowPage"}, problems=(400, 422, *_STORE), tag="workflows"),
    Operation(method="get", path=f"{_V1}/workflows/{{workflow_id}}", summary="Get a workflow and how far it has come",
              answers={200: "WorkflowShown"}, problems=(404, 422, *_STORE), tag="workflows"),
    Operation(method="post", path=f"{_V1}/workflows/{{workflow_id}}/cancel", body="Empty", body_required=False,
              summary="Cancel whatever of it has not ended", answers={200: "WorkflowCancelled"},
              problems=(404, *_BODY, *_STORE), tag="workflows"),
    Operation(method="get", path=f"{_V1}/queues", summary="List queues", tag="queues", answers={200: "QueuePage"},
              problems=(422, *_STORE)),
    Operation(method="get", path=f"{_V1}/queues/{{name}}", summary="Get a queue", tag="queues",
              answers={200: "QueueShown"}, problems=(404, 422, *_STORE)),
    Operation(method="patch", path=f"{_V1}/queues/{{name}}", summary="Change limits of a queue, or pause it",
              tag="queues", body="QueueChange", answers={200: "QueueShown"}, problems=(404, *_BODY, *_STORE)),
    Operation(method="post", path=f"{_V1}/queues/{{name}}/pause", summary="Start nothing of a queue", tag="queues",
              body="Pause", body_required=False, answers={200: "QueueShown"}, problems=(404, *_BODY, *_STORE)),
    Operation(method="post", path=f"{_V1}/queues/{{name}}/resume", summary="Start tasks of a queue again",
              tag="queues", body="Empty", body_required=False, answers={200: "QueueShown"},
              problems=(404, *_BODY, *_STORE)),
    Operation(method="get", path=f"{_V1}/handlers", summary="List handlers", tag="handlers",
              answers={200: "HandlerPage"}, problems=(422, *_STORE)),
    Operation(method="post", path=f"{_V1}/handlers/{{name}}/pause", summary="Start no task of a handler",
              tag="handlers", body="Pause", body_required=False, answers={200: "HandlerShown"},
              problems=(404, *_BODY, *_STORE)),
    Operation(method="post", path=f"{_V1}/handlers/{{name}}/resume", summary="Start tasks of a handler again",
              tag="handlers", body="Empty", body_required=False, answers={200: "HandlerShown"},
              problems=(404, *_BODY, *_STORE)),
    Operation(method="get", path=f"{_V1}/workers", summary="List workers", parameters=[_ENDED], tag="workers",
              answers={200: "WorkerPage"}, problems=(422, *_STORE)),
    Operation(method="get", path=f"{_V1}/workers/{{worker_id}}", summary="Get a worker", tag="workers",
              answers={200: "WorkerShown"}, problems=(404, 422, *_STORE)),
    *(
        Operation(method="post", path=f"{_V1}/workers/{{worker_id}}/{verb}", summary=summary, tag="workers",
                  body="Empty", body_required=False, answers={200: "WorkerShown"}, problems=(404, *_BODY, *_STORE))
        for verb, summary in (("pause", "Give a worker nothing new"), ("resume", "Give a paused worker work again"),
                              ("drain", "Let a worker finish what it runs, then leave for good"))
    ),
    Operation(method="get", path=f"{_V1}/coordinators", summary="List coordinators", tag="system",
              answers={200: "CoordinatorPage"}, problems=(422, *_STORE)),
    Operation(method="get", path=f"{_V1}/supervision", summary="Live supervision trees", tag="system",
              answers={200: "Trees"}, problems=(422, *_STORE)),
    Operation(method="get", path=f"{_V1}/stats", summary="Counts", tag="system", answers={200: "Stats"},
              problems=(422, *_STORE)),
    Operation(method="get", path="/livez", summary="Whether the process runs", answers={200: "Status"}, tag="health"),
    Operation(method="get", path="/readyz", summary="Whether the node takes part", tag="health",
              answers={200: "Status", 503: "Status"}),
    Operation(method="get", path="/healthz", summary="Every check of the node", tag="health",
              answers={200: "Health", 503: "Health"}),
    Operation(method="get", path="/version", summary="Versions", answers={200: "Version"}, tag="health"),
    Operation(method="get", path="/metrics", summary="Metrics for Prometheus", answers={200: ""}, tag="health"),
)  # fmt: skip
PROXIED = ("get", "put", "post", "delete", "options", "head", "patch")
PROXY_PATH = f"{_V1}/tasks/{{task_id}}/http/{{path}}"


@cache
def description() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    paths[PROXY_PATH] = _proxy()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Callboard",
            "version": __version__,
            "description": "A distributed task scheduler. Times are RFC 3339 in UTC, durations seconds, ids strings.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "CALLBOARD_TOKEN"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    is_open = operation.path in OPEN
    # 400, 414, 431: a head that can't be understood; 403: another origin or host.
    problems = {*operation.problems, 400, 403, 414, 417, 431, 500} | (set() if is_open else {401, 429})
    made: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation.path), *operation.parameters],
        "responses": {
            **{str(status): _answer(status, name) for status, name in operation.answers.items()},
            **{str(status): _problem(status) for status in sorted(problems - operation.answers.keys())},
        },
    }
    if is_open:
        made["security"] = []
    if operation.body == "Batch of tasks":
        item = {"$ref": "#/components/schemas/Task"}
        many = {"type": "array", "items": item, "minItems": 1, "maxItems": 10_000}
        lines = {"type": "string", "description": "One task a line"}
        made["requestBody"] = {"required": True, "content": {_JSON: {"schema": many}, _NDJSON: {"schema": lines}}}
    elif operation.body:
        content = {_JSON: {"schema": {"$ref": f"#/components/schemas/{operation.body}"}}}
        made["requestBody"] = {"required": operation.body_required, "content": content}
    return made


def _operation_id(operation: Operation) -> str:
    words = re.sub(r"[{}]|/api/v1", "", operation.path).strip("/").replace("/", "_")
    return f"{operation.method}_{words}"


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _answer(status: int, name: str) -> dict[str, Any]:
    headers = {"X-Request-Id": {"schema": {"type": "string"}}}
    if status == 201 and name in ("TaskShown", "ScheduleShown"):
        headers["Location"] = {"schema": {"type": "string"}}
    schema = {"$ref": f"#/components/schemas/{name}"} if name else {"type": "string"}
    content = {_JSON if name else "text/plain": {"schema": schema}}
    return {"description": HTTPStatus(status).phrase, "headers": headers, "content": content}


def _problem(status: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        made["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return made


def _proxy() -> dict[str, Any]:
    answers = {
        "default": {"description": "Whatever the task's own server answers"},
        **{str(status): _problem(status) for status in (401, 403, 404, 409, 410, 429, 500, 502, 503, 504)},
    }
    return {
        method: {
            "operationId": f"{method}_task_http",
            "summary": "The HTTP server that the task's handler opened; also WebSocket. 409 starting, 410 ended",
            "tags": ["task servers"],
            "parameters": _path_parameters(PROXY_PATH),
            "responses": answers,
        }
        for method in PROXIED
    }


def _schemas() -> dict[str, Any]:
    adapters: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = []
    for name, shape in _SHOWN.items():
        adapters.append((name, "serialization", TypeAdapter(shape)))
    found, whole = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = dict(whole.get("$defs", {}))
    schemas.update({str(name): schema for (name, _), schema in found.items()})
    schemas.update(SENT)
    return schemas
