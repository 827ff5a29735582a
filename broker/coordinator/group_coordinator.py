"""All groups that this broker coordinates: members through `ClassicGroup`, and their committed offsets.

A pure machine. The shell feeds it requests and timers and performs the effects that it returns; when a
Store fails, it calls `reload` with what is stored, and the group goes on from there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.coordinator.classic_group import (
    JOIN_TIMER,
    SESSION_TIMER,
    SYNC_TIMER,
    ClassicGroup,
    GroupLimits,
)
from broker.coordinator.effects import Effect, Reply, SetTimer, Store, TimerKey
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
)
from broker.coordinator.records import CommittedOffset, GroupRecord, TopicPartition
from broker.coordinator.subscription import CONSUMER_PROTOCOL_TYPE, subscribed_topics
from broker.wire.errors import ErrorCode

CLASSIC = "classic"
EXPIRY_TIMER = TimerKey("expiry")


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """Broker settings of groups and offsets; the defaults are Kafka's."""

    limits: GroupLimits = field(default_factory=GroupLimits)
    session_timeout_min_ms: int = 6_000
    session_timeout_max_ms: int = 1_800_000
    offsets_retention_ms: int = 7 * 24 * 3_600_000
    offsets_check_interval_ms: int = 600_000


@dataclass(slots=True)
class _Group:
    members: ClassicGroup
    offsets: dict[TopicPartition, CommittedOffset]


class GroupCoordinator:
    """`now_ms` is the wall clock, to date commits; timers run by a clock of the shell's that never jumps."""

    def __init__(self, settings: CoordinatorSettings) -> None:
        self._settings = settings
        self._groups: dict[str, _Group] = {}
        self._effects: list[Effect] = []

    # What the shell calls.

    def load(
        self,
        records: Mapping[str, GroupRecord],
        offsets: Mapping[str, dict[TopicPartition, CommittedOffset]],
        now_ms: int,
    ) -> list[Effect]:
        """Take over what is stored, by group id. Call it once, first."""
        for group_id in records.keys() | offsets.keys():
            self._restore(group_id, records.get(group_id), offsets.get(group_id, {}), now_ms)
        self._emit(SetTimer(EXPIRY_TIMER, self._settings.offsets_check_interval_ms))
        return self._drain()

    def reload(
        self,
        group_id: str,
        record: GroupRecord | None,
        offsets: dict[TopicPartition, CommittedOffset],
        now_ms: int,
    ) -> list[Effect]:
        """A Store failed: go back to what is stored, as after a crash. Members that went further rejoin."""
        if (group := self._groups.pop(group_id, None)) is not None:
            group.members.abandon()
        if record is not None or offsets:
            self._restore(group_id, record, offsets, now_ms)
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
            case FetchOffsets():
                self._reply(reply_to, request.group_id, self._fetch(request))
            case DeleteOffsets():
                self._reply(reply_to, request.group_id, self._delete_offsets(request))
            case DeleteGroup():
                self._reply(
                    reply_to, request.group_id, DeleteGroupResult(self._delete_group(request.group_id))
                )
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
        elif (group := self._groups.get(key.group_id)) is not None:
            match key.kind:
                case kind if kind == JOIN_TIMER:
                    group.members.on_join_timer(now_ms)
                case kind if kind == SYNC_TIMER:
                    group.members.on_sync_timer(now_ms)
                case kind if kind == SESSION_TIMER:
                    group.members.on_session_timer(key.member_id, now_ms)
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
            self._group_or_new(request.group_id, now_ms).members.join(request, reply_to, now_ms)

    def _sync(self, request: Sync, reply_to: Any, now_ms: int) -> None:
        if (group := self._groups.get(request.group_id)) is not None:
            group.members.sync(request, reply_to, now_ms)
        else:
            self._reply(reply_to, request.group_id, SyncResult(_missing(request.group_id)))

    def _heartbeat(self, request: Heartbeat, reply_to: Any, now_ms: int) -> None:
        if (group := self._groups.get(request.group_id)) is not None:
            group.members.heartbeat(request, reply_to, now_ms)
        else:
            self._reply(reply_to, request.group_id, HeartbeatResult(_missing(request.group_id)))

    def _leave(self, request: Leave, reply_to: Any, now_ms: int) -> None:
        if (group := self._groups.get(request.group_id)) is not None:
            group.members.leave(request, reply_to, now_ms)
        elif not request.group_id:
            self._reply(reply_to, "", LeaveResult(ErrorCode.invalid_group_id))
        else:
            left = tuple(
                LeftMember(m.member_id, m.group_instance_id, ErrorCode.unknown_member_id)
                for m in request.members
            )
            self._reply(reply_to, request.group_id, LeaveResult(ErrorCode.none, left))

    # Offsets.

    def _commit(self, request: Commit, now_ms: int) -> ErrorCode:
        group = self._groups.get(request.group_id)
        if group is None:
            if request.generation_id >= 0:
                return ErrorCode.group_id_not_found
            group = self._group_or_new(request.group_id, now_ms)
        error = group.members.commit_error(
            request.member_id, request.group_instance_id, request.generation_id
        )
        if error is ErrorCode.none and request.offsets:
            group.offsets.update(request.offsets)
            self._emit(Store(request.group_id, put_offsets=request.offsets))
        return error

    def _fetch(self, request: FetchOffsets) -> FetchOffsetsResult:
        group = self._groups.get(request.group_id)
        if group is None:
            return FetchOffsetsResult(ErrorCode.none, {})
        if request.partitions is None:
            return FetchOffsetsResult(ErrorCode.none, dict(group.offsets))
        found = {p: group.offsets[p] for p in request.partitions if p in group.offsets}
        return FetchOffsetsResult(ErrorCode.none, found)

    def _delete_offsets(self, request: DeleteOffsets) -> DeleteOffsetsResult:
        group = self._groups.get(request.group_id)
        if group is None:
            return DeleteOffsetsResult(ErrorCode.group_id_not_found)
        members = group.members
        if members.members and members.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return DeleteOffsetsResult(ErrorCode.non_empty_group)
        subscribed: set[str] | None = set()
        for member in members.members:
            topics = subscribed_topics(member.metadata(members.protocol_name))
            subscribed = None if topics is None or subscribed is None else subscribed | topics
        kept = [p for p in request.partitions if subscribed is None or p[0] in subscribed]
        gone = [p for p in request.partitions if p not in kept and group.offsets.pop(p, None) is not None]
        if gone:
            self._emit(Store(request.group_id, delete_offsets=gone))
        return DeleteOffsetsResult(ErrorCode.none, kept)

    def _forget_topics(self, topics: frozenset[str]) -> None:
        for group_id, group in self._groups.items():
            self._drop_offsets(group_id, group, [p for p in group.offsets if p[0] in topics])

    def _expire(self, now_ms: int) -> None:
        """Offsets of groups that nobody uses go after their retention, and then the group."""
        for group_id, group in list(self._groups.items()):
            members = group.members
            if not members.is_abandoned:
                continue
            self._drop_offsets(
                group_id, group, [p for p in group.offsets if self._is_expired(group, p, now_ms)]
            )
            if not group.offsets:
                self._remove(group_id, group)

    def _is_expired(self, group: _Group, partition: TopicPartition, now_ms: int) -> bool:
        offset = group.offsets[partition]
        if offset.expire_time_ms is not None:
            return now_ms >= offset.expire_time_ms
        # KIP-211: a group that had members keeps its offsets for the retention after the last one left.
        had_members = group.members.protocol_type is not None
        since_ms = group.members.state_time_ms if had_members else offset.commit_time_ms
        return now_ms - max(since_ms, offset.commit_time_ms) >= self._settings.offsets_retention_ms

    def _drop_offsets(self, group_id: str, group: _Group, partitions: Iterable[TopicPartition]) -> None:
        gone = list(partitions)
        for partition in gone:
            del group.offsets[partition]
        if gone:
            self._emit(Store(group_id, delete_offsets=gone))

    # Groups.

    def _delete_group(self, group_id: str) -> ErrorCode:
        group = self._groups.get(group_id)
        if not group_id:
            return ErrorCode.invalid_group_id
        if group is None:
            return ErrorCode.group_id_not_found
        if group.members.state is not GroupState.EMPTY:
            return ErrorCode.non_empty_group
        self._remove(group_id, group)
        return ErrorCode.none

    def _describe(self, group_id: str) -> DescribeGroupResult:
        group = self._groups.get(group_id)
        if not group_id:
            return DescribeGroupResult(ErrorCode.invalid_group_id, None, group_id, "")
        if group is None:
            message = f"Group {group_id} not found."
            return DescribeGroupResult(ErrorCode.group_id_not_found, message, group_id, GroupState.DEAD.value)
        classic = group.members
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
                    member_assignment=member.assignment if is_stable else b"",
                )
                for member in classic.members
            ),
        )

    def _list(self, request: ListGroups) -> ListGroupsResult:
        states = {name.lower() for name in request.states_filter}
        types = {name.lower() for name in request.types_filter}
        groups = tuple(
            ListedGroup(group_id, group.members.protocol_type or "", group.members.state.value, CLASSIC)
            for group_id, group in self._groups.items()
            if (not states or group.members.state.value.lower() in states) and (not types or CLASSIC in types)
        )
        return ListGroupsResult(ErrorCode.none, groups)

    def _group_or_new(self, group_id: str, now_ms: int) -> _Group:
        if group_id not in self._groups:
            members = ClassicGroup(group_id, self._settings.limits, self._emit, now_ms)
            self._groups[group_id] = _Group(members, {})
        return self._groups[group_id]

    def _restore(
        self,
        group_id: str,
        record: GroupRecord | None,
        offsets: dict[TopicPartition, CommittedOffset],
        now_ms: int,
    ) -> None:
        group = self._group_or_new(group_id, now_ms)
        group.offsets = dict(offsets)
        if record is not None:
            group.members.restore(record)

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
