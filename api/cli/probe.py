"""`callboard healthcheck`: what a container asks of its node every few seconds, for as long as it runs.

So it loads the settings and the standard library, nothing else. The launcher comes here for the bare
command; the one with options goes through the command line, which loads everything.
"""

from __future__ import annotations

import http.client
import os
import sys
from urllib.parse import urlsplit

from actors.model.errors import ConfigurationError
from api.settings import Settings, load

LIMIT = 5.0  # seconds for one answer
_PORTS = (8080, 8090, 8091, 8092)  # api, worker, coordinator, scheduler


def run() -> None:
    """Asks, says on stderr what is wrong, and exits: 0 well, 1 not well, 69 nobody answers, 78 a setting is wrong."""
    try:
        code, message = ask(addresses(load()), live="--live" in sys.argv)
    except ConfigurationError as error:
        code, message = os.EX_CONFIG, str(error)
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    raise SystemExit(code)


def addresses(settings: Settings) -> list[str]:
    """This machine's node: at the port that is set, else at the usual ones.

    CALLBOARD_API_URL names where clients find the API; that one's health says nothing of this node.
    """
    if os.environ.get("CALLBOARD_HTTP_PORT") or settings.roles:
        return [f"http://127.0.0.1:{settings.http_port}"]
    return [f"http://127.0.0.1:{port}" for port in _PORTS]


def ask(urls: list[str], *, live: bool = False) -> tuple[int, str]:
    """The exit code and what to say, from the first address at which something listens."""
    path = "/livez" if live else "/readyz"
    for base in urls:
        try:
            status, detail = _get(base, path)
        except ConnectionRefusedError:
            continue
        except (OSError, http.client.HTTPException) as error:
            return os.EX_UNAVAILABLE, f"no answer ({base}{path}): {str(error) or type(error).__name__}"
        if 200 <= status < 300:
            return os.EX_OK, ""
        return 1, f"not well ({base}{path}): status {status}: {' '.join(detail.split())}"
    return os.EX_UNAVAILABLE, f"no node answers ({', '.join(urls)}): name its address with --url"


def _get(base: str, path: str) -> tuple[int, str]:
    parts = urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=LIMIT)
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        response = connection.getresponse()
        return response.status, response.read(300).decode(errors="replace")
    finally:
        connection.close()
