"""From one group protocol to the other while the members go on (KIP-848, online migration).

A classic group becomes a consumer group when a member of that protocol joins, and a classic one again when
the last of these has gone. Members of the classic protocol notice a rebalance, no more.
"""

from collections.abc import Callable
from dataclasses import replace

from broker.coordinator.classic_group import ClassicGroup, GroupLimits
from broker.coordinator.classic_members import assignment_of, by_id
from broker.coordinator.consumer_group import ConsumerGroup, ConsumerLimits
from broker.coordinator.consumer_members import ClassicMembership, ConsumerMember, MemberState
from broker.coordinator.effects import Effect
from broker.coordinator.members import Member
from broker.coordinator.subscription import (
    CONSUMER_PROTOCOL_TYPE,
    MalformedMetadata,
    Subscription,
    parse_assignment,
    parse_subscription,
)
from broker.coordinator.topics import KnownTopics, TopicIdPartition
from broker.wire.errors import ErrorCode, KafkaError


def upgraded(
    classic: ClassicGroup,
    limits: ConsumerLimits,
    topics: KnownTopics,
    emit: Callable[[Effect], None],
    now_ms: int,
) -> ConsumerGroup:
    """The consumer group that a classic group could become: its generation is the epoch of all.

    Nothing has changed yet. Raises GROUP_ID_NOT_FOUND, with the reason, when it has members and cannot be
    upgraded.
    """
    cannot = f"Cannot upgrade classic group {classic.group_id} to consumer group because"
    group = ConsumerGroup(classic.group_id, limits, topics, emit, now_ms)
    if not classic.members:
        group.adopt(classic.generation_id, ())
        return group
    if not limits.migration_policy.may_upgrade:
        raise KafkaError(ErrorCode.group_id_not_found, f"{cannot} online upgrade is disabled.")
    if classic.protocol_type != CONSUMER_PROTOCOL_TYPE:
        raise KafkaError(
            ErrorCode.group_id_not_found, f"{cannot} the group does not use the consumer embedded protocol."
        )
    if len(classic.members) > limits.size_max:
        raise KafkaError(
            ErrorCode.group_id_not_found, f"{cannot} the group size exceeds the consumer group maximum size."
        )
    try:
        members = [_consumer_member(member, classic, topics, cannot) for member in classic.members]
        members = _settle_claims(members, classic, topics)
    except MalformedMetadata as exc:
        raise KafkaError(
            ErrorCode.group_id_not_found, f"{cannot} the embedded consumer protocol is malformed."
        ) from exc
    group.adopt(classic.generation_id, members)
    return group


def downgraded(
    group: ConsumerGroup, limits: GroupLimits, emit: Callable[[Effect], None], now_ms: int
) -> ClassicGroup:
    """The classic group that a consumer group becomes. It rebalances, for somebody has left it."""
    classic = ClassicGroup(group.group_id, limits, emit, now_ms)
    members = [
        Member(
            member_id=member.member_id,
            group_instance_id=member.instance_id,
            client_id=member.client_id,
            client_host=member.client_host,
            session_timeout_ms=member.classic.session_timeout_ms,
            rebalance_timeout_ms=member.rebalance_timeout_ms,
            protocols=member.classic.protocols,
            assignment=assignment_of(group.topics, member, member.classic.protocols[0]),
        )
        for member in group.members
        if member.classic is not None
    ]
    group.abandon()
    classic.adopt(group.group_epoch, members)
    return classic


def _settle_claims(
    members: list[ConsumerMember], classic: ClassicGroup, topics: KnownTopics
) -> list[ConsumerMember]:
    """One holder for each partition: who is assigned it, the first one if a leader has assigned it twice.

    KIP-429: what a cooperative member is no longer assigned is its own until it rejoins without it.
    """
    taken: set[TopicIdPartition] = set()
    settled = []
    for member in members:
        assigned = {p: epoch for p, epoch in member.assigned.items() if p not in taken}
        taken |= assigned.keys()
        settled.append(replace(member, assigned=assigned, target=frozenset(assigned)))
    for n, member in enumerate(settled):
        unrevoked = by_id(topics, _subscription(classic.members[member.member_id], classic).owned) - taken
        taken |= unrevoked
        if unrevoked:
            revoking = dict.fromkeys(unrevoked, member.member_epoch)
            settled[n] = replace(member, state=MemberState.UNREVOKED, revoking=revoking)
    return settled


def _subscription(member: Member, classic: ClassicGroup) -> Subscription:
    return parse_subscription(member.metadata(classic.protocol_name) or member.protocols[0].metadata)


def _consumer_member(
    member: Member, classic: ClassicGroup, topics: KnownTopics, cannot: str
) -> ConsumerMember:
    subscription = _subscription(member, classic)
    partitions, has_user_data = parse_assignment(member.assignment)
    if has_user_data:
        raise KafkaError(
            ErrorCode.group_id_not_found,
            f"{cannot} an unsupported custom assignor is in use. Please refer to the documentation or switch "
            "to a default assignor before re-attempting the upgrade.",
        )
    generation_id = classic.generation_id
    return ConsumerMember(
        member_id=member.member_id,
        instance_id=member.group_instance_id,
        rack_id=subscription.rack_id,
        client_id=member.client_id,
        client_host=member.client_host,
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        topics=subscription.topics,
        member_epoch=generation_id,
        previous_epoch=generation_id,
        assigned=dict.fromkeys(by_id(topics, partitions), generation_id),
        classic=ClassicMembership(member.session_timeout_ms, member.protocols),
    )
