from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT, command_of, mutate
from tests.mutants.plan import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_changes_the_code_that_is_there(mutant: Mutant, tmp_path: Path) -> None:
    copy = tmp_path / mutant.path
    copy.parent.mkdir(parents=True)
    copy.write_text((ROOT / mutant.path).read_text())
    assert mutate(tmp_path, mutant) is None
    assert copy.read_text() != (ROOT / mutant.path).read_text()


def test_names_are_unique_and_tests_exist() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert command_of(mutant)
        for argument in mutant.by:
            assert not argument.startswith("tests/") or (ROOT / argument).exists(), argument


def test_a_text_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("other")
    mutant = Mutant("gone", "", "file", "text", "", ("tests",))
    assert "0 times instead of once" in str(mutate(tmp_path, mutant))
