"""`healthcheck` (for containers) and `version`."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

from api.cli import options, probe, show
from api.cli.exits import CommandFailed
from api.settings import load
from callboard import __version__


def healthcheck(
    url: Annotated[str | None, typer.Option("--url", help="Address of another node's HTTP.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only whether it lives, not whether it is ready.")] = False,
    output: options.Output = None,
) -> None:
    """Ask the node on this machine whether it is well; exit 0 when it is."""
    settings = load({"api_url": url, "output": output})
    given = [settings.api_url] if url and settings.api_url else probe.addresses(settings)
    code, message = probe.ask(given, live=live)
    if code:
        raise CommandFailed(message, code)


def version(output: options.Output = None) -> None:
    """Versions of Callboard and of Python."""
    versions = {"callboard": __version__, "python": platform.python_version()}
    if load({"output": output}, files=False).output == "json":
        show.as_json(versions)
    else:
        print(f"callboard {versions['callboard']} (Python {versions['python']})")
