"""Consumer groups under a few hundred seeds of trouble, and bugs that the simulation must find."""

from collections.abc import Callable
from typing import Any

import pytest
from support.group_simulation import GroupSimulation, Violation

from broker.coordinator.classic_group import ClassicGroup
from broker.coordinator.effects import Effect, Store
from broker.coordinator.group_coordinator import GroupCoordinator
from broker.coordinator.members import Members
from broker.coordinator.messages import Commit
from broker.wire.errors import ErrorCode

SEEDS = 400
SEEDS_PER_TEST = 50
SEEDS_TO_FIND_A_BUG = 300


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_groups_survive_trouble(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        try:
            GroupSimulation(seed).run()
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {exc!r}") from exc


def test_one_seed_is_one_story() -> None:
    def tell() -> list[object]:
        simulation = GroupSimulation(7)
        simulation.run()
        return [
            simulation.world.clock_ms,
            simulation.world.offsets,
            [c.member_id for c in simulation.clients],
        ]

    assert tell() == tell()


def _generation_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        ClassicGroup,
        "_check_member",
        lambda self, member, instance, _: self.members.identity_error(member, instance),
    )


def _generation_not_raised(patch: pytest.MonkeyPatch) -> None:
    complete = ClassicGroup._complete_join

    def complete_join(self: ClassicGroup) -> None:
        self.generation_id = max(0, self.generation_id - 1)
        complete(self)

    patch.setattr(ClassicGroup, "_complete_join", complete_join)


def _old_static_member_not_fenced(patch: pytest.MonkeyPatch) -> None:
    check = ClassicGroup.commit_error

    def commit_error(self: ClassicGroup, member: str, instance: str | None, generation: int) -> ErrorCode:
        current = None if instance is None else self.members.static_id(instance)
        return check(self, current or member, instance, generation)

    patch.setattr(ClassicGroup, "commit_error", commit_error)


def _silent_member_leaves_no_rebalance(patch: pytest.MonkeyPatch) -> None:
    def on_session_timer(self: ClassicGroup, member_id: str, _: int) -> None:
        member = self.members.get(member_id)
        if member is not None and not (member.awaits_join or member.awaits_sync):
            self._remove(member)

    patch.setattr(ClassicGroup, "on_session_timer", on_session_timer)


def _sessions_not_resumed_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    restore = ClassicGroup.restore

    def restore_without_timers(self: ClassicGroup, record: Any) -> None:
        emit, self._emit = self._emit, lambda _: None
        restore(self, record)
        self._emit = emit

    patch.setattr(ClassicGroup, "restore", restore_without_timers)


def _memory_not_undone_after_a_failed_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GroupCoordinator, "reload", lambda *_: [])


def _commit_kept_in_memory_only(patch: pytest.MonkeyPatch) -> None:
    on_request = GroupCoordinator.on_request

    def forgetful(self: GroupCoordinator, request: Any, reply_to: Any, now_ms: int) -> list[Effect]:
        effects = on_request(self, request, reply_to, now_ms)
        return [e for e in effects if not (isinstance(request, Commit) and isinstance(e, Store))]

    patch.setattr(GroupCoordinator, "on_request", forgetful)


def _outsiders_may_commit(patch: pytest.MonkeyPatch) -> None:
    check = ClassicGroup.commit_error

    def commit_error(self: ClassicGroup, member: str, instance: str | None, generation: int) -> ErrorCode:
        return ErrorCode.none if generation < 0 else check(self, member, instance, generation)

    patch.setattr(ClassicGroup, "commit_error", commit_error)


def _replaced_member_loses_its_assignment(patch: pytest.MonkeyPatch) -> None:
    rename = Members.rename

    def rename_and_forget(self: Members, member: Any, new_id: str) -> None:
        rename(self, member, new_id)
        member.assignment = b""

    patch.setattr(Members, "rename", rename_and_forget)


BUGS = [
    _generation_not_checked,
    _generation_not_raised,
    _old_static_member_not_fenced,
    _silent_member_leaves_no_rebalance,
    _sessions_not_resumed_after_a_restart,
    _memory_not_undone_after_a_failed_write,
    _commit_kept_in_memory_only,
    _outsiders_may_commit,
    _replaced_member_loses_its_assignment,
]


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(Violation):
        _run_seeds(SEEDS_TO_FIND_A_BUG)


def test_answers_that_do_not_wait_for_the_disk_are_found() -> None:
    with pytest.raises(Violation, match="was acked and is lost"):
        _run_seeds(SEEDS_TO_FIND_A_BUG, holds_replies=False)


def _run_seeds(count: int, **options: bool) -> None:
    for seed in range(count):
        GroupSimulation(seed, **options).run()
