"""Every message survives the wire; bytes that are none end in CodecError and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.model import link as model
from actors.model.columns import Assignment, Outcomes, Verdict
from actors.model.lease import FAST, LeaseTerms
from actors.model.worker import HandlerInfo, Held, WorkerInfo
from protos.generated.callboard import v1 as wire
from transport.codec import coordinator_from_wire, coordinator_to_wire, worker_from_wire, worker_to_wire
from transport.columns import MAX_BODIES, CodecError, split_assignment
from transport.wire import MAX_MESSAGE, Codec, parse

KEY = b"k" * 16
HELD = [Held(1, 1, KEY), Held(2**40, 7, b"q" * 16), Held(3, 2, KEY)]


def an_assignment(payloads: list[bytes]) -> Assignment:
    count = len(payloads)
    return Assignment(
        KEY,
        list(range(1, count + 1)),
        [1] * count,
        ["one", "two"],
        [at % 2 for at in range(count)],
        [0] * count,
        [at % 4 for at in range(count)],
        [len(one) for one in payloads],
        b"".join(payloads),
        5,
    )


def outcomes(bodies: list[bytes]) -> Outcomes:
    count = len(bodies)
    return Outcomes(
        [KEY, b"q" * 16],
        [at % 2 for at in range(count)],
        list(range(count)),
        [1] * count,
        [at % 9 for at in range(count)],
        [len(body) for body in bodies],
        b"".join(bodies),
    )


HELLO = model.Hello(
    worker=WorkerInfo(
        id="w-1",
        name="w",
        slots=4,
        queues=["images"],
        handlers=[
            HandlerInfo(name="plain"),
            HandlerInfo(name="full", queue="q", max_tries=2, timeout=1.5, backoff={"base": 1}, args={"x": "int"}),
        ],
        labels={"zone": "a"},
        version="1.0",
        http_address="http://h:1",
    ),
    secret=b"s" * 32,
    session=2**62,
    running=HELD,
    token="t",
)
FROM_WORKER: list[model.WorkerMessage] = [
    HELLO,
    model.Heartbeat(sequence=2**40, running=3, loop_lag=0.25, health={"link": {"ok": True}}),
    model.Accepted(KEY),
    model.Accepted(KEY, [1, 2**40]),
    model.Started(HELD),
    model.Report(9, outcomes([b"null", b'"\xc3\xa9"', b"", b"{}"])),
    model.Progress([(1, 2, '{"done":1}'), (2, 1, "{}")]),
    model.Draining(),
    model.Goodbye(moving=True),
    model.Tree('{"name":"root"}'),
    model.Unsupported("what?"),
]
FROM_COORDINATOR: list[model.CoordinatorMessage] = [
    model.Welcome(session=1, epoch=2, terms=FAST, coordinators=["http://a:1"], stop=HELD, resumed=True, unnamed=HELD),
    model.Assign(an_assignment([b"{}", b'{"x":1}', b"{}"])),
    model.Cancel(HELD, "cancelled"),
    model.HeartbeatReply(
        sequence=4, lease=model.Lease.FROZEN, confirmed=3, coordinators=["x"], database_ok=False, database_age=1.5
    ),
    model.Committed(7, [Verdict.ACCEPTED, Verdict.FENCED, Verdict.ACCEPTED_BEFORE]),
    model.Drain("update"),
    model.Pause(True),
    model.Reject("no", False),
    model.Unsupported(""),
]


def as_sent(message: Any, message_type: Any) -> Any:
    return parse(Codec().encode(message, message_type), message_type)


def normal(message: Any) -> Any:
    """Tuples and lists alike."""
    return repr(message).replace("(", "[").replace(")", "]")


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda one: type(one).__name__)
def test_what_a_worker_says_arrives_as_it_was(message: model.WorkerMessage) -> None:
    [sent] = worker_to_wire(message)
    assert normal(worker_from_wire(as_sent(sent, wire.WorkerMessage))) == normal(message)


@pytest.mark.parametrize("message", FROM_COORDINATOR, ids=lambda one: type(one).__name__)
def test_what_a_coordinator_says_arrives_as_it_was(message: model.CoordinatorMessage) -> None:
    [sent] = coordinator_to_wire(message)
    got = coordinator_from_wire(as_sent(sent, wire.CoordinatorMessage))
    if isinstance(message, model.Welcome):
        assert isinstance(got, model.Welcome)
        assert (got.terms.heartbeat, got.terms.lease, got.stop) == (FAST.heartbeat, FAST.lease, HELD)
    else:
        assert normal(got) == normal(message)


def test_there_is_a_round_trip_for_every_kind() -> None:
    assert {type(one) for one in FROM_WORKER} == set(model.WorkerMessage.__args__)
    assert {type(one) for one in FROM_COORDINATOR} == set(model.CoordinatorMessage.__args__)


def test_a_message_of_a_newer_release_is_unknown_and_no_error() -> None:
    newer = b"\xfa\x3e\x03abc"  # field 1007, three bytes
    assert isinstance(worker_from_wire(parse(newer, wire.WorkerMessage)), model.Unknown)
    assert isinstance(coordinator_from_wire(parse(newer, wire.CoordinatorMessage)), model.Unknown)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=60), st.integers(1, 120))
def test_the_parts_of_an_assignment_are_the_whole(payloads: list[bytes], limit: int) -> None:
    whole = an_assignment(payloads)
    parts = list(split_assignment(whole, limit))
    assert [task for part in parts for task in part.ids] == whole.ids
    assert b"".join(part.payloads for part in parts) == whole.payloads
    for part in parts:
        assert sum(part.sizes) == len(part.payloads)
        assert len(part.payloads) <= limit or len(part) == 1


def test_progress_is_cut_below_the_limit() -> None:
    values = [(at, 1, "x" * 8000) for at in range(40)]
    parts = list(worker_to_wire(model.Progress(values)))
    assert all(len(bytes(part)) <= MAX_BODIES + 4096 for part in parts)
    got = [worker_from_wire(part) for part in parts]
    assert [value for one in got if isinstance(one, model.Progress) for value in one.values] == values


HOSTILE_WORKER = {
    "ragged column": wire.WorkerMessage(outcomes=wire.Outcomes(ids=b"1234567")),
    "short key": wire.WorkerMessage(accepted=wire.Accepted(key=b"short")),
    "columns of different length": wire.WorkerMessage(
        started=wire.Started(attempts=wire.Attempts(ids=bytes(16), attempts=bytes(4)))
    ),
    "key that is not there": wire.WorkerMessage(
        started=wire.Started(attempts=wire.Attempts(ids=bytes(8), attempts=bytes(4), key_index=bytes(4)))
    ),
    "empty report": wire.WorkerMessage(outcomes=wire.Outcomes(sequence=1)),
    "kind that does not exist": wire.WorkerMessage(
        outcomes=wire.Outcomes(
            keys=KEY, key_index=bytes(4), ids=bytes(8), attempts=bytes(4), kinds=b"\x63\0\0\0", sizes=bytes(4)
        )
    ),
    "sizes that do not add up": wire.WorkerMessage(
        outcomes=wire.Outcomes(
            keys=KEY, key_index=bytes(4), ids=bytes(8), attempts=bytes(4), kinds=bytes(4), sizes=b"\xff\xff\xff\xff"
        )
    ),
    "body that is not text": wire.WorkerMessage(
        outcomes=wire.Outcomes(
            keys=KEY,
            key_index=bytes(4),
            ids=bytes(8),
            attempts=bytes(4),
            kinds=bytes(4),
            sizes=b"\x01\0\0\0",
            bodies=b"\xff",
        )
    ),
    "cut character": wire.WorkerMessage(
        outcomes=wire.Outcomes(
            keys=KEY,
            key_index=bytes(8),
            ids=bytes(16),
            attempts=bytes(8),
            kinds=bytes(8),
            sizes=b"\x01\0\0\0\x01\0\0\0",
            bodies="é".encode(),
        )
    ),
    "health that is a list": wire.WorkerMessage(heartbeat=wire.Heartbeat(health="[1]")),
    "health nested without end": wire.WorkerMessage(heartbeat=wire.Heartbeat(health="[" * 100_000)),
    "session above bigint": wire.WorkerMessage(hello=wire.Hello(session=2**63)),
}
HOSTILE_COORDINATOR = {
    "assignment without tasks": wire.CoordinatorMessage(assign=wire.Assign(key=KEY)),
    "name that is not there": wire.CoordinatorMessage(
        assign=wire.Assign(
            key=KEY,
            ids=bytes(8),
            attempts=bytes(4),
            name_index=bytes(4),
            timeouts=bytes(4),
            flags=bytes(4),
            sizes=bytes(4),
        )
    ),
    "verdict that does not exist": wire.CoordinatorMessage(outcomes_committed=wire.OutcomesCommitted(verdicts=b"\x09")),
    "unsound terms": wire.CoordinatorMessage(welcome=wire.Welcome(terms=wire.LeaseTerms(heartbeat=9, lease=1))),
}


@pytest.mark.bad_input("GR15", "GR19")
@pytest.mark.parametrize("name", HOSTILE_WORKER)
def test_a_worker_that_breaks_the_contract_is_refused(name: str) -> None:
    with pytest.raises(CodecError):
        worker_from_wire(as_sent(HOSTILE_WORKER[name], wire.WorkerMessage))


@pytest.mark.bad_input("GR28")
@pytest.mark.parametrize("name", HOSTILE_COORDINATOR)
def test_a_coordinator_that_breaks_the_contract_is_refused(name: str) -> None:
    with pytest.raises(CodecError):
        coordinator_from_wire(as_sent(HOSTILE_COORDINATOR[name], wire.CoordinatorMessage))


SEEDS = [bytes(made) for one in FROM_WORKER for made in worker_to_wire(one)]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.sampled_from(SEEDS)), st.data())
def test_any_bytes_are_a_message_or_a_codec_error(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 4))):
        if changed:
            changed[draw.draw(st.integers(0, len(changed) - 1))] = draw.draw(st.integers(0, 255))
    for message_type, read in (
        (wire.WorkerMessage, worker_from_wire),
        (wire.CoordinatorMessage, coordinator_from_wire),
    ):
        try:
            read(parse(bytes(changed), message_type))
        except CodecError:
            pass


def test_a_megabyte_of_unknown_fields_is_read_at_once() -> None:
    assert parse(b"\xf8\x07\x01" * 300_000, wire.WorkerMessage) == wire.WorkerMessage()


def test_a_field_of_another_type_than_the_contracts_is_left_out() -> None:
    assert worker_from_wire(parse(b"\x4a\x02\x08\x05", wire.WorkerMessage)) == model.Tree("")  # json = varint 5


def test_a_message_above_the_limit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(CodecError, match="at most"):
        Codec().encode(wire.WorkerMessage(tree=wire.Tree(json="x" * MAX_MESSAGE)), wire.WorkerMessage)


def test_unset_terms_are_the_defaults() -> None:
    got = coordinator_from_wire(wire.CoordinatorMessage(welcome=wire.Welcome(session=1)))
    assert isinstance(got, model.Welcome)
    assert got.terms == LeaseTerms()
