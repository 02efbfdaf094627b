"""What a node says on stderr: one line a record, whatever stands in it."""

from __future__ import annotations

import json
import logging
import os

from api.settings import Settings

PLAIN = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
LINE = 8_192  # bytes
QUIET = ("hpack", "asyncio", "httpcore", "httpx")  # at debug they tell of every byte
# Names and messages come from clients: none of them may begin a line, or speak to a terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}
_JSON_BREAKS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}  # JSON itself takes them as they are


def set_up_logging(settings: Settings) -> None:
    logging.basicConfig(level=settings.log_level.upper(), force=True)
    logging.getLogger().handlers[0].setFormatter(JsonLines() if settings.log_format == "json" else PlainLines(PLAIN))
    for library in QUIET:
        logging.getLogger(library).setLevel(max(logging.getLogger().level, logging.WARNING))
    logging.getLogger("trio.serve_listeners").addFilter(_without_traceback)


class PlainLines(logging.Formatter):
    """Line breaks, those of tracebacks too, are written as a backslash and an n."""

    def format(self, record: logging.LogRecord) -> str:
        return shortened(super().format(record).translate(_CONTROLS), LINE)


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": os.getpid(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        whole, most = _as_json(line), LINE // 2
        while len(whole.encode(errors="replace")) > LINE and most > 100:  # escapes take more than what they stand for
            for name in line.keys() & {"message", "exception"}:
                line[name] = shortened(str(line[name]), most)
            whole, most = _as_json(line), most // 2
        return whole


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_JSON_BREAKS)


def shortened(text: str, most: int) -> str:
    """At most so many bytes: the beginning and the end."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return text
    mark = b" [...] "
    half = (most - len(mark)) // 2
    return (data[:half] + mark + data[-half:]).decode(errors="ignore")


def _without_traceback(record: logging.LogRecord) -> bool:
    """Ten times a second, while descriptors are out: the message says it all."""
    record.exc_info = None
    return True
