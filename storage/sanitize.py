"""Text that PostgreSQL can't hold, made safe."""

from __future__ import annotations

import re

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_SURROGATE = re.compile(r"(?<!\\)((?:\\\\)*)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def storable(text: str) -> str:
    """JSON text without NUL and lone surrogates, escaped or not; they become U+FFFD.

    A pair of escaped surrogates goes too: this is for errors and health, where a lost emoji is no harm.
    """
    text = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    text = _NUL.sub(lambda match: match.group(1) + "\ufffd", text)
    return _SURROGATE.sub(lambda match: match.group(1) + "\ufffd", text)
