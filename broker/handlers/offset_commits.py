"""What OffsetCommit and TxnOffsetCommit have in common: partitions to commit, each with its answer."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from broker.catalog import TopicsImage
from broker.coordinator.records import NO_LEADER_EPOCH, CommittedOffset, TopicPartition
from broker.wire.errors import ErrorCode

NO_RETENTION = timedelta(milliseconds=-1)


@dataclass(frozen=True, slots=True)
class CommitPartition:
    partition_index: int
    committed_offset: int
    committed_metadata: str | None
    committed_leader_epoch: int = NO_LEADER_EPOCH


@dataclass(frozen=True, slots=True)
class CommitTopic:
    """By name, or by id since OffsetCommit 10."""

    partitions: tuple[CommitPartition, ...]
    name: str | None = None
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class CommittedPartition:
    partition_index: int
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class CommittedTopic:
    partitions: tuple[CommittedPartition, ...]
    name: str | None = None
    topic_id: uuid.UUID | None = None


class OffsetsToCommit:
    """Unknown partitions and metadata that is too long fail alone; the rest fails or not together."""

    def __init__(
        self,
        asked: Sequence[CommitTopic],
        topics: TopicsImage,
        *,
        metadata_length_max: int,
        retention: timedelta = NO_RETENTION,
    ) -> None:
        self.offsets: dict[TopicPartition, CommittedOffset] = {}
        """What can be committed."""
        self._asked = asked
        self._errors: dict[tuple[int, int], ErrorCode] = {}
        now_ms = int(time.time() * 1000)
        expire_time_ms = None
        if retention != NO_RETENTION:
            expire_time_ms = now_ms + retention // timedelta(milliseconds=1)
        for t, topic in enumerate(asked):
            name = topics.name_of(topic.name, topic.topic_id)
            for p, partition in enumerate(topic.partitions):
                metadata = partition.committed_metadata or ""
                if name is None:
                    self._errors[t, p] = ErrorCode.unknown_topic_id
                elif not topics.has_partition(name, partition.partition_index):
                    self._errors[t, p] = ErrorCode.unknown_topic_or_partition
                elif _java_length(metadata) > metadata_length_max:
                    self._errors[t, p] = ErrorCode.offset_metadata_too_large
                else:
                    self.offsets[name, partition.partition_index] = CommittedOffset(
                        offset=partition.committed_offset,
                        leader_epoch=partition.committed_leader_epoch,
                        metadata=metadata,
                        commit_time_ms=now_ms,
                        expire_time_ms=expire_time_ms,
                    )

    def answer(self, rest: ErrorCode) -> tuple[CommittedTopic, ...]:
        """The answer to all that was asked, with `rest` for `offsets`."""
        return tuple(
            CommittedTopic(
                name=topic.name,
                topic_id=topic.topic_id,
                partitions=tuple(
                    CommittedPartition(partition.partition_index, self._errors.get((t, p), rest))
                    for p, partition in enumerate(topic.partitions)
                ),
            )
            for t, topic in enumerate(self._asked)
        )


def _java_length(text: str) -> int:
    """Kafka counts UTF-16 units, whatever the name `offset.metadata.max.bytes` says."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
