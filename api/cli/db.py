"""`db …`: the schema, and the embedded server."""

from __future__ import annotations

from typing import Annotated

import trio
import typer

from api.cli import options, show
from api.cli.exits import UNAVAILABLE, CommandFailed
from api.settings import Settings, load
from storage.embedded import restart, running_url

db = typer.Typer(help="The database: its schema, its address, the embedded server.", no_args_is_help=True)


@db.command("url")
def show_url(data: options.Data = None, output: options.Output = None) -> None:
    """The address of the database in use, with its password."""
    settings = load({"data": data, "output": output})
    url = database_url(settings)
    if settings.output == "json":
        show.as_json({"url": url})
    else:
        print(url)


@db.command("restart")
def restart_server(
    data: options.Data = None,
    immediate: Annotated[bool, typer.Option("--immediate", help="As if it crashed: recovery at the start.")] = False,
) -> None:
    """Restart the embedded PostgreSQL under a running `callboard up`."""
    settings = load({"data": data})

    async def work() -> None:
        await restart(settings.data, immediate=immediate)

    trio.run(work)
    print("PostgreSQL was restarted")


def database_url(settings: Settings) -> str:
    """The given address, else that of the embedded server that runs."""
    url = settings.database_url or running_url(settings.data)
    if url is None:
        raise CommandFailed(
            f"no PostgreSQL runs ({settings.data}): start it with `callboard up`, or set DATABASE_URL", UNAVAILABLE
        )
    return url
