"""Parameters of listings that have no filters."""

from __future__ import annotations

from quart import request

from actors.model.wrong import shown
from api.http.ids import before_id_of
from api.http.problems import FieldProblem, invalid
from api.http.reading import unknown_parameter


def page_of(query: str, default: int, most: int) -> tuple[int, int | None]:
    """Limit, and the id below which to go on, of a listing that takes nothing else. Raises Problem 400, 422."""
    only("limit", "cursor")
    cursor = request.args.get("cursor")
    return number_of("limit", default, most), None if cursor is None else before_id_of(cursor, query)


def only(*known: str) -> None:
    """Raises Problem 422 for any other parameter, and for one that is there twice."""
    for name in request.args:
        if name not in known:
            raise unknown_parameter(name, known)
        if len(request.args.getlist(name)) > 1:
            raise invalid([FieldProblem(field=name, code="twice", detail="the parameter is there twice")])


def number_of(name: str, default: int, most: int) -> int:
    """A parameter from 1 to `most`. Raises Problem 422."""
    text = request.args.get(name, str(default))
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= number <= most:
        detail = f"must be a whole number from 1 to {most}, got {shown(text)}"
        raise invalid([FieldProblem(field=name, code="out_of_range", detail=detail)])
    return number
