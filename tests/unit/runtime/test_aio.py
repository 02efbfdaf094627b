"""Which errors of the asyncio side end the process, and which only end what they belong to."""

from __future__ import annotations

import errno
import logging

import pytest
import trio
import trio_asyncio

from actors.runtime.aio import open_loop


def report(error: BaseException, message: str = "something broke") -> None:
    """As asyncio tells of it."""
    trio_asyncio.current_loop.get().call_exception_handler({"message": message, "exception": error})


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_a_server_that_can_accept_nobody_for_a_moment_lives_on_and_says_so_once(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_loop():
        for _ in range(100):  # asyncio tries the whole backlog, and tells of each
            report(OSError(number, "no more"), "socket.accept() out of system resource")
        await trio.sleep(0.01)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "no connection can be accepted at present" in caplog.text
    assert "Traceback" not in caplog.text


async def test_any_other_stray_error_ends_the_block() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_loop():
            report(ZeroDivisionError("lost"))
            await trio.sleep_forever()
