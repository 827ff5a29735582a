"""What the cluster knows beside its logs: topics, configs, groups, committed offsets, producer ids.

Reading is from memory, on the event loop. A change is queued for the writer thread, and becomes
visible in the image when it is durable, never before: what a handler sees cannot vanish in a crash.
"""

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import Engine, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from broker.catalog import schema
from broker.catalog.placement import Placement
from broker.catalog.topics import Topic, TopicsImage
from broker.catalog.writer import CatalogWriter, Statement

PRODUCER_ID_BLOCK = 1000

_put_topic = insert(schema.topics)
_put_topic_config = insert(schema.topic_configs)
_delete_topic = delete(schema.topics).where(schema.topics.c.topic_id == bindparam("deleted_id"))
_delete_offsets_of_topic = delete(schema.offsets).where(schema.offsets.c.topic == bindparam("deleted_topic"))
_set_partitions = (
    update(schema.topics)
    .where(schema.topics.c.topic_id == bindparam("changed_id"))
    .values(partitions=bindparam("new_partitions"))
)
_set_next_producer_id = (
    update(schema.meta).where(schema.meta.c.name == "next_producer_id").values(value=bindparam("next_id"))
)
_put_group = insert(schema.groups)
_put_group = _put_group.on_conflict_do_update(
    index_elements=["group_id"], set_={"document": _put_group.excluded.document}
)
_delete_group = delete(schema.groups).where(schema.groups.c.group_id == bindparam("deleted_group"))
_delete_offsets_of_group = delete(schema.offsets).where(
    schema.offsets.c.group_id == bindparam("deleted_group")
)
_put_offset = insert(schema.offsets)
_put_offset = _put_offset.on_conflict_do_update(
    index_elements=["group_id", "topic", "partition"],
    set_={
        name: _put_offset.excluded[name]
        for name in ("committed_offset", "leader_epoch", "metadata", "commit_time_ms", "expire_time_ms")
    },
)
_delete_offset = delete(schema.offsets).where(
    schema.offsets.c.group_id == bindparam("deleted_group"),
    schema.offsets.c.topic == bindparam("deleted_topic"),
    schema.offsets.c.partition == bindparam("deleted_partition"),
)


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
class GroupChanges:
    """Changes to one group that take effect together."""

    group_id: str
    document: bytes | None = None
    """The group's new document; None leaves it as it is."""
    deleted: bool = False
    """The group goes, with all its offsets."""
    put_offsets: Sequence[OffsetRow] = ()
    delete_offsets: Collection[tuple[str, int]] = ()
    """As (topic, partition)."""


class Catalog:
    """Use from one event loop.

    `topics` is the image. Whoever changes topics holds `topic_changes` from looking at the image until
    the change is done, so that no two of them decide on the same picture.
    """

    def __init__(self, engine: Engine, node_id: int) -> None:
        self._engine = engine
        self.placement = Placement(node_id)
        self.topic_changes = asyncio.Lock()
        with engine.connect() as connection:
            meta = {row.name: row.value for row in connection.execute(select(schema.meta))}
            topic_rows = connection.execute(select(schema.topics)).all()
            config_rows = connection.execute(select(schema.topic_configs)).all()
        configs: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for row in config_rows:
            configs[row.topic][row.name] = row.value
        self.topics = TopicsImage(
            Topic(row.name, row.topic_id, row.partitions, configs.get(row.name, {})) for row in topic_rows
        )
        self.cluster_id = meta["cluster_id"]
        self._next_producer_id = int(meta["next_producer_id"])
        self._writer = CatalogWriter(engine)

    @classmethod
    def open(cls, path: Path, *, node_id: int = 1) -> Self:
        """Open or make the database file. Raises CatalogError. Blocks for some milliseconds."""
        return cls(schema.open_engine(path), node_id)

    def close(self) -> None:
        """Write what is queued, then let go of the file."""
        self._writer.close()
        self._engine.dispose()

    # Each of these raises CatalogWriteError when the change could not be made, and then nothing has changed.

    async def create_topics(self, topics: Collection[Topic]) -> None:
        """Add topics that are not there yet, all or none."""
        await self._writer.write(
            [
                (
                    _put_topic,
                    [{"name": t.name, "topic_id": t.topic_id, "partitions": t.partitions} for t in topics],
                ),
                (
                    _put_topic_config,
                    [
                        {"topic": topic.name, "name": name, "value": value}
                        for topic in topics
                        for name, value in topic.configs.items()
                    ],
                ),
            ]
        )
        for topic in topics:
            self.topics.put(topic)

    async def delete_topics(self, topics: Collection[Topic]) -> None:
        """Remove topics and every offset committed for them."""
        await self._writer.write(
            [
                (_delete_topic, [{"deleted_id": topic.topic_id} for topic in topics]),
                (_delete_offsets_of_topic, [{"deleted_topic": topic.name} for topic in topics]),
            ]
        )
        for topic in topics:
            self.topics.remove(topic)

    async def create_partitions(self, new_counts: Mapping[Topic, int]) -> None:
        """Set the number of partitions of topics."""
        rows = [
            {"changed_id": topic.topic_id, "new_partitions": count} for topic, count in new_counts.items()
        ]
        await self._writer.write([(_set_partitions, rows)])
        for topic, count in new_counts.items():
            self.topics.put(dataclasses.replace(topic, partitions=count))

    async def next_producer_id_block(self) -> range:
        """Producer ids that were never given out before, and never will be again."""
        block = range(self._next_producer_id, self._next_producer_id + PRODUCER_ID_BLOCK)
        self._next_producer_id = block.stop  # before the wait: a second caller must not get the same
        await self._writer.write([(_set_next_producer_id, [{"next_id": str(block.stop)}])])
        return block

    def change_group(self, changes: GroupChanges) -> "asyncio.Future[None]":
        """Queue changes to a group; the future resolves when they are durable."""
        group_id = changes.group_id
        statements: list[Statement] = []
        if changes.deleted:
            statements += [
                (_delete_group, [{"deleted_group": group_id}]),
                (_delete_offsets_of_group, [{"deleted_group": group_id}]),
            ]
        if changes.document is not None:
            statements.append((_put_group, [{"group_id": group_id, "document": changes.document}]))
        if changes.put_offsets:
            statements.append((_put_offset, [dataclasses.asdict(row) for row in changes.put_offsets]))
        if changes.delete_offsets:
            statements.append(
                (
                    _delete_offset,
                    [
                        {"deleted_group": group_id, "deleted_topic": topic, "deleted_partition": partition}
                        for topic, partition in changes.delete_offsets
                    ],
                )
            )
        return self._writer.write(statements)

    def read_groups(self) -> tuple[dict[str, bytes], list[OffsetRow]]:
        """All groups' documents and all committed offsets, from the database. Blocks; for the start."""
        with self._engine.connect() as connection:
            documents = connection.execute(select(schema.groups)).all()
            offsets = connection.execute(select(schema.offsets)).all()
        return {row.group_id: row.document for row in documents}, [OffsetRow(*row) for row in offsets]

    def read_group(self, group_id: str) -> tuple[bytes | None, list[OffsetRow]]:
        """One group's document and offsets, from the database. Blocks; for repair after a failed write."""
        with self._engine.connect() as connection:
            document = connection.execute(
                select(schema.groups.c.document).where(schema.groups.c.group_id == group_id)
            ).scalar_one_or_none()
            offsets = connection.execute(
                select(schema.offsets).where(schema.offsets.c.group_id == group_id)
            ).all()
        return document, [OffsetRow(*row) for row in offsets]
