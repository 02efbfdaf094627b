"""What an import of the package costs, seen in a fresh process."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"quart", "asyncpg", "grpclib", "httpx", "trio", "hypercorn", "asyncio"}


def loaded(code: str) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded("import callboard; callboard.task; callboard.Context; callboard.Retry; callboard.errors")


def test_the_client_is_loaded_when_it_is_first_used() -> None:
    assert "httpx" in loaded("from callboard import Client, AsyncClient")


def test_all_public_names_exist() -> None:
    loaded("import callboard\nfor name in callboard.__all__: getattr(callboard, name)")
