"""`tasks cancel` and `tasks retry`: one task, or many by their ids or by what they have in common."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from api.cli import options, show
from api.cli.client import Client
from api.cli.exits import BAD_DATA, CommandFailed
from api.cli.tasks import number
from callboard.calls import add_up

MOST = 10_000  # tasks of one call
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...")]
State = Annotated[list[str] | None, typer.Option("--state", help="Repeatable.")]
Name = Annotated[str | None, typer.Option("--name")]
Queue = Annotated[str | None, typer.Option("--queue")]
Tag = Annotated[str | None, typer.Option("--tag")]
Worker = Annotated[str | None, typer.Option("--worker")]
Schedule = Annotated[str | None, typer.Option("--schedule")]
Workflow = Annotated[str | None, typer.Option("--workflow", metavar="ID")]
After = Annotated[str | None, typer.Option("--created-after", metavar="TIME")]
Before = Annotated[str | None, typer.Option("--created-before", metavar="TIME")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count them, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


def cancel_tasks(
    ids: Ids = None,
    state: State = None,
    name: Name = None,
    queue: Queue = None,
    tag: Tag = None,
    worker: Worker = None,
    schedule: Schedule = None,
    workflow: Workflow = None,
    created_after: After = None,
    created_before: Before = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Cancel a task, or many: waiting ones never start, running ones are stopped."""
    settings = options.client_settings(url, token, output)
    where = _filter(state, name, queue, tag, worker, schedule, workflow, created_after, created_before)
    with Client(settings) as client:
        if len(ids or ()) == 1 and not where and not dry_run:
            done = client.post(f"/tasks/{number((ids or [''])[0])}/cancel")
        else:
            done = _many(client, "cancel", ids, where, dry_run=dry_run, yes=yes)
    _show(done, settings.output)


def retry_tasks(
    ids: Ids = None,
    with_children: Annotated[
        bool, typer.Option("--with-children", help="Of one: also what was cancelled because it did not succeed.")
    ] = False,
    state: State = None,
    name: Name = None,
    queue: Queue = None,
    tag: Tag = None,
    worker: Worker = None,
    schedule: Schedule = None,
    workflow: Workflow = None,
    created_after: After = None,
    created_before: Before = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Post a finished task again, as a new one; or many, each once: by options, those that failed."""
    settings = options.client_settings(url, token, output)
    where = _filter(state, name, queue, tag, worker, schedule, workflow, created_after, created_before)
    alone = len(ids or ()) == 1 and not where and not dry_run
    if with_children and not alone:
        raise CommandFailed("--with-children is for one task (ID): leave it out, or name one", BAD_DATA)
    with Client(settings) as client:
        if alone:
            body = {"with_children": True} if with_children else None
            done = client.post(f"/tasks/{number((ids or [''])[0])}/retry", body)
        else:
            done = _many(client, "retry", ids, where, dry_run=dry_run, yes=yes)
    _show(done, settings.output)


def _filter(
    state: list[str] | None, name: str | None, queue: str | None, tag: str | None, worker: str | None,
    schedule: str | None, workflow: str | None, created_after: str | None, created_before: str | None,
) -> dict[str, Any]:  # fmt: skip
    given = {
        "state": state, "name": name, "queue": queue, "tag": tag, "worker": worker, "schedule": schedule,
        "workflow": workflow, "created_after": created_after, "created_before": created_before,
    }  # fmt: skip
    return {field: value for field, value in given.items() if value}


def _many(
    client: Client, verb: str, ids: list[str] | None, where: dict[str, Any], *, dry_run: bool, yes: bool
) -> dict[str, Any]:
    """All that is selected, in calls of bounded size; the counts together."""
    if ids and where:
        raise CommandFailed("either ids or options select tasks (ID): leave one of them out", BAD_DATA)
    if not ids and not where:
        raise CommandFailed("nothing is selected: name tasks (ID), or give an option like --state", BAD_DATA)
    if ids:
        chosen = [number(one) for one in ids]
        parts: list[dict[str, Any]] = [{"ids": chosen[start : start + MOST]} for start in range(0, len(chosen), MOST)]
    else:
        parts = [{"filter": where}]
    if not dry_run and not yes:
        _ask(verb, client.post(f"/tasks/{verb}", {**parts[0], "dry_run": True}))
    whole: dict[str, Any] = {}
    for part in parts:
        while True:
            done = client.post(f"/tasks/{verb}", {**part, "dry_run": dry_run})
            if not add_up(whole, done, repeats=not (dry_run or ids)):
                break
    return whole


def _ask(verb: str, counted: dict[str, Any]) -> None:
    """On a terminal only: a script has said what it wants."""
    if sys.stdin is not None and sys.stdin.isatty():
        count = f"{counted['matched']:,}{' or more' if counted['more'] else ''}"
        if not typer.confirm(f"{verb} {count} tasks?"):
            raise typer.Abort


def _show(done: dict[str, Any], output: str) -> None:
    if output == "json":
        show.as_json(done)
    else:
        show.record(done)
