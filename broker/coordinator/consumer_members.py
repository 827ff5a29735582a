"""The members of a consumer group (KIP-848): who they are, what they read, and what they hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from broker.coordinator.subscription import Protocol
from broker.coordinator.topics import TopicIdPartition

LEFT_FOR_A_WHILE = -2
"""The member epoch of a static member that has said it will be back."""


class MemberState(Enum):
    """How far a member is on the way to its target assignment."""

    STABLE = "stable"
    """It holds what its target was when it was last reconciled."""
    UNREVOKED = "unrevoked"
    """It has been told to give partitions up, and has not said that it did."""
    UNRELEASED = "unreleased"
    """It waits for partitions that others have not given up yet."""


@dataclass(frozen=True, slots=True)
class ClassicMembership:
    """What only members have that speak the classic protocol, in a group that is being migrated."""

    session_timeout_ms: int
    protocols: tuple[Protocol, ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ConsumerMember:
    """A member as it is now: with each change there is a new object.

    `assigned` and `revoking` map each partition to the epoch in which the member got it.
    """

    member_id: str
    instance_id: str | None = None
    rack_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    rebalance_timeout_ms: int = -1
    topics: frozenset[str] = frozenset()
    regex: str = ""
    """A pattern of topic names beside `topics`; empty for none."""
    assignor: str | None = None
    member_epoch: int = 0
    previous_epoch: int = 0
    state: MemberState = MemberState.STABLE
    assigned: Mapping[TopicIdPartition, int] = field(default_factory=dict)
    revoking: Mapping[TopicIdPartition, int] = field(default_factory=dict)
    """What the member may still hold, until it says that it does not."""
    target: frozenset[TopicIdPartition] = frozenset()
    """What it is to have, as of the group's assignment epoch."""
    classic: ClassicMembership | None = None

    @property
    def holds(self) -> set[TopicIdPartition]:
        """The partitions that nobody else may get now."""
        return self.assigned.keys() | self.revoking.keys()

    def is_reconciled_to(self, epoch: int) -> bool:
        return self.state is MemberState.STABLE and self.member_epoch == epoch

    def epoch_of(self, partition: TopicIdPartition) -> int | None:
        """The epoch in which the member got a partition that it holds."""
        return self.assigned.get(partition, self.revoking.get(partition))


class ConsumerMembers:
    """By member id, in the order of their joining. Knows who holds which partition: one member at most."""

    def __init__(self) -> None:
        self._by_id: dict[str, ConsumerMember] = {}
        self._static_ids: dict[str, str] = {}
        self._holders: dict[TopicIdPartition, str] = {}

    def __iter__(self) -> Iterator[ConsumerMember]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, member_id: str) -> bool:
        return member_id in self._by_id

    def __getitem__(self, member_id: str) -> ConsumerMember:
        return self._by_id[member_id]

    def get(self, member_id: str) -> ConsumerMember | None:
        return self._by_id.get(member_id)

    def static(self, instance_id: str | None) -> ConsumerMember | None:
        """The member that has this instance id now."""
        return None if instance_id is None else self._by_id.get(self._static_ids.get(instance_id, ""))

    def is_free(self, partition: TopicIdPartition) -> bool:
        """Whether no member holds the partition."""
        return partition not in self._holders

    def add(self, member: ConsumerMember) -> None:
        self._by_id[member.member_id] = member
        if member.instance_id is not None:
            self._static_ids[member.instance_id] = member.member_id
        self._take(member)

    def remove(self, member: ConsumerMember) -> None:
        self._release(member)
        del self._by_id[member.member_id]
        if member.instance_id is not None and self._static_ids.get(member.instance_id) == member.member_id:
            del self._static_ids[member.instance_id]

    def put(self, member: ConsumerMember) -> None:
        """The member has changed; its ids have not."""
        before = self._by_id[member.member_id]
        if (member.assigned, member.revoking) != (before.assigned, before.revoking):
            self._release(before)
            self._take(member)
        self._by_id[member.member_id] = member

    def _take(self, member: ConsumerMember) -> None:
        for partition in member.holds:
            holder = self._holders.setdefault(partition, member.member_id)
            assert holder == member.member_id, f"{partition} is held by {holder} and {member.member_id}"

    def _release(self, member: ConsumerMember) -> None:
        for partition in member.holds:
            del self._holders[partition]
