"""ListOffsets, versions 1 to 11: the ends of a partition, and offsets by time.

There is no tiered storage: the earliest local offset is the earliest, the latest tiered one is none.
"""

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

READ_COMMITTED = 1


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
        committed = request.isolation_level == READ_COMMITTED
        return ListOffsetsResponse(
            tuple(
                ListOffsetsTopicResponse(
                    topic.name,
                    tuple(self._partition(topic.name, p, committed=committed) for p in topic.partitions),
                )
                for topic in request.topics
            )
        )

    def _partition(
        self, topic: str, wanted: ListOffsetsPartition, *, committed: bool
    ) -> ListOffsetsPartitionResponse:
        index = wanted.partition_index
        try:
            log = self._log(topic, wanted)
            found = _find(log, wanted.timestamp, committed=committed)
        except KafkaError as error:
            return ListOffsetsPartitionResponse(index, error.code)
        if found is None:
            return ListOffsetsPartitionResponse(index)
        timestamp, offset = found
        return ListOffsetsPartitionResponse(
            index, timestamp=timestamp, offset=offset, leader_epoch=LEADER_EPOCH
        )

    def _log(self, topic: str, wanted: ListOffsetsPartition) -> PartitionLog:
        log = self._logs.get(topic, wanted.partition_index)
        if log is None:
            raise KafkaError(ErrorCode.unknown_topic_or_partition)
        if not self._catalog.placement.leads(topic, wanted.partition_index):
            raise KafkaError(ErrorCode.not_leader_or_follower)
        if wanted.current_leader_epoch > LEADER_EPOCH:
            raise KafkaError(ErrorCode.unknown_leader_epoch)
        log.check_online()
        return log


def _find(log: PartitionLog, timestamp: int, *, committed: bool) -> TimestampOffset | None:
    if timestamp == LATEST:
        return -1, log.last_stable_offset if committed else log.high_watermark
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return -1, log.log_start_offset
    if timestamp == MAX_TIMESTAMP:
        return find_max_timestamp(log)
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return -1, -1
    return find_by_timestamp(log, timestamp)
