"""A worker node: executors, the link to a coordinator, and the node's own HTTP server."""

from __future__ import annotations

import logging

from actors.runtime.supervisor import RestartPolicy

log = logging.getLogger(__name__)

ROOT = RestartPolicy(intensity=3, period=60)
FLUSH_LIMIT = 10.0  # seconds that unacknowledged outcomes get at the end
