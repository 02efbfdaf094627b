"""Hints that something changed, to whoever subscribed; many become one."""

from __future__ import annotations

from contextlib import suppress

import trio

from storage.notify import TOPICS


class MemoryWakeups:
    """Implements the Wakeups port."""

    def __init__(self) -> None:
        self._subscribers: dict[str, list[trio.MemorySendChannel[None]]] = {topic: [] for topic in TOPICS}

    def subscribe(self, topic: str) -> trio.MemoryReceiveChannel[None]:
        send, receive = trio.open_memory_channel[None](1)
        self._subscribers[topic].append(send)
        return receive

    def notify(self, topic: str) -> None:
        for channel in self._subscribers[topic]:
            with suppress(trio.WouldBlock, trio.BrokenResourceError):
                channel.send_nowait(None)
