"""A shell that starts the tests in the background has them ignore SIGINT, and whatever they start inherits that."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
