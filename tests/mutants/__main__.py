"""Breaks the product on purpose, one rule at a time, and sees that the tests notice: `make mutants`.

Each mutant is a copy of the repository with one change. It is caught when its tests fail where they passed before.
A mutant that survives, or whose text is no longer there, makes the run fail.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.plan import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
LIMIT = 60.0  # seconds that one command may take; a mutant that makes its tests hang is noticed too
FAILED = 1  # what pytest and the simulation exit with when something was found; other codes mean trouble


@contextmanager
def copy_of_repository() -> Iterator[Path]:
    """Every file that git knows of, as it is in the working tree."""
    with tempfile.TemporaryDirectory(prefix="callboard-mutant-") as folder:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
        for name in listed.decode().split("\0"):
            source, target = ROOT / name, Path(folder) / name
            if name and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        os.chmod(folder, 0o755)  # a server that runs as a user of its own reads from here
        yield Path(folder)


def run(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and the end of what was said."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return FAILED, f"did not end within {LIMIT:.0f} s"
    return done.returncode, (done.stdout + done.stderr)[-3000:]


def command_of(mutant: Mutant) -> tuple[str, ...]:
    if mutant.by[0].startswith("tests.simulation"):
        return mutant.by
    return ("pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not soak", *mutant.by)


def mutate(folder: Path, mutant: Mutant) -> str | None:
    """Changes the copy; a problem, or None."""
    file = folder / mutant.path
    text = file.read_text() if file.exists() else ""
    for old, new in ((mutant.old, mutant.new), *mutant.also):
        if text.count(old) != 1:
            return f"{mutant.path} has {old!r} {text.count(old)} times instead of once: the plan must follow the code"
        text = text.replace(old, new)
    file.write_text(text)
    return None


def try_one(mutant: Mutant) -> str | None:
    """None when it was caught; else what is wrong."""
    with copy_of_repository() as folder:
        if problem := mutate(folder, mutant):
            return problem
        code, said = run(command_of(mutant), folder)
    if code == FAILED:
        return None
    return "SURVIVED" if code == 0 else f"its tests did not run (exit code {code}):\n{said}"


def sound(mutants: Sequence[Mutant]) -> list[str]:
    """Commands that don't pass without any change: they would catch everything."""
    broken = []
    with copy_of_repository() as folder:
        for command in dict.fromkeys(command_of(mutant) for mutant in mutants):
            code, said = run(command, folder)
            if code:
                broken.append(f"{' '.join(command)} fails without a mutant (exit code {code}):\n{said}")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these")
    parser.add_argument("--list", action="store_true", help="print what there is")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    if unknown := set(options.names) - {mutant.name for mutant in MUTANTS}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name:32} {mutant.breaks}")
        return 0
    if broken := sound(chosen):
        print("\n".join(broken))
        return 2
    survivors = 0
    for mutant in chosen:
        started = time.monotonic()
        problem = try_one(mutant)
        survivors += problem is not None
        print(
            f"{'caught' if problem is None else problem:10} {mutant.name:32} {time.monotonic() - started:5.1f} s",
            flush=True,
        )
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants were caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
