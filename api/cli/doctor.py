"""`doctor`: what a node looks at when it starts, and the way out where it is not as it should be."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import trio
import typer

from api.cli import options, show
from api.cli.db import database_url
from api.cli.exits import FAILED
from api.settings import Settings, load

if TYPE_CHECKING:
    from storage.doctor import Finding


def doctor(data: options.Data = None, output: options.Output = None) -> None:
    """Check the database that a node here would use; exit 1 when a node would refuse to start on it."""
    settings = load({"data": data, "output": output})
    findings = trio.run(_examine, settings)
    if settings.output == "json":
        show.as_json([asdict(one) for one in findings])
    else:
        show.table(
            [asdict(one) for one in findings], ("check", "status", "detail", "way_out"), empty="nothing to check"
        )
    if any(one.status == "refused" for one in findings):
        raise typer.Exit(FAILED)


async def _examine(settings: Settings) -> list[Finding]:
    from actors.runtime.aio import open_loop
    from storage.doctor import examine
    from storage.url import parse_url

    url = parse_url(database_url(settings))
    listen = parse_url(settings.direct_url) if settings.direct_url else None if url.pgbouncer else url
    async with open_loop():
        return await examine(url, listen)
