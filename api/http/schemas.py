"""What clients may send: models that name every error at once, and the way from them to the rooms' own values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from actors.model.retry import Backoff
from actors.model.task import NewTask
from api.http.problems import FieldProblem, invalid, shown
from api.http.times import instant

ARGS_BYTES = 262_144  # of the encoded arguments
FUTURE = timedelta(days=3653)
PAST = timedelta(hours=24)  # older is a mistake, not a wish
LATER = ("depends_on", "concurrency_key", "unique_key", "unique_until")  # fields of later releases


def _name(text: str) -> str:
    if not text.isprintable() or any(map(str.isspace, text)) or "<" in text:
        raise ValueError(f"{shown(text)} has spaces, '<' or unprintable characters: use a name like images.thumbnail")
    return text


def _backoff(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        for name in ("base", "cap"):
            if isinstance(value.get(name, 0), bool) or not isinstance(value.get(name, 0), int | float):
                raise ValueError(f"{name} must be a number of seconds")
        if not isinstance(value.get("jitter", True), bool) or not isinstance(value.get("kind", ""), str):
            raise ValueError("kind must be a string and jitter true or false")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('write a number of seconds, or an object like {"kind": "exponential", "base": 1, "cap": 3600}')
    try:
        return Backoff.from_json(value).as_json()
    except OverflowError:
        raise ValueError("a number is out of range") from None


Text = Annotated[str, Field(min_length=1, max_length=128)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_name)]
Priority = Annotated[int, Field(ge=1, le=4, description="1 urgent, 2 normal, 3 low, 4 background")]
Instant = Annotated[datetime, BeforeValidator(instant), WithJsonSchema({"type": "string", "format": "date-time"})]
Wait = Annotated[
    dict[str, Any] | None,
    BeforeValidator(_backoff),
    WithJsonSchema(
        {
            "description": "Seconds before the next try: a number, or an object",
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 2_592_000},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "kind": {"enum": ["exponential", "fixed"], "default": "exponential"},
                        "base": {"type": "number", "minimum": 0, "default": 1},
                        "cap": {"type": "number", "minimum": 0, "maximum": 2_592_000, "default": 3600},
                        "jitter": {"type": "boolean", "default": True},
                    },
                },
                {"type": "null"},
            ],
        }
    ),
]


class _Body(BaseModel):
    """No conversions, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class TaskBody(_Body):
    """A task to post. null means: as the handler declares, else the default."""

    name: Name
    args: dict[str, Any] = Field(default_factory=dict, description="At most 256 KiB encoded")
    queue: Name | None = None
    priority: Priority = 2
    run_at: Instant | None = None
    delay: float | None = Field(None, ge=0, le=FUTURE.total_seconds(), description="Seconds; instead of run_at")
    timeout: float | None = Field(None, gt=0, le=86_400, description="Seconds for one attempt")
    max_tries: int | None = Field(None, ge=1, le=1000)
    backoff: Wait = None
    tags: list[Text] = Field(default_factory=list, max_length=32)
    metadata: dict[Text, Annotated[str, Field(max_length=1024)]] = Field(default_factory=dict, max_length=64)
    expires_at: Instant | None = Field(None, description="Not started after this time")
    exclusive: bool = False
    retry_on_crash: bool = True


class PatchBody(_Body):
    """What to change of a waiting task; at least one field."""

    run_at: Instant | None = Field(None, description="null: now")
    priority: Priority = 2
    queue: Name | None = Field(None, description="null: as the handler declares")


class EmptyBody(_Body):
    """Nothing, or an empty object."""


_BATCH: TypeAdapter[list[TaskBody]] = TypeAdapter(list[TaskBody])
_SINGLE = {model: TypeAdapter(model) for model in (TaskBody, PatchBody, EmptyBody)}


def validated(model: type[Any], value: object) -> Any:
    """An instance of the model; raises Problem 422 with every error."""
    try:
        return _SINGLE[model].validate_python(value)
    except ValidationError as error:
        raise invalid(problems_in(error, model)) from None


def validated_batch(values: Sequence[object]) -> list[TaskBody]:
    """Raises Problem 422; fields are like ``[3].name``."""
    try:
        return _BATCH.validate_python(list(values))
    except ValidationError as error:
        raise invalid(problems_in(error, TaskBody)) from None


def problems_in(error: ValidationError, model: type[BaseModel]) -> list[FieldProblem]:
    """Our words for pydantic's."""
    return [_problem(one, model) for one in error.errors(include_url=False)]


def _problem(one: Mapping[str, Any], model: type[BaseModel]) -> FieldProblem:
    path = [part for part in one["loc"] if part != "[key]"]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{str(part)[:64]}" for part in path).lstrip(".")
    kind, got = str(one["type"]), one.get("input")
    if kind == "missing":
        return FieldProblem(field=field, code="missing", detail="this field is required")
    if kind == "extra_forbidden":
        return FieldProblem(field=field, code=_unknown(path[-1])[0], detail=_unknown(path[-1], model)[1])
    if kind == "value_error":
        return FieldProblem(field=field, code="invalid", detail=str(one["ctx"]["error"]))
    if kind.endswith("_type"):
        return FieldProblem(field=field, code="wrong_type", detail=f"{_wanted(one)}, not {_json_kind(got)}")
    return FieldProblem(field=field, code="out_of_range", detail=f"{one['msg']}, got {shown(got)}")


def _unknown(name: object, model: type[BaseModel] = TaskBody) -> tuple[str, str]:
    if name in LATER:
        return "unsupported", f"this release does not support {name} yet: leave it out"
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(name)[:64], known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}" if known else ""
    return "unknown_field", f"there is no such field{hint}"


def _wanted(one: Mapping[str, Any]) -> str:
    kind = one["type"].removesuffix("_type")
    words = {"dict": "an object", "list": "an array", "string": "a string", "bool": "true or false", "int": "a whole"
             " number", "float": "a number", "model": "an object", "model_attributes": "an object"}  # fmt: skip
    return f"must be {words.get(kind, kind)}"


def _json_kind(value: object) -> str:
    names: dict[type, str] = {dict: "an object", list: "an array", str: "a string", bool: "true or false",
             int: "a number", float: "a fraction", type(None): "null"}  # fmt: skip
    return names.get(type(value), "something else")


def new_task(
    body: TaskBody, now: datetime, *, path: str = "", key: str | None = None, request_hash: bytes | None = None,
    submitted_by: str | None = None,
) -> tuple[NewTask, list[FieldProblem]]:  # fmt: skip
    """The task of a body, and what is wrong between its fields."""
    args = msgspec.json.encode(body.args) if body.args else b"{}"
    found = list(_conflicts(body, now, path, len(args))) if _worth_checking(body, len(args)) else []
    task = NewTask(
        name=body.name, args=args.decode(), queue=body.queue, priority=body.priority, run_at=body.run_at,
        delay=body.delay, timeout=body.timeout, max_tries=body.max_tries, backoff=body.backoff,
        expires_at=body.expires_at, exclusive=body.exclusive, retry_on_crash=body.retry_on_crash, tags=body.tags,
        metadata=body.metadata, idempotency_key=key, request_hash=request_hash, submitted_by=submitted_by,
    )  # fmt: skip
    return task, found


def _worth_checking(body: TaskBody, size: int) -> bool:
    return size > ARGS_BYTES or body.run_at is not None or body.expires_at is not None


def _conflicts(body: TaskBody, now: datetime, path: str, size: int) -> list[FieldProblem]:
    prefix = f"{path}." if path else ""
    found: list[FieldProblem] = []

    def add(field: str, code: str, detail: str) -> None:
        found.append(FieldProblem(field=prefix + field, code=code, detail=detail))

    if size > ARGS_BYTES:
        add("args", "too_large", f"{size} bytes encoded; at most {ARGS_BYTES} (256 KiB) are kept: store it elsewhere")
    if body.run_at is not None and body.delay is not None:
        add("delay", "conflict", "give either run_at or delay, not both")
    if body.run_at is not None and (wrong := far_off(body.run_at, now)):
        add("run_at", "out_of_range", wrong)
    start = body.run_at or now + timedelta(seconds=body.delay or 0)
    if body.expires_at is not None and body.expires_at <= max(start, now):
        add("expires_at", "out_of_range", "must be after run_at, and in the future: such a task would never start")
    elif body.expires_at is not None and (wrong := far_off(body.expires_at, now)):
        add("expires_at", "out_of_range", wrong)
    return found


def far_off(when: datetime, now: datetime) -> str | None:
    """Why a time is too far from now, None when it is not."""
    if when < now - PAST:
        return f"{when.isoformat()} is more than 24 hours ago: leave it out to run now"
    if when > now + FUTURE:
        return f"{when.isoformat()} is more than ten years ahead"
    return None


def now_utc() -> datetime:
    return datetime.now(UTC)
