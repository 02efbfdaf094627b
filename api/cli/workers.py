"""`workers …` and `tree`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli import options, show
from api.cli.client import Client
from api.cli.exits import FAILED, CommandFailed

_COLUMNS = ("id", "name", "state", "slots", "running", "queues", "handlers", "version", "address", "last_seen")
_ROOMY = ("name", "version", "address")  # the id begins with the name
Id = Annotated[str, typer.Argument(metavar="ID", help="Id, or a name that only one worker has.")]

workers = typer.Typer(help="Look at workers and steer them.", no_args_is_help=True)


@workers.command("list")
def list_workers(url: options.Url = None, token: options.Token = None, output: options.Output = None) -> None:
    """All workers, with what they run."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        page = client.get("/workers")
    if settings.output == "json":
        show.as_json(page)
    else:
        show.table(page["items"], _COLUMNS, empty="no workers are connected", roomy=_ROOMY)


@workers.command()
def pause(worker: Id, url: options.Url = None, token: options.Token = None, output: options.Output = None) -> None:
    """Give it no new work, until resumed."""
    _steer(worker, "pause", url, token, output)


@workers.command()
def resume(worker: Id, url: options.Url = None, token: options.Token = None, output: options.Output = None) -> None:
    """Give a paused one work again."""
    _steer(worker, "resume", url, token, output)


@workers.command()
def drain(worker: Id, url: options.Url = None, token: options.Token = None, output: options.Output = None) -> None:
    """Let it finish what it runs, then leave for good."""
    _steer(worker, "drain", url, token, output)


def _steer(worker: str, verb: str, url: str | None, token: str | None, output: str | None) -> None:
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        answer = client.post(f"/workers/{_resolve(client, worker)}/{verb}")
    if settings.output == "json":
        show.as_json(answer)
    elif answer:
        show.record(answer)


def _resolve(client: Client, worker: str) -> str:
    """The id for a name; what is no name goes on as it is."""
    items = client.get("/workers")["items"]
    if any(item["id"] == worker for item in items):
        return worker
    named = [str(item["id"]) for item in items if item["name"] == worker]
    if len(named) > 1:
        raise CommandFailed(f'"{worker}" names {len(named)} workers (ID): write one of {", ".join(named)}', FAILED)
    return named[0] if named else worker


def tree(url: options.Url = None, token: options.Token = None, output: options.Output = None) -> None:
    """The live supervision tree: what runs, since when, how often it was restarted."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        answer = client.get("/supervision")
    if settings.output == "json":
        show.as_json(answer)
        return
    for node in answer.get("items", [answer]):
        show.tree(node)
