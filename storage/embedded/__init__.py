"""A PostgreSQL of our own, for who has none: the server binaries of a wheel, run as a supervised child.

`open_server(data)` starts (or adopts) the server of a data folder and keeps it running; `running_url(data)`
finds one that runs; `restart(data)` asks its supervisor for a new start.
"""

from storage.embedded.home import Home, running_url
from storage.embedded.server import EmbeddedServer, open_server, restart

__all__ = ["EmbeddedServer", "Home", "open_server", "restart", "running_url"]
