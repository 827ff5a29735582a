"""One group of the consumer group protocol: the server decides who gets which partition, and when.

A pure machine: it answers at once, and emits effects only for timers. Source: KIP-848, KIP-1251
(commits of the epoch before), and the behaviour of Apache Kafka 4.3. What members of the classic protocol
are told, while a group is being migrated, is in `classic_members.py`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from uuid import UUID

from broker.coordinator.assignors import ASSIGNORS, Subscriber
from broker.coordinator.consumer_members import (
    LEFT_FOR_A_WHILE,
    ClassicMembership,
    ConsumerMember,
    ConsumerMembers,
    MemberState,
)
from broker.coordinator.consumer_messages import ConsumerHeartbeat, ConsumerHeartbeatResult, DescribedConsumer
from broker.coordinator.consumer_records import ConsumerGroupRecord
from broker.coordinator.effects import CancelTimer, Effect, SetTimer, TimerKey
from broker.coordinator.reconciliation import Goal, next_step
from broker.coordinator.records import TopicPartition
from broker.coordinator.regexes import check_regex
from broker.coordinator.subscribed_topics import SubscribedTopics
from broker.coordinator.topics import KnownTopics, TopicIdPartition
from broker.wire.errors import ErrorCode, KafkaError

SESSION_TIMER = "session"
REBALANCE_TIMER = "rebalance"
ASSIGN_TIMER = "assign"
JOIN_TIMER = "join"
SYNC_TIMER = "sync"
MEMBER_TIMERS = (SESSION_TIMER, REBALANCE_TIMER, JOIN_TIMER, SYNC_TIMER)

JOINING, LEAVING = 0, -1
FIRST_EPOCH = 1
"""Of a new group, before it has members; the first one is in the next."""


class MigrationPolicy(Enum):
    """Whether a group may change its protocol while it has members."""

    DISABLED = "disabled"
    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    BIDIRECTIONAL = "bidirectional"

    @property
    def may_upgrade(self) -> bool:
        return self in (MigrationPolicy.UPGRADE, MigrationPolicy.BIDIRECTIONAL)

    @property
    def may_downgrade(self) -> bool:
        return self in (MigrationPolicy.DOWNGRADE, MigrationPolicy.BIDIRECTIONAL)


@dataclass(frozen=True, slots=True)
class ConsumerLimits:
    """Settings of consumer groups; the defaults are Kafka's."""

    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 5_000
    assignment_interval_ms: int = 1_000
    """A target assignment is not worked out more often."""
    size_max: int = 2**31 - 1
    assignors: tuple[str, ...] = ("uniform", "range")
    """The first is for groups whose members ask for none."""
    migration_policy: MigrationPolicy = MigrationPolicy.BIDIRECTIONAL
    classic_size_max: int = 2**31 - 1
    """A larger group does not become a classic one."""


class ConsumerGroupState(Enum):
    """Values are the names that ListGroups and ConsumerGroupDescribe use."""

    EMPTY = "Empty"
    ASSIGNING = "Assigning"
    """The group has changed, and its target assignment has not been worked out again yet."""
    RECONCILING = "Reconciling"
    """Some members have not got to their target assignment yet."""
    STABLE = "Stable"


class ConsumerGroup:
    """Use through `GroupCoordinator`, which routes requests and timers here, and stores what has changed."""

    def __init__(
        self,
        group_id: str,
        limits: ConsumerLimits,
        topics: KnownTopics,
        emit: Callable[[Effect], None],
        now_ms: int,
    ) -> None:
        self.group_id = group_id
        self.limits = limits
        self.topics = topics
        self.members = ConsumerMembers()
        self.group_epoch = FIRST_EPOCH
        self.assignment_epoch = FIRST_EPOCH
        self.state_time_ms = now_ms
        """When the group became empty, or got its first member, by the wall clock."""
        self.has_changed = False
        """What is stored is not what is here."""
        self._subscribed = SubscribedTopics(topics)
        self._rests = False
        """A target assignment was worked out just now."""
        self._expected: set[str] = set()
        """Members of the classic protocol that have been told to rejoin."""
        self._emit = emit
        self.now_ms = now_ms

    @property
    def state(self) -> ConsumerGroupState:
        if not self.members:
            return ConsumerGroupState.EMPTY
        if self.group_epoch > self.assignment_epoch:
            return ConsumerGroupState.ASSIGNING
        if all(member.is_reconciled_to(self.assignment_epoch) for member in self.members):
            return ConsumerGroupState.STABLE
        return ConsumerGroupState.RECONCILING

    @property
    def wants_downgrade(self) -> bool:
        """Only members of the classic protocol are left, and may go on by themselves."""
        return (
            len(self.members) > 0
            and all(member.classic is not None for member in self.members)
            and self.limits.migration_policy.may_downgrade
            and len(self.members) <= self.limits.classic_size_max
        )

    # Heartbeats.

    def heartbeat(self, request: ConsumerHeartbeat, now_ms: int) -> ConsumerHeartbeatResult:
        """All that a member says, and all that it hears."""
        self.now_ms = now_ms
        try:
            if request.member_epoch < JOINING:
                return self._leave(request)
            return self._stay(request)
        except KafkaError as error:
            return ConsumerHeartbeatResult(error.code, error.message)

    def _stay(self, request: ConsumerHeartbeat) -> ConsumerHeartbeatResult:
        self.check_room(request.member_id, request.instance_id)
        if request.regex:
            check_regex(request.regex)
        member = self._joining(request) if request.member_epoch == JOINING else self._staying(request)
        before = member.assigned
        member, has_new_subscription = self.update(
            member,
            classic=None,
            rack_id=request.rack_id,
            rebalance_timeout_ms=request.rebalance_timeout_ms,
            assignor=request.assignor,
            topics=request.topics,
            regex=request.regex,
            client_id=request.client_id,
            client_host=request.client_host,
        )
        self.assign()
        member = self.reconcile(member.member_id, request.owned, has_new_subscription=has_new_subscription)
        self.set_timer(SESSION_TIMER, self.limits.session_timeout_ms, member.member_id)
        is_full = request.member_epoch == JOINING or (
            request.rebalance_timeout_ms != -1
            and (request.topics is not None or request.regex is not None)
            and request.owned is not None
        )
        return ConsumerHeartbeatResult(
            ErrorCode.none,
            member_id=member.member_id,
            member_epoch=member.member_epoch,
            heartbeat_interval_ms=self.limits.heartbeat_interval_ms,
            assigned=member.assigned if is_full or member.assigned.keys() != before.keys() else None,
        )

    def _leave(self, request: ConsumerHeartbeat) -> ConsumerHeartbeatResult:
        if request.instance_id is None:
            member = self._known(request.member_id)
        else:
            member = self._own_static(request.member_id, request.instance_id)
        if request.member_epoch == LEFT_FOR_A_WHILE:
            # Its partitions stay its own until its session ends; what it was giving up, it has given up.
            self.cancel_timers(member.member_id, (REBALANCE_TIMER,))
            self.put(replace(member, member_epoch=LEFT_FOR_A_WHILE, revoking={}))
        else:
            self.remove([member])
        return ConsumerHeartbeatResult(
            ErrorCode.none, member_id=request.member_id, member_epoch=request.member_epoch
        )

    def _joining(self, request: ConsumerHeartbeat) -> ConsumerMember:
        if request.instance_id is None:
            return self.members.get(request.member_id) or self.add(request.member_id, None)
        current = self.members.static(request.instance_id)
        if current is None:
            return self.add(request.member_id, request.instance_id)
        if current.member_id == request.member_id:
            return current
        if current.classic is None and current.member_epoch != LEFT_FOR_A_WHILE:
            raise KafkaError(
                ErrorCode.unreleased_instance_id,
                f"Static member {request.member_id} with instance id {request.instance_id} cannot join the "
                f"group because the instance id is owned by {current.member_id} member.",
            )
        return self.replace(current, request.member_id)

    def _staying(self, request: ConsumerHeartbeat) -> ConsumerMember:
        if request.instance_id is None:
            member = self._known(request.member_id)
        else:
            member = self._own_static(request.member_id, request.instance_id)
        epoch = request.member_epoch
        # The answer that told the new epoch may have been lost. The member may come back with the one
        # before, if it holds nothing that it should not.
        is_retry = (
            epoch == member.previous_epoch
            and request.owned is not None
            and request.owned <= member.assigned.keys()
        )
        if epoch > member.member_epoch or (epoch < member.member_epoch and not is_retry):
            raise KafkaError(
                ErrorCode.fenced_member_epoch,
                f"The consumer group member has a {'greater' if epoch > member.member_epoch else 'smaller'} "
                f"member epoch ({epoch}) than the one known by the group coordinator "
                f"({member.member_epoch}). The member must abandon all its partitions and rejoin.",
            )
        return member

    def _known(self, member_id: str) -> ConsumerMember:
        member = self.members.get(member_id)
        if member is None:
            raise KafkaError(
                ErrorCode.unknown_member_id, f"Member {member_id} is not a member of group {self.group_id}."
            )
        return member

    def _own_static(self, member_id: str, instance_id: str) -> ConsumerMember:
        member = self.members.static(instance_id)
        if member is None:
            raise KafkaError(ErrorCode.unknown_member_id, f"Instance id {instance_id} is unknown.")
        if member.member_id != member_id:
            raise KafkaError(
                ErrorCode.fenced_instance_id,
                f"Static member {member_id} with instance id {instance_id} was fenced by member "
                f"{member.member_id}.",
            )
        return member

    # Timers.

    def on_timer(self, kind: str, member_id: str, now_ms: int) -> None:
        """The time to be heard of, to give partitions up, or to join and sync is over, or a rest is."""
        self.now_ms = now_ms
        if kind == ASSIGN_TIMER:
            self._rests = False
            self.assign()
        elif (member := self.members.get(member_id)) is not None:
            self.remove([member])

    # Offsets; see `Membership`.

    @property
    def is_abandoned(self) -> bool:
        return not self.members

    def commit_error(
        self,
        member_id: str,
        group_instance_id: str | None,
        generation_id: int,
        *,
        partitions: Collection[TopicPartition] = (),
        is_transactional: bool = False,
    ) -> ErrorCode:
        """An epoch before the member's is fine for partitions that it has had since then (KIP-1251)."""
        if generation_id < 0 and not self.members:
            return ErrorCode.none
        if is_transactional and generation_id == -1 and not member_id and group_instance_id is None:
            return ErrorCode.none
        member = self.members.get(member_id)
        if member is None:
            return ErrorCode.unknown_member_id
        is_current = generation_id == member.member_epoch or (
            generation_id < member.member_epoch and self._held_since(member, generation_id, partitions)
        )
        return ErrorCode.none if is_current else _stale(member)

    def fetch_error(self, member_id: str | None, member_epoch: int) -> ErrorCode:
        if member_id is None and member_epoch < 0:
            return ErrorCode.none
        member = self.members.get(member_id or "")
        if member is None:
            return ErrorCode.unknown_member_id
        return ErrorCode.none if member_epoch == member.member_epoch else _stale(member)

    def delete_offsets_error(self) -> ErrorCode:
        return ErrorCode.none

    def subscribed_topics(self) -> frozenset[str] | None:
        return frozenset().union(*(self._subscribed.of(member) for member in self.members))

    def unused_since_ms(self, commit_time_ms: int) -> int | None:
        return commit_time_ms if self.members else max(self.state_time_ms, commit_time_ms)

    def speaks_consumer(self, member_id: str) -> bool:
        """Whether it is a member, and not one of the classic protocol."""
        member = self.members.get(member_id)
        return member is not None and member.classic is None

    def _held_since(self, member: ConsumerMember, epoch: int, partitions: Collection[TopicPartition]) -> bool:
        for name, number in partitions:
            topic = self.topics.get(name)
            got = None if topic is None else member.epoch_of((topic.topic_id, number))
            if got is None or epoch < got:
                return False
        return len(partitions) > 0

    # Members.

    def check_room(self, member_id: str, instance_id: str | None) -> None:
        """Raise GROUP_MAX_SIZE_REACHED when there is no room for this member."""
        is_known = member_id in self.members or self.members.static(instance_id) is not None
        if len(self.members) >= self.limits.size_max and not is_known:
            raise KafkaError(
                ErrorCode.group_max_size_reached,
                f"The consumer group has reached its maximum capacity of {self.limits.size_max} members.",
            )

    def add(self, member_id: str, instance_id: str | None) -> ConsumerMember:
        """A new member, which reads nothing yet; or one that is there, and has got an instance id."""
        if not self.members:
            self.state_time_ms = self.now_ms
        known = self.members.get(member_id)
        member = ConsumerMember(member_id, instance_id)
        if known is not None:
            member = replace(known, instance_id=instance_id)
            self.members.remove(known)
        self.members.add(member)
        self.has_changed = True
        return member

    def put(self, member: ConsumerMember) -> None:
        """The member has changed."""
        self.members.put(member)
        self.has_changed = True

    def replace(self, member: ConsumerMember, new_id: str) -> ConsumerMember:
        """A static member is back under a new id: what it had and was to have is still its own."""
        if (other := self.members.get(new_id)) is not None:  # it was somebody else so far
            self.remove([other])
        self.cancel_timers(member.member_id)
        self.members.remove(member)
        returned = replace(member, member_id=new_id, member_epoch=0, previous_epoch=0)
        self.members.add(returned)
        self.has_changed = True
        return returned

    def remove(self, members: Collection[ConsumerMember]) -> None:
        """Members have left, or are fenced. Those who stay share what they had."""
        if not members:
            return
        for member in members:
            self.cancel_timers(member.member_id)
            self.members.remove(member)
        self.has_changed = True
        if not self.members:
            self.state_time_ms = self.now_ms
            self._rests = False
        if not self.wants_downgrade:
            self._raise_epoch()

    def update(
        self,
        member: ConsumerMember,
        *,
        rack_id: str | None,
        rebalance_timeout_ms: int,
        assignor: str | None,
        topics: frozenset[str] | None,
        regex: str | None,
        client_id: str,
        client_host: str,
        classic: ClassicMembership | None,
    ) -> tuple[ConsumerMember, bool]:
        """Take over what the member says of itself: the member, and whether it reads something else now."""
        said: dict[str, Any] = {"client_id": client_id, "client_host": client_host, "classic": classic}
        optional = {"rack_id": rack_id, "assignor": assignor, "topics": topics, "regex": regex}
        said |= {name: value for name, value in optional.items() if value is not None}
        if rebalance_timeout_ms != -1:
            said["rebalance_timeout_ms"] = rebalance_timeout_ms
        new = {name: value for name, value in said.items() if getattr(member, name) != value}
        if new:
            member = replace(member, **new)
            self.put(member)
        if classic is None and "classic" in new:
            self.cancel_timers(member.member_id, (JOIN_TIMER, SYNC_TIMER))
        has_new_subscription = "topics" in new or "regex" in new
        if has_new_subscription or self.group_epoch == FIRST_EPOCH:
            self._raise_epoch()
        else:
            self._look_at_topics()
        return member, has_new_subscription

    def reconcile(
        self, member_id: str, owned: frozenset[TopicIdPartition] | None, *, has_new_subscription: bool
    ) -> ConsumerMember:
        """Bring the member as near to its target assignment as it can come now."""
        member = self.members[member_id]
        if member.is_reconciled_to(self.assignment_epoch) and not has_new_subscription:
            return member
        goal = Goal(self.assignment_epoch, self._subscribed.ids_of(member), self.members.is_free)
        after = next_step(member, goal, owned, has_new_subscription=has_new_subscription)
        if after is not member:
            self.put(after)
            if after.classic is None and after.state is MemberState.UNREVOKED:
                self.set_timer(REBALANCE_TIMER, after.rebalance_timeout_ms, member_id)
            elif after.classic is None:
                self.cancel_timers(member_id, (REBALANCE_TIMER,))
        return after

    def expect_join(self, member: ConsumerMember) -> None:
        """A member of the classic protocol is told to rejoin: from the first time on it is waited for."""
        if member.member_id not in self._expected:
            self._expected.add(member.member_id)
            self.set_timer(JOIN_TIMER, member.rebalance_timeout_ms, member.member_id)

    def refresh(self) -> None:
        """Look at what has changed around the group, as with each heartbeat of the consumer protocol."""
        self._look_at_topics()
        self.assign()

    def waits_for_others(self, member: ConsumerMember) -> bool:
        """Whether something of the member's target is still held by somebody else."""
        missing = member.target - member.assigned.keys()
        return any(not self.members.is_free(partition) for partition in missing)

    # What is to be assigned.

    def assign(self) -> None:
        """Work out the target assignment if the group has changed since it was worked out last."""
        if self.group_epoch <= self.assignment_epoch or self._rests or not self.members:
            return
        ids_of: dict[frozenset[str], frozenset[UUID]] = {}
        subscribers = []
        for member in self.members:
            names = self._subscribed.of(member)
            if names not in ids_of:
                ids_of[names] = self._subscribed.ids(names)
            subscribers.append(Subscriber(member.member_id, member.instance_id, ids_of[names], member.target))
        ids = sorted(frozenset().union(*ids_of.values()))
        counts = {topic_id: topic.partitions for topic_id in ids if (topic := self.topics.by_id(topic_id))}
        target = ASSIGNORS[self.assignor](subscribers, counts)
        for member in list(self.members):
            if target[member.member_id] != member.target:
                self.put(replace(member, target=target[member.member_id]))
        self.assignment_epoch = self.group_epoch
        self.has_changed = True
        if self.limits.assignment_interval_ms > 0:
            self._rests = True
            self.set_timer(ASSIGN_TIMER, self.limits.assignment_interval_ms)

    @property
    def assignor(self) -> str:
        """The one that most members want."""
        wanted = Counter(m.assignor for m in self.members if m.assignor in self.limits.assignors)
        name = max(wanted, key=lambda name: wanted[name], default=None)
        return name or self.limits.assignors[0]

    def _raise_epoch(self) -> None:
        self._subscribed.look(self.members)
        self.group_epoch += 1
        self.has_changed = True

    def _look_at_topics(self) -> None:
        """Raise the group epoch when subscribed topics have come, gone or grown."""
        if self._subscribed.have_changed(self.members):
            self._raise_epoch()

    # Storing and loading.

    def record(self) -> ConsumerGroupRecord:
        """What is to outlive a restart."""
        return ConsumerGroupRecord(
            group_epoch=self.group_epoch,
            assignment_epoch=self.assignment_epoch,
            topics_digest=self._subscribed.digest,
            state_time_ms=self.state_time_ms,
            members=tuple(self.members),
        )

    def restore(self, record: ConsumerGroupRecord) -> None:
        """Become what was stored; the members have a whole session to be heard of."""
        self.group_epoch = record.group_epoch
        self.assignment_epoch = record.assignment_epoch
        self.state_time_ms = record.state_time_ms
        for member in record.members:
            self.members.add(member)
        self._subscribed.restore(record.topics_digest, self.members)
        self.start_sessions()

    def adopt(self, group_epoch: int, members: Iterable[ConsumerMember]) -> None:
        """Take over from a classic group: what its members have is what they are to have."""
        self.group_epoch = self.assignment_epoch = max(group_epoch, FIRST_EPOCH)
        for member in members:
            self.members.add(member)
        self.has_changed = True

    def start_sessions(self) -> None:
        """From now on the members have to be heard of, and to do what they were told."""
        for member in self.members:
            classic = member.classic
            timeout_ms = self.limits.session_timeout_ms if classic is None else classic.session_timeout_ms
            self.set_timer(SESSION_TIMER, timeout_ms, member.member_id)
            if classic is None and member.state is MemberState.UNREVOKED and member.revoking:
                self.set_timer(REBALANCE_TIMER, member.rebalance_timeout_ms, member.member_id)

    def abandon(self) -> None:
        """Cancel all timers: what is in memory no longer counts."""
        for member in self.members:
            self.cancel_timers(member.member_id)
        self._emit(CancelTimer(TimerKey(ASSIGN_TIMER, self.group_id)))

    def die(self) -> None:
        """The group is deleted. It must be empty."""
        self.abandon()

    def described(self) -> tuple[DescribedConsumer, ...]:
        return tuple(
            DescribedConsumer(
                member_id=m.member_id,
                instance_id=m.instance_id,
                rack_id=m.rack_id,
                member_epoch=m.member_epoch,
                client_id=m.client_id,
                client_host=m.client_host,
                topics=m.topics,
                regex=m.regex,
                assigned=m.holds,
                target=m.target,
                is_classic=m.classic is not None,
            )
            for m in self.members
        )

    def set_timer(self, kind: str, delay_ms: int, member_id: str = "") -> None:
        self._emit(SetTimer(TimerKey(kind, self.group_id, member_id), delay_ms))

    def cancel_timers(self, member_id: str, kinds: Iterable[str] = MEMBER_TIMERS) -> None:
        if JOIN_TIMER in kinds:
            self._expected.discard(member_id)
        for kind in kinds:
            self._emit(CancelTimer(TimerKey(kind, self.group_id, member_id)))


def _stale(member: ConsumerMember) -> ErrorCode:
    return ErrorCode.stale_member_epoch if member.classic is None else ErrorCode.illegal_generation
