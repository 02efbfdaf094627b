"""Whether a run left enough to be judged, and did enough to mean something."""

from __future__ import annotations

from collections.abc import Iterator

from tests.check_history.history import History, Problem

RUN = (
    "scenario",
    "shape",
    "started_t",
    "healed_t",
    "ended_t",
    "terms",
    "planned_ops",
    "slots",
    "expect",
    "clean_stops",
)
TERMS = ("lease", "margin", "grace", "sweep", "dispatch", "statement", "quiet")
EXPECT = ("overlap", "faults", "final_within", "unfinished", "lossy", "lateness", "may_5xx")
PROCESSES = ("client", "nemesis", "sampler", "handlers")
ENOUGH = 0.95  # of what was planned


def gaps(history: History) -> list[Problem]:
    """Input that is missing. With any, nothing else can be told."""
    found = [*history.missing, *_absent(history)]
    if not found:
        found = [*_sequences(history), *_endings(history)]
    return [Problem("inconclusive", sentence) for sentence in found]


def shortfalls(history: History) -> list[Problem]:
    """The run did too little, or nothing happened to it."""
    found = []
    took = {one["id"] for one in history.of("fault_took")}
    if len(took) < history.expect["faults"]:
        found.append(f"{len(took)} faults took effect; {history.expect['faults']} were planned")
    ended = {one["op"] for one in history.of("submit_ok", "submit_fail", "submit_info")}
    done = len({one["key"] for one in history.of("submit_invoke") if one["op"] in ended})
    if done < ENOUGH * history.run["planned_ops"]:
        found.append(f"{done} of {history.run['planned_ops']} planned operations were carried out")
    return [Problem("inconclusive", sentence) for sentence in found]


def _absent(history: History) -> Iterator[str]:
    run = history.run
    yield from (f"run.json: no {name}" for name in RUN if name not in run)
    yield from (f"run.json: no terms.{name}" for name in TERMS if name not in run.get("terms", {}))
    yield from (f"run.json: no expect.{name}" for name in EXPECT if name not in run.get("expect", {}))
    procs = {name.split(".")[0] for name in history.files}
    yield from (f"no file of {name}" for name in PROCESSES if name not in procs)
    for name in run.get("slots", {}):
        if name not in procs:
            yield f"no file of worker {name}"
    if not history.of("clock"):
        yield "the database's clock was never sampled"
    if not history.audit:
        yield "the audit is empty"
    if not history.workers:
        yield "no session is in the table of workers"
    if not history.of("claim"):
        yield "no coordinator says that it claimed anything"


def _sequences(history: History) -> Iterator[str]:
    for name, lines in history.files.items():
        for place, line in enumerate(lines):
            if line["seq"] != place:
                yield f"{name}.jsonl: number {place} is missing; {line['seq']} follows"
                break
        late = next((n for n in range(1, len(lines)) if lines[n]["t"] < lines[n - 1]["t"]), None)
        if late is not None:
            yield f"{name}.jsonl: time goes back at number {late}"


def _endings(history: History) -> Iterator[str]:
    killed = {pid for one in history.of("fault_on") for pid in one.get("kills", ())}
    gone = {one["pid"] for one in history.of("gone")}
    for name, lines in history.files.items():
        proc, pid = name.split(".")[:2]
        excused = killed | gone if proc == "handlers" else killed
        if (not lines or lines[-1]["event"] != "end") and int(pid) not in excused:
            yield f"{name}.jsonl: it does not say its end, and nobody says that the process was killed"
