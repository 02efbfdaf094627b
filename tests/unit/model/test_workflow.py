"""Which graphs are taken, and in which order their tasks are stored."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.model.workflow import NewWorkflow, read_workflow
from actors.model.wrong import Wrong

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def read(value: Any) -> tuple[NewWorkflow | None, list[Wrong]]:
    return read_workflow(value, NOW, json.dumps)


def graph(**parents: list[str]) -> dict[str, Any]:
    return {"tasks": [{"ref": ref, "name": "job", "depends_on": mine} for ref, mine in parents.items()]}


def test_parents_come_before_their_children() -> None:
    made, found = read({"name": "night", **graph(d=["b", "c"], b=["a"], c=["a"], a=[])})
    assert (made is not None, found) == (True, [])
    assert made is not None
    assert (made.name, list(made.refs)) == ("night", ["a", "b", "c", "d"])
    assert made.parents == [[], [0], [0], [1, 2]]


@pytest.mark.parametrize(
    ("value", "field", "code", "words"),
    [
        ([], "", "wrong_type", "must be an object"),
        ({}, "tasks", "missing", "required"),
        ({"tasks": {}}, "tasks", "wrong_type", "must be an array"),
        ({"tasks": []}, "tasks", "out_of_range", "1 to 10,000"),
        ({"tasks": [1]}, "tasks[0]", "wrong_type", "must be an object"),
        ({"tasks": [{"name": "job"}]}, "tasks[0].ref", "missing", "required"),
        ({"tasks": [{"ref": "a"}]}, "tasks[0].name", "missing", "required"),
        ({"tasks": [{"ref": "a", "name": "job", "priority": 9}]}, "tasks[0].priority", "out_of_range", "1 to 4"),
        ({"tasks": [{"ref": "a", "name": "job", "unique_key": "k"}]}, "tasks[0].unique_key", "conflict", "single"),
        ({"name": 1, **graph(a=[])}, "name", "wrong_type", "a string"),
        ({"nam": "x", **graph(a=[])}, "nam", "unknown_field", "did you mean name"),
        (graph(a=["b"]), "tasks[0].depends_on[0]", "invalid", "no task of this workflow has the ref 'b'"),
        (graph(a=["a"]), "tasks[0].depends_on[0]", "conflict", "can't wait for itself"),
        (graph(a=[], b=["a", 1]), "tasks[1].depends_on[1]", "wrong_type", "a string"),  # type: ignore[list-item]
        ({"tasks": [{"ref": "a", "name": "job"}] * 2}, "tasks[1].ref", "conflict", "the ref of tasks[0] already"),
        (graph(a=["c"], b=["a"], c=["b"], d=["c"]), "tasks", "cycle", "a → b → c → a"),
        ({"tasks": [{"ref": "a", "name": "job", "on_parent_failure": "run"}]}, "tasks[0].on_parent_failure",
         "conflict", "beside depends_on"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_refused_by_name(value: Any, field: str, code: str, words: str) -> None:
    made, found = read(value)
    assert made is None
    assert [(one.field, one.code) for one in found] == [(field, code)]
    assert words in found[0].detail


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=20))
def test_a_graph_is_taken_whole_or_its_circle_is_named(wanted: list[list[int]]) -> None:
    refs = [f"t{index}" for index in range(len(wanted))]
    parents = {
        ref: sorted({refs[one % len(refs)] for one in mine if one % len(refs) != index})
        for index, (ref, mine) in enumerate(zip(refs, wanted, strict=True))
    }
    made, found = read(graph(**parents))
    if made is not None:
        for place, (ref, mine) in enumerate(zip(made.refs, made.parents, strict=True)):
            assert all(parent < place for parent in mine)
            assert sorted(made.refs[parent] for parent in mine) == parents[ref]
        assert sorted(made.refs) == sorted(refs)
    else:
        [wrong] = found
        circle = wrong.detail.partition(": ")[2].split(" → ")
        assert circle[0] == circle[-1]
        for parent, child in itertools.pairwise(circle):
            assert parent in parents[child]
