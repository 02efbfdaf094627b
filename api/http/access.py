"""Who may call: the token, and what browsers must not be talked into."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from actors.model.wrong import shown
from api.http.problems import Problem
from api.settings import Settings, is_loopback

OPEN = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/version"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
IN_FLIGHT = 100  # requests of one client at once

Headers = Iterable[tuple[bytes, bytes]]


class Access:
    """Deny by default: without the token only health, metrics and version are answered."""

    def __init__(self, settings: Settings) -> None:
        self._token = _digest(settings.token.encode()) if settings.token else None
        self._local_only = settings.token is None and is_loopback(settings.host)
        self._known_hosts = {settings.host, settings.advertised_host, "localhost"}

    def refusal(self, method: str, path: str, headers: Headers, *, signed: bool = False) -> Problem | None:
        """Why a request is refused, None when it is not. A WebSocket counts as a change.

        `signed`: the signature on its route decides, and an api node has judged the rest.
        """
        if signed:
            return None
        found = {name.lower(): value for name, value in headers}
        host = found.get(b"host", b"").decode("latin-1").lower()
        if self._local_only and host and not self._is_known(host):
            return Problem(
                status=403,
                code="host_refused",
                detail=f"the Host header {shown(host)} is not of this machine: this node is bound to a loopback "
                "address without a token, and a web page of somebody else could be behind the request; "
                "call it as localhost, or set CALLBOARD_TOKEN",
            )
        if method not in SAFE and b"origin" in found and not _same_origin(found[b"origin"].decode("latin-1"), host):
            return Problem(
                status=403,
                code="cross_origin",
                detail="a web page of another origin may not change anything here",
            )
        if self._token is not None and path not in OPEN:
            return self._without_token(found.get(b"authorization"))
        return None

    def _without_token(self, header: bytes | None) -> Problem | None:
        scheme, _, token = (header or b"").partition(b" ")
        assert self._token is not None
        right = hmac.compare_digest(_digest(token.strip()), self._token)
        if right and scheme.lower() == b"bearer":
            return None
        return Problem(
            status=401,
            code="unauthorized",
            detail="send the token of this system: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": 'Bearer realm="callboard"'},
        )

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._known_hosts or is_loopback(name)


def _digest(token: bytes) -> bytes:
    """Of equal length whatever was sent, so that comparing tells nothing."""
    return hashlib.sha256(token).digest()


def _same_origin(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host
    except ValueError:
        return False


class InFlight:
    """How many requests each client has open."""

    def __init__(self, limit: int = IN_FLIGHT) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    @contextmanager
    def of(self, client: str) -> Iterator[None]:
        """Raises Problem 429."""
        if self._open[client] >= self._limit:
            raise Problem(
                status=429,
                code="too_many_requests",
                detail=f"{self._limit} requests of this client are open already: wait for their answers",
                headers={"Retry-After": "1"},
            )
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]
