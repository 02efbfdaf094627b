"""A page of memory that a node and its executor share: what must pass while the executor's loop stands still.

A handler that holds the loop keeps frames from being read and written. Two numbers go past it: the lease's
deadline, so that a busy executor of a healthy node lives on, and how many attempts were begun, so that after a
crash the node knows which had started. Each is written by one side only, in one aligned store.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import MutableMapping

VARIABLE = "CALLBOARD_PAGE_FD"
SIZE = 4096


class Page:
    """One side's view of it."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SIZE)
        self._bytes = memoryview(self._memory)
        self._times, self._counts = self._bytes.cast("d"), self._bytes.cast("q")

    @property
    def deadline(self) -> float | None:
        """CLOCK_BOOTTIME instant; None: no lease."""
        return self._times[0] or None

    @deadline.setter
    def deadline(self, at: float | None) -> None:
        self._times[0] = at or 0.0

    @property
    def begun(self) -> int:
        """Attempts, counted in the order of their Run frames, up to and with the newest that was begun."""
        return self._counts[1]

    @begun.setter
    def begun(self, count: int) -> None:
        self._counts[1] = count

    def close(self) -> None:
        for view in (self._times, self._counts, self._bytes):
            view.release()
        self._memory.close()


def create() -> tuple[Page, int]:
    """The node's view, and the descriptor to pass on; close that one then."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("callboard-page")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, SIZE)
        return Page(descriptor), descriptor
    except BaseException:
        os.close(descriptor)
        raise


def inherited(environ: MutableMapping[str, str]) -> Page | None:
    """The executor's view; None when its node shares none. Processes that it starts hear nothing of it."""
    found = environ.pop(VARIABLE, None)
    if found is None:
        return None
    page = Page(int(found))
    os.close(int(found))
    return page
