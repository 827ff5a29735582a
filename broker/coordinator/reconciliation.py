"""How a member gets from what it holds to its target assignment (KIP-848): first it gives up, then it gets.

While it has not said that it gave up what is no longer its own, a member stays in its epoch. Then it
moves to the target's epoch with what is free, and gets the rest as others give it up.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from uuid import UUID

from broker.coordinator.consumer_members import ConsumerMember, MemberState
from broker.coordinator.topics import TopicIdPartition


@dataclass(frozen=True, slots=True)
class Goal:
    """What a member is to have, as far as the group has decided."""

    target_epoch: int
    topic_ids: Set[UUID]
    """What the member is subscribed to; nothing of any other topic is its own, whatever the target says."""
    is_free: Callable[[TopicIdPartition], bool]


def next_step(
    member: ConsumerMember, goal: Goal, owned: Set[TopicIdPartition] | None, *, has_new_subscription: bool
) -> ConsumerMember:
    """What the member becomes: the same object when it can only stay as it is.

    `owned` is what the member says it has; None when it did not say.
    """
    if member.state is MemberState.UNREVOKED and _still_owns(owned, member.revoking):
        return _drop_unsubscribed(member, goal, owned) if has_new_subscription else member
    if member.is_reconciled_to(goal.target_epoch):
        return _drop_unsubscribed(member, goal, owned) if has_new_subscription else member
    return _towards_target(member, goal, owned)


def _still_owns(owned: Set[TopicIdPartition] | None, revoking: Mapping[TopicIdPartition, int]) -> bool:
    return owned is None or not owned.isdisjoint(revoking)


def _towards_target(
    member: ConsumerMember, goal: Goal, owned: Set[TopicIdPartition] | None
) -> ConsumerMember:
    wanted = {partition for partition in member.target if partition[0] in goal.topic_ids}
    kept = {partition: epoch for partition, epoch in member.assigned.items() if partition in wanted}
    revoking = {partition: epoch for partition, epoch in member.assigned.items() if partition not in wanted}
    if revoking and _still_owns(owned, revoking):
        return _become(member, MemberState.UNREVOKED, member.member_epoch, kept, revoking)
    missing = wanted - kept.keys()
    # What it was giving up itself is free for it, and for nobody else before this step is done.
    free = {p for p in missing if goal.is_free(p) or p in member.revoking}
    state = MemberState.STABLE if len(free) == len(missing) else MemberState.UNRELEASED
    assigned = kept | dict.fromkeys(free, goal.target_epoch)
    return _become(member, state, goal.target_epoch, assigned, {})


def _drop_unsubscribed(
    member: ConsumerMember, goal: Goal, owned: Set[TopicIdPartition] | None
) -> ConsumerMember:
    """Give up at once what the member no longer reads; the target will follow."""
    kept = {p: epoch for p, epoch in member.assigned.items() if p[0] in goal.topic_ids}
    if len(kept) == len(member.assigned):
        return member
    revoking = {**member.revoking, **{p: epoch for p, epoch in member.assigned.items() if p not in kept}}
    if _still_owns(owned, revoking):
        return _become(member, MemberState.UNREVOKED, member.member_epoch, kept, revoking)
    return _become(member, member.state, member.member_epoch, kept, member.revoking)


def _become(
    member: ConsumerMember,
    state: MemberState,
    member_epoch: int,
    assigned: Mapping[TopicIdPartition, int],
    revoking: Mapping[TopicIdPartition, int],
) -> ConsumerMember:
    # The epoch before is that of the step before, also when it stays the same: a heartbeat that is older
    # than this step must not count for it.
    epochs = (member.member_epoch, member_epoch)
    if epochs == (member.previous_epoch, member.member_epoch) and (state, assigned, revoking) == (
        member.state,
        member.assigned,
        member.revoking,
    ):
        return member
    return replace(
        member,
        state=state,
        previous_epoch=member.member_epoch,
        member_epoch=member_epoch,
        assigned=assigned,
        revoking=revoking,
    )
