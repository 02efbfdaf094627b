"""What a submission may be: one judge for every door it may come through."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from actors.model.fields import (
    Anything,
    Choice,
    Entries,
    Field,
    Ids,
    Instant,
    Kind,
    Name,
    Period,
    Seconds,
    Switch,
    Text,
    Texts,
    Wait,
    Whole,
)
from actors.model.ports import TaskPatch
from actors.model.task import DEFAULT_PRIORITY, NewTask
from actors.model.wrong import Wrong, json_kind

ARGS_BYTES = 262_144  # of the encoded arguments
BATCH = 10_000  # tasks of one submission
FUTURE = timedelta(days=3653)
PAST = timedelta(hours=24)  # older is a mistake, not a wish
MOST_PARENTS = 10_000

_NAME, _PRIORITY = Name(200), Whole(1, 4)
_PRIORITIES = "1 urgent, 2 normal, 3 low, 4 background"
TASK: Mapping[str, Field] = {
    "name": Field(kind=_NAME, required=True),
    "args": Field(kind=Anything(), description="At most 256 KiB encoded"),
    "queue": Field(kind=_NAME, nullable=True),
    "priority": Field(kind=_PRIORITY, default=DEFAULT_PRIORITY, description=_PRIORITIES),
    "run_at": Field(kind=Instant(), nullable=True),
    "delay": Field(kind=Seconds(FUTURE.total_seconds()), nullable=True, description="Seconds; instead of run_at"),
    "timeout": Field(kind=Seconds(86_400, above=True), nullable=True, description="Seconds for one attempt"),
    "max_tries": Field(kind=Whole(1, 1000), nullable=True),
    "backoff": Field(kind=Wait(), nullable=True, description="Seconds before the next try: a number, or an object"),
    "tags": Field(kind=Texts(Text(128), 32)),
    "metadata": Field(kind=Entries(Text(128), Text(1024, 0), 64)),
    "expires_at": Field(kind=Instant(), nullable=True, description="Not started after this time"),
    "exclusive": Field(kind=Switch(), default=False),
    "retry_on_crash": Field(kind=Switch(), default=True),
    "requirements": Field(kind=Entries(Text(63), Text(256, 0), 16), description="Labels that a worker must have"),
    "concurrency_key": Field(
        kind=Text(200), nullable=True, description="Whose turn it is, in a queue with such limits"
    ),
    "weight": Field(kind=Whole(1, 1000), default=1, description="Slots that it takes, also in limits"),
    "affinity_key": Field(kind=Text(200), nullable=True, description="Goes where tasks with the same one go"),
    "unique_key": Field(kind=Text(200), nullable=True, description="One task at a time has it"),
    "unique_until": Field(
        kind=Period(("started", "finished"), FUTURE.total_seconds()),
        default="finished",
        description="How long unique_key is taken; a number: seconds since the task was posted",
    ),
    "on_duplicate": Field(
        kind=Choice("existing", "replace"),
        default="existing",
        description="When unique_key is taken: get that task, or take the place of it while it waits",
    ),
    "depends_on": Field(kind=Ids(MOST_PARENTS), description="Ids of tasks that must have ended before"),
    "on_parent_failure": Field(
        kind=Choice("cancel", "run"),
        default="cancel",
        description="When one of depends_on did not succeed",
    ),
    "inputs": Field(
        kind=Text(200), nullable=True, description="The argument that gets the results of depends_on: {id: result}"
    ),
}
PATCH: Mapping[str, Field] = {
    "run_at": Field(kind=Instant(), nullable=True, description="null: now"),
    "priority": Field(kind=_PRIORITY, description=_PRIORITIES),
    "queue": Field(kind=_NAME, nullable=True, description="null: as the handler declares"),
}
# Fields that are judged beside others.
_TOGETHER = frozenset({"run_at", "expires_at", "unique_until", "on_duplicate", "on_parent_failure", "inputs"})
RETRY: Mapping[str, Field] = {
    "with_children": Field(kind=Switch(), default=False, description="Also what it had cancelled by not succeeding")
}
SUBMITTER: Kind = Name(200)
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
KEY_WANTED = "must be there once, with 1 to 255 printable ASCII characters without spaces"


def is_key(text: str) -> bool:
    """Whether a client may use this as an idempotency key; if not, KEY_WANTED says what would be right."""
    return _KEY.fullmatch(text) is not None


def read_fields(value: object, known: Mapping[str, Field], where: str, found: list[Wrong]) -> dict[str, Any]:
    """The fields that are given, converted. Everything that is wrong with one of them is appended to `found`."""
    if type(value) is not dict:
        found.append(Wrong(where, "wrong_type", f"must be an object, not {json_kind(value)}"))
        return {}
    prefix = f"{where}." if where else ""
    for name, field in known.items():
        if field.required and name not in value:
            found.append(Wrong(prefix + name, "missing", "this field is required"))
    made: dict[str, Any] = {}
    for name, given in value.items():
        one = known.get(name)
        if one is None:
            found.append(unknown(name, prefix, known))
        elif given is None and one.nullable:
            made[name] = None
        else:
            made[name] = one.kind.read(given, prefix + name, found)
    return made


def read_task(
    value: object, now: datetime, encode: Callable[[Any], str], *, where: str = "", key: str | None = None,
    request_hash: bytes | None = None, submitted_by: str | None = None,
) -> tuple[NewTask | None, list[Wrong]]:  # fmt: skip
    """The task that a JSON object asks for, and what is wrong with it; None when anything is.

    `encode` gives the text under which its arguments are kept.
    """
    found: list[Wrong] = []
    made = read_fields(value, TASK, where, found)
    if submitted_by is not None:
        SUBMITTER.read(submitted_by, f"{where}.submitted_by" if where else "submitted_by", found)
    if found:
        return None, found
    given = made.pop("args", None)
    args = encode(given) if given else "{}"
    if len(args) * 4 > ARGS_BYTES or not made.keys().isdisjoint(_TOGETHER):
        found = _between(made, now, f"{where}." if where else "", len(args.encode()))
        if found:
            return None, found
    return NewTask(
        args=args, idempotency_key=key, request_hash=request_hash, submitted_by=submitted_by, **made
    ), found  # fmt: skip


def read_patch(value: object, now: datetime) -> tuple[TaskPatch | None, list[Wrong]]:
    """The change that a JSON object asks for, and what is wrong with it; None when anything is."""
    found: list[Wrong] = []
    made = read_fields(value, PATCH, "", found)
    if not found and not made:
        found.append(Wrong("", "missing", "give run_at, priority or queue"))
    if not found and made.get("run_at") is not None and (wrong := _far_off(made["run_at"], now)):
        found.append(Wrong("run_at", "out_of_range", wrong))
    return (None if found else TaskPatch(fields=frozenset(made), **made)), found


def fingerprint(value: Any) -> bytes:
    """Of what was meant, whatever the order of keys and the spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).digest()


def unknown(name: str, prefix: str, known: Mapping[str, Field]) -> Wrong:
    field = f"{prefix}{name[:64]}"
    close = difflib.get_close_matches(name[:64], known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}" if known else ""
    return Wrong(field, "unknown_field", f"there is no such field{hint}")


def _between(made: Mapping[str, Any], now: datetime, prefix: str, size: int) -> list[Wrong]:
    """What is wrong between fields that are right by themselves."""
    found: list[Wrong] = []

    def add(field: str, code: str, detail: str) -> None:
        found.append(Wrong(prefix + field, code, detail))

    run_at, delay, expires_at = made.get("run_at"), made.get("delay"), made.get("expires_at")
    if size > ARGS_BYTES:
        add("args", "too_large", f"{size} bytes encoded; at most {ARGS_BYTES} (256 KiB) are kept: store it elsewhere")
    if run_at is not None and delay is not None:
        add("delay", "conflict", "give either run_at or delay, not both")
    if run_at is not None and (wrong := _far_off(run_at, now)):
        add("run_at", "out_of_range", wrong)
    start = run_at or now + timedelta(seconds=delay or 0)
    if expires_at is not None and expires_at <= max(start, now):
        add("expires_at", "out_of_range", "must be after run_at, and in the future: such a task would never start")
    elif expires_at is not None and (wrong := _far_off(expires_at, now)):
        add("expires_at", "out_of_range", wrong)
    for field in ("unique_until", "on_duplicate"):
        if field in made and made.get("unique_key") is None:
            add(field, "conflict", "means something beside unique_key only: give one, or leave this out")
    for field in ("on_parent_failure", "inputs"):
        if made.get(field) is not None and not made.get("depends_on"):
            add(field, "conflict", "means something beside depends_on only: give some, or leave this out")
    return found


def _far_off(when: datetime, now: datetime) -> str | None:
    """Why a time is too far from now, None when it is not."""
    if when < now - PAST:
        return f"{when.isoformat()} is more than 24 hours ago: leave it out to run now"
    if when > now + FUTURE:
        return f"{when.isoformat()} is more than ten years ahead"
    return None
