"""Changes to topics: the catalog, the logs and the committed offsets together.

The catalog is the truth. A topic is there when the catalog says so, and its logs are opened in the same
step of the loop; a deleted topic is gone from the catalog before its files go. So a kill at any point
leaves at most files that the next start clears up.
"""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path

from broker.catalog import Catalog, Topic
from broker.catalog.config_types import ConfigValue
from broker.catalog.topic_config import TopicConfigs
from broker.coordinator.messages import ForgetTopics
from broker.handlers.coordination import Groups
from broker.handlers.group_configs import GroupConfigs
from broker.log.config import LogConfig, TimestampType
from broker.log.manager import LogManager

LEVELS = frozenset({"gzip", "lz4", "zstd"})
"""The codecs whose level is a topic config."""


class TopicAdmin:
    """Every method that changes something is called with `catalog.topic_changes` held."""

    def __init__(
        self,
        catalog: Catalog,
        logs: LogManager,
        groups: Groups,
        configs: TopicConfigs,
        group_configs: GroupConfigs,
    ) -> None:
        self.catalog = catalog
        self.configs = configs
        self.group_configs = group_configs
        self._logs = logs
        self._groups = groups

    def open_logs(self) -> None:
        """Open the logs of all topics of the catalog. For the start."""
        for topic in self.catalog.topics:
            self._open_logs(topic, range(topic.partitions))

    def load_group_configs(self) -> None:
        """Tell the groups what was set for them. For the start."""
        for group_id, configs in self.catalog.group_configs.items():
            self._groups.set_group_configs(group_id, self.group_configs.values(configs))

    async def create(self, topics: Collection[Topic]) -> None:
        """Create topics that are not there yet."""
        await self.catalog.create_topics(topics)
        for topic in topics:
            self._open_logs(topic, range(topic.partitions))

    async def grow(self, new_counts: Mapping[Topic, int]) -> None:
        """Give topics more partitions."""
        await self.catalog.create_partitions(new_counts)
        for topic, count in new_counts.items():
            self._open_logs(topic, range(topic.partitions, count))

    async def delete(self, topics: Collection[Topic]) -> None:
        """Delete topics with their records and committed offsets. The files go in the background."""
        await self.catalog.delete_topics(topics)
        directories = [
            directory
            for topic in topics
            for partition in range(topic.partitions)
            if (directory := self._logs.delete(topic.name, partition)) is not None
        ]
        asyncio.get_running_loop().run_in_executor(None, _remove_all, self._logs, directories)
        await self._groups.ask(ForgetTopics(frozenset(topic.name for topic in topics)))

    async def set_configs(
        self, topics: Mapping[Topic, Mapping[str, str]], groups: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Replace what is set for topics and, by id, for groups; obeyed as soon as it is durable."""
        await self.catalog.set_configs(topics, groups)
        for topic, configs in topics.items():
            config = log_config(self.configs.values(configs))
            for partition in range(topic.partitions):
                log = self._logs.get(topic.name, partition)
                assert log is not None
                log.reconfigure(config)
        for group_id, configs in groups.items():
            self._groups.set_group_configs(group_id, self.group_configs.values(configs))

    def _open_logs(self, topic: Topic, partitions: range) -> None:
        config = log_config(self.configs.values(topic.configs))
        for partition in partitions:
            self._logs.create(topic.name, topic.topic_id, partition, config)


def _remove_all(logs: LogManager, directories: Collection[Path]) -> None:
    for directory in directories:
        logs.remove(directory)


def log_config(values: Mapping[str, ConfigValue]) -> LogConfig:
    """What of a topic's configs its logs obey, from `TopicConfigs.values`."""

    def number(name: str) -> int:
        value = values[name]
        assert isinstance(value, int)
        return value

    policies = values["cleanup.policy"]
    dirty_ratio, codec = values["min.cleanable.dirty.ratio"], values["compression.type"]
    assert isinstance(policies, tuple)
    assert isinstance(dirty_ratio, float)
    assert isinstance(codec, str)
    return LogConfig(
        segment_bytes=number("segment.bytes"),
        segment_ms=number("segment.ms"),
        segment_jitter_ms=number("segment.jitter.ms"),
        segment_index_bytes=number("segment.index.bytes"),
        preallocate=values["preallocate"] is True,
        file_delete_delay_ms=number("file.delete.delay.ms"),
        retention_ms=number("retention.ms"),
        retention_bytes=number("retention.bytes"),
        index_interval_bytes=number("index.interval.bytes"),
        max_message_bytes=number("max.message.bytes"),
        timestamp_type=TimestampType(values["message.timestamp.type"]),
        timestamp_before_max_ms=number("message.timestamp.before.max.ms"),
        timestamp_after_max_ms=number("message.timestamp.after.max.ms"),
        flush_messages=number("flush.messages"),
        flush_ms=number("flush.ms"),
        delete="delete" in policies,
        compact="compact" in policies,
        min_cleanable_dirty_ratio=dirty_ratio,
        min_compaction_lag_ms=number("min.compaction.lag.ms"),
        max_compaction_lag_ms=number("max.compaction.lag.ms"),
        delete_retention_ms=number("delete.retention.ms"),
        compression_type=codec,
        compression_level=number(f"compression.{codec}.level") if codec in LEVELS else None,
    )
