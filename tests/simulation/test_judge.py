"""The judge is judged: a sound history passes, and each broken one is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.model.columns import Outcome
from actors.model.lease import TEST
from actors.model.task import NewTask
from tests.simulation.audit import Change, Ended, Look, Row, SessionChange
from tests.simulation.facts import Expect, Facts
from tests.simulation.history import CancelAnswer, Execution, Fault, History, Submission, Verdict
from tests.simulation.judge import judge
from tests.simulation.timeline import Timeline

KEY, OTHER = b"k" * 16, b"o" * 16
QUEUED = Look("queued", 0, None, None, 0, 0, 0, 0, False)


def assigned(attempt: int, key: bytes, session: int) -> Look:
    return replace_look(QUEUED, state="assigned", attempt=attempt, key=key, session=session)


def replace_look(look: Look, **changed: object) -> Look:
    return look._replace(**changed)  # type: ignore[arg-type]


class Story:
    """Task 1 was claimed twice: its first worker was cut off, lost its lease, and its second one succeeded."""

    def __init__(self) -> None:
        self.history = History(Timeline())
        self.expect = Expect()
        first, second = assigned(1, KEY, 7), replace_look(assigned(2, OTHER, 8), crashes=1)
        lost = replace_look(QUEUED, attempt=1, crashes=1)
        self.done = replace_look(second, state="succeeded")
        self.changes = [
            Change(1.0, "submit", 1, None, QUEUED),
            Change(1.1, "claim", 1, QUEUED, first),
            Change(5.0, "sweep", 1, first, lost),
            Change(5.2, "claim", 1, lost, second),
            Change(6.4, "complete", 1, second, self.done),
        ]
        self.sessions = [SessionChange(4.9, "sweep", 7, "w1#1", "live", "dead")]
        self.ended = [Ended(1, 1, KEY, "lost", True)]
        self.row = Row(1, "long", self.done, {"n": 0}, {"attempt": 2})
        self.history.submissions.append(Submission(0, None, NewTask(name="long"), "long", 0.9, [1]))
        self.older = Execution(1, 1, KEY, "w1", "w1#1", 2, 1.2, ended=4.6, how="cancelled")
        self.newer = Execution(1, 2, OTHER, "w2", "w2#1", 2, 5.3, ended=6.3, how="return")
        self.history.executions += [self.older, self.newer]
        self.history.verdicts.append(Verdict(6.5, "w2", 1, 2, OTHER, Outcome.SUCCEEDED, 0))
        self.history.verdicts.append(Verdict(7.0, "w1", 1, 1, KEY, Outcome.RELEASED, 2))

    def judged(self, *, all_final: bool = True, leaks: list[str] | None = None) -> list[str]:
        return judge(
            Facts(
                history=self.history, terms=TEST, changes=self.changes, sessions=self.sessions, ended=self.ended,
                rows={1: self.row}, expect=self.expect, all_final=all_final, leaks=leaks or [],
            )
        )  # fmt: skip

    def finds(self, words: str) -> None:
        found = self.judged()
        assert any(words in one for one in found), found


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_sound_history_passes(story: Story) -> None:
    assert story.judged() == []


def test_an_acknowledged_task_that_is_not_there(story: Story) -> None:
    story.history.submissions[0].ids.append(99)
    story.finds("not in the table")


def test_a_task_that_nobody_asked_for(story: Story) -> None:
    story.history.submissions.clear()
    story.finds("asked for by nobody")


def test_one_key_answered_with_two_tasks(story: Story) -> None:
    story.history.submissions[0].key = "key"
    story.history.submissions[0].ids.append(2)
    story.finds("one key was answered")


def test_a_change_after_the_end(story: Story) -> None:
    story.changes.append(Change(8.0, "sweep", 1, story.done, replace_look(story.done, crashes=2)))
    story.finds("changed after it was succeeded")


def test_a_step_that_does_not_exist(story: Story) -> None:
    story.changes[-1].old = replace_look(QUEUED, attempt=2)
    story.finds("legal_moves")


def test_a_lease_that_changed_hands(story: Story) -> None:
    running = replace_look(assigned(2, OTHER, 9), state="running", crashes=1)
    story.changes.insert(4, Change(5.5, "mark", 1, story.changes[3].new, running))
    story.finds("changed hands")


def test_an_attempt_number_left_out(story: Story) -> None:
    story.changes[3].new = replace_look(story.changes[3].new, attempt=3)
    story.finds("expected 2")


def test_an_execution_that_nobody_assigned(story: Story) -> None:
    story.newer.key = b"x" * 16
    story.finds("without having been assigned")


def test_an_assignment_that_was_started_twice(story: Story) -> None:
    story.history.executions.append(replace(story.newer, began=6.31, ended=6.35))
    story.finds("started 2 times")


def test_the_result_of_another_attempt(story: Story) -> None:
    story.row.result = {"attempt": 1}
    story.finds("has the result")


def test_a_success_that_never_returned(story: Story) -> None:
    story.newer.how = "killed"
    story.finds("did not return before")


def test_fenced_without_reason(story: Story) -> None:
    story.history.verdicts[1].at = 4.0
    story.finds("fenced though nobody")


def test_accepted_unknown_to_the_table(story: Story) -> None:
    story.history.verdicts[1].verdict = 0
    story.finds("the table does not know")


def test_accepted_before_its_commit(story: Story) -> None:
    story.history.verdicts[0].at = 6.3
    story.finds("the table does not know")


def test_accepted_as_something_else(story: Story) -> None:
    story.history.verdicts[0].kind = Outcome.RELEASED
    story.finds("accepted as RELEASED")


def test_a_start_after_cancelled(story: Story) -> None:
    story.history.cancels.append(CancelAnswer(1, 5.0, 5.1, "cancelled"))
    story.finds("cancelled at 5.1")


def test_a_start_out_of_reach_after_cancelled(story: Story) -> None:
    """Attempt 1 was taken back at 5.0 from a worker that could not be told; it may start while its lease lasts."""
    story.history.cancels.append(CancelAnswer(1, 5.0, 5.1, "cancelled"))
    story.newer.began = 5.05
    for began, excused in ((5.2, True), (5.0 + TEST.lease, False)):
        story.older.began = began
        assert any("cancelled at 5.1" in one for one in story.judged()) is not excused


def test_back_to_the_queue_in_spite_of_a_wish(story: Story) -> None:
    old = story.changes[2].old
    assert old is not None
    story.changes[2].old = replace_look(old, wish=True)
    story.finds("though it was to be cancelled")


def test_counters_that_are_not_the_attempts(story: Story) -> None:
    story.row.look = replace_look(story.done, tries=1)
    story.finds("says tries=1")


def test_quarantined_too_early(story: Story) -> None:
    story.row.look = replace_look(story.done, state="quarantined")
    story.finds("was quarantined after 1")


def test_lost_though_its_worker_was_never_convicted(story: Story) -> None:
    story.sessions.clear()
    story.finds("never convicted")


def test_refused_and_yet_it_ran(story: Story) -> None:
    story.ended[0].outcome = "refused"
    story.finds("but it ran")


def test_crashed_though_its_execution_was_not_killed(story: Story) -> None:
    story.ended[0].outcome = "crashed"
    story.finds("ended with cancelled")


def test_more_handlers_than_slots(story: Story) -> None:
    story.newer.slots = 0
    story.finds("has 0 slots")


def test_one_that_must_run_alone_and_did_not(story: Story) -> None:
    story.row.name = "alone"
    story.older.process = story.newer.process = "w1#1/1"
    story.finds("must run alone")


def test_convicted_after_a_grace_though_its_socket_never_closed(story: Story) -> None:
    story.sessions[0].cause = "convict"
    story.finds("convicted after a grace")


def test_a_death_that_was_found_out_late(story: Story) -> None:
    story.history.deaths.append(("w1#1", 4.0))
    assert story.judged() == []
    story.history.deaths[0] = ("w1#1", 4.9 - 9.3)
    story.finds("was found out at")


def test_a_goodbye_that_nobody_heard(story: Story) -> None:
    story.expect = Expect(closes=True)
    assert story.judged() == []
    story.history.stops.append(("w1#1", 1.0, 2.0, 11.0))
    story.finds("said goodbye")


def test_a_stop_that_took_too_long(story: Story) -> None:
    story.history.stops.append(("w1#1", 1.0, 20.0, 11.0))
    story.finds("asked to stop")


def test_a_stop_during_a_freeze_is_excused(story: Story) -> None:
    story.history.stops.append(("w1#1", 1.0, 20.0, 11.0))
    story.history.faults.append(Fault("freeze", "w1", 2.0, 15.0))
    assert story.judged() == []


def test_what_is_not_final_and_what_is_left_over(story: Story) -> None:
    assert any("liveness" in one for one in story.judged(all_final=False))
    assert any("leaks" in one for one in story.judged(leaks=["w1#1 has 3 attempts in its ledger"]))


def test_an_actor_that_crashed(story: Story) -> None:
    story.history.crashes.append("boom")
    story.finds("boom")


# --- two at once ------------------------------------------------------------------------------------


def test_an_older_attempt_outlives_its_lease(story: Story) -> None:
    story.older.ended = 5.8
    story.finds("its lease had run out")


def test_a_machine_that_slept_may_run_for_a_moment(story: Story) -> None:
    story.older.ended = 5.8
    story.history.faults.append(Fault("freeze all", "w1", 1.5, 5.4))
    assert story.judged() == []
    story.expect = Expect(overlap=False)
    assert story.judged() == []


def test_frozen_vouches_for_what_is_not_exclusive(story: Story) -> None:
    story.older.ended = 5.8
    story.history.vouched["w1#1"] = [4.5]
    assert story.judged() == []
    story.older.exclusive = True
    story.finds("must not at all")


def test_after_the_grace_it_may_run_until_its_deadline(story: Story) -> None:
    story.sessions[0].cause = "convict"
    story.history.closed.append(("w1", 3.9))
    story.older.ended = 5.8
    assert story.judged() == []
    story.older.ended = 8.0
    story.newer.ended = 9.0
    story.finds("its socket had closed")


def test_reported_as_ended_and_yet_it_runs(story: Story) -> None:
    story.changes[2].cause = "complete"
    story.older.ended = 5.8
    story.finds("it had reported its end")


# --- what a scenario promises -------------------------------------------------------------------------


def test_a_repeat_where_none_may_be(story: Story) -> None:
    story.expect = Expect(repeats=False)
    story.finds("nothing may be repeated")


def test_a_crash_where_none_may_be(story: Story) -> None:
    story.expect = Expect(crashes=False)
    story.finds("nothing crashed here")
