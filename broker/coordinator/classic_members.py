"""Members of the classic protocol in a consumer group (KIP-848, online migration).

To them the coordinator is the leader who assigns: they join, are told their member epoch as a generation,
and fetch their assignment. A heartbeat tells them to rejoin when they are to give up or get something.
"""

from collections.abc import Iterable

from broker.coordinator.consumer_group import (
    SESSION_TIMER,
    SYNC_TIMER,
    ConsumerGroup,
    MigrationPolicy,
)
from broker.coordinator.consumer_members import ClassicMembership, ConsumerMember, MemberState
from broker.coordinator.messages import (
    Heartbeat,
    HeartbeatResult,
    Join,
    JoinResult,
    Leave,
    LeaveResult,
    LeavingMember,
    LeftMember,
    Sync,
    SyncResult,
)
from broker.coordinator.subscription import (
    CONSUMER_PROTOCOL_TYPE,
    MalformedMetadata,
    NamedPartition,
    Protocol,
    Subscription,
    pack_assignment,
    parse_subscription,
)
from broker.coordinator.topics import KnownTopics, TopicIdPartition
from broker.wire.errors import ErrorCode, KafkaError


def join(group: ConsumerGroup, request: Join, now_ms: int) -> JoinResult:
    """Become or stay a member. Never waits for others."""
    group.now_ms = now_ms
    try:
        subscription = _accept(group, request)
        group.check_room(request.member_id, request.group_instance_id)
    except KafkaError as error:
        return JoinResult(error.code, "")
    if not request.member_id and request.group_instance_id is None and request.require_known_member_id:
        # KIP-394: nothing is kept for the id, since nobody waits for its owner.
        return JoinResult(ErrorCode.member_id_required, request.new_member_id)
    try:
        member = _joining(group, request)
    except KafkaError as error:
        return JoinResult(error.code, request.member_id)
    member, has_new_subscription = group.update(
        member,
        classic=ClassicMembership(request.session_timeout_ms, request.protocols),
        rack_id=subscription.rack_id,
        rebalance_timeout_ms=request.rebalance_timeout_ms,
        assignor=None,
        topics=subscription.topics,
        regex="",
        client_id=request.client_id,
        client_host=request.client_host,
    )
    group.assign()
    owned = by_id(group.topics, subscription.owned)
    member = group.reconcile(member.member_id, owned, has_new_subscription=has_new_subscription)
    group.cancel_timers(member.member_id)
    group.set_timer(SESSION_TIMER, request.session_timeout_ms, member.member_id)
    group.set_timer(SYNC_TIMER, request.rebalance_timeout_ms, member.member_id)
    return JoinResult(
        error_code=ErrorCode.none,
        member_id=member.member_id,
        generation_id=member.member_epoch,
        protocol_type=CONSUMER_PROTOCOL_TYPE,
        protocol_name=request.protocols[0].name,
    )


def sync(group: ConsumerGroup, request: Sync) -> SyncResult:
    """The assignment is there already."""
    try:
        member, classic = _member(group, request.member_id, request.group_instance_id, request.generation_id)
    except KafkaError as error:
        return SyncResult(error.code)
    protocol = classic.protocols[0]
    if request.protocol_type not in (None, CONSUMER_PROTOCOL_TYPE) or request.protocol_name not in (
        None,
        protocol.name,
    ):
        return SyncResult(ErrorCode.inconsistent_group_protocol)
    if group.assignment_epoch > member.member_epoch and member.state is not MemberState.UNREVOKED:
        group.expect_join(member)
        return SyncResult(ErrorCode.rebalance_in_progress)
    group.cancel_timers(member.member_id, (SYNC_TIMER,))
    group.set_timer(SESSION_TIMER, classic.session_timeout_ms, member.member_id)
    return SyncResult(
        ErrorCode.none, CONSUMER_PROTOCOL_TYPE, protocol.name, assignment_of(group.topics, member, protocol)
    )


def heartbeat(group: ConsumerGroup, request: Heartbeat) -> HeartbeatResult:
    """REBALANCE_IN_PROGRESS when the member is to give up something, or can get something, by rejoining."""
    try:
        member, classic = _member(group, request.member_id, request.group_instance_id, request.generation_id)
    except KafkaError as error:
        return HeartbeatResult(error.code)
    group.set_timer(SESSION_TIMER, classic.session_timeout_ms, member.member_id)
    group.refresh()
    if (
        member.member_epoch < group.assignment_epoch
        or member.state is MemberState.UNREVOKED
        or (member.state is MemberState.UNRELEASED and not group.waits_for_others(member))
    ):
        group.expect_join(member)
        return HeartbeatResult(ErrorCode.rebalance_in_progress)
    return HeartbeatResult(ErrorCode.none)


def leave(group: ConsumerGroup, request: Leave, now_ms: int) -> LeaveResult:
    """Also how an administrator removes members, whatever protocol they speak."""
    group.now_ms = now_ms
    leaving: dict[str, ConsumerMember] = {}
    left = []
    for asked in request.members:
        error = ErrorCode.none
        try:
            member = _leaving(group, asked)
            leaving[member.member_id] = member
        except KafkaError as failure:
            error = failure.code
        left.append(LeftMember(asked.member_id, asked.group_instance_id, error))
    group.remove(leaving.values())
    return LeaveResult(ErrorCode.none, tuple(left))


def assignment_of(topics: KnownTopics, member: ConsumerMember, protocol: Protocol) -> bytes:
    """What the member has, as its protocol says it."""
    named = (
        (topic.name, number)
        for topic_id, number in member.assigned
        if (topic := topics.by_id(topic_id)) is not None
    )
    return pack_assignment(named, parse_subscription(protocol.metadata).version)


def by_id(topics: KnownTopics, partitions: Iterable[NamedPartition]) -> frozenset[TopicIdPartition]:
    """Partitions of topics that exist, by their ids."""
    return frozenset(
        (topic.topic_id, number) for name, number in partitions if (topic := topics.get(name)) is not None
    )


def _accept(group: ConsumerGroup, request: Join) -> Subscription:
    """What the member reads. Raises INCONSISTENT_GROUP_PROTOCOL when it cannot be a member at all."""
    if group.limits.migration_policy is not MigrationPolicy.DISABLED and (
        request.protocol_type == CONSUMER_PROTOCOL_TYPE and request.protocols
    ):
        others = [
            m.classic for m in group.members if m.classic is not None and m.member_id != request.member_id
        ]
        common = {protocol.name for protocol in request.protocols}
        for classic in others:
            common &= {protocol.name for protocol in classic.protocols}
        if common:
            try:
                for protocol in request.protocols:
                    parse_subscription(protocol.metadata)
                return parse_subscription(request.protocols[0].metadata)
            except MalformedMetadata:
                pass  # as bad as any other protocol
    raise KafkaError(
        ErrorCode.inconsistent_group_protocol, f"Member {request.member_id}'s protocols are not supported."
    )


def _joining(group: ConsumerGroup, request: Join) -> ConsumerMember:
    member_id = request.member_id or request.new_member_id
    instance_id = request.group_instance_id
    if instance_id is None:
        return group.members.get(member_id) or group.add(member_id, None)
    current = group.members.static(instance_id)
    if not request.member_id:
        return group.add(member_id, instance_id) if current is None else group.replace(current, member_id)
    if current is None:
        raise KafkaError(ErrorCode.unknown_member_id)
    if current.member_id != member_id:
        raise KafkaError(ErrorCode.fenced_instance_id)
    return current


def _member(
    group: ConsumerGroup, member_id: str, instance_id: str | None, generation_id: int
) -> tuple[ConsumerMember, ClassicMembership]:
    """The member that asks. Raises what it hears when it is none."""
    member = _identified(group, member_id, instance_id)
    if member.classic is None:
        raise KafkaError(
            ErrorCode.unknown_member_id, f"Member {member_id} does not use the classic protocol."
        )
    if generation_id != member.member_epoch:
        raise KafkaError(ErrorCode.illegal_generation)
    return member, member.classic


def _leaving(group: ConsumerGroup, asked: LeavingMember) -> ConsumerMember:
    if asked.group_instance_id is not None and not asked.member_id:
        current = group.members.static(asked.group_instance_id)
        return _identified(group, "" if current is None else current.member_id, asked.group_instance_id)
    return _identified(group, asked.member_id, asked.group_instance_id)


def _identified(group: ConsumerGroup, member_id: str, instance_id: str | None) -> ConsumerMember:
    member = group.members.get(member_id) if instance_id is None else group.members.static(instance_id)
    if member is None:
        raise KafkaError(ErrorCode.unknown_member_id)
    if member.member_id != member_id:
        raise KafkaError(ErrorCode.fenced_instance_id)
    return member
