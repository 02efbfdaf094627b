"""Queues over gRPC: the same rules as over HTTP."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from actors.model.errors import AccessDenied, BadValue, NotFound
from actors.model.ports import TaskStore
from protos.generated.callboard import v1 as wire
from tests.support.fake_queues import FakeQueues
from tests.support.fake_store import FakeStore
from transport.channel import ask, open_channel
from transport.server import open_grpc_server


async def test_queues_are_listed_shown_and_changed(loop: None) -> None:
    store = FakeStore()

    async def forever(_: int) -> None: ...

    async with open_grpc_server(
        "127.0.0.1", 0, tasks=cast(TaskStore, store), submit=store.submit, wait_final=forever, queues=FakeQueues(),
        token="sesame",
    ) as port, open_channel(f"http://127.0.0.1:{port}", 5) as channel:  # fmt: skip

        async def question(method: str, message: Any, answer: type[Any], token: str = "sesame") -> Any:
            return await ask(channel, "here", f"Scheduler/{method}", message, answer, token=token, limit=5)

        page: wire.ListQueuesReply = await question("ListQueues", wire.ListQueuesRequest(), wire.ListQueuesReply)
        assert [(one.name, one.depth, one.oldest_age) for one in page.items] == [("default", 3, 0.5)]
        change = {"concurrency": 5, "rate": {"limit": 3, "period": 1}}
        request = wire.SetQueueRequest(name="mail", change=json.dumps(change))
        done: wire.Queue = await question("SetQueue", request, wire.Queue)
        settings = json.loads(done.settings)
        assert (settings["concurrency"], settings["rate"]) == (5, {"limit": 3, "period": 1.0})
        assert await question("GetQueue", wire.QueueName(name="mail"), wire.Queue) == done
        with pytest.raises(BadValue, match="concurrency"):
            await question("SetQueue", wire.SetQueueRequest(name="mail", change='{"concurrency": -1}'), wire.Queue)
        with pytest.raises(BadValue, match="change"):
            await question("SetQueue", wire.SetQueueRequest(name="mail", change="{"), wire.Queue)
        with pytest.raises(NotFound):
            await question("GetQueue", wire.QueueName(name="a b"), wire.Queue)
        with pytest.raises(AccessDenied):
            await question("ListQueues", wire.ListQueuesRequest(), wire.ListQueuesReply, token="wrong")
