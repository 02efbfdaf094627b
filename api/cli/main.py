"""The `callboard` command: its commands, and the outer wall at which every error becomes one line and a code."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import typer

from api.cli import db, doctor, drill, health, nodes, queues, schedules, tasks, workers, workflows
from api.cli.bulk import cancel_tasks, retry_tasks
from api.cli.exits import USAGE, say_error
from api.cli.explain import explain_task, list_attempts

# typer carries a click of its own: its public name for the base of all usage errors is their subclass.
UsageError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="callboard",
    help="A distributed task scheduler on PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    nodes.up, nodes.demo, nodes.scheduler, nodes.coordinator, nodes.api, nodes.worker, nodes.node,
    tasks.submit, workers.tree, doctor.doctor, health.healthcheck, health.version,
):  # fmt: skip
    app.command()(command)
tasks.tasks.command("attempts")(list_attempts)
tasks.tasks.command("explain")(explain_task)
tasks.tasks.command("cancel")(cancel_tasks)
tasks.tasks.command("retry")(retry_tasks)
app.add_typer(tasks.tasks, name="tasks")
app.add_typer(schedules.schedules, name="schedules")
app.add_typer(workflows.workflows, name="workflows")
app.add_typer(queues.queues, name="queues")
app.add_typer(queues.handlers, name="handlers")
app.add_typer(workers.workers, name="workers")
app.add_typer(drill.drill, name="drill")
app.add_typer(db.db, name="db")


def run(arguments: list[str] | None = None) -> None:
    """Runs one command and exits with its code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the caller closed it; Python then has no object for it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process lives
    code = main(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # its disk is full: what nobody takes must not become the exit code
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    raise SystemExit(code)


def main(arguments: list[str]) -> int:
    """Runs one command; its exit code."""
    try:
        code = app(args=arguments, prog_name="callboard", standalone_mode=False)
        sys.stdout.flush()
    except UsageError as error:
        where = error.ctx.command_path if error.ctx else "callboard"
        if error.message.startswith("Usage:"):  # no arguments at all: the help is the message
            print(error.message, file=sys.stderr)
        else:
            print(f"error: {error.format_message().rstrip('.')} ({where}): see `{where} --help`", file=sys.stderr)
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        return say_error(error)
    return code if isinstance(code, int) else 0
