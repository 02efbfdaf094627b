"""`submit` and `tasks …`."""

from __future__ import annotations

import math
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.model.wrong import shown
from api.cli import options, show
from api.cli.client import Client
from api.cli.exits import BAD_DATA, FAILED, OK, TRY_AGAIN, CommandFailed
from api.http import json_text
from api.http.problems import Problem

FILE_LIMIT = 16 << 20  # bytes of a body of many tasks
READ_LIMIT = 1 << 20  # bytes of arguments with all their blanks; the server takes no larger body
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})
_COLUMNS = ("id", "name", "queue", "state", "attempt", "tries", "worker", "created_at", "finished_at")

tasks = typer.Typer(help="Look at tasks and change them.", no_args_is_help=True)


def finite(value: float | None) -> float | None:
    """A callback for options in seconds: `nan` and `inf` are numbers to Python, and no times."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of seconds")
    return value


def submit(
    name: Annotated[str, typer.Argument(help="Name of the handler.")],
    args: Annotated[str | None, typer.Option("--args", help="JSON object, @FILE, or @- for stdin.")] = None,
    queue: Annotated[str | None, typer.Option("--queue")] = None,
    priority: Annotated[int | None, typer.Option("--priority", help="1 urgent to 4 background.")] = None,
    delay: Annotated[float | None, typer.Option("--delay", help="Seconds from now.", callback=finite)] = None,
    run_at: Annotated[str | None, typer.Option("--run-at", help="A time like 2026-01-31T12:00:00Z.")] = None,
    max_tries: Annotated[int | None, typer.Option("--max-tries")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds for one attempt.", callback=finite)
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Repeatable.")] = None,
    depends_on: Annotated[
        list[str] | None, typer.Option("--depends-on", metavar="ID", help="Wait for this task. Repeatable.")
    ] = None,
    on_parent_failure: Annotated[str | None, typer.Option("--on-parent-failure", metavar="cancel|run")] = None,
    inputs: Annotated[
        str | None, typer.Option("--inputs", metavar="ARGUMENT", help="It gets the results of what this waits for.")
    ] = None,
    unique_key: Annotated[str | None, typer.Option("--unique-key", help="One task at a time has it.")] = None,
    unique_until: Annotated[str | None, typer.Option("--unique-until", metavar="started|finished|SECONDS")] = None,
    on_duplicate: Annotated[str | None, typer.Option("--on-duplicate", metavar="existing|replace")] = None,
    requires: Annotated[
        list[str] | None, typer.Option("--requires", metavar="LABEL=VALUE", help="Of the worker. Repeatable.")
    ] = None,
    concurrency_key: Annotated[
        str | None, typer.Option("--concurrency-key", help="Whose turn it is, in a queue with limits of keys.")
    ] = None,
    weight: Annotated[int | None, typer.Option("--weight", help="Slots that it takes, also in limits.")] = None,
    affinity_key: Annotated[
        str | None, typer.Option("--affinity-key", help="Goes where tasks with the same one go.")
    ] = None,
    expires_at: Annotated[str | None, typer.Option("--expires-at", help="Not started after this time.")] = None,
    idempotency_key: Annotated[str | None, typer.Option("--idempotency-key")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is final; exit 1 if it did not succeed.")] = False,
    wait_limit: Annotated[
        float | None, typer.Option("--wait-limit", min=0, help="Wait so many seconds; then exit 75.", callback=finite)
    ] = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Post a task."""
    settings = options.client_settings(url, token, output)
    body = {
        "name": name, "args": read_args(args), "queue": queue, "priority": priority, "delay": delay, "run_at": run_at,
        "max_tries": max_tries, "timeout": timeout, "tags": tag or None, "depends_on": depends_on or None,
        "on_parent_failure": on_parent_failure, "inputs": inputs, "unique_key": unique_key,
        "unique_until": _until(unique_until), "on_duplicate": on_duplicate, "requirements": _labels(requires),
        "concurrency_key": concurrency_key,
        "weight": weight, "affinity_key": affinity_key, "expires_at": expires_at,
    }  # fmt: skip
    key = secrets.token_hex(8) if idempotency_key is None else _header(idempotency_key)
    waits = wait or wait_limit is not None
    with Client(settings) as client:
        task = _post(client, {name: value for name, value in body.items() if value is not None}, key)
        if waits:
            try:
                task = wait_final(client, str(task["id"]), wait_limit)
            except KeyboardInterrupt:
                again = f"callboard tasks get {task['id']} --wait"
                print(
                    f"error: waiting was interrupted; task {task['id']} was posted and goes on: {again}",
                    file=sys.stderr,
                )
                raise
    _show_one(task, settings.output)
    if waits and task["state"] != "succeeded":
        raise typer.Exit(FAILED if task["state"] in FINAL else TRY_AGAIN)
    raise typer.Exit(OK)


def _until(text: str | None) -> str | float | None:
    """A word, or a number of seconds."""
    try:
        return finite(float(text)) if text is not None else None
    except ValueError:
        return text


def _labels(texts: list[str] | None) -> dict[str, str] | None:
    for text in texts or ():
        if "=" not in text:
            raise CommandFailed(f"{shown(text)} is no label (--requires): write LABEL=VALUE", BAD_DATA)
    return dict(text.split("=", 1) for text in texts) if texts else None


def _post(client: Client, body: dict[str, Any], key: str) -> Any:
    """The task. Where its outcome stays open, the message has the key with which it may be repeated."""
    again = f"whether the task was stored is not known: repeat it with --idempotency-key {key}, and it is stored once"
    try:
        return client.post("/tasks", body, {"Idempotency-Key": key})
    except KeyboardInterrupt:
        print(f"error: the submission was interrupted; {again}", file=sys.stderr)
        raise
    except CommandFailed as error:
        if error.doubt:
            raise CommandFailed(f"{error}; {again}", error.code) from None
        raise


def read_args(text: str | None) -> dict[str, Any]:
    """The arguments: JSON as given, from a file, or from stdin. As strict as the server that will read them."""
    if text is None:
        return {}
    where, raw = "--args", text.encode(errors="surrogateescape")
    if text.startswith("@"):
        where = "stdin" if text == "@-" else text[1:]
        try:
            raw = _read(text[1:], READ_LIMIT)
        except OSError as error:
            raise CommandFailed(f"can't read the arguments ({where}): {error.strerror}", BAD_DATA) from None
    if len(raw) > READ_LIMIT:
        raise CommandFailed(f"the arguments are too large ({where}): at most 256 KiB; pass a reference", BAD_DATA)
    try:
        value = json_text.parse(raw, "the text")
    except Problem as problem:
        detail = f'{problem.detail}; write an object, {{"x": 1}}'
        raise CommandFailed(f"can't take the arguments ({where}): {detail}", BAD_DATA) from None
    if not isinstance(value, dict):
        raise CommandFailed(
            f'the arguments are {_json_kind(value)} ({where}): write an object with their names, {{"x": 1}}', BAD_DATA
        )
    return value


def read_file(name: str) -> tuple[bytes, str]:
    """A body that a user keeps in a file, or pipes in; and what it is called in messages."""
    where = "stdin" if name == "-" else name
    try:
        raw = _read(name, FILE_LIMIT)
    except OSError as error:
        raise CommandFailed(f"can't read FILE ({where}): {error.strerror}", BAD_DATA) from None
    if len(raw) > FILE_LIMIT:
        raise CommandFailed(f"FILE is too large ({where}): the server takes at most 16 MiB", BAD_DATA)
    return raw, where


def read_json(name: str) -> Any:
    """As strict as the server that will read it."""
    raw, where = read_file(name)
    try:
        return json_text.parse(raw, "the text")
    except Problem as problem:
        raise CommandFailed(f"can't take FILE ({where}): {problem.detail}", BAD_DATA) from None


def _read(name: str, limit: int) -> bytes:
    """At most one byte more than the server takes: a device never ends."""
    if name == "-":
        if sys.stdin is None:
            raise CommandFailed("stdin is closed: pipe something in, or name a file", BAD_DATA)
        return sys.stdin.buffer.read(limit + 1)
    with Path(name).open("rb") as file:
        return file.read(limit + 1)


def _header(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise CommandFailed("the key has letters that no header carries (--idempotency-key): use ASCII ones", BAD_DATA)
    return value


def _json_kind(value: Any) -> str:
    return {list: "an array", str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def wait_final(client: Client, task_id: str, limit: float | None) -> Any:
    """The task when it is final, or as it is when the limit has passed."""
    end = None if limit is None else time.monotonic() + limit
    while True:
        left = 30.0 if end is None else max(0.0, min(30.0, end - time.monotonic()))
        task = client.get(f"/tasks/{task_id}", wait=f"{left:g}" if left else None)
        if task["state"] in FINAL or left == 0.0:
            return task


@tasks.command("list")
def list_tasks(
    state: Annotated[list[str] | None, typer.Option("--state", help="Repeatable.")] = None,
    name: Annotated[str | None, typer.Option("--name")] = None,
    queue: Annotated[str | None, typer.Option("--queue")] = None,
    tag: Annotated[str | None, typer.Option("--tag")] = None,
    worker: Annotated[str | None, typer.Option("--worker")] = None,
    schedule: Annotated[str | None, typer.Option("--schedule", help="Of the schedule that posted them.")] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", help="The id of a workflow.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="From the answer before.")] = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """The newest tasks."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        page = client.get(
            "/tasks", state=",".join(state) if state else None, name=name, queue=queue, tag=tag, worker=worker,
            schedule=schedule, workflow=workflow, limit=limit, cursor=cursor,
        )  # fmt: skip
    if settings.output == "json":
        show.as_json(page)
        return
    show.table(page["items"], _COLUMNS, empty="no tasks", roomy=("queue", "tries", "finished_at"))
    if page.get("next_cursor"):
        show.say(f"[dim]more: --cursor {page['next_cursor']}[/dim]")


@tasks.command("get")
def get_task(
    task_id: Annotated[str, typer.Argument(metavar="ID")],
    wait: Annotated[bool, typer.Option("--wait", help="Until it is final.")] = False,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """One task with everything that is known of it."""
    settings = options.client_settings(url, token, output)
    with Client(settings) as client:
        task = wait_final(client, number(task_id), None) if wait else client.get(f"/tasks/{number(task_id)}")
    _show_one(task, settings.output)


def number(text: str) -> str:
    if not text.isascii() or not text.isdigit():
        raise CommandFailed(f"{shown(text)} is no task id (ID): write the number that submit printed", BAD_DATA)
    return text


def _show_one(task: Any, output: str) -> None:
    if output == "json":
        show.as_json(task)
    else:
        show.record(task)
