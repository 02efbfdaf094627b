"""Options that several commands share, as annotated types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from api.settings import Settings, load

App = Annotated[
    list[str] | None, typer.Option("--app", help="A module, or the path of a Python file, with handlers. Repeatable.")
]
Data = Annotated[Path | None, typer.Option("--data", help="Folder for the embedded PostgreSQL.")]
# Numbers come as text: settings say what would be right for all sources in the same words.
Slots = Annotated[str | None, typer.Option("--slots", help="Attempts that one worker runs at once.", metavar="N")]
Executors = Annotated[str | None, typer.Option("--executors", help="Processes that run handlers.", metavar="N")]
Host = Annotated[str | None, typer.Option("--host", help="Address to bind.")]
HttpPort = Annotated[str | None, typer.Option("--http-port", metavar="PORT", help="0 takes a free one.")]
GrpcPort = Annotated[str | None, typer.Option("--grpc-port", metavar="PORT", help="0 takes a free one.")]
Profile = Annotated[str | None, typer.Option("--profile", help="Lease times: default, fast or test.")]
Output = Annotated[str | None, typer.Option("--output", "-o", metavar="table|json")]
Url = Annotated[str | None, typer.Option("--url", help="Address of the HTTP API.")]
Token = Annotated[str | None, typer.Option("--token", help="Better: CALLBOARD_TOKEN, which others can't see.")]


def client_settings(url: str | None, token: str | None, output: str | None, data: Path | None = None) -> Settings:
    """For commands that call the API."""
    return load({"api_url": url, "token": token, "output": output, "data": data})


def node_settings(flags: dict[str, Any], defaults: dict[str, Any] | None = None) -> Settings:
    """For commands that run something."""
    return load(flags, defaults=defaults)
