"""Commands that run something: `up`, single roles, `demo`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import trio
import typer

from actors.model.errors import ConfigurationError
from api.app_check import check_apps
from api.cli import options
from api.cli.logs import set_up_logging
from api.settings import Settings, default_executors, load
from api.up import DEFAULTS, run_up
from storage.embedded import running_url


def up(
    app: options.App = None,
    workers: Annotated[str | None, typer.Option("--workers", metavar="N", help="Worker nodes (3).")] = None,
    slots: options.Slots = None,
    executors: options.Executors = None,
    data: options.Data = None,
    host: options.Host = None,
    http_port: options.HttpPort = None,
    grpc_port: options.GrpcPort = None,
    profile: options.Profile = None,
    output: options.Output = None,
) -> None:
    """Start everything on this machine: PostgreSQL, one server node, worker nodes."""
    flags = {
        "app": app, "workers": workers, "slots": slots, "executors": executors, "data": data, "host": host,
        "http_port": http_port, "grpc_port": grpc_port, "profile": profile, "output": output,
        "roles": "scheduler,coordinator,api",
    }  # fmt: skip
    first = options.node_settings(flags, DEFAULTS)
    # All workers of one machine share its cores.
    share = max(1, -(-default_executors() // max(1, first.workers)))
    settings = options.node_settings(flags, {**DEFAULTS, "executors": share})
    set_up_logging(settings)

    def say(addresses: dict[str, Any]) -> None:
        if settings.output == "json":
            print(json.dumps(addresses), flush=True)
        else:
            plural = "worker" if settings.workers == 1 else "workers"
            print(f"Callboard is up: {addresses['url']}  ({settings.workers} {plural})", flush=True)
            if settings.workers and not settings.app:
                print("No handlers are loaded, so tasks will wait: name your Python file with --app FILE", flush=True)

    _exit(trio.run(run_up, settings, say))


def node(
    roles: Annotated[
        str | None, typer.Option("--roles", help="scheduler, coordinator, api, worker; separated by commas.")
    ] = None,
    app: options.App = None,
    slots: options.Slots = None,
    executors: options.Executors = None,
    data: options.Data = None,
    host: options.Host = None,
    http_port: options.HttpPort = None,
    grpc_port: options.GrpcPort = None,
    profile: options.Profile = None,
) -> None:
    """Run one node process with any roles."""
    run_roles(
        {
            "roles": roles, "app": app, "slots": slots, "executors": executors, "data": data, "host": host,
            "http_port": http_port, "grpc_port": grpc_port, "profile": profile,
        }
    )  # fmt: skip


def scheduler(
    data: options.Data = None,
    host: options.Host = None,
    http_port: options.HttpPort = None,
    grpc_port: options.GrpcPort = None,
) -> None:
    """Run a scheduler: takes submissions, keeps time and order in the tables."""
    run_roles({"roles": "scheduler", "data": data, "host": host, "http_port": http_port, "grpc_port": grpc_port})


def coordinator(
    data: options.Data = None,
    host: options.Host = None,
    http_port: options.HttpPort = None,
    grpc_port: options.GrpcPort = None,
    profile: options.Profile = None,
) -> None:
    """Run a coordinator: hands due tasks to connected workers."""
    run_roles(
        {
            "roles": "coordinator", "data": data, "host": host, "http_port": http_port, "grpc_port": grpc_port,
            "profile": profile,
        }
    )  # fmt: skip


def api(
    data: options.Data = None,
    host: options.Host = None,
    http_port: options.HttpPort = None,
    grpc_port: options.GrpcPort = None,
) -> None:
    """Run an api node: HTTP for clients."""
    run_roles({"roles": "api", "data": data, "host": host, "http_port": http_port, "grpc_port": grpc_port})


def worker(
    app: options.App = None,
    coordinator: Annotated[
        str | None, typer.Option("--coordinator", help="http://HOST:PORT, several separated by commas.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Shown name (the host's).")] = None,
    queues: Annotated[str | None, typer.Option("--queues", help="Only these, separated by commas.")] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="name=value, separated by commas.")] = None,
    slots: options.Slots = None,
    executors: options.Executors = None,
    host: options.Host = None,
    http_port: options.HttpPort = None,
    profile: options.Profile = None,
) -> None:
    """Run a worker node: executes handlers in processes of their own."""
    run_roles(
        {
            "roles": "worker", "app": app, "coordinator_addresses": coordinator, "worker_name": name, "queues": queues,
            "labels": labels, "slots": slots, "executors": executors, "host": host, "http_port": http_port,
            "profile": profile,
        }
    )  # fmt: skip


def demo(
    output: options.Output = None,
    data: options.Data = None,
    workers: Annotated[int, typer.Option("--workers", min=2, help="Worker nodes; one of them is killed.")] = 3,
) -> None:
    """Run the system on real input, kill a worker in the middle, and show what happens."""
    from api.demo import run_demo

    settings = load({"output": output}, environ={}, files=False)
    _exit(trio.run(run_demo, data, workers, settings.output))


def run_roles(flags: dict[str, Any]) -> None:
    """Reads the settings, checks the apps, finds the database, and runs the node."""
    settings = options.node_settings(flags)
    if not settings.roles:
        raise ConfigurationError(["--roles: nothing to run; write one or more of scheduler, coordinator, api, worker"])
    set_up_logging(settings)
    if settings.has("worker") and settings.ready_fd is None:  # a supervisor has checked before it started us
        trio.run(check_apps, settings)
    settings = with_database(settings)
    from api.compose import run_node  # it loads every room; a mistake in the settings is answered before

    _exit(trio.run(run_node, settings))


def with_database(settings: Settings) -> Settings:
    """Role commands never start a server: without DATABASE_URL they use the running one of the data folder."""
    if settings.database_url or settings.roles == ("worker",):
        return settings
    url = running_url(settings.data)
    if url is None:
        raise ConfigurationError(
            [
                f"no database: DATABASE_URL is not set and no embedded PostgreSQL runs in {settings.data}; "
                "set DATABASE_URL, or start everything with `callboard up`"
            ]
        )
    return replace(settings, database_url=url)


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)
