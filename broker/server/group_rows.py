"""What is stored of groups, as the coordinator has it and as the catalog has it."""

from collections import defaultdict

from broker.catalog import GroupChanges, GroupRows, OffsetRow, PendingOffsetRow
from broker.coordinator.effects import Store
from broker.coordinator.records import (
    CommittedOffset,
    PendingOffsets,
    StoredGroup,
    TopicPartition,
    decode_group_record,
    encode_group_record,
)


def stored_group(rows: GroupRows) -> StoredGroup:
    """What the catalog has of a group, for the coordinator."""
    # All that a producer has pending in a group is of one epoch.
    pending: defaultdict[tuple[int, int], dict[TopicPartition, CommittedOffset]] = defaultdict(dict)
    for row in rows.pending:
        pending[row.producer_id, row.producer_epoch][row.topic, row.partition] = _committed(row)
    return StoredGroup(
        record=None if rows.document is None else decode_group_record(rows.document),
        offsets={(row.topic, row.partition): _committed(row) for row in rows.offsets},
        pending=tuple(PendingOffsets(*producer, offsets) for producer, offsets in pending.items()),
    )


def changes_of(store: Store) -> GroupChanges:
    """What the coordinator wants stored, for the catalog."""
    group_id, pending = store.group_id, store.put_pending
    return GroupChanges(
        group_id=group_id,
        document=None if store.record is None else encode_group_record(store.record),
        deleted=store.deleted,
        put_offsets=[
            OffsetRow(
                group_id,
                topic,
                partition,
                committed.offset,
                committed.leader_epoch,
                committed.metadata,
                committed.commit_time_ms,
                committed.expire_time_ms,
            )
            for (topic, partition), committed in store.put_offsets.items()
        ],
        delete_offsets=store.delete_offsets,
        put_pending=[] if pending is None else _pending_rows(group_id, pending),
        delete_pending=[(producer_id, *partition) for producer_id, partition in store.delete_pending],
    )


def _committed(row: OffsetRow | PendingOffsetRow) -> CommittedOffset:
    return CommittedOffset(
        row.committed_offset, row.leader_epoch, row.metadata, row.commit_time_ms, row.expire_time_ms
    )


def _pending_rows(group_id: str, pending: PendingOffsets) -> list[PendingOffsetRow]:
    return [
        PendingOffsetRow(
            group_id,
            pending.producer_id,
            topic,
            partition,
            pending.producer_epoch,
            committed.offset,
            committed.leader_epoch,
            committed.metadata,
            committed.commit_time_ms,
            committed.expire_time_ms,
        )
        for (topic, partition), committed in pending.offsets.items()
    ]
