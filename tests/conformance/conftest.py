"""The store under test, over a PostgreSQL of its own."""

from __future__ import annotations

from tests.support.postgres import database_url, empty_url, loop, postgres_server

__all__ = ["database_url", "empty_url", "loop", "postgres_server"]
