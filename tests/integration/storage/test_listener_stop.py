"""The listener stops when it is told to, whatever it waits for at that moment."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from storage import notify
from storage.notify import Notifier
from storage.pool import open_pool
from storage.url import parse_url


class Connection:
    """Answers LISTEN; somebody cancels the listener at the very moment of the answer to the last one."""

    def __init__(self, scope: trio.CancelScope, answers: int) -> None:
        self._scope, self._answers = scope, answers

    async def add_listener(self, *_: object) -> None:
        self._answers -= 1
        if not self._answers:
            self._scope.cancel()

    def add_termination_listener(self, _: object) -> None:
        pass

    def terminate(self) -> None:
        pass


@pytest.mark.parametrize("answers", [1, 2, 3])
async def test_a_cancel_at_the_moment_of_an_answer_is_not_lost(
    loop: None, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    url = parse_url("postgresql://postgres@/postgres?host=/nowhere")
    scope = trio.CancelScope()

    async def connect(*_: Any) -> Connection:
        return Connection(scope, answers)

    monkeypatch.setattr(notify, "connect", connect)
    async with open_pool(url, name="test", size=1, statement_limit=1) as pool:
        notifier = Notifier(url, url, pool, [pool])
        with trio.fail_after(3), scope:
            await notifier.run()
    assert scope.cancelled_caught
