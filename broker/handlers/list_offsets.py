"""ListOffsets, versions 1 to 11: the ends of a partition, and offsets by time.

There is no tiered storage: the earliest local offset is the earliest, the latest tiered one is none.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from broker.catalog import Catalog
from broker.handlers.registry import Api, RequestContext
from broker.log.manager import LogManager
from broker.log.partition_log import LEADER_EPOCH, PartitionLog
from broker.log.timestamps import TimestampOffset, find_by_timestamp, find_max_timestamp
from broker.wire.errors import ErrorCode, KafkaError

LIST_OFFSETS_KEY = 2
VERSIONS = range(1, 12)

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6

SINCE = {
    LATEST: 1,
    EARLIEST: 1,
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL: 8,
    LATEST_TIERED: 9,
    EARLIEST_PENDING_UPLOAD: 11,
}
"""The version that brought each of these timestamps that are none."""

READ_COMMITTED = 1
NO_LEADER_EPOCH = -1


@dataclass(frozen=True, slots=True)
class ListOffsetsPartition:
    partition_index: int
    timestamp: int
    current_leader_epoch: int = -1


@dataclass(frozen=True, slots=True)
class ListOffsetsTopic:
    name: str
    partitions: tuple[ListOffsetsPartition, ...]


@dataclass(frozen=True, slots=True)
class ListOffsetsRequest:
    topics: tuple[ListOffsetsTopic, ...]
    isolation_level: int = 0


@dataclass(frozen=True, slots=True)
class ListOffsetsPartitionResponse:
    partition_index: int
    error_code: ErrorCode = ErrorCode.none
    timestamp: int = -1
    offset: int = -1
    leader_epoch: int = -1


@dataclass(frozen=True, slots=True)
class ListOffsetsTopicResponse:
    name: str
    partitions: tuple[ListOffsetsPartitionResponse, ...]


@dataclass(frozen=True, slots=True)
class ListOffsetsResponse:
    topics: tuple[ListOffsetsTopicResponse, ...]


class ListOffsetsHandler:
    def __init__(self, catalog: Catalog, logs: LogManager) -> None:
        self._catalog = catalog
        self._logs = logs

    def apis(self) -> list[Api]:
        return [Api(LIST_OFFSETS_KEY, "ListOffsets", VERSIONS, ListOffsetsRequest, self._list_offsets)]

    def _list_offsets(self, context: RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse:
        return ListOffsetsResponse(
            tuple(
                ListOffsetsTopicResponse(
                    topic.name, tuple(self._partitions(context.api_version, request.isolation_level, topic))
                )
                for topic in request.topics
            )
        )

    def _partitions(
        self, version: int, isolation_level: int, topic: ListOffsetsTopic
    ) -> Iterator[ListOffsetsPartitionResponse]:
        named = Counter(partition.partition_index for partition in topic.partitions)
        yield from (
            ListOffsetsPartitionResponse(index, ErrorCode.invalid_request)
            for index, count in named.items()
            if count > 1
        )
        for partition in topic.partitions:
            if named[partition.partition_index] == 1:
                yield self._partition(version, isolation_level, topic.name, partition)

    def _partition(
        self, version: int, isolation_level: int, topic: str, wanted: ListOffsetsPartition
    ) -> ListOffsetsPartitionResponse:
        index, timestamp = wanted.partition_index, wanted.timestamp
        if timestamp < 0 and not 0 < SINCE.get(timestamp, 0) <= version:
            return ListOffsetsPartitionResponse(index, ErrorCode.unsupported_version)
        try:
            log = self._log(topic, wanted)
            found = _find(log, timestamp, committed=isolation_level == READ_COMMITTED)
        except KafkaError as error:
            return ListOffsetsPartitionResponse(index, error.code)
        if found is None:
            return ListOffsetsPartitionResponse(index)
        found_timestamp, offset = found
        return ListOffsetsPartitionResponse(
            index, timestamp=found_timestamp, offset=offset, leader_epoch=LEADER_EPOCH
        )

    def _log(self, topic: str, wanted: ListOffsetsPartition) -> PartitionLog:
        log = self._logs.get(topic, wanted.partition_index)
        if log is None:
            raise KafkaError(ErrorCode.unknown_topic_or_partition)
        if not self._catalog.placement.leads(topic, wanted.partition_index):
            raise KafkaError(ErrorCode.not_leader_or_follower)
        if wanted.current_leader_epoch > LEADER_EPOCH:
            raise KafkaError(ErrorCode.unknown_leader_epoch)
        if wanted.current_leader_epoch not in (NO_LEADER_EPOCH, LEADER_EPOCH):
            raise KafkaError(ErrorCode.fenced_leader_epoch)
        log.check_online()
        return log


def _find(log: PartitionLog, timestamp: int, *, committed: bool) -> TimestampOffset | None:
    if timestamp == LATEST:
        return -1, log.last_stable_offset if committed else log.high_watermark
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return -1, log.log_start_offset
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return None
    found = find_max_timestamp(log) if timestamp == MAX_TIMESTAMP else find_by_timestamp(log, timestamp)
    if committed and found is not None and found[1] >= log.last_stable_offset:
        return None  # as Kafka, which does not look for another one
    return found
