"""One group of the classic protocol: who is a member, which generation it is, and what each is assigned.

A pure machine: it emits effects and never waits. Source: KIP-62 (sessions and rebalances), KIP-134
(initial delay), KIP-345 (static members), KIP-394 (member ids first), KIP-814 (skip assignment), and
the behaviour of Apache Kafka 4.3.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from broker.coordinator.effects import CancelTimer, Effect, Reply, SetTimer, Store, TimerKey
from broker.coordinator.group_state import TRANSITIONS, GroupState
from broker.coordinator.members import Member, Members
from broker.coordinator.messages import (
    Heartbeat,
    HeartbeatResult,
    Join,
    JoinedMember,
    JoinResult,
    Leave,
    LeaveResult,
    LeavingMember,
    LeftMember,
    Sync,
    SyncResult,
)
from broker.coordinator.records import GroupRecord, TopicPartition
from broker.coordinator.subscription import CONSUMER_PROTOCOL_TYPE
from broker.coordinator.subscription import subscribed_topics as topics_of_subscription
from broker.wire.errors import ErrorCode

JOIN_TIMER = "join"
SYNC_TIMER = "sync"
SESSION_TIMER = "session"

NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60 * 1000
"""A new member cannot heartbeat while it waits for its first generation; this long it is waited for."""


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Broker settings of the group protocol."""

    initial_rebalance_delay_ms: int = 3000
    size_max: int = 2**31 - 1


class ClassicGroup:
    """Use through `GroupCoordinator`, which routes requests and timers here."""

    def __init__(
        self, group_id: str, limits: GroupLimits, emit: Callable[[Effect], None], now_ms: int
    ) -> None:
        self.group_id = group_id
        self.state = GroupState.EMPTY
        self.state_time_ms = now_ms
        """When the group came into its state, by the wall clock; offsets of empty groups expire by it."""
        self.generation_id = 0
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.members = Members()
        self._limits = limits
        self._emit = emit
        self._now_ms = now_ms
        self._pending_ids: set[str] = set()
        """Ids handed out under KIP-394 whose owners have not come back yet."""
        self._unsynced: set[str] = set()
        self._initial_remaining_ms: int | None = None
        """How much longer the first rebalance may be delayed; None when none is being delayed."""
        self._member_added = False

    # Requests. `now_ms` is the wall clock, for time stamps only.

    def join(self, request: Join, reply_to: Any, now_ms: int) -> None:
        """Ends in a JoinResult, at once or when the generation is complete."""
        self._now_ms = now_ms
        if not self._accepts(request.member_id):
            self._drop_pending(request.member_id)
            self._reply_join(reply_to, ErrorCode.group_max_size_reached, "")
        elif not self._supports(request):
            self._reply_join(reply_to, ErrorCode.inconsistent_group_protocol, request.member_id)
        elif not request.member_id:
            self._join_new(request, reply_to)
        elif request.member_id in self._pending_ids:
            self._add(request.member_id, request, reply_to)
        else:
            self._rejoin(request, reply_to)

    def sync(self, request: Sync, reply_to: Any, now_ms: int) -> None:
        """Ends in a SyncResult, at once or when the leader has brought the assignment."""
        self._now_ms = now_ms
        error = self._check_member(request.member_id, request.group_instance_id, request.generation_id)
        if error is ErrorCode.none and self._is_other_protocol(request):
            error = ErrorCode.inconsistent_group_protocol
        if error is ErrorCode.none and self.state is GroupState.PREPARING_REBALANCE:
            error = ErrorCode.rebalance_in_progress
        if error is not ErrorCode.none:
            self._reply(reply_to, SyncResult(error))
            return
        member = self.members[request.member_id]
        self._synced(member)
        if self.state is GroupState.STABLE:
            self._restart_session(member)
            self._reply(reply_to, self._assignment_of(member))
            return
        if member.awaits_sync:  # a retry: its first request is not waited for any more
            self._reply(member.sync_reply_to, SyncResult(ErrorCode.rebalance_in_progress))
        member.sync_reply_to = reply_to
        if self.members.is_leader(member):
            self._assign(request)

    def heartbeat(self, request: Heartbeat, reply_to: Any, now_ms: int) -> None:
        self._now_ms = now_ms
        error = self._check_member(request.member_id, request.group_instance_id, request.generation_id)
        if error is ErrorCode.none:
            self._restart_session(self.members[request.member_id])
            if self.state is GroupState.PREPARING_REBALANCE:
                error = ErrorCode.rebalance_in_progress
        self._reply(reply_to, HeartbeatResult(error))

    def leave(self, request: Leave, reply_to: Any, now_ms: int) -> None:
        """Removes all those members who are members, then rebalances once."""
        self._now_ms = now_ms
        size_before = len(self.members)
        results = tuple(
            LeftMember(leaving.member_id, leaving.group_instance_id, self._remove_leaving(leaving))
            for leaving in request.members
        )
        if len(self.members) < size_before:
            self._rebalance_or_complete_join()
        else:  # an id that was only handed out may have been waited for
            self._maybe_complete_join()
        self._reply(reply_to, LeaveResult(ErrorCode.none, results))

    # Offsets; see `Membership`.

    def commit_error(
        self,
        member_id: str,
        group_instance_id: str | None,
        generation_id: int,
        *,
        partitions: Collection[TopicPartition] = (),
        is_transactional: bool = False,
    ) -> ErrorCode:
        """A member's commit counts as a heartbeat, unless its producer made it, in a transaction."""
        if generation_id < 0 and self.state is GroupState.EMPTY:
            return ErrorCode.none
        if generation_id < 0 and not member_id and group_instance_id is None:
            # Not a member, and the group has some. Before KIP-447 a transaction named only the group.
            return ErrorCode.none if is_transactional else ErrorCode.unknown_member_id
        error = self._check_member(member_id, group_instance_id, generation_id)
        if error is ErrorCode.none and not is_transactional:
            self._restart_session(self.members[member_id])
            if self.state is GroupState.COMPLETING_REBALANCE:
                # It owns nothing in this generation yet; what it commits is from before.
                error = ErrorCode.rebalance_in_progress
        return error

    def fetch_error(self, _member_id: str | None, _member_epoch: int) -> ErrorCode:
        """Members of classic groups are not checked when they read offsets."""
        return ErrorCode.none

    def delete_offsets_error(self) -> ErrorCode:
        """Only consumers say what they read."""
        if self.members and self.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return ErrorCode.non_empty_group
        return ErrorCode.none

    def subscribed_topics(self) -> frozenset[str] | None:
        if self.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return frozenset()
        topics: frozenset[str] = frozenset()
        for member in self.members:
            of_member = topics_of_subscription(member.metadata(self.protocol_name))
            if of_member is None:
                return None
            topics |= of_member
        return topics

    def unused_since_ms(self, commit_time_ms: int) -> int | None:
        if self.protocol_type is None:  # it never had members
            return commit_time_ms
        if self.state is GroupState.EMPTY:
            return max(self.state_time_ms, commit_time_ms)
        is_stable_consumer = self.state is GroupState.STABLE and self.protocol_type == CONSUMER_PROTOCOL_TYPE
        return commit_time_ms if is_stable_consumer else None

    # Timers.

    def on_join_timer(self, now_ms: int) -> None:
        """The time to join is over, or a part of the initial delay is."""
        self._now_ms = now_ms
        if self.state is not GroupState.PREPARING_REBALANCE:
            return
        remaining_ms = self._initial_remaining_ms
        if remaining_ms and self._member_added:
            # KIP-134: as long as members keep coming, wait on, up to the rebalance timeout.
            self._member_added = False
            delay_ms = min(self._limits.initial_rebalance_delay_ms, remaining_ms)
            self._initial_remaining_ms = remaining_ms - delay_ms
            self._set_timer(JOIN_TIMER, delay_ms)
        else:
            self._complete_join()

    def on_sync_timer(self, now_ms: int) -> None:
        """Members that did not fetch their assignment in time are removed."""
        self._now_ms = now_ms
        if not self._unsynced or self.state not in (GroupState.COMPLETING_REBALANCE, GroupState.STABLE):
            return
        for member_id in sorted(self._unsynced):
            self._remove(self.members[member_id])
        self._prepare_rebalance()

    def on_session_timer(self, member_id: str, now_ms: int) -> None:
        """The member was not heard of for its session timeout."""
        self._now_ms = now_ms
        member = self.members.get(member_id)
        if member is None:
            if member_id in self._pending_ids:
                self._drop_pending(member_id)
                self._maybe_complete_join()
        elif member.is_new or not (member.awaits_join or member.awaits_sync):
            self._remove(member)
            self._rebalance_or_complete_join()

    # Storing and loading.

    def record(self) -> GroupRecord:
        """What is to outlive a restart. Only a stable or an empty group has a record, or one just adopted."""
        return GroupRecord(
            generation_id=self.generation_id,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol_name,
            leader=self.members.leader,
            state_time_ms=self.state_time_ms,
            members=tuple(member.record(self.protocol_name) for member in self.members),
            is_rebalancing=self.state is GroupState.PREPARING_REBALANCE,
        )

    def restore(self, record: GroupRecord) -> None:
        """Become what was stored; the members have a whole session to be heard of."""
        self.generation_id = record.generation_id
        self.protocol_type = record.protocol_type
        self.protocol_name = record.protocol_name
        self.state_time_ms = record.state_time_ms
        self.state = GroupState.STABLE if record.members else GroupState.EMPTY
        for stored in record.members:
            member = Member.restored(stored, record.protocol_name)
            self.members.add(member)
            self._restart_session(member)
        self.members.leader = record.leader
        if record.is_rebalancing or len(self.members) > self._limits.size_max:
            self._prepare_rebalance()

    def adopt(self, generation_id: int, members: Iterable[Member]) -> None:
        """Take over from a consumer group (KIP-848): these are its members, and they have to rejoin."""
        self.generation_id = generation_id
        self.protocol_type = CONSUMER_PROTOCOL_TYPE
        for member in members:
            self.members.add(member)
            self._restart_session(member)
        if self.members:
            self.protocol_name = self.members.choose_protocol()
            self.state = GroupState.STABLE
            self._prepare_rebalance()
        self._store()

    def abandon(self, error: ErrorCode = ErrorCode.not_coordinator) -> None:
        """Answer all that wait and cancel all timers: what is in memory no longer counts."""
        for member in self.members:
            self._release(member, error)
            self._cancel_timer(SESSION_TIMER, member.member_id)
        for member_id in sorted(self._pending_ids):
            self._cancel_timer(SESSION_TIMER, member_id)
        self._cancel_timer(JOIN_TIMER)
        self._cancel_timer(SYNC_TIMER)

    def die(self) -> None:
        """The group is deleted. It must be empty."""
        self.abandon()
        self._become(GroupState.DEAD)

    @property
    def is_abandoned(self) -> bool:
        """Empty, and nobody is about to join."""
        return self.state is GroupState.EMPTY and not self._pending_ids

    # Joining.

    def _accepts(self, member_id: str) -> bool:
        match self.state:
            case GroupState.EMPTY:
                return True
            case GroupState.PREPARING_REBALANCE:
                # Members of the last generation have to come back in time for a place.
                member = self.members.get(member_id)
                awaiting = sum(m.awaits_join for m in self.members)
                return (member is not None and member.awaits_join) or awaiting < self._limits.size_max
            case _:
                return member_id in self.members or len(self.members) < self._limits.size_max

    def _supports(self, request: Join) -> bool:
        """Whether the group could still agree on a protocol with this member in it."""
        if not request.protocol_type or not request.protocols:
            return False
        if not self.members:
            return True
        common = self.members.common_protocols()
        return request.protocol_type == self.protocol_type and any(
            p.name in common for p in request.protocols
        )

    def _join_new(self, request: Join, reply_to: Any) -> None:
        instance_id = request.group_instance_id
        if instance_id is not None:
            if self.members.static_id(instance_id) is not None:
                self._replace_static(request, reply_to)
            else:
                self._add(request.new_member_id, request, reply_to)
        elif request.require_known_member_id:
            # KIP-394: hand the id out first, so that a client that never reads the
            # reply cannot fill the group with ghost members.
            self._pending_ids.add(request.new_member_id)
            self._set_timer(SESSION_TIMER, request.session_timeout_ms, request.new_member_id)
            self._reply_join(reply_to, ErrorCode.member_id_required, request.new_member_id)
        else:
            self._add(request.new_member_id, request, reply_to)

    def _add(self, member_id: str, request: Join, reply_to: Any) -> None:
        if not self.members:
            self.protocol_type = request.protocol_type
        member = Member(
            member_id=member_id,
            group_instance_id=request.group_instance_id,
            client_id=request.client_id,
            client_host=request.client_host,
            session_timeout_ms=request.session_timeout_ms,
            rebalance_timeout_ms=request.rebalance_timeout_ms,
            protocols=request.protocols,
            is_new=True,
            join_reply_to=reply_to,
        )
        self.members.add(member)
        self._pending_ids.discard(member_id)
        self._member_added = True
        self._set_timer(SESSION_TIMER, NEW_MEMBER_JOIN_TIMEOUT_MS, member_id)
        self._rebalance_or_complete_join()

    def _rejoin(self, request: Join, reply_to: Any) -> None:
        error = self.members.identity_error(request.member_id, request.group_instance_id)
        if error is not ErrorCode.none:
            self._reply_join(reply_to, error, request.member_id)
            return
        member = self.members[request.member_id]
        is_unchanged = member.protocols == request.protocols
        is_leader = self.members.is_leader(member)
        if self.state is GroupState.COMPLETING_REBALANCE and is_unchanged:
            # It may have missed the answer to its first join.
            self._restart_session(member)
            self._reply(reply_to, self._joined(member))
        elif self.state is GroupState.STABLE and is_unchanged and not is_leader:
            self._restart_session(member)
            self._reply(reply_to, self._joined(member))
        else:
            # A leader that joins a stable group asks for a new assignment.
            self._update(member, request, reply_to)
            self._rebalance_or_complete_join()

    def _update(self, member: Member, request: Join, reply_to: Any) -> None:
        if member.awaits_join:
            self._reply_join(member.join_reply_to, ErrorCode.rebalance_in_progress, member.member_id)
        member.protocols = request.protocols
        member.session_timeout_ms = request.session_timeout_ms
        member.rebalance_timeout_ms = request.rebalance_timeout_ms
        member.client_id = request.client_id
        member.client_host = request.client_host
        member.join_reply_to = reply_to

    def _replace_static(self, request: Join, reply_to: Any) -> None:
        """KIP-345: a static member is back under a new id. What it had is still its own."""
        assert request.group_instance_id is not None
        old_leader = self.members.leader
        old_id = self.members.static_id(request.group_instance_id)
        assert old_id is not None
        member = self.members[old_id]
        self._release(member, ErrorCode.fenced_instance_id)
        self._cancel_timer(SESSION_TIMER, old_id)
        self._unsynced.discard(old_id)
        self.members.rename(member, request.new_member_id)
        self._update(member, request, reply_to)
        self._restart_session(member)
        match self.state:
            case GroupState.STABLE if self.members.choose_protocol() == self.protocol_name:
                self._store()
                member.join_reply_to = None
                self._reply(reply_to, self._returned(member, old_leader, request.supports_skip_assignment))
            case GroupState.PREPARING_REBALANCE:
                self._maybe_complete_join()
            case _:
                # While the assignment is being worked out, the leader has the old id in its list.
                self._prepare_rebalance()

    def _returned(self, member: Member, old_leader: str | None, can_skip_assignment: bool) -> JoinResult:
        """What a static member hears that is back in a stable generation, which goes on as it is."""
        is_leader = self.members.is_leader(member)
        if not can_skip_assignment:
            # It must not assign. As the leader it hears its own old id, and takes itself for a follower.
            return self._join_result(member, leader=old_leader or "")
        members = self._joined_members() if is_leader else ()
        return self._join_result(
            member, leader=self.members.leader or "", skip_assignment=is_leader, members=members
        )

    # Rebalancing.

    def _rebalance_or_complete_join(self) -> None:
        if self.state is GroupState.PREPARING_REBALANCE:
            self._maybe_complete_join()
        else:
            self._prepare_rebalance()

    def _prepare_rebalance(self) -> None:
        for member in self.members:
            if self.state is GroupState.COMPLETING_REBALANCE:
                member.assignment = b""
            if member.awaits_sync:
                self._reply(member.sync_reply_to, SyncResult(ErrorCode.rebalance_in_progress))
                member.sync_reply_to = None
        self._unsynced.clear()
        self._cancel_timer(SYNC_TIMER)
        is_first = self.state is GroupState.EMPTY
        self._become(GroupState.PREPARING_REBALANCE)
        delay_ms = self._limits.initial_rebalance_delay_ms
        if is_first and delay_ms > 0:
            self._member_added = False
            self._initial_remaining_ms = max(0, self.members.rebalance_timeout_ms() - delay_ms)
            self._set_timer(JOIN_TIMER, delay_ms)
        elif self._all_joined():
            self._complete_join()
        else:
            self._set_timer(JOIN_TIMER, self.members.rebalance_timeout_ms())

    def _maybe_complete_join(self) -> None:
        is_waited_for = self.state is GroupState.PREPARING_REBALANCE and self._initial_remaining_ms is None
        if is_waited_for and self._all_joined():
            self._complete_join()

    def _all_joined(self) -> bool:
        return not self._pending_ids and all(member.awaits_join for member in self.members)

    def _complete_join(self) -> None:
        """Start the next generation with those who joined. Static members stay even if they did not."""
        self._initial_remaining_ms = None
        for member in [m for m in self.members if not m.awaits_join and not m.is_static]:
            self._remove(member)
        if self.members and not self.members.elect_leader_who_joined():
            # Static members only, and none is back: their sessions decide.
            self._set_timer(JOIN_TIMER, self.members.rebalance_timeout_ms())
            return
        self._cancel_timer(JOIN_TIMER)
        self.generation_id += 1
        if not self.members:
            self.protocol_name = None
            self._become(GroupState.EMPTY)
            self._store()
            return
        self.protocol_name = self.members.choose_protocol()
        self._become(GroupState.COMPLETING_REBALANCE)
        self._unsynced = {member.member_id for member in self.members}
        for member in self.members:
            member.is_new = False
            self._restart_session(member)
            if member.awaits_join:
                self._reply(member.join_reply_to, self._joined(member))
                member.join_reply_to = None
        self._set_timer(SYNC_TIMER, self.members.rebalance_timeout_ms())

    # Syncing.

    def _assign(self, request: Sync) -> None:
        for member in self.members:
            member.assignment = request.assignments.get(member.member_id, b"")
        self._become(GroupState.STABLE)
        self._store()
        for member in self.members:
            if member.awaits_sync:
                self._restart_session(member)
                self._reply(member.sync_reply_to, self._assignment_of(member))
                member.sync_reply_to = None

    def _synced(self, member: Member) -> None:
        self._unsynced.discard(member.member_id)
        if not self._unsynced:
            self._cancel_timer(SYNC_TIMER)

    def _is_other_protocol(self, request: Sync) -> bool:
        return (request.protocol_type not in (None, self.protocol_type)) or (
            request.protocol_name not in (None, self.protocol_name)
        )

    # Members.

    def _check_member(self, member_id: str, group_instance_id: str | None, generation_id: int) -> ErrorCode:
        error = self.members.identity_error(member_id, group_instance_id)
        if error is ErrorCode.none and generation_id != self.generation_id:
            return ErrorCode.illegal_generation
        return error

    def _remove_leaving(self, leaving: LeavingMember) -> ErrorCode:
        member_id = leaving.member_id
        if not member_id and leaving.group_instance_id is not None:
            member_id = self.members.static_id(leaving.group_instance_id) or ""
        if member_id in self._pending_ids:
            self._drop_pending(member_id)
            return ErrorCode.none
        error = self.members.identity_error(member_id, leaving.group_instance_id)
        if error is ErrorCode.none:
            self._remove(self.members[member_id])
        return error

    def _remove(self, member: Member) -> None:
        self._release(member, ErrorCode.unknown_member_id)
        self._cancel_timer(SESSION_TIMER, member.member_id)
        self.members.remove(member)
        self._unsynced.discard(member.member_id)

    def _release(self, member: Member, error: ErrorCode) -> None:
        """Answer the requests of a member that is no more."""
        if member.awaits_join:
            self._reply_join(member.join_reply_to, error, member.member_id)
            member.join_reply_to = None
        if member.awaits_sync:
            self._reply(member.sync_reply_to, SyncResult(error))
            member.sync_reply_to = None

    def _drop_pending(self, member_id: str) -> None:
        if member_id in self._pending_ids:
            self._pending_ids.remove(member_id)
            self._cancel_timer(SESSION_TIMER, member_id)

    # Answers and effects.

    def _joined_members(self) -> tuple[JoinedMember, ...]:
        return tuple(
            JoinedMember(m.member_id, m.group_instance_id, m.metadata(self.protocol_name))
            for m in self.members
        )

    def _joined(self, member: Member) -> JoinResult:
        members = self._joined_members() if self.members.is_leader(member) else ()
        return self._join_result(member, leader=self.members.leader or "", members=members)

    def _join_result(
        self,
        member: Member,
        *,
        leader: str,
        skip_assignment: bool = False,
        members: tuple[JoinedMember, ...] = (),
    ) -> JoinResult:
        return JoinResult(
            error_code=ErrorCode.none,
            member_id=member.member_id,
            generation_id=self.generation_id,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol_name,
            leader=leader,
            skip_assignment=skip_assignment,
            members=members,
        )

    def _assignment_of(self, member: Member) -> SyncResult:
        return SyncResult(ErrorCode.none, self.protocol_type, self.protocol_name, member.assignment)

    def _become(self, state: GroupState) -> None:
        assert state in TRANSITIONS[self.state], f"{self.group_id}: {self.state} -> {state}"
        self.state = state
        self.state_time_ms = self._now_ms

    def _store(self) -> None:
        self._emit(Store(self.group_id, record=self.record()))

    def _reply(self, reply_to: Any, response: object) -> None:
        self._emit(Reply(reply_to, self.group_id, response))

    def _reply_join(self, reply_to: Any, error: ErrorCode, member_id: str) -> None:
        self._reply(reply_to, JoinResult(error, member_id))

    def _restart_session(self, member: Member) -> None:
        self._set_timer(SESSION_TIMER, member.session_timeout_ms, member.member_id)

    def _set_timer(self, kind: str, delay_ms: int, member_id: str = "") -> None:
        self._emit(SetTimer(TimerKey(kind, self.group_id, member_id), delay_ms))

    def _cancel_timer(self, kind: str, member_id: str = "") -> None:
        self._emit(CancelTimer(TimerKey(kind, self.group_id, member_id)))
