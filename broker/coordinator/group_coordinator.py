"""All groups that this broker coordinates: members through `ClassicGroup` or `ConsumerGroup`, and offsets.

A pure machine. The shell feeds it requests and timers and performs the effects that it returns; when a
Store fails, it calls `reload` with what is stored, and the group goes on from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from broker.coordinator import classic_members
from broker.coordinator.classic_group import (
    JOIN_TIMER,
    SESSION_TIMER,
    SYNC_TIMER,
    ClassicGroup,
    GroupLimits,
)
from broker.coordinator.consumer_group import JOINING, ConsumerGroup, ConsumerLimits
from broker.coordinator.consumer_messages import (
    ConsumerHeartbeat,
    ConsumerHeartbeatResult,
    DescribeConsumerGroup,
    DescribeConsumerGroupResult,
    SetGroupConfigs,
    TopicsChanged,
)
from broker.coordinator.consumer_records import CONSUMER, ConsumerGroupRecord
from broker.coordinator.effects import Effect, Reply, SetTimer, Store, TimerKey
from broker.coordinator.group_offsets import GroupOffsets
from broker.coordinator.group_state import GroupState
from broker.coordinator.messages import (
    Commit,
    CommitResult,
    DeleteGroup,
    DeleteGroupResult,
    DeleteOffsets,
    DeleteOffsetsResult,
    DescribedMember,
    DescribeGroup,
    DescribeGroupResult,
    EndTransaction,
    FetchOffsets,
    FetchOffsetsResult,
    ForgetTopics,
    Heartbeat,
    HeartbeatResult,
    Join,
    JoinResult,
    Leave,
    LeaveResult,
    LeftMember,
    ListedGroup,
    ListGroups,
    ListGroupsResult,
    Request,
    Sync,
    SyncResult,
    TransactionalCommit,
)
from broker.coordinator.migration import downgraded, upgraded
from broker.coordinator.producer_epochs import ProducerEpochs
from broker.coordinator.records import StoredGroup
from broker.coordinator.regexes import check_regex
from broker.coordinator.subscription import CONSUMER_PROTOCOL_TYPE
from broker.coordinator.topics import KnownTopics
from broker.wire.errors import ErrorCode, KafkaError

CLASSIC = "classic"
EXPIRY_TIMER = TimerKey("expiry")

_GROUP_CONFIGS = {
    "consumer.session.timeout.ms": "session_timeout_ms",
    "consumer.heartbeat.interval.ms": "heartbeat_interval_ms",
    "consumer.assignment.interval.ms": "assignment_interval_ms",
}
"""What can be set for a group of its own, by Kafka's name."""


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """Broker settings of groups and offsets; the defaults are Kafka's."""

    limits: GroupLimits = field(default_factory=GroupLimits)
    consumer_limits: ConsumerLimits = field(default_factory=ConsumerLimits)
    session_timeout_min_ms: int = 6_000
    session_timeout_max_ms: int = 1_800_000
    offsets_retention_ms: int = 7 * 24 * 3_600_000
    offsets_check_interval_ms: int = 600_000


@dataclass(slots=True)
class _Group:
    members: ClassicGroup | ConsumerGroup
    offsets: GroupOffsets

    @property
    def type_name(self) -> str:
        return CLASSIC if isinstance(self.members, ClassicGroup) else CONSUMER

    @property
    def protocol_type(self) -> str:
        return (
            self.members.protocol_type or ""
            if isinstance(self.members, ClassicGroup)
            else CONSUMER_PROTOCOL_TYPE
        )


class GroupCoordinator:
    """`now_ms` is the wall clock, to date commits; timers run by a clock of the shell's that never jumps."""

    def __init__(self, settings: CoordinatorSettings) -> None:
        self._settings = settings
        self._groups: dict[str, _Group] = {}
        self._epochs = ProducerEpochs()
        self._topics = KnownTopics()
        self._limits: dict[str, ConsumerLimits] = {}
        """Of groups that have settings of their own."""
        self._effects: list[Effect] = []

    # What the shell calls.

    def load(
        self,
        stored: Mapping[str, StoredGroup],
        now_ms: int,
    ) -> list[Effect]:
        """Take over what is stored, by group id. Call it once, first."""
        for group_id, group in stored.items():
            self._restore(group_id, group, now_ms)
        self._emit(SetTimer(EXPIRY_TIMER, self._settings.offsets_check_interval_ms))
        return self._drain()

    def reload(self, group_id: str, stored: StoredGroup, now_ms: int) -> list[Effect]:
        """A Store failed: go back to what is stored, as after a crash. Members that went further rejoin."""
        if (group := self._groups.pop(group_id, None)) is not None:
            group.members.abandon()
        if stored.record is not None or stored.offsets or stored.pending:
            self._restore(group_id, stored, now_ms)
        return self._drain()

    def on_request(self, request: Request, reply_to: Any, now_ms: int) -> list[Effect]:
        """Every request ends in exactly one Reply to `reply_to`, now or after a later call."""
        match request:
            case Join():
                self._join(request, reply_to, now_ms)
            case Sync():
                self._sync(request, reply_to, now_ms)
            case Heartbeat():
                self._heartbeat(request, reply_to, now_ms)
            case Leave():
                self._leave(request, reply_to, now_ms)
            case Commit():
                self._reply(reply_to, request.group_id, CommitResult(self._commit(request, now_ms)))
            case TransactionalCommit():
                error = self._commit_in_transaction(request, now_ms)
                self._reply(reply_to, request.group_id, CommitResult(error))
            case EndTransaction():
                self._reply(reply_to, request.group_id, CommitResult(self._end_transaction(request)))
            case FetchOffsets():
                self._reply(reply_to, request.group_id, self._fetch(request))
            case DeleteOffsets():
                self._reply(reply_to, request.group_id, self._delete_offsets(request))
            case DeleteGroup():
                self._reply(
                    reply_to, request.group_id, DeleteGroupResult(self._delete_group(request.group_id))
                )
            case ConsumerHeartbeat():
                self._reply(reply_to, request.group_id, self._consumer_heartbeat(request, now_ms))
            case DescribeConsumerGroup():
                self._reply(reply_to, request.group_id, self._describe_consumer(request.group_id))
            case SetGroupConfigs():
                self._set_configs(request)
                self._reply(reply_to, request.group_id, None)
            case TopicsChanged():
                self._topics.change(request.put, request.removed)
                self._reply(reply_to, "", None)
            case DescribeGroup():
                self._reply(reply_to, request.group_id, self._describe(request.group_id))
            case ListGroups():
                self._reply(reply_to, "", self._list(request))
            case ForgetTopics():
                self._forget_topics(request.topics)
                self._reply(reply_to, "", None)
        return self._drain()

    def on_timer(self, key: TimerKey, now_ms: int) -> list[Effect]:
        """A timer that was set, and neither moved nor cancelled, has run out."""
        if key == EXPIRY_TIMER:
            self._expire(now_ms)
            self._emit(SetTimer(EXPIRY_TIMER, self._settings.offsets_check_interval_ms))
        elif (group := self._groups.get(key.owner)) is not None:
            members = group.members
            if isinstance(members, ConsumerGroup):
                members.on_timer(key.kind, key.member_id, now_ms)
                self._settle(group, now_ms)
            else:
                match key.kind:
                    case kind if kind == JOIN_TIMER:
                        members.on_join_timer(now_ms)
                    case kind if kind == SYNC_TIMER:
                        members.on_sync_timer(now_ms)
                    case kind if kind == SESSION_TIMER:
                        members.on_session_timer(key.member_id, now_ms)
        return self._drain()

    # Members.

    def _join(self, request: Join, reply_to: Any, now_ms: int) -> None:
        settings = self._settings
        if not request.group_id:
            self._reply(reply_to, "", JoinResult(ErrorCode.invalid_group_id, request.member_id))
        elif (
            not settings.session_timeout_min_ms
            <= request.session_timeout_ms
            <= settings.session_timeout_max_ms
        ):
            self._reply(
                reply_to, request.group_id, JoinResult(ErrorCode.invalid_session_timeout, request.member_id)
            )
        elif request.member_id and request.group_id not in self._groups:
            self._reply(
                reply_to, request.group_id, JoinResult(ErrorCode.unknown_member_id, request.member_id)
            )
        else:
            group = self._group_or_new(request.group_id, now_ms)
            if isinstance(group.members, ConsumerGroup) and not group.members.members:
                group.members = downgraded(group.members, settings.limits, self._emit, now_ms)
            if isinstance(group.members, ClassicGroup):
                group.members.join(request, reply_to, now_ms)
            else:
                result = classic_members.join(group.members, request, now_ms)
                self._settle(group, now_ms)
                self._reply(reply_to, request.group_id, result)

    def _sync(self, request: Sync, reply_to: Any, now_ms: int) -> None:
        group = self._groups.get(request.group_id)
        if group is None:
            self._reply(reply_to, request.group_id, SyncResult(_missing(request.group_id)))
        elif isinstance(group.members, ClassicGroup):
            group.members.sync(request, reply_to, now_ms)
        else:
            self._reply(reply_to, request.group_id, classic_members.sync(group.members, request))

    def _heartbeat(self, request: Heartbeat, reply_to: Any, now_ms: int) -> None:
        group = self._groups.get(request.group_id)
        if group is None:
            self._reply(reply_to, request.group_id, HeartbeatResult(_missing(request.group_id)))
        elif isinstance(group.members, ClassicGroup):
            group.members.heartbeat(request, reply_to, now_ms)
        else:
            result = classic_members.heartbeat(group.members, request)
            self._settle(group, now_ms)
            self._reply(reply_to, request.group_id, result)

    def _leave(self, request: Leave, reply_to: Any, now_ms: int) -> None:
        group = self._groups.get(request.group_id)
        if not request.group_id:
            self._reply(reply_to, "", LeaveResult(ErrorCode.invalid_group_id))
        elif group is None:
            left = tuple(
                LeftMember(m.member_id, m.group_instance_id, ErrorCode.unknown_member_id)
                for m in request.members
            )
            self._reply(reply_to, request.group_id, LeaveResult(ErrorCode.none, left))
        elif isinstance(group.members, ClassicGroup):
            group.members.leave(request, reply_to, now_ms)
        else:
            result = classic_members.leave(group.members, request, now_ms)
            self._settle(group, now_ms)
            self._reply(reply_to, request.group_id, result)

    def _consumer_heartbeat(self, request: ConsumerHeartbeat, now_ms: int) -> ConsumerHeartbeatResult:
        group = self._groups.get(request.group_id)
        try:
            if group is None:
                group = self._new_consumer_group(request, now_ms)
            elif isinstance(group.members, ClassicGroup):
                self._upgrade(group, request, now_ms)
        except KafkaError as error:
            return ConsumerHeartbeatResult(error.code, error.message)
        assert isinstance(group.members, ConsumerGroup)
        result = group.members.heartbeat(request, now_ms)
        self._settle(group, now_ms)
        return result

    def _new_consumer_group(self, request: ConsumerHeartbeat, now_ms: int) -> _Group:
        group_id = request.group_id
        if request.member_epoch != JOINING:
            what = "Group" if request.member_epoch < JOINING else "Consumer group"
            raise KafkaError(ErrorCode.group_id_not_found, f"{what} {group_id} not found.")
        check_regex(request.regex or "")
        members = ConsumerGroup(group_id, self._limits_of(group_id), self._topics, self._emit, now_ms)
        group = self._groups[group_id] = _Group(members, GroupOffsets(group_id, self._emit, self._epochs))
        return group

    def _upgrade(self, group: _Group, request: ConsumerHeartbeat, now_ms: int) -> None:
        """A member of the consumer protocol has come to a classic group."""
        classic = group.members
        assert isinstance(classic, ClassicGroup)
        if request.member_epoch != JOINING:
            raise KafkaError(
                ErrorCode.group_id_not_found, f"Group {request.group_id} is not a consumer group."
            )
        limits = self._limits_of(request.group_id)
        consumer = upgraded(classic, limits, self._topics, self._emit, now_ms)
        check_regex(request.regex or "")
        consumer.check_room(request.member_id, request.instance_id)
        classic.abandon(ErrorCode.rebalance_in_progress)
        consumer.start_sessions()
        group.members = consumer

    def _settle(self, group: _Group, now_ms: int) -> None:
        """Store what has changed of a consumer group, as the classic group that it is now if need be."""
        members = group.members
        assert isinstance(members, ConsumerGroup)
        if members.wants_downgrade:
            group.members = downgraded(members, self._settings.limits, self._emit, now_ms)
        elif members.has_changed:
            members.has_changed = False
            self._emit(Store(members.group_id, record=members.record()))

    def _set_configs(self, request: SetGroupConfigs) -> None:
        defaults = self._settings.consumer_limits
        own: dict[str, Any] = {
            field: request.configs[name] for name, field in _GROUP_CONFIGS.items() if name in request.configs
        }
        limits = replace(defaults, **own)
        self._limits.pop(request.group_id, None)
        if limits != defaults:
            self._limits[request.group_id] = limits
        group = self._groups.get(request.group_id)
        if group is not None and isinstance(group.members, ConsumerGroup):
            group.members.limits = limits

    def _limits_of(self, group_id: str) -> ConsumerLimits:
        return self._limits.get(group_id, self._settings.consumer_limits)

    # Offsets.

    def _commit(self, request: Commit, now_ms: int) -> ErrorCode:
        group = self._groups.get(request.group_id)
        if group is None:
            if request.generation_id >= 0:
                return ErrorCode.group_id_not_found
            group = self._group_or_new(request.group_id, now_ms)
        members = group.members
        if (
            not request.knows_member_epochs
            and isinstance(members, ConsumerGroup)
            and members.speaks_consumer(request.member_id)
        ):
            return ErrorCode.unsupported_version
        return group.offsets.commit(request, members)

    def _commit_in_transaction(self, request: TransactionalCommit, now_ms: int) -> ErrorCode:
        group = self._groups.get(request.group_id)
        if group is None:
            if request.generation_id >= 0:
                return ErrorCode.illegal_generation
            group = self._group_or_new(request.group_id, now_ms)
        return group.offsets.commit_in_transaction(request, group.members)

    def _end_transaction(self, request: EndTransaction) -> ErrorCode:
        self._epochs.saw(request.producer_id, request.producer_epoch)
        if (group := self._groups.get(request.group_id)) is not None:
            group.offsets.end_transaction(request)
        return ErrorCode.none

    def _fetch(self, request: FetchOffsets) -> FetchOffsetsResult:
        group = self._groups.get(request.group_id)
        if group is None:
            return FetchOffsetsResult(ErrorCode.none, {})
        return group.offsets.fetch(request, group.members)

    def _delete_offsets(self, request: DeleteOffsets) -> DeleteOffsetsResult:
        if not request.group_id:
            return DeleteOffsetsResult(ErrorCode.invalid_group_id)
        group = self._groups.get(request.group_id)
        if group is None:
            return DeleteOffsetsResult(ErrorCode.group_id_not_found)
        return group.offsets.delete(request, group.members)

    def _forget_topics(self, topics: frozenset[str]) -> None:
        for group in self._groups.values():
            group.offsets.forget_topics(topics)

    def _expire(self, now_ms: int) -> None:
        """Offsets that nobody uses go after their retention, and then the group if nobody uses that."""
        for group_id, group in list(self._groups.items()):
            group.offsets.expire(group.members, now_ms, self._settings.offsets_retention_ms)
            if group.members.is_abandoned and group.offsets.is_empty:
                self._remove(group_id, group)

    # Groups.

    def _delete_group(self, group_id: str) -> ErrorCode:
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.group_id_not_found
        if group.members.state.value != GroupState.EMPTY.value:
            return ErrorCode.non_empty_group
        self._remove(group_id, group)
        return ErrorCode.none

    def _describe(self, group_id: str) -> DescribeGroupResult:
        group = self._groups.get(group_id)
        if group is None:
            message = f"Group {group_id} not found."
            return DescribeGroupResult(ErrorCode.group_id_not_found, message, group_id, GroupState.DEAD.value)
        classic = group.members
        if isinstance(classic, ConsumerGroup):
            message = f"Group {group_id} is not a classic group."
            return DescribeGroupResult(ErrorCode.group_id_not_found, message, group_id, GroupState.DEAD.value)
        is_stable = classic.state is GroupState.STABLE
        return DescribeGroupResult(
            error_code=ErrorCode.none,
            error_message=None,
            group_id=group_id,
            group_state=classic.state.value,
            protocol_type=classic.protocol_type or "",
            protocol_data=(classic.protocol_name or "") if is_stable else "",
            members=tuple(
                DescribedMember(
                    member_id=member.member_id,
                    group_instance_id=member.group_instance_id,
                    client_id=member.client_id,
                    client_host=member.client_host,
                    member_metadata=member.metadata(classic.protocol_name) if is_stable else b"",
                    member_assignment=member.assignment,
                )
                for member in classic.members
            ),
        )

    def _describe_consumer(self, group_id: str) -> DescribeConsumerGroupResult:
        group = self._groups.get(group_id)
        if group is None or isinstance(group.members, ClassicGroup):
            problem = "not found" if group is None else "is not a consumer group"
            return DescribeConsumerGroupResult(
                ErrorCode.group_id_not_found, f"Group {group_id} {problem}.", group_id
            )
        members = group.members
        return DescribeConsumerGroupResult(
            ErrorCode.none,
            None,
            group_id,
            members.state.value,
            members.group_epoch,
            members.assignment_epoch,
            members.assignor,
            members.described(),
        )

    def _list(self, request: ListGroups) -> ListGroupsResult:
        states = {name.lower() for name in request.states_filter}
        types = {name.lower() for name in request.types_filter}
        groups = tuple(
            ListedGroup(group_id, group.protocol_type, group.members.state.value, group.type_name)
            for group_id, group in self._groups.items()
            if (not states or group.members.state.value.lower() in states)
            and (not types or group.type_name in types)
        )
        return ListGroupsResult(ErrorCode.none, groups)

    def _group_or_new(self, group_id: str, now_ms: int) -> _Group:
        if group_id not in self._groups:
            members = ClassicGroup(group_id, self._settings.limits, self._emit, now_ms)
            self._groups[group_id] = _Group(members, GroupOffsets(group_id, self._emit, self._epochs))
        return self._groups[group_id]

    def _restore(self, group_id: str, stored: StoredGroup, now_ms: int) -> None:
        group = self._group_or_new(group_id, now_ms)
        group.offsets.restore(stored.offsets, stored.pending)
        if isinstance(stored.record, ConsumerGroupRecord):
            limits = self._limits_of(group_id)
            group.members = ConsumerGroup(group_id, limits, self._topics, self._emit, now_ms)
            group.members.restore(stored.record)
        elif stored.record is not None:
            assert isinstance(group.members, ClassicGroup)
            group.members.restore(stored.record)

    def _remove(self, group_id: str, group: _Group) -> None:
        group.members.die()
        del self._groups[group_id]
        self._emit(Store(group_id, deleted=True))

    def _reply(self, reply_to: Any, group_id: str, response: object) -> None:
        self._emit(Reply(reply_to, group_id, response))

    def _emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _drain(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects


def _missing(group_id: str) -> ErrorCode:
    """What a member hears of a group that is not there."""
    return ErrorCode.unknown_member_id if group_id else ErrorCode.invalid_group_id
