"""A mailbox outlives its actor's crashes; a closed one tells its senders."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.model.errors import ActorCrashed, MailboxClosed
from actors.runtime.mailbox import Address, Reply, drain_into


async def test_mail_waits_while_nobody_reads(autojump_clock: Any) -> None:
    address = Address[int](4)
    with address.inbox.clone():
        await address.tell(1)
    assert address.depth() == 1
    with address.inbox.clone() as again:
        assert await again.receive() == 1


async def test_a_full_mailbox_makes_the_sender_wait_and_a_closed_one_raises(autojump_clock: Any) -> None:
    address = Address[int](1)
    await address.tell(1)
    with trio.move_on_after(5) as scope:
        await address.tell(2)
    assert scope.cancelled_caught
    address.close()
    with pytest.raises(MailboxClosed, match="int was not delivered"):
        await address.tell(3)


async def test_the_first_answer_counts(autojump_clock: Any) -> None:
    reply = Reply[int]()
    reply.fail(ActorCrashed("gone"))
    reply.send(1)
    with pytest.raises(ActorCrashed):
        await reply.wait()


async def test_drain_takes_what_waits_up_to_the_limit() -> None:
    address = Address[int](10)
    for number in range(5):
        await address.tell(number)
    first = await address.inbox.receive()
    assert drain_into(address.inbox, first, 3) == [0, 1, 2]
    assert address.depth() == 2
