"""`schedules …`."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from api.cli import options, show
from api.cli.client import Client
from api.cli.exits import BAD_DATA, CommandFailed
from api.cli.tasks import finite, read_args

_COLUMNS = ("name", "when", "timezone", "overlap", "paused", "last_slot_at", "next_slot_at")
_SLOT_COLUMNS = ("id", "slot", "kind", "state", "task", "count", "until", "dst", "reason")
_PREVIEW_COLUMNS = ("slot", "local", "runs", "dst", "skipped")
Name = Annotated[str, typer.Argument(metavar="NAME")]

schedules = typer.Typer(help="Look at schedules and change them.", no_args_is_help=True)


@schedules.command("list")
def list_schedules(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 100,
    cursor: Annotated[str | None, typer.Option("--cursor", help="From the answer before.")] = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """All schedules, the newest first."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        page = client.get("/schedules", limit=limit, cursor=cursor)
    rows = [{**item, "when": when(item)} for item in page["items"]]
    _show_page(page, rows, settings.output, _COLUMNS, "no schedules")


@schedules.command("get")
def get_schedule(
    name: Name, url: options.Url = None, token: options.Token = None, output: options.Output = None
) -> None:
    """One schedule with everything that is known of it."""
    _ask("GET", name, "", url, token, output)


@schedules.command("put")
def put_schedule(
    name: Name,
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Name of the handler.")] = None,
    args: Annotated[str | None, typer.Option("--args", help="JSON object, @FILE, or @- for stdin.")] = None,
    cron: Annotated[str | None, typer.Option("--cron", help='Like "30 2 * * 1-5", or @daily.')] = None,
    every: Annotated[float | None, typer.Option("--every", help="Seconds.", callback=finite)] = None,
    at: Annotated[str | None, typer.Option("--at", help="Once, at a time like 2026-01-31T12:00:00Z.")] = None,
    seconds: Annotated[bool, typer.Option("--seconds", help="--cron has six fields, seconds first.")] = False,
    timezone: Annotated[str | None, typer.Option("--timezone", help="Of --cron; an IANA name.")] = None,
    overlap: Annotated[str | None, typer.Option("--overlap", metavar="allow|skip|queue_one|cancel_running")] = None,
    catch_up: Annotated[str | None, typer.Option("--catch-up", metavar="none|last|all")] = None,
    jitter: Annotated[float | None, typer.Option("--jitter", help="Seconds.", callback=finite)] = None,
    queue: Annotated[str | None, typer.Option("--queue")] = None,
    body: Annotated[str | None, typer.Option("--body", help="All of it as JSON, @FILE, or @- for stdin.")] = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Create a schedule, or replace its definition."""
    settings = options.client_settings(url, token, output)
    if body is not None:
        if task is not None or any(one is not None for one in (args, cron, every, at, timezone, overlap, catch_up)):
            raise CommandFailed("--body says all of it: leave the other options out (--body)", BAD_DATA)
        definition = read_args(body)
    else:
        if task is None:
            raise CommandFailed("the handler's name is missing (TASK): write it after the schedule's name", BAD_DATA)
        template = {"name": task, "args": read_args(args), **({} if queue is None else {"queue": queue})}
        given = {
            "cron": cron, "every": every, "at": at, "seconds": seconds or None, "timezone": timezone,
            "overlap": overlap, "catch_up": catch_up, "jitter": jitter,
        }  # fmt: skip
        definition = {"task": template, **{key: value for key, value in given.items() if value is not None}}
    with Client(settings) as client:
        _show_one(client.put(f"/schedules/{_path(name)}", definition), settings.output)


@schedules.command("delete")
def delete_schedule(
    name: Name, url: options.Url = None, token: options.Token = None, output: options.Output = None
) -> None:
    """Delete a schedule; its tasks stay."""
    _ask("DELETE", name, "", url, token, output)


@schedules.command("pause")
def pause_schedule(
    name: Name,
    reason: Annotated[str | None, typer.Option("--reason", help="For whoever asks later.")] = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Fire nothing, until resumed."""
    _ask("POST", name, "/pause", url, token, output, {} if reason is None else {"reason": reason})


@schedules.command("resume")
def resume_schedule(
    name: Name, url: options.Url = None, token: options.Token = None, output: options.Output = None
) -> None:
    """Fire again, from now on: nothing of the pause."""
    _ask("POST", name, "/resume", url, token, output)


@schedules.command("trigger")
def trigger_schedule(
    name: Name, url: options.Url = None, token: options.Token = None, output: options.Output = None
) -> None:
    """Fire once, now, paused or not."""
    _ask("POST", name, "/trigger", url, token, output)


@schedules.command("backfill")
def backfill_schedule(
    name: Name,
    start: Annotated[str, typer.Option("--from", help="A time of the past, like 2026-01-31T00:00:00Z.")],
    until: Annotated[str, typer.Option("--until", help="Another one, after it.")],
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Post the nominal times of the past that have not fired, oldest first."""
    _ask("POST", name, "/backfill", url, token, output, {"from": start, "until": until})


@schedules.command("preview")
def preview_schedule(
    name: Name,
    count: Annotated[int, typer.Option("--count", min=1, max=1000)] = 10,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """When it will fire next, with what the changes of the clocks do to it."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        page = client.get(f"/schedules/{_path(name)}/preview", count=count)
    rows = [{**item, "slot": item["slot_at"], "runs": item["run_at"]} for item in page["items"]]
    _show_page(page, rows, settings.output, _PREVIEW_COLUMNS, "it will not fire any more")


@schedules.command("slots")
def list_slots(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="From the answer before.")] = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """What became of its nominal times: fired, waiting, skipped and why; the latest entry first."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        page = client.get(f"/schedules/{_path(name)}/slots", limit=limit, cursor=cursor)
    rows = [{**item, "slot": item["slot_at"]} for item in page["items"]]
    _show_page(page, rows, settings.output, _SLOT_COLUMNS, "nothing has become of it yet")


def when(schedule: dict[str, Any]) -> str:
    """Its rule in a few words."""
    if schedule["cron"] is not None:
        return str(schedule["cron"])
    return f"every {schedule['every']:g} s" if schedule["every"] is not None else f"at {schedule['at']}"


def _ask(
    method: str, name: str, verb: str, url: str | None, token: str | None, output: str | None, body: Any = None
) -> None:
    settings = options.client_settings(url, token, output)
    path = f"/schedules/{_path(name)}{verb}"
    with Client(settings) as client:
        call = {"GET": client.get, "DELETE": client.delete}.get(method)
        _show_one(client.post(path, body) if call is None else call(path), settings.output)


def _path(name: str) -> str:
    return quote(name, safe="")


def _show_one(value: Any, output: str) -> None:
    if output == "json":
        show.as_json(value)
    else:
        show.record(value)


def _show_page(page: Any, rows: list[dict[str, Any]], output: str, columns: tuple[str, ...], empty: str) -> None:
    if output == "json":
        show.as_json(page)
        return
    show.table(rows, columns, empty=empty, roomy=("timezone", "overlap", "runs"))
    if page.get("next_cursor"):
        show.say(f"[dim]more: --cursor {page['next_cursor']}[/dim]")
