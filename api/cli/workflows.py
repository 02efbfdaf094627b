"""`workflows …`."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import typer

from api.cli import options, show
from api.cli.client import Client
from api.cli.tasks import number, read_json

_COLUMNS = ("id", "name", "state", "done", "total", "created_at", "finished_at")
Id = Annotated[str, typer.Argument(metavar="ID")]

workflows = typer.Typer(help="Post graphs of tasks, and see how far they have come.", no_args_is_help=True)


@workflows.command("submit")
def submit_workflow(
    file: Annotated[str, typer.Argument(metavar="FILE", help='JSON {"name", "tasks": [...]}; - for stdin.')],
    idempotency_key: Annotated[str | None, typer.Option("--idempotency-key")] = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Post a graph of tasks, all or nothing."""
    settings = options.client_settings(url, token, output)
    body = read_json(file)
    key = secrets.token_hex(8) if idempotency_key is None else idempotency_key
    with Client(settings) as client:
        _show_one(client.post("/workflows", body, {"Idempotency-Key": key}), settings.output)


@workflows.command("list")
def list_workflows(
    limit: Annotated[int, typer.Option("--limit", min=1, max=100)] = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="From the answer before.")] = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """The newest workflows."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        page = client.get("/workflows", limit=limit, cursor=cursor)
    if settings.output == "json":
        show.as_json(page)
        return
    show.table(page["items"], _COLUMNS, empty="no workflows")
    if page.get("next_cursor"):
        show.say(f"[dim]more: --cursor {page['next_cursor']}[/dim]")


@workflows.command("get")
def get_workflow(
    workflow: Id, url: options.Url = None, token: options.Token = None, output: options.Output = None
) -> None:
    """One workflow, and how many of its tasks are in which state."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        _show_one(client.get(f"/workflows/{number(workflow)}"), settings.output)


@workflows.command("cancel")
def cancel_workflow(
    workflow: Id, url: options.Url = None, token: options.Token = None, output: options.Output = None
) -> None:
    """Cancel whatever of it has not ended."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        _show_one(client.post(f"/workflows/{number(workflow)}/cancel"), settings.output)


def _show_one(value: Any, output: str) -> None:
    if output == "json":
        show.as_json(value)
    else:
        show.record(value)
