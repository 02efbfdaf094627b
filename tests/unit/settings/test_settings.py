"""Settings: precedence, and messages that name what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from actors.model.errors import ConfigurationError
from actors.model.lease import FAST
from api.settings import Settings, load, user_environment
from api.settings_sources import parse_env_line


def problems(flags: Mapping[str, object], environ: dict[str, str], folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(flags, environ=environ, folder=folder)
    return "\n".join(caught.value.problems)


@pytest.mark.bad_input("CF07")
def test_flag_wins_over_environment_over_env_file_over_toml_over_default(tmp_path: Path) -> None:
    (tmp_path / "callboard.toml").write_text('slots = 1\nworker_name = "toml"\nhost = "127.0.0.4"\n')
    (tmp_path / ".env").write_text("CALLBOARD_SLOTS=2\nCALLBOARD_WORKER_NAME=file\n")
    environ = {"CALLBOARD_SLOTS": "3"}
    assert load({"slots": 4}, environ=environ, folder=tmp_path).slots == 4
    settings = load(environ=environ, folder=tmp_path)
    assert (settings.slots, settings.worker_name, settings.host) == (3, "file", "127.0.0.4")
    assert settings.drain == 30


def test_the_published_env_file_is_read_to_the_letter(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        'DATABASE_URL="postgresql://postgres:admin@postgres:5432/postgres?schema=public"\n'
        'COORDINATOR_ADDRESS="http://localhost:8081"\n'
    )
    settings = load(environ={}, folder=tmp_path)
    assert settings.database_url == "postgresql://postgres:admin@postgres:5432/postgres?schema=public"
    assert settings.coordinator_addresses == ("http://localhost:8081",)


def test_files_can_be_left_unread(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("broken\n")
    assert load(environ={}, folder=tmp_path, files=False).database_url is None
    assert load(environ={"CALLBOARD_ENV_FILE": ""}, folder=tmp_path).database_url is None


@pytest.mark.bad_input("CF03", "CF04", "CF08")
def test_every_problem_is_reported_at_once_and_secrets_are_masked(tmp_path: Path) -> None:
    text = problems(
        {"roles": "scheduler,cook"},
        {
            "CALLBOARD_SLOTS": "many",
            "DATABASE_URL": "mysql://me:hunter2@db/x",
            "CALLBOARD_WORKER_NMAE": "w",
            "CALLBOARD_TOKEN": "line\nbreak",
        },
        tmp_path,
    )
    assert '--roles="scheduler,cook" (command line): write one or more of scheduler' in text
    assert 'CALLBOARD_SLOTS="many" (environment): write a whole number from 1 to 10000' in text
    assert 'DATABASE_URL="mysql://me:****@db/x" (environment): write postgresql://' in text
    assert "CALLBOARD_WORKER_NMAE (environment): no such setting; did you mean CALLBOARD_WORKER_NAME?" in text
    assert 'CALLBOARD_TOKEN="****"' in text
    assert "hunter2" not in text
    assert "break" not in text


def test_a_broken_line_is_named_by_number_without_its_value(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('A=1\nDATABASE_URL postgresql://me:hunter2@db/x\nTOKEN="open\n')
    text = problems({}, {}, tmp_path)
    assert ".env line 2" in text
    assert ".env line 3" in text
    assert "hunter2" not in text


@pytest.mark.bad_input("CF02")
def test_broken_toml_says_where(tmp_path: Path) -> None:
    (tmp_path / "callboard.toml").write_text("slots =\n")
    assert "line 1" in problems({}, {}, tmp_path)


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ('A="x # y"', ("A", "x # y")),
        ("A='x' # comment", ("A", "x")),
        ("export A = x # comment", ("A", "x")),
        ('A="a\\"b\\n"', ("A", 'a"b\n')),
        ("A=", ("A", "")),
        ("A=pa#ss", ("A", "pa#ss")),
        ("# A=1", None),
        ("", None),
    ],
)
def test_env_lines(line: str, pair: tuple[str, str] | None) -> None:
    assert parse_env_line(line) == pair


@pytest.mark.bad_input("CF21")
def test_an_open_bind_needs_a_token_or_an_explicit_word(tmp_path: Path) -> None:
    flags = {"roles": "api", "host": "0.0.0.0"}
    text = problems(flags, {}, tmp_path)
    assert "CALLBOARD_TOKEN" in text
    assert "CALLBOARD_INSECURE=1" in text
    assert load(flags, environ={"CALLBOARD_TOKEN": "s"}, folder=tmp_path).token == "s"
    assert load(flags, environ={"CALLBOARD_INSECURE": "1"}, folder=tmp_path).insecure
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        assert load({"roles": "api", "host": host}, environ={}, folder=tmp_path).host == host


@pytest.mark.bad_input("CF06")
def test_lease_terms_are_checked_with_their_numbers(tmp_path: Path) -> None:
    text = problems({}, {"CALLBOARD_LEASE": "4"}, tmp_path)
    assert "CALLBOARD_LEASE over profile default" in text
    assert "must be at most" in text
    assert load(environ={"CALLBOARD_PROFILE": "fast"}, folder=tmp_path).lease == FAST


@pytest.mark.parametrize(
    ("roles", "ports"),
    [
        ("scheduler,coordinator,api", (8080, 8081)),
        ("coordinator", (8091, 8081)),
        ("scheduler,api", (8080, 8082)),
        ("scheduler", (8092, 8082)),
        ("worker", (8090, 8082)),
    ],
)
def test_ports_follow_the_roles(roles: str, ports: tuple[int, int], tmp_path: Path) -> None:
    settings = load({"roles": roles}, environ={}, folder=tmp_path)
    assert (settings.http_port, settings.grpc_port) == ports


def test_settings_travel_to_a_child_as_variables(tmp_path: Path) -> None:
    parent = load(
        {"roles": "worker", "labels": "gpu=yes", "app": ["a.py", "b"], "token": "s", "lease": "20", "queues": "x,y"},
        environ={},
        folder=tmp_path,
    )
    assert load(environ=parent.environment(), folder=tmp_path) == parent


def test_app_files_become_absolute_and_modules_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({"app": ["a.py", "pkg.mod"]}, environ={}).app == (str(tmp_path / "a.py"), "pkg.mod")


def test_user_code_is_not_handed_our_secrets() -> None:
    environ = {"CALLBOARD_TOKEN": "s", "DATABASE_URL": "postgresql://x", "HOME": "/h", "CALLBOARD_USER_PATH": "/app"}
    assert user_environment(environ) == {"HOME": "/h", "CALLBOARD_USER_PATH": "/app"}


def test_variables_that_kubernetes_makes_for_a_service_of_our_name_are_left_alone(tmp_path: Path) -> None:
    environ = {"CALLBOARD_PORT": "tcp://10.0.0.1:80", "CALLBOARD_SERVICE_HOST": "10.0.0.1", "CALLBOARD_TOKEN": ""}
    assert load(environ=environ, folder=tmp_path).token is None


def test_repr_shows_no_secret() -> None:
    assert "hunter2" not in repr(Settings(token="hunter2", database_url="postgresql://me:hunter2@db/x"))
