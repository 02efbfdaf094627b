"""What an installation gets: the wheel is built, and its list of files compared with the repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("actors", "api", "protos", "storage", "transport")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [wheel] = folder.glob("callboard-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def files(folder: str) -> set[str]:
    """Everything below it, data files too; what Python and tools leave behind is none of it."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found}


def test_one_name_goes_into_site_packages(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"callboard"}
    assert len(tops) == 2


def test_every_file_of_every_room_is_in_it_and_nothing_else(names: set[str]) -> None:
    rooms = {f"callboard/_rooms/{name}" for room in ROOMS for name in files(room)}
    inside = {name for name in names if name.startswith("callboard/")}
    assert inside == rooms | files("callboard")
    assert any(name.endswith(".sql") for name in inside)
    assert any(name.endswith(".proto") for name in inside)


def test_it_has_the_command_and_the_licence(names: set[str]) -> None:
    ends = {name.split(".dist-info/")[1] for name in names if ".dist-info/" in name}
    assert {"entry_points.txt", "licenses/LICENSE", "METADATA"} <= ends
