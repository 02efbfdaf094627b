"""`queues …` and `handlers …`."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from actors.model.wrong import shown
from api.cli import options, show
from api.cli.client import Client
from api.cli.exits import BAD_DATA, CommandFailed

_COLUMNS = ("name", "depth", "due", "running", "oldest_age", "concurrency", "per_key", "rate", "rate_per_key", "paused")
_HANDLER_COLUMNS = ("name", "live", "queue", "max_tries", "timeout", "paused", "paused_reason")
Name = Annotated[str, typer.Argument(metavar="NAME")]
Reason = Annotated[str | None, typer.Option("--reason", help="For whoever asks later.")]

queues = typer.Typer(help="Look at queues, limit and pause them.", no_args_is_help=True)
handlers = typer.Typer(help="Look at handlers, and pause them.", no_args_is_help=True)


@queues.command("list")
def list_queues(url: options.Url = None, token: options.Token = None, output: options.Output = None) -> None:
    """All queues that have limits or tasks."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        page = client.get("/queues")
    if settings.output == "json":
        show.as_json(page)
    else:
        show.table([_row(one) for one in page["items"]], _COLUMNS, empty="no queues")


@queues.command("get")
def get_queue(name: Name, url: options.Url = None, token: options.Token = None, output: options.Output = None) -> None:
    """One queue: what is in it, and its limits."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        _show_one(client.get(f"/queues/{_path(name)}"), settings.output)


@queues.command("set")
def set_queue(
    name: Name,
    concurrency: Annotated[str | None, typer.Option("--concurrency", metavar="N|none", help="Out at once.")] = None,
    per_key: Annotated[
        str | None, typer.Option("--concurrency-per-key", metavar="N|none", help="Out at once of one key.")
    ] = None,
    rate: Annotated[str | None, typer.Option("--rate", metavar="N/SECONDS|none", help="Starts, like 100/60.")] = None,
    rate_per_key: Annotated[
        str | None, typer.Option("--rate-per-key", metavar="N/SECONDS|none", help="Starts of one key.")
    ] = None,
    keep_succeeded: Annotated[
        str | None, typer.Option("--keep-succeeded", metavar="SECONDS|none", help="After they ended.")
    ] = None,
    keep_unsuccessful: Annotated[str | None, typer.Option("--keep-unsuccessful", metavar="SECONDS|none")] = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Change limits of a queue, and how long it keeps its tasks."""
    settings = options.client_settings(url, token, output)
    change: dict[str, Any] = {}
    for field, text, option in (
        ("concurrency", concurrency, "--concurrency"),
        ("concurrency_per_key", per_key, "--concurrency-per-key"),
        ("keep_succeeded", keep_succeeded, "--keep-succeeded"),
        ("keep_unsuccessful", keep_unsuccessful, "--keep-unsuccessful"),
    ):
        if text is not None:
            change[field] = None if text == "none" else _whole(text, option)
    for field, text, option in (("rate", rate, "--rate"), ("rate_per_key", rate_per_key, "--rate-per-key")):
        if text is not None:
            change[field] = None if text == "none" else _rate(text, option)
    if not change:
        raise CommandFailed("nothing to change: give a limit, like --concurrency 5 or --rate none", BAD_DATA)
    with Client(settings) as client:
        _show_one(client.patch(f"/queues/{_path(name)}", change), settings.output)


@queues.command("pause")
def pause_queue(
    name: Name,
    reason: Reason = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Start nothing of a queue until it is resumed; what runs goes on."""
    _switch("queues", name, "pause", reason, url, token, output)


@queues.command("resume")
def resume_queue(
    name: Name, url: options.Url = None, token: options.Token = None, output: options.Output = None
) -> None:
    """Start tasks of a queue again."""
    _switch("queues", name, "resume", None, url, token, output)


@handlers.command("list")
def list_handlers(url: options.Url = None, token: options.Token = None, output: options.Output = None) -> None:
    """Handlers that a worker has declared, and those that are paused."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        page = client.get("/handlers")
    if settings.output == "json":
        show.as_json(page)
    else:
        show.table(page["items"], _HANDLER_COLUMNS, empty="no handlers")


@handlers.command("pause")
def pause_handler(
    name: Name,
    reason: Reason = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Start no task of a handler until it is resumed; what runs goes on."""
    _switch("handlers", name, "pause", reason, url, token, output)


@handlers.command("resume")
def resume_handler(
    name: Name, url: options.Url = None, token: options.Token = None, output: options.Output = None
) -> None:
    """Start tasks of a handler again."""
    _switch("handlers", name, "resume", None, url, token, output)


def _switch(
    kind: str, name: str, verb: str, reason: str | None, url: str | None, token: str | None, output: str | None
) -> None:
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        done = client.post(f"/{kind}/{_path(name)}/{verb}", {} if reason is None else {"reason": reason})
    _show_one(done, settings.output)


def _show_one(item: dict[str, Any], output: str) -> None:
    if output == "json":
        show.as_json(item)
    else:
        show.record(item)


def _row(queue: dict[str, Any]) -> dict[str, Any]:
    rates = {
        field: f"{queue[field]['limit']}/{queue[field]['period']:g} s" if queue[field] else None
        for field in ("rate", "rate_per_key")
    }
    age = queue["oldest_age"]
    shown_age = None if age is None else f"{age:.1f} s"
    return {**queue, **rates, "oldest_age": shown_age, "per_key": queue["concurrency_per_key"]}


def _whole(text: str, option: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise CommandFailed(f"{shown(text)} is no number ({option}): write a whole number, or none", BAD_DATA)
    return int(text[:20])


def _rate(text: str, option: str) -> dict[str, Any]:
    limit, slash, period = text.partition("/")
    try:
        seconds = float(period.removesuffix("s"))
    except ValueError:
        seconds = float("nan")
    if not slash or not limit.isascii() or not limit.isdigit() or not 0 < seconds < float("inf"):
        raise CommandFailed(
            f"{shown(text)} is no rate ({option}): write starts/seconds, like 100/60, or none", BAD_DATA
        )
    return {"limit": int(limit[:20]), "period": seconds}


def _path(name: str) -> str:
    return quote(name, safe="")
