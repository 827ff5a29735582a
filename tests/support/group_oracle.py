"""What must hold for groups and their offsets, judged by what clients were told and by what is stored."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.group_world import NOT_STORED
from support.simulation import Violation

from broker.coordinator.messages import (
    Commit,
    DeleteOffsets,
    DeleteOffsetsResult,
    FetchOffsets,
    FetchOffsetsResult,
    Join,
    JoinResult,
    Request,
    Sync,
    SyncResult,
    TransactionalCommit,
)
from broker.coordinator.records import CommittedOffset, TopicPartition
from broker.wire.errors import ErrorCode

Place = tuple[str, TopicPartition]
"""A group, and a partition that it has offsets of."""


class MemberOracle:
    """Who has which partitions, and who may commit."""

    def __init__(self) -> None:
        self._assignments: defaultdict[tuple[str, int], dict[str, bytes]] = defaultdict(dict)
        self._assigned_generation: defaultdict[str, int] = defaultdict(int)
        self._member_order: dict[str, int] = {}
        self._established: dict[tuple[str, str], str] = {}

    def deleted(self, group_id: str) -> None:
        """A group of its name starts anew, and knows none of its members."""
        for key in [key for key in self._assignments if key[0] == group_id]:
            del self._assignments[key]
        for instance in [key for key in self._established if key[0] == group_id]:
            del self._established[instance]
        self._assigned_generation.pop(group_id, None)

    def joined(self, request: Join, result: JoinResult) -> None:
        self._member_order.setdefault(result.member_id, len(self._member_order))
        if result.generation_id <= self._assigned_generation[request.group_id]:
            self._establish(request.group_id, request.group_instance_id, result.member_id)

    def assigned(self, request: Sync, result: SyncResult) -> None:
        group_id, generation_id = request.group_id, request.generation_id
        owner = request.group_instance_id or request.member_id
        assignments = self._assignments[group_id, generation_id]
        before = assignments.setdefault(owner, result.assignment)
        if before != result.assignment:
            raise Violation(
                f"{group_id}/{generation_id}: {owner} was assigned {before!r} and {result.assignment!r}"
            )
        taken = [p for partitions in assignments.values() for p in partitions]
        if len(taken) != len(set(taken)):
            raise Violation(f"{group_id}/{generation_id}: a partition has two owners: {assignments}")
        if generation_id < self._assigned_generation[group_id]:
            raise Violation(f"{group_id}: generation {generation_id} assigned after a later one")
        self._assigned_generation[group_id] = generation_id
        self._establish(group_id, request.group_instance_id, request.member_id)

    def committed(self, request: Commit | TransactionalCommit) -> None:
        """Only a member of the newest generation may have, and only its newest process."""
        group_id = request.group_id
        if request.generation_id < self._assigned_generation[group_id]:
            raise Violation(
                f"{group_id}: {request.member_id} of generation {request.generation_id} committed, while "
                f"generation {self._assigned_generation[group_id]} has the partitions"
            )
        current = self._established.get((group_id, request.group_instance_id or ""))
        order = self._member_order
        if current is not None and order[request.member_id] < order[current]:
            raise Violation(f"{group_id}: {request.member_id} committed, but {current} has taken its place")

    def _establish(self, group_id: str, instance_id: str | None, member_id: str) -> None:
        if instance_id is not None:
            self._established[group_id, instance_id] = member_id


@dataclass(slots=True)
class Transaction:
    """What the oracle knows of one transaction. `is_commit` is None until that is decided."""

    producer_id: int
    is_commit: bool | None = None
    acked: dict[Place, int] = field(default_factory=dict)
    """The number of the last acked commit of each partition, until the group has ended the transaction."""


class OffsetOracle:
    """Commits are numbered as the broker gets them; an offset carries its number as metadata.

    Of all commits of a partition that count the last one must be there: what is found is never older than
    what was acked, unless the offset was deleted meanwhile, or has expired.
    """

    def __init__(self) -> None:
        self._acked: dict[Place, int] = {}
        self._removal_asked: dict[Place, int] = {}
        """What has a smaller number may be gone."""
        self._removed: dict[Place, int] = {}
        """What has a smaller number is gone."""
        self._transactions: dict[int, Transaction] = {}
        """By the numbers of the commits in them."""

    def committed_in(self, transaction: Transaction, number: int) -> None:
        """A commit in a transaction has come in."""
        self._transactions[number] = transaction

    def acked(self, group_id: str, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        for partition, committed in offsets.items():
            self._raise((group_id, partition), int(committed.metadata))

    def acked_in_transaction(self, group_id: str, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        for partition, committed in offsets.items():
            number = int(committed.metadata)
            self._transactions[number].acked[group_id, partition] = number

    def ended(self, transaction: Transaction, group_id: str) -> None:
        """The group has acked the end of the transaction."""
        for place in [place for place in transaction.acked if place[0] == group_id]:
            number = transaction.acked.pop(place)
            if transaction.is_commit:
                self._raise(place, number)

    def removal_asked(self, group_id: str, partitions: Iterable[TopicPartition], number: int) -> None:
        for partition in partitions:
            self._removal_asked[group_id, partition] = number

    def removed(self, group_id: str, partitions: Iterable[TopicPartition], number: int) -> None:
        for partition in partitions:
            self._removed[group_id, partition] = number

    def deleted(self, group_id: str) -> None:
        """The group is gone with all its offsets."""
        of_group = [
            *self._acked,
            *self._removal_asked,
            *self._removed,
            *(place for t in self._transactions.values() for place in t.acked),
        ]
        for place in [place for place in of_group if place[0] == group_id]:
            self._acked.pop(place, None)
            self._removal_asked.pop(place, None)
            self._removed.pop(place, None)
            for transaction in self._transactions.values():
                transaction.acked.pop(place, None)

    def check_stored(self, stored: Mapping[str, Mapping[TopicPartition, CommittedOffset]]) -> None:
        """Look at what is durable, at a crash or in the end."""
        for (group_id, partition), number in self._acked.items():
            found = stored.get(group_id, {}).get(partition)
            if number > self._removal_asked.get((group_id, partition), 0) and found is None:
                raise Violation(f"{group_id}: commit {number} of {partition} was acked and is lost")
        for group_id, offsets in stored.items():
            self.check_read(group_id, offsets)

    def check_read(self, group_id: str, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Look at offsets that somebody is told."""
        for partition, committed in offsets.items():
            place, found = (group_id, partition), int(committed.metadata)
            acked = self._acked.get(place, 0)
            if found < acked and acked > self._removal_asked.get(place, 0):
                raise Violation(
                    f"{group_id}: commit {acked} of {partition} was acked and is lost for {found}"
                )
            if found < self._removed.get(place, 0):
                raise Violation(f"{group_id}: commit {found} of {partition} was removed and is back")
            transaction = self._transactions.get(found)
            if transaction is not None and not transaction.is_commit:
                raise Violation(f"{group_id}: commit {found} of {partition} counts, its transaction does not")

    def check_unstable(
        self, group_id: str, asked: Iterable[TopicPartition], told: Iterable[TopicPartition]
    ) -> None:
        """Whoever asks for stable offsets gets none of a partition with an open transaction's."""
        missing = set(asked) - set(told)
        for number, transaction in self._transactions.items():
            if transaction.is_commit is None:
                for (group, partition), acked in transaction.acked.items():
                    place = (group, partition)
                    if (
                        group == group_id
                        and partition in missing
                        and acked == number
                        and acked > self._removal_asked.get(place, 0)
                    ):
                        raise Violation(f"{group_id}: {partition} was stable in spite of commit {acked}")

    def _raise(self, place: Place, number: int) -> None:
        self._acked[place] = max(number, self._acked.get(place, 0))


class Oracle:
    """Sees every answer as it leaves the broker."""

    def __init__(self) -> None:
        self.members = MemberOracle()
        self.offsets = OffsetOracle()

    def deleted(self, group_id: str) -> None:
        self.members.deleted(group_id)
        self.offsets.deleted(group_id)

    def answered(self, request: Request, result: Any, number: int) -> None:
        """`number` is that of the request."""
        if result is NOT_STORED or result.error_code is not ErrorCode.none:
            return
        match request:
            case Join():
                self.members.joined(request, result)
            case Sync():
                self.members.assigned(request, result)
            case Commit() | TransactionalCommit():
                self._committed(request)
            case FetchOffsets():
                self._fetched(request, result)
            case DeleteOffsets():
                self._deleted(request, result, number)

    def _committed(self, request: Commit | TransactionalCommit) -> None:
        if request.generation_id >= 0:
            self.members.committed(request)
        if isinstance(request, TransactionalCommit):
            self.offsets.acked_in_transaction(request.group_id, request.offsets)
        else:
            self.offsets.acked(request.group_id, request.offsets)

    def _fetched(self, request: FetchOffsets, result: FetchOffsetsResult) -> None:
        self.offsets.check_read(request.group_id, result.offsets)
        if request.require_stable and request.partitions is not None:
            self.offsets.check_unstable(request.group_id, request.partitions, result.unstable)

    def _deleted(self, request: DeleteOffsets, result: DeleteOffsetsResult, number: int) -> None:
        gone = [p for p in request.partitions if p not in result.subscribed]
        self.offsets.removed(request.group_id, gone, number)
