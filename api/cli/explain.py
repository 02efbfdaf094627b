"""`tasks explain` and `tasks attempts`: why a task waits, where it went, what became of its attempts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from api.cli import options, show
from api.cli.client import Client
from api.cli.tasks import number


def explain_task(
    task_id: Annotated[str, typer.Argument(metavar="ID")],
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Why a task waits, where it went, why it is not tried again."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        found = client.get(f"/tasks/{number(task_id)}/explain")
    if settings.output == "json":
        show.as_json(found)
    else:
        for line in lines(found):
            print(line)


def lines(found: dict[str, Any]) -> list[str]:
    """The explanation for people."""
    told = [f"task {found['id']} ({found['name']}): {found['summary']}"]
    if len(found["reasons"]) > 1:
        told += [f"  {place}. {reason['detail']}" for place, reason in enumerate(found["reasons"], 1)]
    told += [f"  {found[field]}" for field in ("placement", "retry") if found[field] is not None]
    return told


_ATTEMPTS = ("attempt", "outcome", "worker", "assigned_at", "ended_at", "why")


def list_attempts(
    task_id: Annotated[str, typer.Argument(metavar="ID")],
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Attempts that ended otherwise than with success, and refused late outcomes."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        page = client.get(f"/tasks/{number(task_id)}/attempts")
    if settings.output == "json":
        show.as_json(page)
    else:
        show.table([{**one, "why": _why(one)} for one in page["items"]], _ATTEMPTS, empty="no such attempts")


def _why(attempt: dict[str, Any]) -> str | None:
    error = attempt["error"]
    late = "refused: the attempt was superseded" if not attempt["accepted"] else None
    return f"{error.get('type')}: {error.get('message')}" if isinstance(error, dict) else late
