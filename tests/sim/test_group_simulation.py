"""Consumer groups and their offsets under ten thousand seeds of trouble, and bugs that it must find."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.group_simulation import GroupSimulation
from support.simulation import Violation

from broker.coordinator import group_offsets
from broker.coordinator.classic_group import ClassicGroup
from broker.coordinator.effects import Effect, Store
from broker.coordinator.group_coordinator import GroupCoordinator
from broker.coordinator.group_offsets import GroupOffsets
from broker.coordinator.members import Members
from broker.coordinator.messages import Commit, EndTransaction, FetchOffsets, TransactionalCommit
from broker.coordinator.producer_epochs import ProducerEpochs
from broker.wire.errors import ErrorCode

SEEDS = 10_000
SEEDS_PER_TEST = 500
SEEDS_TO_FIND_A_BUG = 2_000


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

    def commit_error(
        self: ClassicGroup, member: str, instance: str | None, *more: Any, **how: Any
    ) -> ErrorCode:
        current = None if instance is None else self.members.static_id(instance)
        return check(self, current or member, instance, *more, **how)

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


def _kept_in_memory_only(request_class: type) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        on_request = GroupCoordinator.on_request

        def forgetful(self: GroupCoordinator, request: Any, reply_to: Any, now_ms: int) -> list[Effect]:
            effects = on_request(self, request, reply_to, now_ms)
            return [e for e in effects if not (isinstance(request, request_class) and isinstance(e, Store))]

        patch.setattr(GroupCoordinator, "on_request", forgetful)

    plant.__name__ = f"{request_class.__name__}_kept_in_memory_only"
    return plant


def _outsiders_may_commit(patch: pytest.MonkeyPatch) -> None:
    check = ClassicGroup.commit_error

    def commit_error(
        self: ClassicGroup, member: str, instance: str | None, generation: int, **how: Any
    ) -> ErrorCode:
        return ErrorCode.none if generation < 0 else check(self, member, instance, generation, **how)

    patch.setattr(ClassicGroup, "commit_error", commit_error)


def _replaced_member_loses_its_assignment(patch: pytest.MonkeyPatch) -> None:
    rename = Members.rename

    def rename_and_forget(self: Members, member: Any, new_id: str) -> None:
        rename(self, member, new_id)
        member.assignment = b""

    patch.setattr(Members, "rename", rename_and_forget)


def _pending_offsets_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    restore = GroupOffsets.restore
    patch.setattr(GroupOffsets, "restore", lambda self, committed, _: restore(self, committed, ()))


def _pending_offsets_stay_stored_when_they_were_applied(patch: pytest.MonkeyPatch) -> None:
    end = GroupOffsets.end_transaction

    def end_transaction(self: GroupOffsets, request: Any) -> None:
        emit = self._emit
        self._emit = lambda effect: emit(replace(effect, delete_pending=()))  # type: ignore[type-var]
        end(self, request)
        self._emit = emit

    patch.setattr(GroupOffsets, "end_transaction", end_transaction)


def _aborted_offsets_count(patch: pytest.MonkeyPatch) -> None:
    end = GroupOffsets.end_transaction
    patch.setattr(
        GroupOffsets, "end_transaction", lambda self, request: end(self, replace(request, is_commit=True))
    )


def _whoever_ends_last_wins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GroupOffsets, "_committed_date", lambda *_: 0)


def _commits_are_ordered_by_a_clock_that_jumps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(group_offsets, "_dated", lambda offset, _: offset)


def _unstable_offsets_are_told(patch: pytest.MonkeyPatch) -> None:
    fetch = GroupOffsets.fetch

    def fetch_all(self: GroupOffsets, request: FetchOffsets, members: Any) -> Any:
        return fetch(self, replace(request, require_stable=False), members)

    patch.setattr(GroupOffsets, "fetch", fetch_all)


def _zombie_producers_are_not_fenced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ProducerEpochs, "is_fenced", lambda *_: False)


def _deleted_offsets_come_back_with_a_transaction(patch: pytest.MonkeyPatch) -> None:
    drop = GroupOffsets._drop

    def drop_committed_only(self: GroupOffsets, partitions: Any) -> None:
        pending, self._pending = self._pending, {}
        drop(self, partitions)
        self._pending = pending

    patch.setattr(GroupOffsets, "_drop", drop_committed_only)


def _offsets_expire_that_are_pending(patch: pytest.MonkeyPatch) -> None:
    expire = GroupOffsets.expire

    def expire_all(self: GroupOffsets, members: Any, now_ms: int, retention_ms: int) -> None:
        pending, self._pending = self._pending, {}
        expire(self, members, now_ms, retention_ms)
        self._pending = pending

    patch.setattr(GroupOffsets, "expire", expire_all)


def _offsets_expire_that_are_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClassicGroup, "subscribed_topics", lambda _: frozenset())


BUGS = [
    _generation_not_checked,
    _generation_not_raised,
    _old_static_member_not_fenced,
    _silent_member_leaves_no_rebalance,
    _sessions_not_resumed_after_a_restart,
    _memory_not_undone_after_a_failed_write,
    _kept_in_memory_only(Commit),
    _kept_in_memory_only(TransactionalCommit),
    _kept_in_memory_only(EndTransaction),
    _outsiders_may_commit,
    _replaced_member_loses_its_assignment,
    _pending_offsets_forgotten_at_a_restart,
    _pending_offsets_stay_stored_when_they_were_applied,
    _aborted_offsets_count,
    _whoever_ends_last_wins,
    _commits_are_ordered_by_a_clock_that_jumps,
    _unstable_offsets_are_told,
    _zombie_producers_are_not_fenced,
    _deleted_offsets_come_back_with_a_transaction,
    _offsets_expire_that_are_pending,
    _offsets_expire_that_are_read,
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
