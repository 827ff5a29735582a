"""Workers of one group under a thousand seeds of trouble, and bugs that it must find."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.cluster_simulation import SimWorker, World
from support.simulation import Violation

from connect.herder import assignment
from connect.herder.assignment import Assignor, Plan
from connect.herder.herder import Herder

SEEDS = 1_000
SEEDS_PER_TEST = 250
SEEDS_TO_FIND_A_BUG = 300


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_workers_survive_trouble(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        try:
            World(seed).run()
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {exc!r}") from exc


def test_one_seed_is_one_story() -> None:
    def tell() -> list[object]:
        world = World(7)
        world.run()
        return [world.now, world.log, world.group.generation, sorted(world.group.members)]

    assert tell() == tell()


def _ending_tasks_are_given_away(patch: pytest.MonkeyPatch) -> None:
    plan = Assignor.plan
    patch.setattr(
        Assignor,
        "plan",
        lambda self, members, *more: plan(self, [replace(m, ending=frozenset()) for m in members], *more),
    )


def _claims_do_not_count(patch: pytest.MonkeyPatch) -> None:
    plan = Assignor.plan
    patch.setattr(
        Assignor,
        "plan",
        lambda self, members, *more: plan(self, [replace(m, claims=frozenset()) for m in members], *more),
    )


def _shares_are_not_even(patch: pytest.MonkeyPatch) -> None:
    chosen = assignment._chosen
    patch.setattr(assignment, "_chosen", lambda claims, count: chosen(claims, count + 2))


def _more_is_taken_than_must_be(patch: pytest.MonkeyPatch) -> None:
    chosen = assignment._chosen
    patch.setattr(assignment, "_chosen", lambda claims, count: chosen(claims, count - 1))


def _held_tasks_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    plan = Assignor.plan

    def forget(self: Assignor, *asked: Any) -> Plan:
        return replace(plan(self, *asked), held_until_ms=None)

    patch.setattr(Assignor, "plan", forget)


def _tasks_start_that_were_not_claimed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Herder, "introduce", lambda self: (self.claims, self.ending))


def _nothing_is_claimed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Herder, "claims", property(lambda _: frozenset()))


def _a_fenced_worker_lets_its_tasks_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Herder, "on_fenced", lambda self: None)


def _tasks_do_not_look_at_their_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimWorker, "_look_at_lease", lambda self, process: None)


def _a_lease_counts_from_the_answer(patch: pytest.MonkeyPatch) -> None:
    extend = SimWorker._extend
    patch.setattr(
        SimWorker, "_extend", lambda self, _, *, stable: extend(self, self.world.now, stable=stable)
    )


def _nobody_hears_of_what_has_ended(patch: pytest.MonkeyPatch) -> None:
    decide = SimWorker._decide

    def forgetful(self: SimWorker) -> None:
        self._giving_up = False
        decide(self)

    patch.setattr(SimWorker, "_decide", forgetful)


def _new_tasks_ask_for_no_round(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimWorker, "_share_out_changes", lambda self: None)


BUGS = [
    _ending_tasks_are_given_away,
    _claims_do_not_count,
    _shares_are_not_even,
    _more_is_taken_than_must_be,
    _held_tasks_are_forgotten,
    _tasks_start_that_were_not_claimed,
    _nothing_is_claimed,
    _a_fenced_worker_lets_its_tasks_run,
    _tasks_do_not_look_at_their_lease,
    _a_lease_counts_from_the_answer,
    _nobody_hears_of_what_has_ended,
    _new_tasks_ask_for_no_round,
]


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(Violation):
        _run_seeds(SEEDS_TO_FIND_A_BUG)


def _run_seeds(count: int) -> None:
    for seed in range(count):
        World(seed).run()
