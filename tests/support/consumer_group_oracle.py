"""What must hold for a consumer group, judged by what its members said and were told, and what is stored.

A member holds what it was told to have, from when the answer leaves the broker, until it says that it has
it no longer, leaves, or is out for a reason that holds (it was not heard of for its session, or did not do
what it was told in time). Nobody else may be told to have it meanwhile.
"""

from collections.abc import Collection, Mapping

from support.simulation import Violation

from broker.coordinator.records import CommittedOffset, TopicPartition


class ConsumerOracle:
    """Of one group. Partitions are by topic name."""

    def __init__(self) -> None:
        self.holds: dict[str, set[TopicPartition]] = {}
        self._instances: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._heard_ms: dict[str, int] = {}
        self._acked: dict[TopicPartition, int] = {}
        self._group_epoch = 0
        self._out: set[str] = set()
        self._rejoined: set[str] = set()

    # Members.

    def said(self, member_id: str, owned: Collection[TopicPartition]) -> None:
        """A request has come in: this is all that the member has."""
        if member_id in self.holds:
            self.holds[member_id] &= set(owned)

    def joins(self, member_id: str) -> None:
        """It wants to be a member, maybe again."""
        self._out.discard(member_id)
        self._rejoined.add(member_id)

    def led(self, members: Collection[str]) -> None:
        """The leader of a classic generation has its members: who did not rejoin in time has lost all.

        KIP-345: a static member is in it nevertheless, and hears of it when it heartbeats.
        """
        for member_id in self.holds.keys() & set(members) - self._rejoined:
            self.holds[member_id].clear()

    def told(self, member_id: str, assigned: Collection[TopicPartition]) -> None:
        """An answer leaves: the member may take these, unless it has left before it hears of them."""
        if member_id in self._out:
            return
        for other, held in self.holds.items():
            if other != member_id and not held.isdisjoint(assigned):
                raise Violation(
                    f"{member_id} is given {sorted(held & set(assigned))}, which {other} still has"
                )
        self.holds.setdefault(member_id, set()).update(assigned)
        self._rejoined.discard(member_id)

    def heard(self, member_id: str, clock_ms: int) -> None:
        """The broker has answered a sign of life."""
        self._heard_ms[member_id] = clock_ms

    def in_epoch(self, member_id: str, epoch: int) -> None:
        """The member is told its epoch, which only rises while it is a member."""
        before = self._epochs.get(member_id, 0)
        if epoch < before:
            raise Violation(f"{member_id} was in epoch {before} and is told {epoch}")
        self._epochs[member_id] = epoch

    def is_instance(self, instance_id: str, member_id: str) -> None:
        """A member has got an instance id; who had it before is out."""
        before = self._instances.get(instance_id)
        if before not in (None, member_id):
            self.out(before)
        self._instances[instance_id] = member_id

    def holder(self, instance_id: str | None) -> str:
        """The member that has an instance id."""
        return self._instances.get(instance_id or "", "")

    def out(self, member_id: str) -> None:
        """The member has left, or may rightly be taken for dead."""
        self._out.add(member_id)
        self.holds.pop(member_id, None)
        self._epochs.pop(member_id, None)

    def session_ended(self, member_id: str, clock_ms: int, session_ms: int) -> None:
        silent_ms = clock_ms - self._heard_ms.get(member_id, -session_ms)
        if silent_ms < session_ms:
            raise Violation(f"{member_id} was heard of {silent_ms} ms ago, and its session has ended")
        self.out(member_id)

    # Commits.

    def may_commit(self, member_id: str, partition: TopicPartition) -> bool:
        """False when the partition is somebody else's by now."""
        return not any(
            partition in held for other, held in self.holds.items() if other != member_id
        ) or partition in self.holds.get(member_id, ())

    def committed(self, partition: TopicPartition, number: int) -> None:
        """A commit was answered. Metadata numbers the commits as they came in."""
        self._acked[partition] = number

    def topic_deleted(self, name: str) -> None:
        self._acked = {partition: number for partition, number in self._acked.items() if partition[0] != name}

    # What is stored.

    def stored_epoch(self, epoch: int) -> None:
        if epoch < self._group_epoch:
            raise Violation(f"the group was in epoch {self._group_epoch}, and {epoch} is stored")
        self._group_epoch = epoch

    def stored_offsets(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Every commit that was answered is there, or a later one."""
        for partition, number in self._acked.items():
            found = offsets.get(partition)
            if found is None or int(found.metadata) < number:
                raise Violation(f"commit {number} of {partition} was acked and is lost: {found}")
