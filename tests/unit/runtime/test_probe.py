"""The probe is inert unless a test arms it, and an installation has nothing to arm it with."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path

import pytest
import trio

from actors.model.errors import ConfigurationError
from actors.runtime import probe
from api import arming
from callboard.launcher import command
from tests.system.bench import arm
from tests.system.bench.record import Recorder

ROOT = Path(__file__).parents[3]


def test_it_is_not_armed() -> None:
    assert probe.armed is None
    arming.arm({"CALLBOARD_TEST_FAILPOINTS": ""})
    assert probe.armed is None


def test_every_site_looks_before_it_tells_and_every_point_is_known() -> None:
    points: set[str] = set()
    for path in sorted((ROOT / "actors").rglob("*.py")):
        tree = ast.parse(path.read_text())
        calls = [
            node for node in ast.walk(tree) if isinstance(node, ast.Call) and "probe.armed." in ast.unparse(node.func)
        ]
        if calls and path.name != "probe.py":
            source = path.read_text()
            assert "if probe.armed is not None" in source, path
            for call in calls:
                if ast.unparse(call.func).endswith((".reach", ".touch")) and isinstance(call.args[0], ast.Constant):
                    points.add(str(call.args[0].value))
    assert points == {point for point in arm.POINTS if not point.startswith("drain.")}


def test_where_the_means_are_missing_the_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arming, "MODULE", "tests.system.bench.no_such_module")
    with pytest.raises(ConfigurationError, match="for tests in the repository only"):
        arming.arm({"CALLBOARD_TEST_FAILPOINTS": "claim.before=exit"})
    assert probe.armed is None


def test_a_node_with_a_misspelt_failpoint_refuses_with_exit_78(tmp_path: Path) -> None:
    environ = {**os.environ, "CALLBOARD_TEST_FAILPOINTS": "claim.befor=exit", "CALLBOARD_ENV_FILE": ""}
    done = subprocess.run(
        [*command("node"), "--roles", "worker"], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 78
    assert 'there is no point "claim.befor"' in done.stderr


def test_failpoints_are_read() -> None:
    found = arm.parse("claim.before=exit,renew.before=sleep:2.5@3")
    assert found == {"claim.before": arm.Failpoint("exit"), "renew.before": arm.Failpoint("sleep", 2.5, 3)}
    for wrong in ("claim.before", "claim.before=die", "nowhere=exit", "claim.before=sleep"):
        with pytest.raises(ValueError):
            arm.parse(wrong)


async def test_a_failpoint_fires_once_at_its_turn(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    recorder = Recorder(tmp_path, "w1", 2)
    armed = arm.Armed(recorder, arm.parse("claim.before=sleep:7@2,assign.received=raise"))
    for expected in (0, 7, 0):
        before = trio.current_time()
        await armed.reach("claim.before")
        assert trio.current_time() - before == pytest.approx(expected)
    with pytest.raises(arm.FailpointError):
        armed.touch("assign.received")
    armed.touch("assign.received")
    recorder.end()
    lines = [json.loads(line) for line in recorder.path.read_text().splitlines()]
    assert [(line["seq"], line["event"], line.get("point")) for line in lines] == [
        (0, "failpoint", "claim.before"),
        (1, "failpoint", "assign.received"),
        (2, "end", None),
    ]


def test_a_large_claim_is_told_in_several_lines(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "c1")
    arm.Armed(recorder, {}).note("claim", key="0" * 32, tasks=[(10**15 + one, 1) for one in range(500)])
    lines = [json.loads(line) for line in recorder.path.read_text().splitlines()]
    assert sum(len(line["tasks"]) for line in lines) == 500
    assert all(len(line) < 4096 for line in recorder.path.read_text().splitlines())
