"""`db …`: the schema, and the embedded server.

What needs the driver is imported by the commands that use it: no other process loads it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import trio
import typer

from api.cli import options, show
from api.cli.exits import FAILED, UNAVAILABLE, CommandFailed
from api.settings import Settings, load
from api.settings_keys import mask
from storage.embedded import restart, running_url

if TYPE_CHECKING:
    from storage.migrate import Migration
    from storage.url import DatabaseUrl

db = typer.Typer(help="The database: its schema, its address, the embedded server.", no_args_is_help=True)


@db.command("migrate")
def apply_migrations(
    sql: Annotated[bool, typer.Option("--sql", help="Print what is pending, and change nothing.")] = False,
    every: Annotated[bool, typer.Option("--all", help="With --sql: all of it, without asking a database.")] = False,
    data: options.Data = None,
    output: options.Output = None,
) -> None:
    """Bring the schema up to date."""
    from storage.migrate import migrate, migrations, pending

    settings = load({"data": data, "output": output})
    if sql:
        found = migrations() if every else _on_database(settings, pending)
        for one in found:
            print(f"-- {one.number:04}_{one.name}\n{one.text.rstrip()}\n")
        return
    applied = [f"{one.number:04}_{one.name}" for one in _on_database(settings, migrate)]
    if settings.output == "json":
        show.as_json({"applied": applied})
    else:
        print(f"applied {', '.join(applied)}" if applied else "nothing to do: the schema is up to date")


@db.command("status")
def status(data: options.Data = None, output: options.Output = None) -> None:
    """Whether the database answers, and which migrations it lacks; exit 1 when it lacks any."""
    from storage.migrate import pending

    settings = load({"data": data, "output": output})
    lacking = [f"{one.number:04}_{one.name}" for one in _on_database(settings, pending)]
    value = {"url": mask(database_url(settings)), "embedded": settings.database_url is None, "pending": lacking}
    if settings.output == "json":
        show.as_json(value)
    else:
        show.record({**value, "schema": "lacks migrations: callboard db migrate" if lacking else "up to date"})
    if lacking:
        raise typer.Exit(FAILED)


def _on_database(settings: Settings, work: Callable[[DatabaseUrl], Awaitable[list[Migration]]]) -> list[Migration]:
    from actors.runtime.aio import open_loop
    from storage.url import parse_url

    url = parse_url(database_url(settings))

    async def inside() -> list[Migration]:
        async with open_loop():
            return await work(url)

    return trio.run(inside)


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
