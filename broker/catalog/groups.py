"""Groups in the catalog: their documents, their committed offsets, and what transactions have pending."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, select
from sqlalchemy.dialects.sqlite import Insert, insert

from broker.catalog.schema import groups, offsets, pending_offsets
from broker.catalog.writer import Statement


@dataclass(frozen=True, slots=True)
class OffsetRow:
    """A committed offset. `leader_epoch` is -1 when the client gave none; times are Unix milliseconds."""

    group_id: str
    topic: str
    partition: int
    committed_offset: int
    leader_epoch: int
    metadata: str
    commit_time_ms: int
    expire_time_ms: int | None


@dataclass(frozen=True, slots=True)
class PendingOffsetRow:
    """An offset that a producer's transaction has committed, and that counts when the transaction commits."""

    group_id: str
    producer_id: int
    topic: str
    partition: int
    producer_epoch: int
    committed_offset: int
    leader_epoch: int
    metadata: str
    commit_time_ms: int
    expire_time_ms: int | None


@dataclass(frozen=True, slots=True)
class GroupRows:
    """What is stored of one group."""

    document: bytes | None = None
    offsets: list[OffsetRow] = field(default_factory=list)
    pending: list[PendingOffsetRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GroupChanges:
    """Changes to one group that take effect together."""

    group_id: str
    document: bytes | None = None
    """The group's new document; None leaves it as it is."""
    deleted: bool = False
    """The group goes, with all its offsets, pending ones too."""
    put_offsets: Sequence[OffsetRow] = ()
    delete_offsets: Collection[tuple[str, int]] = ()
    """As (topic, partition)."""
    put_pending: Sequence[PendingOffsetRow] = ()
    delete_pending: Collection[tuple[int, str, int]] = ()
    """As (producer id, topic, partition)."""


def _put(table: Table) -> Insert:
    """Insert rows, or replace those of the same primary key."""
    statement = insert(table)
    values = [column.name for column in table.columns if not column.primary_key]
    return statement.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={name: statement.excluded[name] for name in values},
    )


_put_group = _put(groups)
_put_offset = _put(offsets)
_put_pending = _put(pending_offsets)
_delete_of_group = [
    delete(table).where(table.c.group_id == bindparam("deleted_group"))
    for table in (groups, offsets, pending_offsets)
]
_delete_of_topic = [
    delete(table).where(table.c.topic == bindparam("deleted_topic")) for table in (offsets, pending_offsets)
]
_delete_offset = delete(offsets).where(
    offsets.c.group_id == bindparam("deleted_group"),
    offsets.c.topic == bindparam("deleted_topic"),
    offsets.c.partition == bindparam("deleted_partition"),
)
_delete_pending = delete(pending_offsets).where(
    pending_offsets.c.group_id == bindparam("deleted_group"),
    pending_offsets.c.producer_id == bindparam("deleted_producer"),
    pending_offsets.c.topic == bindparam("deleted_topic"),
    pending_offsets.c.partition == bindparam("deleted_partition"),
)


def change_group(changes: GroupChanges) -> list[Statement]:
    """The statements that make these changes."""
    group_id = changes.group_id
    statements: list[Statement] = []
    if changes.deleted:
        statements += [(statement, [{"deleted_group": group_id}]) for statement in _delete_of_group]
    if changes.document is not None:
        statements.append((_put_group, [{"group_id": group_id, "document": changes.document}]))
    if changes.put_offsets:
        statements.append((_put_offset, [_values(row) for row in changes.put_offsets]))
    if changes.delete_offsets:
        rows = [
            {"deleted_group": group_id, "deleted_topic": topic, "deleted_partition": partition}
            for topic, partition in changes.delete_offsets
        ]
        statements.append((_delete_offset, rows))
    if changes.delete_pending:
        pending = [
            {
                "deleted_group": group_id,
                "deleted_producer": producer_id,
                "deleted_topic": topic,
                "deleted_partition": partition,
            }
            for producer_id, topic, partition in changes.delete_pending
        ]
        statements.append((_delete_pending, pending))
    if changes.put_pending:
        statements.append((_put_pending, [_pending_values(row) for row in changes.put_pending]))
    return statements


# Much quicker than dataclasses.asdict, which copies every value.
def _values(row: OffsetRow | PendingOffsetRow) -> dict[str, Any]:
    return {
        "group_id": row.group_id,
        "topic": row.topic,
        "partition": row.partition,
        "committed_offset": row.committed_offset,
        "leader_epoch": row.leader_epoch,
        "metadata": row.metadata,
        "commit_time_ms": row.commit_time_ms,
        "expire_time_ms": row.expire_time_ms,
    }


def _pending_values(row: PendingOffsetRow) -> dict[str, Any]:
    return _values(row) | {"producer_id": row.producer_id, "producer_epoch": row.producer_epoch}


def delete_offsets_of_topics(topics: Collection[str]) -> list[Statement]:
    """The statements that remove every offset of these topics, whoever has committed it."""
    return [(statement, [{"deleted_topic": topic} for topic in topics]) for statement in _delete_of_topic]


def read_groups(connection: Connection, group_id: str | None = None) -> dict[str, GroupRows]:
    """What is stored of one group or all, by group id."""
    found: defaultdict[str, GroupRows] = defaultdict(GroupRows)

    def rows_of(table: Table) -> Sequence[Any]:
        every = select(table)
        return connection.execute(
            every if group_id is None else every.where(table.c.group_id == group_id)
        ).all()

    for row in rows_of(groups):
        found[row.group_id] = GroupRows(row.document)
    for row in rows_of(offsets):
        found[row.group_id].offsets.append(OffsetRow(*row))
    for row in rows_of(pending_offsets):
        found[row.group_id].pending.append(PendingOffsetRow(*row))
    return dict(found)
