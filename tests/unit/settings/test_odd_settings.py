"""Settings as people get them wrong: each is named with its place and what would be right, and nothing is guessed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.model.errors import ConfigurationError
from actors.model.lease import DEFAULT, PROFILES
from api.settings import Settings, load
from api.settings_keys import BY_VARIABLE, KEYS
from api.settings_kinds import Seconds, labels
from api.settings_sources import MOST, from_env_file, from_toml, parse_env_line

ROOT = Path(__file__).parents[3]
BUDGET = settings(
    max_examples=150, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


def refused(folder: Path, environ: dict[str, str] | None = None, **flags: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(flags, environ=environ or {}, folder=folder)
    must_be_lines(caught.value.problems)
    return "\n".join(caught.value.problems)


def must_be_lines(problems: Sequence[str]) -> None:
    """Each fits into a terminal, and says nothing to it."""
    assert problems
    for problem in problems:
        assert all(one.isprintable() for one in problem), problem
        assert len(problem) < 600


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.bad_input("CF01")
@pytest.mark.parametrize("name", [".env", "callboard.toml"])
def test_a_file_that_is_none_of_settings_is_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.mkdir()
    assert f"{name} ({file}): can't be read: Is a directory" in refused(tmp_path)
    file.rmdir()
    file.write_bytes(b"# " + b"x" * MOST)
    assert "no file of settings" in refused(tmp_path)
    file.write_bytes("CALLBOARD_HOST=é\n".encode("latin-1") if name == ".env" else 'host = "é"\n'.encode("latin-1"))
    assert "utf-8" in refused(tmp_path)
    file.write_bytes(b"")
    assert load(environ={}, folder=tmp_path).host == "127.0.0.1"
    file.write_bytes(b"\xef\xbb\xbf" + (b"CALLBOARD_SLOTS=3\n" if name == ".env" else b"slots = 3\n"))
    assert load(environ={}, folder=tmp_path).slots == 3


@pytest.mark.bad_input("CF01")
@pytest.mark.parametrize("variable", ["CALLBOARD_ENV_FILE", "CALLBOARD_CONFIG"])
def test_a_file_that_somebody_named_must_be_there(tmp_path: Path, variable: str) -> None:
    assert "there is no such file" in refused(tmp_path, {variable: "nothing"})


@pytest.mark.bad_input("CF01")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    for source in (from_env_file(tmp_path / ".env"), from_toml(tmp_path / "callboard.toml")):
        assert "can't be read: Permission denied" in source.problems[0]


@pytest.mark.bad_input("CF02")
@pytest.mark.parametrize("text", ["slots =\n", "x\n", "[a\n", 'a = "b\n', "a = 1\na = 2\n", "a=" + "[" * 5000])
def test_broken_toml_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "callboard.toml").write_text(text)
    assert "is not TOML" in refused(tmp_path)


@pytest.mark.bad_input("CF03")
@pytest.mark.parametrize(
    ("name", "near"), [("slot", "slots"), ("databse_url", "database_url"), ("log-levle", "log_level")]
)
def test_a_misspelt_key_gets_a_hint(tmp_path: Path, name: str, near: str) -> None:
    (tmp_path / "callboard.toml").write_text(f"{name} = 1\n")
    assert f"did you mean {near}?" in refused(tmp_path)
    (tmp_path / "callboard.toml").unlink()
    variable = f"CALLBOARD_{name.replace('-', '_').upper()}"
    assert "no such setting" in refused(tmp_path, {variable: "1"})


@pytest.mark.bad_input("CF04")
@pytest.mark.parametrize(
    "line",
    ['slots = "8"', "slots = true", "slots = 1.5", "slots = [1]", "slots = {a = 1}", "slots = 2030-01-01",
     "drain = true", "drain = [1]", "host = 1", "host = true", "app = 1", "labels = 1", "labels = [1]",
     "migrate = 1.5", "token = 5"],
)  # fmt: skip
def test_a_value_of_another_type_is_not_converted(tmp_path: Path, line: str) -> None:
    (tmp_path / "callboard.toml").write_text(line + "\n")
    said = refused(tmp_path)
    assert said.startswith(f"{line.split(' ')[0]} (")
    assert "write " in said


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.bad_input("CF05")
@pytest.mark.parametrize(
    "value", ["-1", "nan", "inf", "-inf", "1e400", "5m", "5 min", "1h", "soon", "0x10", "１", "1_0", "s"]
)
@pytest.mark.parametrize("variable", ["CALLBOARD_DRAIN", "CALLBOARD_CANCEL_GRACE", "CALLBOARD_LEASE"])
def test_a_duration_that_is_none_is_named(tmp_path: Path, variable: str, value: str) -> None:
    assert f'{variable}="{value}" (environment): write seconds from' in refused(tmp_path, {variable: value})


@pytest.mark.bad_input("CF05")
@pytest.mark.parametrize("value", ["0", "-5", "nan"])
def test_a_time_limit_of_nothing_is_none(tmp_path: Path, value: str) -> None:
    assert "write seconds above 0" in refused(tmp_path, {"CALLBOARD_DEFAULT_TIMEOUT": value})


@pytest.mark.bad_input("CF06")
@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"heartbeat": "3"}, "heartbeat 3 s must be at most a fifth of lease"),
        ({"lease": "4"}, "lease 4 s"),
        ({"margin": "9"}, "margin"),
        ({"renewal": "9"}, "renewal"),
        ({"connect_limit": "60"}, "connect"),
        ({"missed": "40"}, "silence 80 "),
    ],
)
def test_lease_times_that_contradict_each_other_are_shown_with_their_numbers(
    tmp_path: Path, terms: dict[str, str], said: str
) -> None:
    text = refused(tmp_path, {f"CALLBOARD_{name.upper()}": value for name, value in terms.items()})
    assert "lease terms (CALLBOARD_" in text
    assert said in text


@pytest.mark.bad_input("CF10")
def test_one_port_for_two_servers_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, roles="api,coordinator", http_port="8080", grpc_port="8080")
    assert "both 8080" in said
    assert load({"roles": "api,coordinator", "http_port": "0", "grpc_port": "0"}, environ={}, folder=tmp_path)
    for port in ("-1", "65536", "http", "80.0", "８０"):
        assert "write a port from 0 to 65535" in refused(tmp_path, {"CALLBOARD_HTTP_PORT": port})


@pytest.mark.bad_input("CF15")
@pytest.mark.parametrize("value", ["0", "-1", "10001", "1.5", "many", "1e1", "１", "9" * 5000])
def test_slots_have_limits(tmp_path: Path, value: str) -> None:
    said = refused(tmp_path, {"CALLBOARD_SLOTS": value})
    assert said.startswith('CALLBOARD_SLOTS="')
    assert "write a whole number from 1 to 10000" in said


@pytest.mark.bad_input("CF20")
@pytest.mark.parametrize(
    "variable", ["CALLBOARD_HOST", "CALLBOARD_SLOTS", "DATABASE_URL", "CALLBOARD_TOKEN", "CALLBOARD_APP"]
)
def test_quotes_and_unexpanded_names_are_told_and_line_ends_do_no_harm(tmp_path: Path, variable: str) -> None:
    for quote in "\"'":
        said = refused(tmp_path, {variable: f"{quote}hunter2{quote}"})
        assert "the quotes are part of the value here: remove them" in said
    for text in ("${VALUE}", "${VALUE:-hunter2}", "a${VALUE}b"):
        said = refused(tmp_path, {variable: text})
        assert "${VALUE} was not replaced by its value" in said
    assert "hunter2" not in refused(tmp_path, {"CALLBOARD_TOKEN": "'hunter2'", "DATABASE_URL": '"://x:hunter2@h"'})
    assert load(environ={"CALLBOARD_SLOTS": "5\r\n"}, folder=tmp_path).slots == 5


@pytest.mark.bad_input("CF20")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CALLBOARD_HOST", "not a host"),
        ("CALLBOARD_HOST", "a\x1b[31m"),
        ("CALLBOARD_ADVERTISE", "http://h"),
        ("CALLBOARD_WORKER_NAME", "x" * 300),
        ("CALLBOARD_WORKER_NAME", "a\x1bb"),
        ("CALLBOARD_QUEUES", "a,b c"),
        ("CALLBOARD_QUEUES", "a,\x00"),
        ("CALLBOARD_LABELS", "a"),
        ("CALLBOARD_LABELS", "=b"),
        ("CALLBOARD_LABELS", "a=1,a=2"),
        ("CALLBOARD_LABELS", ",".join(f"l{n}=1" for n in range(65))),
        ("CALLBOARD_TOKEN", "sésame"),
        ("CALLBOARD_TOKEN", "two\nlines"),
        ("COORDINATOR_ADDRESS", "localhost:8081"),
        ("COORDINATOR_ADDRESS", "http://a:1,http://"),
        ("COORDINATOR_ADDRESS", "http://a:0"),
    ],
)
def test_what_would_be_refused_later_is_refused_at_once(tmp_path: Path, variable: str, value: str) -> None:
    said = refused(tmp_path, {variable: value})
    assert said.startswith(variable)
    assert "write " in said


# --- any text -------------------------------------------------------------------------------------

TEXTS = st.text(max_size=40) | st.from_regex(r"[-+]?[0-9_]{0,6}\.?[0-9]{0,3}(e[0-9]{1,3})?[sm]?", fullmatch=True)


@BUDGET
@given(st.dictionaries(st.sampled_from(sorted(BY_VARIABLE)), TEXTS, max_size=5))
def test_any_environment_is_settings_or_a_list_of_what_is_wrong(environ: dict[str, str]) -> None:
    try:
        found = load(environ=environ, folder=ROOT, files=False)
    except ConfigurationError as error:
        must_be_lines(error.problems)
        return
    assert isinstance(found, Settings)
    assert found.lease.violations() == []
    assert 1 <= found.slots <= 10_000
    assert math.isfinite(found.drain)
    assert load(environ=found.environment(), folder=ROOT) == found


@BUDGET
@given(TEXTS, st.floats(0, 10), st.floats(10, 1e6))
def test_any_text_is_seconds_within_the_limits_or_refused(text: str, low: float, high: float) -> None:
    try:
        found = Seconds(low, high)(text)
    except ValueError:
        return
    assert low <= found <= high


@BUDGET
@given(st.floats(0.01, 3600))
def test_a_duration_is_read_as_it_is_written(value: float) -> None:
    assert Seconds(0.01, 3600)(repr(value)) == Seconds(0.01, 3600)(f"{value!r}s") == value


NAMES = st.text("abcxyz._-é", min_size=1, max_size=8)


@BUDGET
@given(st.dictionaries(NAMES, NAMES, max_size=5))
def test_labels_are_read_as_they_are_written(given_labels: dict[str, str]) -> None:
    assert labels(",".join(f"{name} = {word}" for name, word in given_labels.items())) == given_labels


@BUDGET
@given(st.text(max_size=60).filter(lambda line: "\n" not in line and "\r" not in line))
def test_any_line_of_an_env_file_is_a_pair_or_nothing_or_refused_without_its_value(line: str) -> None:
    try:
        pair = parse_env_line(line)
    except ValueError as error:
        must_be_lines([str(error)])
        return
    assert pair is None or pair[0]


@BUDGET
@given(st.sampled_from(sorted(KEYS)), st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=8)))
def test_any_toml_value_is_read_or_refused(tmp_path: Path, name: str, value: bool | float | str) -> None:
    shown = str(value).lower() if isinstance(value, bool | float) else repr(value)
    (tmp_path / "callboard.toml").write_text(f"{name} = {shown}\n", encoding="utf-8", errors="replace")
    try:
        load(environ={}, folder=tmp_path)
    except ConfigurationError as error:
        must_be_lines(error.problems)


def test_the_profiles_are_sound() -> None:
    assert DEFAULT in PROFILES.values()
    assert all(terms.violations() == [] for terms in PROFILES.values())
