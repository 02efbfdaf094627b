"""Writes what happened: one JSON object a line, one file for each process and life."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

LINE = 4096  # bytes: a longer line might be torn


class Recorder:
    """One file. Every line is one write, so what was written survives a kill."""

    def __init__(self, folder: Path, proc: str, life: int = 1) -> None:
        self.proc, self.life, self._pid = proc, life, os.getpid()
        self.path = folder / f"{proc}.{self._pid}.{life}.jsonl"
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._sequence = 0
        self._ended = False
        self._lock = threading.Lock()  # handlers may run in threads

    def note(self, event: str, **fields: Any) -> int:
        """Writes the event; when that was, by CLOCK_MONOTONIC in nanoseconds. Nothing follows `end`."""
        with self._lock:
            return self._note(event, fields)

    def _note(self, event: str, fields: dict[str, Any]) -> int:
        now = time.monotonic_ns()
        if not self._ended:
            line = {"t": now, "proc": self.proc, "pid": self._pid, "life": self.life, "seq": self._sequence}
            data = json.dumps(line | {"event": event} | fields, separators=(",", ":")).encode() + b"\n"
            if len(data) > LINE:
                raise ValueError(f"an event of {len(data)} bytes: {event}")
            os.write(self._file, data)
            self._sequence += 1
        return now

    def end(self) -> None:
        self.note("end")
        self._ended = True
