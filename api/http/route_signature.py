"""The api's word to a worker that a request may reach one attempt's server: signed, and valid for a moment.

`X-Callboard-Route: TASK.ATTEMPT.EXPIRY.HMAC`, with the SHA-256 of the worker's session secret as key: only
that worker and whoever reads the database can make one. The caller's own credentials are never passed on.
"""

from __future__ import annotations

import hashlib
import hmac
import re

HEADER = "X-Callboard-Route"
LIFETIME = 60  # seconds; covers the difference between two machines' clocks
_FORM = re.compile(r"([0-9]{1,19})\.([0-9]{1,10})\.([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII)


class RouteRefused(Exception):
    """The signature is missing, wrong or too old."""


def sign(key: bytes, task_id: int, attempt: int, now: float) -> str:
    """The header's value; `now` in Unix seconds."""
    text = f"{task_id}.{attempt}.{int(now) + LIFETIME}"
    return f"{text}.{_mac(key, text)}"


def verify(key: bytes, value: str, task_id: int, now: float) -> int:
    """The attempt that the request is for; raises RouteRefused."""
    found = _FORM.fullmatch(value)
    if found is None:
        raise RouteRefused("the request carries no signed route: reach a task's server through the api")
    text = value.rpartition(".")[0]
    if not hmac.compare_digest(_mac(key, text), found.group(4)):
        raise RouteRefused("the route is signed for another worker, or another session of this one")
    if int(found.group(1)) != task_id:
        raise RouteRefused("the route is signed for another task")
    if not now - 1 <= int(found.group(3)) <= now + 2 * LIFETIME:
        raise RouteRefused("the route is too old, or the clocks of the two machines differ by more than a minute")
    return int(found.group(2))


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, f"callboard route {text}".encode(), hashlib.sha256).hexdigest()
