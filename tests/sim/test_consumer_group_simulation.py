"""Consumer groups, and their migration from and to the classic protocol, under many seeds of trouble."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.consumer_group_simulation import ConsumerGroupSimulation
from support.simulation import Violation

from broker.coordinator.classic_group import ClassicGroup
from broker.coordinator.consumer_group import ConsumerGroup
from broker.coordinator.consumer_members import ConsumerMember, ConsumerMembers, MemberState
from broker.coordinator.effects import Effect, Store
from broker.coordinator.group_coordinator import GroupCoordinator
from broker.coordinator.messages import Commit
from broker.wire.errors import ErrorCode

SEEDS = 10_000
SEEDS_PER_TEST = 250
SEEDS_TO_FIND_A_BUG = 1_500


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_consumer_groups_survive_trouble(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        try:
            ConsumerGroupSimulation(seed).run()
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {exc!r}") from exc


def test_one_seed_is_one_story() -> None:
    def tell() -> list[object]:
        simulation = ConsumerGroupSimulation(7)
        simulation.run()
        return [
            simulation.world.clock_ms,
            simulation.world.records,
            simulation.world.offsets,
            [c.member_id for c in simulation.clients],
        ]

    assert tell() == tell()


def _partitions_are_free_before_they_are_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerMember, "holds", property(lambda self: self.assigned.keys()))


def _whatever_is_to_be_had_is_given(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerMembers, "is_free", lambda *_: True)
    patch.setattr(ConsumerMembers, "_take", lambda *_: None)
    patch.setattr(ConsumerMembers, "_release", lambda *_: None)


def _a_heartbeat_counts_as_a_revocation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "broker.coordinator.reconciliation._still_owns",
        lambda owned, revoking: owned is not None and not owned.isdisjoint(revoking),
    )


def _member_epoch_not_checked(patch: pytest.MonkeyPatch) -> None:
    def commit_error(self: ConsumerGroup, member_id: str, *_: Any, **__: Any) -> ErrorCode:
        return ErrorCode.none if member_id in self.members else ErrorCode.unknown_member_id

    patch.setattr(ConsumerGroup, "commit_error", commit_error)


def _a_slow_member_is_waited_for_without_end(patch: pytest.MonkeyPatch) -> None:
    on_timer = ConsumerGroup.on_timer

    def ignore_silence(self: ConsumerGroup, kind: str, member_id: str, now_ms: int) -> None:
        if kind != "session":
            on_timer(self, kind, member_id, now_ms)

    patch.setattr(ConsumerGroup, "on_timer", ignore_silence)


def _sessions_not_resumed_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerGroup, "start_sessions", lambda _: None)


def _session_is_too_short(patch: pytest.MonkeyPatch) -> None:
    set_timer = ConsumerGroup.set_timer

    def shorter(self: ConsumerGroup, kind: str, delay_ms: int, member_id: str = "") -> None:
        set_timer(self, kind, delay_ms // 3 if kind == "session" else delay_ms, member_id)

    patch.setattr(ConsumerGroup, "set_timer", shorter)


def _group_epoch_not_stored(patch: pytest.MonkeyPatch) -> None:
    record = ConsumerGroup.record
    patch.setattr(ConsumerGroup, "record", lambda self: replace(record(self), group_epoch=1))


def _what_is_being_revoked_is_not_stored(patch: pytest.MonkeyPatch) -> None:
    record = ConsumerGroup.record

    def forgetful(self: ConsumerGroup) -> Any:
        whole = record(self)
        return replace(
            whole,
            members=tuple(replace(m, revoking={}, state=MemberState.STABLE) for m in whole.members),
        )

    patch.setattr(ConsumerGroup, "record", forgetful)


def _nothing_is_stored_at_all(patch: pytest.MonkeyPatch) -> None:
    settle = GroupCoordinator._settle

    def lazy(self: GroupCoordinator, group: Any, now_ms: int) -> None:
        if isinstance(group.members, ConsumerGroup) and len(group.members.members) > 1:
            group.members.has_changed = False
        settle(self, group, now_ms)

    patch.setattr(GroupCoordinator, "_settle", lazy)


def _grown_topics_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerGroup, "_look_at_topics", lambda _: None)


def _upgrade_forgets_what_members_have(patch: pytest.MonkeyPatch) -> None:
    adopt = ConsumerGroup.adopt

    def adopt_without(self: ConsumerGroup, group_epoch: int, members: Any) -> None:
        adopt(self, group_epoch, [replace(member, assigned={}) for member in members])

    patch.setattr(ConsumerGroup, "adopt", adopt_without)


def _downgrade_without_a_rebalance(patch: pytest.MonkeyPatch) -> None:
    prepare = ClassicGroup._prepare_rebalance

    def adopt(self: ClassicGroup, generation_id: int, members: Any) -> None:
        patch.setattr(ClassicGroup, "_prepare_rebalance", lambda _: None)
        original(self, generation_id, members)
        patch.setattr(ClassicGroup, "_prepare_rebalance", prepare)

    original = ClassicGroup.adopt
    patch.setattr(ClassicGroup, "adopt", adopt)


def _downgrade_starts_at_generation_0(patch: pytest.MonkeyPatch) -> None:
    adopt = ClassicGroup.adopt
    patch.setattr(ClassicGroup, "adopt", lambda self, _, members: adopt(self, 0, members))


def _replaced_static_member_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConsumerGroup, "replace", lambda self, member, new_id: self.add(new_id, member.instance_id))


def _commit_kept_in_memory_only(patch: pytest.MonkeyPatch) -> None:
    on_request = GroupCoordinator.on_request

    def forgetful(self: GroupCoordinator, request: Any, reply_to: Any, now_ms: int) -> list[Effect]:
        effects = on_request(self, request, reply_to, now_ms)
        return [e for e in effects if not (isinstance(request, Commit) and isinstance(e, Store))]

    patch.setattr(GroupCoordinator, "on_request", forgetful)


def _memory_not_undone_after_a_failed_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GroupCoordinator, "reload", lambda *_: [])


BUGS = [
    _partitions_are_free_before_they_are_given_up,
    _whatever_is_to_be_had_is_given,
    _a_heartbeat_counts_as_a_revocation,
    _member_epoch_not_checked,
    _a_slow_member_is_waited_for_without_end,
    _sessions_not_resumed_after_a_restart,
    _session_is_too_short,
    _group_epoch_not_stored,
    _what_is_being_revoked_is_not_stored,
    _nothing_is_stored_at_all,
    _grown_topics_are_not_noticed,
    _upgrade_forgets_what_members_have,
    _downgrade_without_a_rebalance,
    _downgrade_starts_at_generation_0,
    _replaced_static_member_stays,
    _commit_kept_in_memory_only,
    _memory_not_undone_after_a_failed_write,
]


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        _run_seeds(SEEDS_TO_FIND_A_BUG)


def test_answers_that_do_not_wait_for_the_disk_are_found() -> None:
    with pytest.raises(Violation):
        _run_seeds(SEEDS_TO_FIND_A_BUG, holds_replies=False)


def _run_seeds(count: int, **options: bool) -> None:
    for seed in range(count):
        ConsumerGroupSimulation(seed, **options).run()
