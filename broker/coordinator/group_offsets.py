"""The offsets of one group: who may change them, what transactions have pending, and when they expire.

Source: KIP-98 and KIP-447 (offsets in transactions), KIP-211 (expiry), and the behaviour of Apache Kafka 4.3.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from broker.coordinator.effects import Effect, Store
from broker.coordinator.membership import Membership
from broker.coordinator.messages import (
    Commit,
    DeleteOffsets,
    DeleteOffsetsResult,
    EndTransaction,
    FetchOffsets,
    FetchOffsetsResult,
    TransactionalCommit,
)
from broker.coordinator.producer_epochs import ProducerEpochs
from broker.coordinator.records import CommittedOffset, PendingOffsets, TopicPartition
from broker.wire.errors import ErrorCode


class GroupOffsets:
    """Use through `GroupCoordinator`, which routes requests here.

    Of all commits of a partition the one that was made last counts, whenever its transaction ends; their
    commit times tell which it was. So where a partition has pending offsets, a new commit is dated after
    what is there already, even when the wall clock has jumped back.
    """

    def __init__(self, group_id: str, emit: Callable[[Effect], None], epochs: ProducerEpochs) -> None:
        self._group_id = group_id
        self._emit = emit
        self._epochs = epochs
        self._committed: dict[TopicPartition, CommittedOffset] = {}
        self._pending: dict[int, PendingOffsets] = {}
        """By producer id."""

    def restore(
        self, committed: Mapping[TopicPartition, CommittedOffset], pending: Iterable[PendingOffsets]
    ) -> None:
        """Become what was stored."""
        self._committed = dict(committed)
        self._pending = {of_producer.producer_id: of_producer for of_producer in pending}
        for of_producer in self._pending.values():
            self._epochs.saw(of_producer.producer_id, of_producer.producer_epoch)

    @property
    def is_empty(self) -> bool:
        """Whether the group may go as far as its offsets are concerned."""
        return not self._committed and not self._pending

    # Commits.

    def commit(self, request: Commit, members: Membership) -> ErrorCode:
        error = members.commit_error(
            request.member_id, request.group_instance_id, request.generation_id, partitions=request.offsets
        )
        if error is ErrorCode.none and request.offsets:
            offsets = request.offsets
            if self._pending:
                offsets = {p: _dated(offset, self._pending_date(p)) for p, offset in offsets.items()}
            self._committed.update(offsets)
            self._emit(Store(self._group_id, put_offsets=offsets))
        return error

    def commit_in_transaction(self, request: TransactionalCommit, members: Membership) -> ErrorCode:
        error = members.commit_error(
            request.member_id,
            request.group_instance_id,
            request.generation_id,
            partitions=request.offsets,
            is_transactional=True,
        )
        if error is ErrorCode.stale_member_epoch:
            return ErrorCode.illegal_generation  # a producer knows no other word for it
        if error is not ErrorCode.none:
            return error
        if self._epochs.is_fenced(request.producer_id, request.producer_epoch):
            return ErrorCode.invalid_producer_epoch
        before = self._pending.get(request.producer_id)
        if before is not None and before.producer_epoch != request.producer_epoch:
            return ErrorCode.concurrent_transactions  # the end of the older epoch's has not come yet
        if request.offsets:
            self._epochs.saw(request.producer_id, request.producer_epoch)
            self._add_pending(request)
        return ErrorCode.none

    def end_transaction(self, request: EndTransaction) -> None:
        """A marker may be of a newer epoch than the offsets: to fence the producer, or by KIP-890."""
        pending = self._pending.get(request.producer_id)
        if pending is None or pending.producer_epoch > request.producer_epoch:
            return
        del self._pending[request.producer_id]
        committed = {}
        if request.is_commit:
            committed = {
                p: offset
                for p, offset in pending.offsets.items()
                if offset.commit_time_ms > self._committed_date(p)
            }
        self._committed.update(committed)
        self._emit(
            Store(self._group_id, put_offsets=committed, delete_pending=_keys(pending, pending.offsets))
        )

    def _add_pending(self, request: TransactionalCommit) -> None:
        producer_id, producer_epoch = request.producer_id, request.producer_epoch
        added = {
            p: _dated(offset, 1 + max(self._pending_date(p), self._committed_date(p)))
            for p, offset in request.offsets.items()
        }
        before = self._pending.get(producer_id)
        offsets = added if before is None else {**before.offsets, **added}
        self._pending[producer_id] = PendingOffsets(producer_id, producer_epoch, offsets)
        self._emit(Store(self._group_id, put_pending=PendingOffsets(producer_id, producer_epoch, added)))

    def _pending_date(self, partition: TopicPartition) -> int:
        """When the newest of the partition's pending offsets was committed; 0 without any."""
        return max(
            (
                of_producer.offsets[partition].commit_time_ms
                for of_producer in self._pending.values()
                if partition in of_producer.offsets
            ),
            default=0,
        )

    def _committed_date(self, partition: TopicPartition) -> int:
        committed = self._committed.get(partition)
        return 0 if committed is None else committed.commit_time_ms

    # Reading.

    def fetch(self, request: FetchOffsets, members: Membership) -> FetchOffsetsResult:
        error = members.fetch_error(request.member_id, request.member_epoch)
        if error is not ErrorCode.none:
            return FetchOffsetsResult(error, {})
        partitions = self._committed if request.partitions is None else request.partitions
        unstable: Collection[TopicPartition] = ()
        if request.require_stable and self._pending:
            pending = self._pending_partitions()
            unstable = {partition for partition in partitions if partition in pending}
        found = {p: self._committed[p] for p in partitions if p in self._committed and p not in unstable}
        return FetchOffsetsResult(ErrorCode.none, found, unstable)

    # Removal.

    def delete(self, request: DeleteOffsets, members: Membership) -> DeleteOffsetsResult:
        error = members.delete_offsets_error()
        if error is not ErrorCode.none:
            return DeleteOffsetsResult(error)
        topics = members.subscribed_topics()
        kept = [p for p in request.partitions if topics is None or p[0] in topics]
        self._drop([p for p in request.partitions if p not in kept])
        return DeleteOffsetsResult(ErrorCode.none, kept)

    def forget_topics(self, topics: frozenset[str]) -> None:
        self._drop([p for p in self._committed.keys() | self._pending_partitions() if p[0] in topics])

    def expire(self, members: Membership, now_ms: int, retention_ms: int) -> None:
        """Drop what nobody has used for the retention, or for the retention that came with the commit."""
        topics = members.subscribed_topics()
        if topics is None:
            return
        pending = self._pending_partitions()
        self._drop(
            [
                partition
                for partition, offset in self._committed.items()
                if partition[0] not in topics
                and partition not in pending
                and _is_expired(offset, members.unused_since_ms(offset.commit_time_ms), now_ms, retention_ms)
            ]
        )

    def _pending_partitions(self) -> set[TopicPartition]:
        return {partition for of_producer in self._pending.values() for partition in of_producer.offsets}

    def _drop(self, partitions: Collection[TopicPartition]) -> None:
        """Remove offsets, and what transactions have pending for these partitions."""
        committed = [p for p in partitions if self._committed.pop(p, None) is not None]
        pending: list[tuple[int, TopicPartition]] = []
        for producer_id, of_producer in list(self._pending.items()):
            gone = [p for p in partitions if p in of_producer.offsets]
            if gone:
                pending += _keys(of_producer, gone)
                left = {p: offset for p, offset in of_producer.offsets.items() if p not in gone}
                self._pending[producer_id] = replace(of_producer, offsets=left)
                if not left:
                    del self._pending[producer_id]
        if committed or pending:
            self._emit(Store(self._group_id, delete_offsets=committed, delete_pending=pending))


def _keys(pending: PendingOffsets, partitions: Iterable[TopicPartition]) -> list[tuple[int, TopicPartition]]:
    return [(pending.producer_id, partition) for partition in partitions]


def _dated(offset: CommittedOffset, not_before_ms: int) -> CommittedOffset:
    return replace(offset, commit_time_ms=max(offset.commit_time_ms, not_before_ms))


def _is_expired(offset: CommittedOffset, since_ms: int | None, now_ms: int, retention_ms: int) -> bool:
    if since_ms is None:
        return False
    if offset.expire_time_ms is not None:
        return now_ms >= offset.expire_time_ms
    return now_ms - since_ms >= retention_ms
