"""`healthcheck` (for containers) and `version`."""

from __future__ import annotations

import os
import platform
from typing import Annotated

import httpx
import typer

from api.cli import options, show
from api.cli.exits import FAILED, UNAVAILABLE, CommandFailed
from api.settings import Settings, load
from callboard import __version__

_PORTS = (8080, 8090, 8091, 8092)  # api, worker, coordinator, scheduler


def healthcheck(
    url: options.Url = None,
    live: Annotated[bool, typer.Option("--live", help="Only whether it lives, not whether it is ready.")] = False,
    output: options.Output = None,
) -> None:
    """Ask the node on this machine whether it is well; exit 0 when it is."""
    settings = load({"api_url": url, "output": output})
    path = "/livez" if live else "/readyz"
    with httpx.Client(timeout=5, trust_env=False) as client:
        for base in _candidates(settings):
            try:
                response = client.get(base + path)
            except httpx.ConnectError:
                continue
            except httpx.HTTPError as error:
                raise CommandFailed(f"no answer ({base}{path}): {type(error).__name__}", UNAVAILABLE) from None
            if response.is_success:
                return
            detail = " ".join(response.text[:300].split())
            raise CommandFailed(f"not well ({base}{path}): status {response.status_code}: {detail}", FAILED)
    tried = ", ".join(_candidates(settings))
    raise CommandFailed(f"no node answers ({tried}): name its address with --url", UNAVAILABLE)


def _candidates(settings: Settings) -> list[str]:
    """The given address, else this machine's node at the port that is set, else at the usual ports."""
    if settings.api_url:
        return [settings.api_url]
    if os.environ.get("CALLBOARD_HTTP_PORT") or settings.roles:
        return [f"http://127.0.0.1:{settings.http_port}"]
    return [f"http://127.0.0.1:{port}" for port in _PORTS]


def version(output: options.Output = None) -> None:
    """Versions of Callboard and of Python."""
    versions = {"callboard": __version__, "python": platform.python_version()}
    if load({"output": output}, files=False).output == "json":
        show.as_json(versions)
    else:
        print(f"callboard {versions['callboard']} (Python {versions['python']})")
