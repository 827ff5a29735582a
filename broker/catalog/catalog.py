"""What the cluster knows beside its logs: topics, configs, groups, committed offsets, producer ids.

Reading is from memory, on the event loop. A change is queued for the writer thread, and becomes
visible in the image when it is durable, never before: what a handler sees cannot vanish in a crash.
"""

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

from sqlalchemy import Engine, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from broker.catalog import schema
from broker.catalog.errors import CatalogError
from broker.catalog.groups import (
    GroupChanges,
    GroupRows,
    change_group,
    delete_offsets_of_topics,
    read_groups,
)
from broker.catalog.placement import Placement
from broker.catalog.topics import Topic, TopicsImage
from broker.catalog.transactions import change_transaction, read_transactions
from broker.catalog.writer import CatalogWriter

PRODUCER_ID_BLOCK = 1000

_put_topic = insert(schema.topics)
_put_topic_config = insert(schema.topic_configs)
_clear_topic_configs = delete(schema.topic_configs).where(
    schema.topic_configs.c.topic == bindparam("changed_topic")
)
_put_group_config = insert(schema.group_configs)
_clear_group_configs = delete(schema.group_configs).where(
    schema.group_configs.c.group_id == bindparam("changed_group")
)
_delete_topic = delete(schema.topics).where(schema.topics.c.topic_id == bindparam("deleted_id"))
_set_partitions = (
    update(schema.topics)
    .where(schema.topics.c.topic_id == bindparam("changed_id"))
    .values(partitions=bindparam("new_partitions"))
)
_set_next_producer_id = (
    update(schema.meta).where(schema.meta.c.name == "next_producer_id").values(value=bindparam("next_id"))
)


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
            group_config_rows = connection.execute(select(schema.group_configs)).all()
        configs: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for row in config_rows:
            configs[row.topic][row.name] = row.value
        group_configs: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for row in group_config_rows:
            group_configs[row.group_id][row.name] = row.value
        self.group_configs: dict[str, Mapping[str, str]] = dict(group_configs)
        """What was set for groups, by group id; only groups for which something was."""
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
                *delete_offsets_of_topics([topic.name for topic in topics]),
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

    async def set_configs(
        self, topics: Mapping[Topic, Mapping[str, str]], groups: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Replace all that is set for topics and, by group id, for groups: everything or nothing."""
        await self._writer.write(
            [
                (_clear_topic_configs, [{"changed_topic": topic.name} for topic in topics]),
                (
                    _put_topic_config,
                    [
                        {"topic": topic.name, "name": name, "value": value}
                        for topic, configs in topics.items()
                        for name, value in configs.items()
                    ],
                ),
                (_clear_group_configs, [{"changed_group": group_id} for group_id in groups]),
                (
                    _put_group_config,
                    [
                        {"group_id": group_id, "name": name, "value": value}
                        for group_id, configs in groups.items()
                        for name, value in configs.items()
                    ],
                ),
            ]
        )
        for topic, configs in topics.items():
            self.topics.put(dataclasses.replace(topic, configs=configs))
        for group_id, configs in groups.items():
            if configs:
                self.group_configs[group_id] = configs
            else:
                self.group_configs.pop(group_id, None)

    async def next_producer_id_block(self) -> range:
        """Producer ids that were never given out before, and never will be again."""
        block = range(self._next_producer_id, self._next_producer_id + PRODUCER_ID_BLOCK)
        self._next_producer_id = block.stop  # before the wait: a second caller must not get the same
        await self._writer.write([(_set_next_producer_id, [{"next_id": str(block.stop)}])])
        return block

    def change_group(self, *changes: GroupChanges) -> "asyncio.Future[None]":
        """Queue changes to a group, one after the other; the future resolves when they are durable."""
        return self._writer.write([statement for each in changes for statement in change_group(each)])

    def read_groups(self) -> dict[str, GroupRows]:
        """All groups that there is something of, from the database. Blocks; for the start."""
        with self._engine.connect() as connection:
            return read_groups(connection)

    def read_group(self, group_id: str) -> GroupRows:
        """One group, from the database. Blocks; for repair after a failed write. Raises CatalogError."""
        try:
            with self._engine.connect() as connection:
                return read_groups(connection, group_id).get(group_id, GroupRows())
        except SQLAlchemyError as exc:
            raise CatalogError(f"the catalog could not be read: {exc}") from exc

    def change_transaction(self, transactional_id: str, document: bytes | None) -> "asyncio.Future[None]":
        """Queue a transactional id's new document, or its removal; the future resolves when it is durable."""
        return self._writer.write(change_transaction(transactional_id, document))

    def read_transactions(self) -> dict[str, bytes]:
        """All documents by transactional id, from the database. Blocks; for the start."""
        with self._engine.connect() as connection:
            return read_transactions(connection)

    def read_transaction(self, transactional_id: str) -> bytes | None:
        """One document, from the database. Blocks; for repair after a failed write. Raises CatalogError."""
        try:
            with self._engine.connect() as connection:
                return read_transactions(connection, transactional_id).get(transactional_id)
        except SQLAlchemyError as exc:
            raise CatalogError(f"the catalog could not be read: {exc}") from exc
