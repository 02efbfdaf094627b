"""Whether a worker may sign in, and how often it may say that it lives. Pure."""

from __future__ import annotations

import hmac
import math
from collections import deque

from actors.model import link as wire
from actors.model.fields import Name
from actors.model.strict_json import unstorable
from actors.model.worker import HandlerInfo, WorkerInfo
from actors.model.wrong import Wrong, member, shown

SLOTS = 10_000
HANDLERS = 2_000
QUEUES = 1_000
LABELS = 64
LETTERS = 200  # of ids, names, versions, labels
TRIES = 1_000
TIMEOUT = 31_536_000.0  # seconds
SECRET = 16  # bytes
BEATS = 100  # heartbeats within BEATS / 10 of their intervals: ten times as many as are due


def refusal(hello: wire.Hello, token: str | None) -> str | None:
    """Why the worker can't sign in, and what to do; None when it can."""
    if token and not hmac.compare_digest(token.encode(), hello.token.encode()):
        return "the worker's CALLBOARD_TOKEN is missing or differs from the coordinator's"
    if wire.agreed(hello.protocol, hello.oldest_protocol) is None:
        spoken = f"{wire.OLDEST} to {wire.PROTOCOL}" if wire.OLDEST < wire.PROTOCOL else f"{wire.PROTOCOL}"
        older = "the coordinators" if hello.protocol > wire.PROTOCOL else "this worker"
        return f"protocol {hello.protocol} is not spoken here; this coordinator speaks {spoken}: upgrade {older}"
    if len(hello.secret) < SECRET:
        return f"the session secret must be at least {SECRET} bytes"
    found = wrong_in(hello.worker)
    return found[0].line if found else None


def wrong_in(worker: WorkerInfo) -> list[Wrong]:
    """What is wrong with a worker's account of itself; its own settings keep to the same limits."""
    found: list[Wrong] = []
    if not 1 <= worker.slots <= SLOTS:
        found.append(Wrong("slots", "out_of_range", f"must be from 1 to {SLOTS}, got {worker.slots}"))
    for field, words in (("id", worker.id), ("name", worker.name)):
        _read_words(words, field, found, least=1)
    _read_words(worker.version, "version", found)
    _read_words(worker.http_address or "", "http_address", found, most=300)
    for field, count, most in (
        ("handlers", len(worker.handlers), HANDLERS), ("queues", len(worker.queues), QUEUES),
        ("labels", len(worker.labels), LABELS),
    ):  # fmt: skip
        if count > most:
            found.append(Wrong(field, "out_of_range", f"at most {most} are taken, got {count}"))
    if found:
        return found
    for index, queue in enumerate(worker.queues):
        _read_words(queue, f"queues[{index}]", found, least=1)
    for key, value in worker.labels.items():
        _read_words(key, member("labels", key), found, least=1)
        _read_words(value, member("labels", key), found)
    for handler in worker.handlers:
        _read_handler(handler, found)
    return found


def _read_words(words: str, field: str, found: list[Wrong], *, least: int = 0, most: int = LETTERS) -> None:
    if not least <= len(words) <= most or not words.isprintable():
        detail = f"must be {least} to {most} printable characters, got {len(words)}: {shown(words)}"
        found.append(Wrong(field, "invalid", detail))


def _read_handler(handler: HandlerInfo, found: list[Wrong]) -> None:
    where = member("handlers", handler.name)
    Name(LETTERS).read(handler.name, where, found)
    if handler.queue is not None:
        Name(LETTERS).read(handler.queue, f"{where}.queue", found)
    if handler.max_tries is not None and not 1 <= handler.max_tries <= TRIES:
        found.append(Wrong(f"{where}.max_tries", "out_of_range", f"must be from 1 to {TRIES}, got {handler.max_tries}"))
    timeout = handler.timeout
    if timeout is not None and not (math.isfinite(timeout) and 0 < timeout <= TIMEOUT):
        detail = f"must be above 0 to {TIMEOUT:g} seconds, got {timeout}"
        found.append(Wrong(f"{where}.timeout", "out_of_range", detail))
    found += unstorable({"args": handler.args, "backoff": handler.backoff}, where, search=True)


class Pace:
    """The newest heartbeats of one stream."""

    def __init__(self, heartbeat: float) -> None:
        self._span = heartbeat * BEATS / 10
        self._times: deque[float] = deque(maxlen=BEATS)

    def too_fast(self, now: float) -> bool:
        """Whether this heartbeat is one too many."""
        self._times.append(now)
        return len(self._times) == BEATS and now - self._times[0] < self._span
