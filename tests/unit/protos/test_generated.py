"""The committed wire code is what the .proto files give."""

from __future__ import annotations

from pathlib import Path

import pytest

from protos.generate import GENERATED, generate


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_generating_again_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    generate(tmp_path / "generated")
    made, committed = contents(tmp_path / "generated"), contents(GENERATED)
    assert made.keys() == committed.keys()
    assert [name for name in made if made[name] != committed[name]] == []
