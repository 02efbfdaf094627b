"""`drill worker` and `drill coordinator`: strikes a node on purpose, and reports what came of it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from api.cli import options, show
from api.cli.client import Client
from api.cli.exits import FAILED, TRY_AGAIN, UNAVAILABLE, USAGE, CommandFailed
from api.drill.bounds import Bounds, coordinator_bounds, terms_from, worker_bounds
from api.drill.hand import CommandHand, Hand, SignalHand, is_here, struck
from api.drill.judge import at_risk, judge
from api.drill.record import Record
from api.drill.system import (
    LIMIT,
    Row,
    System,
    Target,
    choose_coordinator,
    choose_worker,
    knows,
    nothing_runs,
    others,
    read_held,
    read_system,
    refuse,
)
from api.drill.watch import Watch, held_at_strike
from api.settings import Settings

ANSWER_LIMIT = 3.0  # seconds that one answer of the API may take: a frozen node must not hold up the watch

Freeze = Annotated[bool, typer.Option("--freeze", help="Freeze it instead (SIGSTOP), and unfreeze it afterwards.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
Force = Annotated[bool, typer.Option("--force", help="Also when nobody is left to take over.")]
Idle = Annotated[bool, typer.Option("--idle", help="Also when it runs nothing: judge how soon it is noticed.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="COMMAND", help="Strike with a command; {id}, {name}, {host}, {pid} are filled in."),
]
Undo = Annotated[str | None, typer.Option("--undo", metavar="COMMAND", help="With --by and --freeze: unfreezes it.")]

drill = typer.Typer(
    help="Kill or freeze a node on purpose, and see what happens. Exit code 0: all within the bounds.",
    no_args_is_help=True,
)


@drill.command()
def worker(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name or id; else the busiest here.")] = None,
    freeze: Freeze = False,
    yes: Yes = False,
    force: Force = False,
    idle: Idle = False,
    by: By = None,
    undo: Undo = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Strike a worker: its tasks must begin again on others."""
    settings = options.client_settings(url, token, output)
    Drill(settings, freeze=freeze, yes=yes, force=force, idle=idle, by=by, undo=undo).run("worker", name)


@drill.command()
def coordinator(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its id or address; else the busiest.")] = None,
    freeze: Freeze = False,
    yes: Yes = False,
    force: Force = False,
    idle: Idle = False,
    by: By = None,
    undo: Undo = None,
    url: options.Url = None,
    token: options.Token = None,
    output: options.Output = None,
) -> None:
    """Strike a coordinator: nothing may be repeated."""
    settings = options.client_settings(url, token, output)
    Drill(settings, freeze=freeze, yes=yes, force=force, idle=idle, by=by, undo=undo).run("coordinator", name)


class Drill:
    """One drill: look, choose, refuse or ask, strike, watch, judge."""

    def __init__(
        self, settings: Settings, *, freeze: bool, yes: bool, force: bool, idle: bool, by: str | None, undo: str | None
    ) -> None:
        if undo is not None and (by is None or not freeze):
            raise CommandFailed("--undo goes with --by and --freeze", USAGE)
        self._settings, self._freeze, self._yes, self._force, self._idle = settings, freeze, yes, force, idle
        self._by, self._undo = by, undo
        self._quiet = settings.output == "json"

    def run(self, kind: str, name: str | None) -> None:
        """Raises CommandFailed, or typer.Exit with 1 when the bounds were broken."""
        with Client(self._settings, ANSWER_LIMIT) as client:
            facts = self._do(client, kind, name)
        if self._quiet:
            show.as_json(facts)
        else:
            _report(facts)
        if not facts["ok"]:
            raise typer.Exit(FAILED)

    def _do(self, client: Client, kind: str, name: str | None) -> dict[str, Any]:
        system = read_system(client.get)
        choose = choose_worker if kind == "worker" else choose_coordinator
        target = choose(system, name, (lambda _: True) if self._by else is_here, idle=self._idle)
        hand: Hand = (
            CommandHand(target, self._by, self._undo, freeze=self._freeze)
            if self._by
            else SignalHand(target, freeze=self._freeze)
        )
        refuse(system, target, freeze=self._freeze, restarts=hand.restarted_by is not None, force=self._force)
        bounds = _bounds(system, target, self._freeze)
        held = self._held(client, target)
        self._confirm(system, target, hand, bounds, held)
        before = self._held(client, target)  # asking took its time
        record = Record(target, self._freeze, bounds)
        watch = Watch(client.get, record, self._say)
        with struck(hand, lambda: print(f"unfrozen again: {hand.back}", file=sys.stderr)):
            watch.began()
            record.tasks = held_at_strike(before, _after(client, target))
            watch.run(hand, system.workers if kind == "worker" else system.coordinators)
        if not record.tasks and not self._idle:
            raise CommandFailed(nothing_runs(f"{target.title} ran no task any more when it was struck"), TRY_AGAIN)
        return judge(record)

    def _held(self, client: Client, target: Target) -> list[Row]:
        held = read_held(client.get, target)
        if not held and not self._idle:
            raise CommandFailed(
                nothing_runs(f"{target.title} runs no task" if target.kind == "worker" else "no task runs"), TRY_AGAIN
            )
        return held

    def _confirm(self, system: System, target: Target, hand: Hand, bounds: Bounds, held: list[Row]) -> None:
        """Says what will happen, and asks; exit code 2 where nobody can answer."""
        if not self._quiet:
            show.pairs(
                f"Drill: {'freeze' if self._freeze else 'kill'} {target.title}",
                _plan(system, target, hand, bounds, held),
            )
        if self._yes:
            self._gap()
            return
        if self._quiet or not sys.stdin.isatty():
            raise CommandFailed(
                "nobody can be asked whether to do this (no terminal, or --output json): pass --yes", USAGE
            )
        if not typer.confirm("Do it now?", default=False):
            print("nothing was done")
            raise typer.Exit(128 + signal.SIGINT)
        self._gap()

    def _gap(self) -> None:
        if not self._quiet:
            print(flush=True)

    def _say(self, seconds: float, what: str) -> None:
        if not self._quiet:
            show.say(f"[dim]{seconds:5.1f} s[/dim]  {escape(what)}")


def _after(client: Client, target: Target) -> list[Row]:
    """What the table says right after the strike; nothing where the api was what was struck."""
    try:
        return read_held(client.get, target)
    except CommandFailed:
        return []


def _bounds(system: System, target: Target, freeze: bool) -> Bounds:
    """From the terms of the coordinator that is struck, or of any: all have the same."""
    own = system.tree_of(target.id) if target.kind == "coordinator" else {}
    trees = [own, *(tree for tree in system.trees if "coordinator" in tree.get("roles", ()))]
    terms = next((found for tree in trees if (found := terms_from(tree.get("lease"))) is not None), None)
    if terms is None:
        raise CommandFailed(
            "no coordinator says its lease terms, so nothing could be judged: none answers, or all are too old",
            UNAVAILABLE,
        )
    if target.kind == "worker":
        return worker_bounds(terms, frozen=freeze)
    return coordinator_bounds(terms, others=bool(others(system, target)))


def _plan(system: System, target: Target, hand: Hand, bounds: Bounds, held: list[Row]) -> dict[str, str]:
    there = others(system, target)
    more = " or more" if len(held) == LIMIT else ""
    plan = {"does": hand.what, "on": f"{target.host or 'unknown host'}, {target.id}"}
    if target.serves_api:
        plan["API"] = "goes away with it, until it is started again"
    if hand.restarted_by:
        plan["started again"] = f"by {hand.restarted_by}"
    if target.kind == "coordinator":
        plan["tasks"] = f"{len(held)}{more} held by workers now; none of them may be repeated"
        plan["then"] = (
            f"{_count(len(there), 'other coordinator')} can take its workers over"
            if there
            else "its workers wait until it is back"
        )
        plan["bounds"] = f"its workers are linked again within {bounds.noticed:.1f} s"
        return plan
    plan["tasks"] = f"{len(held)}{more} held there; those begun are begun again elsewhere"
    if alone := sum(not any(knows(one, task) for one in there) for task in held):
        plan["careful"] = f"{alone} of them run handlers that no other worker has: they wait for one"
    if risk := at_risk(held):
        plan["quarantine"] = f"{risk} of them were lost twice before: one more time, and they are set aside"
    free = sum(max(0, one["slots"] - one["running"]) for one in there)
    plan["then"] = f"{_count(len(there), 'other worker')} with {_count(free, 'free slot')}"
    plan["bounds"] = (
        f"shown as lost within {bounds.noticed:.1f} s, its tasks assigned again within {bounds.again:.1f} s"
    )
    return plan


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _report(facts: Mapping[str, Any]) -> None:
    bounds, again = facts["bounds"], facts["again_after"]
    is_worker = facts["drill"].endswith("worker")
    rows = {
        "shown as lost" if is_worker else "workers linked": _timed(facts["noticed_after"], bounds["noticed"]),
        "assigned again": f"{_timed(again['max'], bounds['again'])}, half of them within {again['p50']:.1f} s"
        if again
        else "",
        "tasks": ", ".join(
            f"{facts[name]} {name.replace('_', ' ')}"
            for name in ("undisturbed", "repeated", "moved_unharmed", "ended", "waiting", "lost")
            if facts[name] or name in ("repeated", "lost")
        ),
        "late outcomes": f"{facts['late_outcomes_refused']} refused" if facts["late_outcomes_refused"] else "",
        "API": f"away for {facts['api_away']:.1f} s" if facts["api_away"] else "",
        "verdict": "within the bounds" if facts["ok"] else "OUT OF BOUNDS",
    }
    print()
    show.pairs("", {name: text for name, text in rows.items() if text})
    for problem in facts["problems"]:
        show.say(f"[red]{escape(problem)}[/red]")


def _timed(seconds: float | None, bound: float | None) -> str:
    if seconds is None:
        return f"never (bound {bound:.1f} s)"
    return f"{seconds:.1f} s" if bound is None else f"{seconds:.1f} s (bound {bound:.1f} s)"
