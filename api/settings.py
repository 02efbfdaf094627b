"""The settings of one process: a typed value, read and checked whole at the edge.

Precedence: flag > environment > `.env` > `callboard.toml` > default. All problems are reported at
once. This is the only reader of the environment.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from actors.model.errors import ConfigurationError
from actors.model.lease import DEFAULT, PROFILES, LeaseTerms
from actors.model.queue import Retention
from actors.model.task import AGEING
from api.settings_keys import BY_VARIABLE, KEYS, LEASE_KEYS
from api.settings_sources import Source, as_text, from_env_file, from_flags, from_toml, from_variables, unresolved

_HTTP_PORTS = {"api": 8080, "worker": 8090, "coordinator": 8091, "scheduler": 8092}  # the first role that matches


def default_data() -> Path:
    """The user's data folder."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "callboard"
    base = os.environ.get("XDG_DATA_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "callboard"


def default_executors() -> int:
    """One a core, at most 4: more processes cost memory before they bring speed."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)


KEPT = Retention()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a node, a supervisor or a client command runs with."""

    roles: tuple[str, ...] = ()
    database_url: str | None = field(default=None, repr=False)  # None: the embedded server of `data`
    direct_url: str | None = field(default=None, repr=False)  # past a pooler, for LISTEN
    data: Path = field(default_factory=default_data)
    host: str = "127.0.0.1"
    http_port: int = 8080
    grpc_port: int = 8081
    advertise: str | None = None
    coordinator_addresses: tuple[str, ...] = ()
    app: tuple[str, ...] = ()  # module names, or paths of Python files
    workers: int = 3  # worker nodes that `up` starts
    slots: int = 10
    executors: int = field(default_factory=default_executors)
    worker_name: str = "worker"
    queues: tuple[str, ...] = ()  # empty: every queue
    labels: Mapping[str, str] = field(default_factory=dict)
    drain: float = 30.0  # seconds that running tasks get to finish; open requests of an api get a third, at most 10
    cancel_grace: float = 5.0  # and then to leave after they were cancelled
    frozen_limit: float | None = None  # seconds that work goes on while the database does not answer; None: for ever
    default_timeout: float | None = None
    keep_succeeded: float = KEPT.succeeded  # seconds, where their queue says nothing
    keep_unsuccessful: float = KEPT.unsuccessful
    keep_idempotency_keys: float = KEPT.keys
    priority_ageing: float = AGEING  # seconds after which a task stands beside new ones of the next better priority
    token: str | None = field(default=None, repr=False)
    insecure: bool = False
    migrate: bool = True
    profile: str = "default"
    lease: LeaseTerms = DEFAULT
    log_level: str = "info"
    log_format: str = "text"
    output: str = "table"
    api_url: str | None = None
    ready_fd: int | None = None  # where a node writes one JSON line when it can serve
    lifeline_fd: int | None = None  # read end of a pipe; its end of file means that the supervisor is gone

    def has(self, role: str) -> bool:
        return role in self.roles

    @property
    def advertised_host(self) -> str:
        """The host under which other nodes reach this one."""
        if self.advertise:
            return self.advertise
        if self.host not in ("0.0.0.0", "::", ""):
            return self.host
        try:
            return socket.gethostbyname(socket.gethostname())
        except OSError:
            return socket.gethostname()

    def environment(self) -> dict[str, str]:
        """The same settings as variables, for a child process that shall read no file."""
        variables = {"CALLBOARD_ENV_FILE": "", "CALLBOARD_CONFIG": ""}
        for key in KEYS.values():
            value = getattr(self.lease if key.name in LEASE_KEYS else self, key.name)
            if value is not None and value != () and value != {}:
                variables[key.variable] = as_text(value)
        return variables


def user_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for processes that run user code: everything but our own secrets and plumbing."""
    ours = {key.variable for key in KEYS.values() if key.secret} | {"CALLBOARD_READY_FD", "CALLBOARD_LIFELINE_FD"}
    return {name: value for name, value in environ.items() if name not in ours}


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    files: bool = True,
    defaults: Mapping[str, Any] | None = None,
) -> Settings:
    """Reads and checks everything; raises ConfigurationError with every problem found.

    `files=False` reads no `.env` and no `callboard.toml` (demo, tests). `defaults` are those of the
    command, under everything that a person wrote.
    """
    environ = os.environ if environ is None else environ
    sources = _sources(flags or {}, environ, folder or Path.cwd(), files)
    problems = [problem for source in sources for problem in source.problems]
    values: dict[str, Any] = {}
    written: dict[str, str] = {}  # key → "NAME=value (where)", for messages
    for name, key in KEYS.items():
        found = next((source[name] for source in sources if name in source), None)
        if found is None:
            continue
        written[name] = f'{found.shown_name}="{key.shown(found.text)}" ({found.where})'
        try:
            if (odd := unresolved(found.text)) is not None:
                problems.append(f"{written[name]}: {odd}")
            else:
                values[name] = key.parse(found.text)
        except ValueError:
            problems.append(f"{written[name]}: {key.wants}")
    settings = _settle({**(defaults or {}), **values})
    problems += _lease_problems(settings, values) + _bind_problems(settings, written) + _port_problems(settings)
    if problems:
        raise ConfigurationError(problems)
    return settings


def _sources(flags: Mapping[str, Any], environ: Mapping[str, str], folder: Path, files: bool) -> list[Source]:
    """In order of precedence. CALLBOARD_ENV_FILE and CALLBOARD_CONFIG name other files; empty means none."""
    sources = [from_flags(flags), from_variables(environ, "environment")]
    if files:
        for variable, name, read in (
            ("CALLBOARD_ENV_FILE", ".env", from_env_file),
            ("CALLBOARD_CONFIG", "callboard.toml", from_toml),
        ):
            chosen = environ.get(variable, name)
            if chosen:
                sources.append(read(folder / chosen, wanted=variable in environ))
    return sources


def _settle(values: dict[str, Any]) -> Settings:
    """Fills in what depends on other settings: lease terms, ports, slots, name."""
    terms = PROFILES[values.get("profile", "default")]
    overrides = {name: values.pop(name) for name in LEASE_KEYS if name in values}
    values["lease"] = replace(terms, **overrides)
    roles = values.get("roles", ())
    values.setdefault("http_port", next((port for role, port in _HTTP_PORTS.items() if role in roles), 8080))
    values.setdefault("grpc_port", 8081 if "coordinator" in roles or not roles else 8082)
    if "coordinator" not in roles:
        values.setdefault("coordinator_addresses", ("http://localhost:8081",))
    values.setdefault("executors", default_executors())
    values.setdefault("slots", 10 * values["executors"])
    values.setdefault("worker_name", socket.gethostname())
    return Settings(**values)


def _lease_problems(settings: Settings, given: Mapping[str, Any]) -> list[str]:
    names = [KEYS[name].variable for name in LEASE_KEYS if name in given]
    where = f"{', '.join(names)} over profile {settings.profile}" if names else f"profile {settings.profile}"
    return [f"lease terms ({where}): {violation}" for violation in settings.lease.violations()]


def _bind_problems(settings: Settings, written: Mapping[str, str]) -> list[str]:
    if not settings.roles or settings.token or settings.insecure or is_loopback(settings.host):
        return []
    shown = written.get("host", f'host="{settings.host}" (default)')
    return [
        f"{shown}: other machines could reach this node without a password; set CALLBOARD_TOKEN to a secret "
        "that clients and workers send, or CALLBOARD_INSECURE=1 if the network is trusted, or bind 127.0.0.1"
    ]


def _port_problems(settings: Settings) -> list[str]:
    """A node with links or submissions by gRPC has two servers."""
    if not settings.http_port == settings.grpc_port > 0 or not {"coordinator", "scheduler"} & set(settings.roles):
        return []
    return [f"--http-port and --grpc-port are both {settings.http_port}: give each server a port of its own, or 0"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


assert {one.name for one in fields(Settings)} == (set(KEYS) - set(LEASE_KEYS)) | {"lease"}
assert len(BY_VARIABLE) == len(KEYS)
