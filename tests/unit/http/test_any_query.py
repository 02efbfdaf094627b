"""Whatever a query or a gRPC request asks for: a filter that the store understands, or a refusal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote_plus

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.model.errors import BadValue
from actors.model.ports import TaskFilter
from actors.model.strict_json import Malformed, loads, unstorable
from actors.model.submission import ARGS_BYTES
from actors.model.task import SHOWN_STATES, NewTask
from actors.model.times import instant
from api.http.ids import before_id_of, cursor_for
from api.http.listing import METADATA, MOST, PARAMETERS, listing, wait_seconds
from api.http.problems import Problem
from protos.generated.callboard import v1 as wire
from transport.tasks import filter_from_wire, new_task_from_wire, page_from_wire

BUDGET = settings(max_examples=150, deadline=None, derandomize=True, database=None)
ODD = st.text(max_size=20) | st.sampled_from(["0", "1", "queued", "2026-01-01T00:00:00Z", "\x00", "\ud800", "9" * 30])
NAMES = st.sampled_from([*PARAMETERS, "metadata.", "metadata.k", "nonsense", ""]) | st.text(max_size=8)


def must_be_whole(problem: Problem) -> None:
    assert problem.status in (400, 413, 422)
    assert json.loads(problem.body("r"))["detail"]


def must_be_short(error: ValueError | BadValue) -> None:
    """A line that names what is wrong, and repeats little of it."""
    assert 10 < len(str(error)) < 400
    assert not isinstance(error, BadValue) or error.field


def must_be_a_filter(where: TaskFilter) -> None:
    assert set(where.states) <= set(SHOWN_STATES)
    assert len(where.metadata) <= METADATA
    texts = [where.name, where.queue, where.tag, where.worker, *where.metadata, *where.metadata.values()]
    assert list(unstorable([text for text in texts if text is not None], "", search=True)) == []
    for moment in (where.created_after, where.created_before):
        assert moment is None or moment.tzinfo is not None


@BUDGET
@given(st.dictionaries(NAMES, st.lists(ODD, min_size=1, max_size=2), max_size=4))
def test_any_query_is_a_filter_or_a_problem(args: dict[str, list[str]]) -> None:
    try:
        found = listing(args)
    except Problem as problem:
        must_be_whole(problem)
        return
    must_be_a_filter(found.where)
    assert 1 <= found.limit <= MOST


@BUDGET
@given(st.integers(1, 2**63 - 1), st.text(max_size=30), st.text(max_size=30))
def test_a_cursor_is_good_for_its_own_query_only(before: int, query: str, other: str) -> None:
    cursor = cursor_for(before, query)
    assert before_id_of(cursor, query) == before
    for wrong in [other] if other != query else []:
        try:
            assert before_id_of(cursor, wrong) is None
        except Problem as problem:
            must_be_whole(problem)


@BUDGET
@given(st.text(max_size=100))
def test_any_cursor_is_refused(text: str) -> None:
    try:
        assert before_id_of(text, "a query") > 0
    except Problem as problem:
        must_be_whole(problem)


@BUDGET
@given(st.text(max_size=12) | st.floats().map(str))
def test_any_wait_is_seconds_up_to_a_minute_or_a_problem(text: str) -> None:
    try:
        assert 0 <= wait_seconds(parse_qs(f"wait={quote_plus(text.encode('utf-8', 'replace'))}")) <= 60
    except Problem as problem:
        must_be_whole(problem)


@BUDGET
@given(st.datetimes(timezones=st.sampled_from([UTC])))
def test_every_time_that_exists_is_read_as_it_was_written(moment: datetime) -> None:
    assert instant(moment.isoformat()) == moment
    assert instant(moment.isoformat().replace("+00:00", "Z")) == moment


@BUDGET
@given(st.text(max_size=30) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:]{5,8}(Z|[+-][0-9]{2}:[0-9]{2})?"))
def test_any_text_is_a_time_with_a_zone_or_refused(text: str) -> None:
    try:
        assert instant(text).utcoffset() is not None
    except ValueError as error:
        must_be_short(error)


# --- the same by gRPC -----------------------------------------------------------------------------

CLEAN = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)  # protobuf has no lone surrogates
MAPS = st.dictionaries(CLEAN, CLEAN, max_size=3)
MAYBE = st.none() | CLEAN
NUMBERS = st.none() | st.integers(0, 2**32 - 1)
FLOATS = st.none() | st.floats()
JSONS = st.sampled_from(["", "{}", "[]", '{"x": 1}', '{"x": "\\u0000"}', '{"x": NaN}', '{"a": 1, "a": 2}', "5"]) | CLEAN


@BUDGET
@given(
    st.fixed_dictionaries(
        {"name": CLEAN | st.just("job"), "args": JSONS, "tags": st.lists(CLEAN, max_size=3), "metadata": MAPS},
        optional={
            "queue": MAYBE, "priority": NUMBERS, "run_at": MAYBE, "delay": FLOATS, "timeout": FLOATS,
            "max_tries": NUMBERS, "backoff": st.none() | JSONS, "expires_at": MAYBE, "exclusive": st.booleans(),
            "idempotency_key": MAYBE, "submitted_by": MAYBE,
        },
    )
)  # fmt: skip
def test_any_submission_by_grpc_is_a_task_or_names_a_field(values: dict[str, Any]) -> None:
    try:
        task = new_task_from_wire(wire.NewTask(**values), datetime.now(UTC))
    except BadValue as error:
        must_be_short(error)
        return
    assert isinstance(task, NewTask)
    assert isinstance(json.loads(task.args), dict)
    assert len(task.args.encode()) <= ARGS_BYTES


@BUDGET
@given(
    st.lists(CLEAN | st.sampled_from(SHOWN_STATES), max_size=2), MAYBE, MAYBE, MAPS, st.integers(0, 2**32 - 1), CLEAN
)
def test_any_listing_by_grpc_is_a_filter_or_names_a_field(
    states: list[str], name: str | None, moment: str | None, metadata: dict[str, str], limit: int, cursor: str
) -> None:
    request = wire.ListTasksRequest(
        states=states, name=name, created_after=moment, metadata=metadata, limit=limit, cursor=cursor
    )
    try:
        found, _ = filter_from_wire(request), page_from_wire(request)
    except BadValue as error:
        must_be_short(error)
        return
    must_be_a_filter(found)


@BUDGET
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | CLEAN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CLEAN, inner, max_size=3), max_leaves=8,
))  # fmt: skip
def test_strict_json_reads_what_json_wrote(value: Any) -> None:
    assert loads(json.dumps(value).encode(), "the text") == value


@BUDGET
@given(st.binary(max_size=40))
def test_strict_json_refuses_nothing_that_it_can_not_name(raw: bytes) -> None:
    try:
        loads(raw, "the text")
    except Malformed as error:
        must_be_short(error)
