"""The mutants: what each breaks, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    breaks: str  # the rule that no longer holds
    path: str
    old: str  # occurs once
    new: str
    by: tuple[str, ...]  # arguments of pytest, or a module with its own
    also: tuple[tuple[str, str], ...] = ()  # further changes of the file, where a second line of defence stands


COMPLETE = ("tests/conformance/test_complete.py",)
SWEEP = ("tests/conformance/test_sweep.py",)
CLAIM = ("tests/conformance/test_claim.py",)
RACES = ("tests/conformance/test_races.py",)
SESSIONS = ("tests/conformance/test_sessions.py",)
DISPATCHER = ("tests/unit/coordinator",)
WORKER = ("tests/unit/worker",)


def simulated(scenario: str, seeds: int) -> tuple[str, ...]:
    return ("tests.simulation", "--seeds", str(seeds), "--scenario", scenario)


SCHEDULES = ("tests/integration/schedules",)

MUTANTS = (
    Mutant(
        "success-without-attempt",
        "an outcome counts only for the attempt that the row names",
        "storage/sql/succeed.sql",
        "t.id = o.id AND t.attempt = o.attempt AND",
        "t.id = o.id AND",
        COMPLETE,
    ),
    Mutant(
        "success-without-lease-key",
        "an outcome counts only under the lease key that the row names",
        "storage/sql/succeed.sql",
        " AND t.lease_key = o.key",
        "",
        COMPLETE,
    ),
    Mutant(
        "failure-without-lease-key",
        "the same for outcomes other than success",
        "storage/sql/settle.sql",
        "t.attempt = o.attempt AND t.lease_key = o.key\n    LEFT JOIN",
        "t.attempt = o.attempt\n    LEFT JOIN",
        COMPLETE,
    ),
    Mutant(
        "sweep-without-state",
        "the sweep takes back only what is still held",
        "storage/sql/sweep.sql",
        "WHERE t.id = d.id AND t.attempt = d.attempt AND (t.state IN ('assigned', 'running')) IS NOT FALSE",
        "WHERE t.id = d.id",
        (*RACES, *SWEEP),
        (
            ("    WHERE (t.state IN ('assigned', 'running')) IS NOT FALSE\n      AND (x.why", "    WHERE (x.why"),
            (
                " AND state IN ('assigned', 'running') LIMIT $1) t\n    WHERE w.state IN",
                " LIMIT $1) t\n    WHERE w.state IN",
            ),
        ),
    ),
    Mutant(
        "sweep-reads-then-writes",
        "the sweep judges a row under its lock",
        "storage/sql/sweep.sql",
        "    ORDER BY t.id FOR UPDATE OF t SKIP LOCKED\n), kinds",
        "    ORDER BY t.id\n), kinds",
        RACES,
    ),
    Mutant(
        "renewal-of-the-dead",
        "a dead session is never renewed",
        "storage/sql/renew.sql",
        "w.epoch = a.epoch AND (w.state IN ('live', 'draining')) IS NOT FALSE",
        "w.epoch = a.epoch",
        SESSIONS,
    ),
    Mutant(
        "renewal-without-epoch",
        "a coordinator can't renew a worker that it lost",
        "storage/sql/renew.sql",
        " AND w.epoch = a.epoch",
        "",
        SESSIONS,
    ),
    Mutant(
        "claim-for-an-old-epoch",
        "a coordinator can't assign to a worker that it lost",
        "storage/sql/claim.sql",
        " AND w.epoch = s.epoch",
        "",
        CLAIM,
    ),
    Mutant(
        "claim-without-order",
        "what is urgent comes first",
        "storage/sql/claim.sql",
        "    ORDER BY rank, c.priority, c.id\n",
        "    ORDER BY rank DESC, c.priority, c.id\n",
        CLAIM,
    ),
    Mutant(
        "claim-judges-before-the-lock",
        "two claims never take the same task",
        "storage/sql/claim.sql",
        "    FOR UPDATE OF t SKIP LOCKED\n",
        "",
        RACES,
        (("t.id = given.id AND given.turn > 0 AND (t.state = 'queued') IS NOT FALSE", "t.id = given.id"),),
    ),
    Mutant(
        "no-acknowledgement-window",
        "an assignment that nobody acknowledged comes back",
        "storage/sql/claim.sql",
        "ack_by = clock_timestamp() + make_interval(secs => $6)",
        "ack_by = NULL",
        (*CLAIM, *SWEEP),
    ),
    Mutant(
        "recovery-does-not-wait",
        "who asks what became of a claim waits for its transaction",
        "storage/dispatch.py",
        'await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(($1::uuid)::text, 0))", key)',
        "pass",
        CLAIM,
    ),
    Mutant(
        "no-quiet-period",
        "nobody is convicted right after an outage",
        "actors/coordinator/rules.py",
        "            and (now - self._last <= self.gap and now - self._since >= self.length)",
        "            and True",
        simulated("database_restart", 10),
    ),
    Mutant(
        "acknowledged-before-the-commit",
        "an outcome is acknowledged only after its commit",
        "actors/coordinator/completer.py",
        "            verdicts = await self._store_in_the_end(merge([one.report.outcomes for one in batch]))\n",
        "            verdicts = [Verdict.ACCEPTED for one in batch for _ in one.report.outcomes.ids]\n"
        "            self._answer(batch, verdicts)\n"
        "            await self._store_in_the_end(merge([one.report.outcomes for one in batch]))\n"
        "            return\n",
        simulated("coordinator_crash", 8),
    ),
    Mutant(
        "a-drain-counts-as-a-crash",
        "what a worker hands back costs nothing",
        "storage/sql/settle.sql",
        "crashes = least(t.crashes + (d.kind = 5)::int, 30000)",
        "crashes = least(t.crashes + (d.kind IN (5, 6))::int, 30000)",
        COMPLETE,
    ),
    Mutant(
        "a-cancel-wish-is-forgotten-by-the-sweep",
        "what was to be cancelled never starts again",
        "storage/sql/sweep.sql",
        "        WHEN wish THEN 'cancelled'\n",
        "",
        SWEEP,
    ),
    Mutant(
        "a-cancel-wish-is-forgotten-by-a-failure",
        "what was to be cancelled is not tried again",
        "storage/sql/settle.sql",
        "        WHEN wish THEN 'cancelled'\n",
        "",
        COMPLETE,
    ),
    Mutant(
        "poison-is-never-set-aside",
        "a task that killed three workers is quarantined",
        "storage/sql/settle.sql",
        "        WHEN crash >= 3 THEN 'quarantined'\n",
        "",
        COMPLETE,
    ),
    Mutant(
        "no-deadline-of-its-own",
        "a worker stops before anybody else may start its work",
        "actors/worker/lease.py",
        "        until = sent + self.terms.lease - self.terms.margin\n",
        "        until = sent + 1e9\n",
        simulated("worker_cut_off", 10),
    ),
    Mutant(
        "the-deadline-counts-from-the-answer",
        "the lease counts from when the heartbeat was sent",
        "actors/worker/lease.py",
        "        return self._extend(sent, firm=firm)\n",
        "        return self._extend(self.now(), firm=firm)\n",
        WORKER,
    ),
    Mutant(
        "outcomes-are-dropped-on-reconnect",
        "an outcome is kept until it is acknowledged",
        "actors/worker/ledger.py",
        "        return list(self._reports.values())\n",
        "        return []\n",
        simulated("connection_resets", 8),
    ),
    Mutant(
        "a-repeated-assignment-starts-again",
        "the same attempt never starts twice",
        "actors/worker/ledger.py",
        "            _, fresh = partition(assignment, [place for place, task in enumerate(ids) if task in known])\n",
        "            fresh = assignment\n",
        simulated("duplicate_messages", 8),
    ),
    Mutant(
        "an-old-epoch-is-obeyed",
        "a worker refuses what an earlier coordinator assigns",
        "actors/worker/ledger.py",
        "        if assignment.epoch < self.epoch:\n",
        "        if assignment.epoch < 0:\n",
        WORKER,
    ),
    Mutant(
        "wake-ups-are-trusted",
        "a lost wake-up only makes it slower",
        "actors/coordinator/dispatcher.py",
        "        if poll.cancelled_caught:\n            self._hinted = True\n",
        "",
        ("tests/unit/coordinator/test_dispatcher.py", "-k", "poll"),
        (
            (
                "        if trio.current_time() >= self._looked_at + self._terms.poll:\n"
                "            self._hinted = True\n"
                "            self._looked_at = trio.current_time()  # also when there is nobody to look for\n",
                "",
            ),
        ),
    ),
    Mutant(
        "alone-beside-the-slots",
        "a worker never runs more attempts than it has slots",
        "actors/worker/crew.py",
        "        if self.solo.wanted:  # they take",
        "        if False:  # they take",
        WORKER,
    ),
    Mutant(
        "a-backlog-may-be-sorted",
        "a key costs no walk through a backlog, whatever the planner believes",
        "storage/limited.py",
        "set_config('enable_sort', 'off', true)",
        "set_config('enable_sort', 'on', true)",
        ("tests/conformance/test_reads.py",),
    ),
    Mutant(
        "a-timeout-for-those-without",
        "an attempt without a timeout may take as long as it likes",
        "storage/sql/mark_started.sql",
        "WHERE own.seconds IS NOT NULL",
        "WHERE true",
        COMPLETE,
    ),
    Mutant(
        "a-slot-that-fires-twice",
        "a nominal time of a schedule is posted once",
        "storage/sql/enter_slots.sql",
        "WHERE s.state = 'gap'\n",
        "",
        SCHEDULES,
    ),
    Mutant(
        "slot-and-progress-apart",
        "a slot and how far its schedule has come are committed together",
        "storage/schedules.py",
        'async with connection.transaction():\n                rows = await connection.fetch(sql("schedule") + DUE',
        'if True:\n                rows = await connection.fetch(sql("schedule") + DUE',
        SCHEDULES,
    ),
    Mutant(
        "an-exclusive-task-is-taken-too-early",
        "an exclusive task that may be with a worker waits for the whole lease",
        "actors/coordinator/sessions.py",
        "{*unnoted, *self._claiming()}",
        "{*self._claiming()}",
        simulated("exclusive_unacknowledged", 20),
    ),
    Mutant(
        "something-is-taken-from-one-that-just-resumed",
        "nothing is taken back from a session before its coordinator knows what the worker holds",
        "actors/coordinator/sessions.py",
        "linked = [link.session.id for link in self._membership]",
        "linked = range(10**6)",
        simulated("exclusive_unacknowledged", 20),
    ),
    Mutant(
        "a-task-is-taken-back-unsaid",
        "a worker is told what was taken from it",
        "actors/coordinator/sessions.py",
        '            link.tell(Cancel(attempts, "unacknowledged"))\n',
        "",
        simulated("brief_cuts", 8),
    ),
    Mutant(
        "the-deadline-has-no-margin",
        "a worker stops before its lease can end",
        "actors/worker/lease.py",
        "        until = sent + self.terms.lease - self.terms.margin\n",
        "        until = sent + self.terms.lease + 2.5 * self.terms.margin\n",
        simulated("worker_cut_off", 10),
    ),
)
