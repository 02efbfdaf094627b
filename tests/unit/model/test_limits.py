"""Which tasks start under limits, and where."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.model.limits import UNKEYED, Budget, Candidate, Room, in_order, in_turn, place


def candidates(*weights: int, key: str = UNKEYED, queue: str = "q") -> list[Candidate]:
    return [Candidate(number, float(number), queue, weight, key) for number, weight in enumerate(weights)]


def numbers(found: list[Candidate]) -> list[int]:
    return [one.id for one in found]


def test_a_heavy_task_is_waited_for() -> None:
    assert numbers(in_order(candidates(1, 3, 1), Budget(room=3))) == [0]
    assert numbers(in_order(candidates(1, 2, 1), Budget(room=3))) == [0, 1]


def test_what_is_heavier_than_the_limit_runs_alone() -> None:
    assert numbers(in_order(candidates(9, 1), Budget(room=3))) == [0]
    assert numbers(in_order(candidates(9, 1), Budget(room=3, idle=False))) == []
    assert numbers(in_order(candidates(1), Budget(room=0))) == []


def test_rates_count_starts_not_weights() -> None:
    assert numbers(in_order(candidates(5, 5, 5), Budget(starts=2))) == [0, 1]


def test_a_key_beyond_its_limit_is_passed_over_and_ranks_keep_the_order() -> None:
    heads = {
        "a": [Candidate(1, 50.0, "q", key="a"), Candidate(2, 51.0, "q", key="a")],
        "b": [Candidate(3, 1.0, "q", key="b"), Candidate(4, 2.0, "q", key="b")],
        "c": [Candidate(5, 9.0, "q", key="c")],
    }
    found = in_turn(heads, {"a": Budget(room=1), "b": Budget(room=5), "c": Budget(room=0, idle=False)}, Budget(room=10))
    assert [(one.id, one.rank) for one in found] == [(1, 1.0), (3, 2.0), (4, 50.0)]


def test_what_is_before_it_among_the_others_has_the_room() -> None:
    placed = place([candidates(1, 1, 1)], [-1.0, 0.5, 0.6], [7, 7, 7])
    assert [pick.candidate.id for pick in placed.picks] == [0]
    assert placed.full


def test_a_task_waits_for_the_worker_that_it_prefers() -> None:
    patient = Candidate(1, 0.0, "q", preferred=8, patient=True)
    placed = place([[patient]], [], [7, 7])
    assert (placed.picks, placed.waits) == ([], True)
    [pick] = place([[patient]], [], [7, 8]).picks
    assert pick.turn == 1
    [pick] = place([[Candidate(1, 0.0, "q", preferred=8)]], [], [7, 7]).picks
    assert pick.turn == 0


def test_a_retry_avoids_who_failed_it() -> None:
    [pick] = place([[Candidate(1, 0.0, "q", shunned=7, preferred=7)]], [], [7, 8]).picks
    assert pick.turn == 1
    assert place([[Candidate(1, 0.0, "q", shunned=7)]], [], [7]).waits


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(st.integers(1, 4), max_size=6), max_size=6),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5)),
    st.integers(0, 9),
)
def test_no_budget_is_ever_overdrawn_but_by_one_task_that_runs_alone(
    weights: dict[str, list[int]], rooms: dict[str, int], room: int
) -> None:
    heads = {
        key: [Candidate(n, float(n), "q", one, key) for n, one in enumerate(mine)] for key, mine in weights.items()
    }
    keys = {key: Budget(room=most) for key, most in rooms.items()}
    found = in_turn(heads, keys, Budget(room=room))
    total = sum(one.weight for one in found)
    assert total <= room or len(found) == 1
    for key, most in rooms.items():
        mine = [one.weight for one in found if one.key == key]
        assert sum(mine) <= most or len(mine) == 1


@given(st.integers(1, 30), st.integers(1, 10))
def test_turns_differ_by_one_at_most_while_all_have_work(room: int, tenants: int) -> None:
    heads = {str(key): [Candidate(n, float(n), "q", key=str(key)) for n in range(40)] for key in range(tenants)}
    found = in_turn(heads, {}, Budget(room=room))
    counts = [sum(one.key == key for one in found) for key in heads]
    assert len(found) == room
    assert max(counts) - min(counts) <= 1


def heavy(number: int, weight: int, rank: float = 0.0) -> Candidate:
    return Candidate(number, rank, "q", weight)


def test_a_heavy_task_takes_slots_of_one_worker() -> None:
    rooms = {7: Room(2, 4), 8: Room(4, 4)}
    placed = place([[heavy(1, 3), *candidates(1, 1, 1, 1)]], [], [7, 8, 7, 8, 8, 8], rooms)
    sessions = [[7, 8, 7, 8, 8, 8][pick.turn] for pick in placed.picks]
    assert [pick.candidate.id for pick in placed.picks] == [1, 0, 1, 2]
    assert sessions == [8, 7, 7, 8]


def test_what_is_heavier_than_a_worker_takes_all_of_an_idle_one() -> None:
    assert place([[heavy(1, 9)]], [], [7] * 4, {7: Room(4, 4)}).picks
    placed = place([[heavy(1, 9)]], [], [7] * 3, {7: Room(3, 4)})
    assert (placed.picks, placed.reserved) == ([], 7)


def test_the_roomiest_worker_is_kept_for_a_heavy_task_that_fits_nowhere() -> None:
    rooms = {7: Room(1, 4), 8: Room(2, 4)}
    placed = place([[heavy(1, 3), *candidates(1, 1)]], [], [7, 8, 8], rooms)
    assert placed.reserved == 8
    assert [pick.turn for pick in placed.picks] == [0]


def test_nothing_is_given_in_advance_beside_a_heavy_task() -> None:
    placed = place([[heavy(1, 3), *candidates(1, 1, 1)]], [], [7] * 10, {7: Room(4, 4)})
    assert len(placed.picks) == 2
