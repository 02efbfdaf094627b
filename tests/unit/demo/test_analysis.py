"""The handlers of the demo: what they count, and which files are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.demo import find_modules
from callboard.demo import TOP, analyse, count_lines, merge

SOURCE = '''"""Two lines
of text."""

import os.path
from json import loads
from . import neighbour

# alone
class Box:
    async def open(self):  # beside code
        return [
            1,
        ]


def shut():
    if os:
        pass
'''


def test_one_file_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "box.py"
    path.write_text(SOURCE)
    result = analyse(str(path), "box")
    assert result["module"] == "box"
    assert (result["lines"], result["functions"], result["classes"], result["branches"]) == (18, 2, 1, 1)
    assert result["longest"] == {"name": "open", "line": 10, "lines": 4}
    assert result["imports"] == ["json", "os"]


def test_lines_are_told_apart() -> None:
    assert count_lines(SOURCE.encode()) == {"lines": 18, "code": 13, "comments": 1}


def test_an_empty_file_has_no_longest_function(tmp_path: Path) -> None:
    path = tmp_path / "empty.py"
    path.touch()
    assert analyse(str(path), "empty")["longest"] is None


def test_a_report_ranks_what_it_merges(tmp_path: Path) -> None:
    results = []
    for length in range(1, TOP + 3):
        path = tmp_path / f"m{length}.py"
        path.write_text("import os\ndef f():\n" + "    pass\n" * length)
        results.append(analyse(str(path), path.stem))
    report = merge(results)
    assert report["totals"]["files"] == report["totals"]["functions"] == TOP + 2
    assert [one["lines"] for one in report["longest_functions"]] == list(range(TOP + 3, 3, -1))
    assert report["most_imported"] == [{"module": "os", "files": TOP + 2}]


def test_the_input_is_the_standard_library_without_its_tests() -> None:
    modules = find_modules()
    names = {one.name for one in modules}
    assert {"ast", "asyncio", "json.decoder", "xml.etree.ElementTree"} <= names
    assert len(modules) > 300
    assert all(Path(one.path).is_file() for one in modules)
    assert not any({"test", "tests", "idle_test", "site-packages"} & set(Path(one.path).parts) for one in modules)


@pytest.mark.parametrize("name", ["__init__", "asyncio"])
def test_a_package_has_the_name_of_its_folder(name: str) -> None:
    assert f"{name}.__init__" not in {one.name for one in find_modules()}
