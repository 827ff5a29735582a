"""The leader's plan: even, sticky, and never what somebody else may still be running."""

from connect.herder.assignment import Assignor, Member, Plan
from connect.herder.states import TaskId

A, B, C, D = (TaskId("c", number) for number in range(4))


def member(id_: str, claims: set[TaskId] | None = None, ending: set[TaskId] | None = None) -> Member:
    return Member(id_, frozenset(claims or ()), frozenset(ending or ()))


def shares(plan: Plan) -> dict[str, set[TaskId]]:
    return {id_: set(tasks) for id_, tasks in plan.tasks.items()}


def test_new_tasks_are_spread_evenly() -> None:
    plan = Assignor(0).plan([member("x"), member("y"), member("z")], [A, B, C, D], 0)
    assert sorted(len(tasks) for tasks in plan.tasks.values()) == [1, 1, 2]
    assert frozenset().union(*plan.tasks.values()) == {A, B, C, D}


def test_tasks_of_one_connector_are_spread_too() -> None:
    tasks = [TaskId(name, number) for name in "ab" for number in range(2)]
    plan = Assignor(0).plan([member("x"), member("y")], tasks, 0)
    assert all({task.connector for task in mine} == {"a", "b"} for mine in plan.tasks.values())


def test_tasks_stay_where_they_are() -> None:
    members = [member("x", {D, B}), member("y", {A, C})]
    assert shares(Assignor(0).plan(members, [A, B, C, D], 0)) == {"x": {B, D}, "y": {A, C}}


def test_a_newcomer_gets_its_share_once_the_others_have_given_it_up() -> None:
    assignor, all_tasks = Assignor(0), [A, B, C, D]
    first = shares(assignor.plan([member("x", {A, B, C, D}), member("y")], all_tasks, 0))
    assert len(first["x"]) == 2
    assert first["y"] == set()
    taken = {*all_tasks} - first["x"]
    ending = shares(assignor.plan([member("x", first["x"], taken), member("y")], all_tasks, 0))
    assert ending == first
    then = shares(assignor.plan([member("x", first["x"]), member("y")], all_tasks, 0))
    assert then == {"x": first["x"], "y": taken}


def test_the_larger_share_stays_with_whoever_has_it() -> None:
    members = [member("x", {A}), member("y", {B, C})]
    assert shares(Assignor(0).plan(members, [A, B, C], 0)) == {"x": {A}, "y": {B, C}}


def test_what_two_claim_stays_with_one() -> None:
    assert shares(Assignor(0).plan([member("x", {A}), member("y", {A})], [A], 0)) == {"x": {A}, "y": set()}


def test_what_is_deleted_is_nobodys() -> None:
    assert shares(Assignor(0).plan([member("x", {A, B})], [A], 0)) == {"x": {A}}


def test_without_a_delay_lost_tasks_are_given_away_at_once() -> None:
    assignor = Assignor(0)
    plan = assignor.plan([member("x"), member("y")], [A, B], 0)
    left = assignor.plan([member("x", set(plan.tasks["x"]))], [A, B], 1)
    assert shares(left) == {"x": {A, B}}
    assert left.held_until_ms is None


def test_with_a_delay_lost_tasks_wait_and_are_given_away_then() -> None:
    assignor = Assignor(1_000)
    plan = assignor.plan([member("x"), member("y")], [A, B], 0)
    stays, lost = plan.tasks["x"], plan.tasks["y"]
    waiting = assignor.plan([member("x", set(stays))], [A, B], 100)
    assert (waiting.tasks["x"], waiting.held, waiting.held_until_ms) == (stays, lost, 1_100)
    again = assignor.plan([member("x", set(stays))], [A, B], 500)
    assert again.held_until_ms == 1_100
    assert shares(assignor.plan([member("x", set(stays))], [A, B], 1_100)) == {"x": {A, B}}


def test_with_a_delay_a_newcomer_gets_what_was_lost() -> None:
    assignor = Assignor(1_000)
    plan = assignor.plan([member("x"), member("y")], [A, B], 0)
    stays, lost = plan.tasks["x"], plan.tasks["y"]
    assignor.plan([member("x", set(stays))], [A, B], 100)
    back = assignor.plan([member("x", set(stays)), member("z")], [A, B], 200)
    assert shares(back) == {"x": set(stays), "z": set(lost)}
    assert (back.held, back.held_until_ms) == (frozenset(), None)
