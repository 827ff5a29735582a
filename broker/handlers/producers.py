"""DescribeProducers (version 0), who writes to a partition, and WriteTxnMarkers (1 and 2), which ends
transactions in partitions: what `kafka-transactions` finds and aborts hanging transactions with.

Gap: a marker for `__consumer_offsets` is answered with UNKNOWN_TOPIC_OR_PARTITION: groups are no topic here.
"""

import time
from dataclasses import dataclass

from broker.catalog import Catalog
from broker.handlers.registry import Api, RequestContext
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.producers import Producer
from broker.log.sync import GroupCommit
from broker.log.transactions import TransactionMarker
from broker.wire.errors import ErrorCode, KafkaError

WRITE_TXN_MARKERS_KEY = 27
WRITE_TXN_MARKERS_VERSIONS = range(1, 3)
DESCRIBE_PRODUCERS_KEY = 61
DESCRIBE_PRODUCERS_VERSIONS = range(1)

NO_OFFSET = -1


@dataclass(frozen=True, slots=True)
class TopicRequest:
    name: str
    partition_indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DescribeProducersRequest:
    topics: tuple[TopicRequest, ...]


@dataclass(frozen=True, slots=True)
class ProducerState:
    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_timestamp: int
    coordinator_epoch: int
    current_txn_start_offset: int


@dataclass(frozen=True, slots=True)
class PartitionResponse:
    partition_index: int
    error_code: ErrorCode
    error_message: str | None
    active_producers: tuple[ProducerState, ...]


@dataclass(frozen=True, slots=True)
class TopicResponse:
    name: str
    partitions: tuple[PartitionResponse, ...]


@dataclass(frozen=True, slots=True)
class DescribeProducersResponse:
    topics: tuple[TopicResponse, ...]


@dataclass(frozen=True, slots=True)
class WritableTxnMarkerTopic:
    name: str
    partition_indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WritableTxnMarker:
    producer_id: int
    producer_epoch: int
    transaction_result: bool
    topics: tuple[WritableTxnMarkerTopic, ...]
    coordinator_epoch: int
    transaction_version: int = 0


@dataclass(frozen=True, slots=True)
class WriteTxnMarkersRequest:
    markers: tuple[WritableTxnMarker, ...]


@dataclass(slots=True)
class WritableTxnMarkerPartitionResult:
    partition_index: int
    error_code: ErrorCode = ErrorCode.none


@dataclass(frozen=True, slots=True)
class WritableTxnMarkerTopicResult:
    name: str
    partitions: tuple[WritableTxnMarkerPartitionResult, ...]


@dataclass(frozen=True, slots=True)
class WritableTxnMarkerResult:
    producer_id: int
    topics: tuple[WritableTxnMarkerTopicResult, ...]


@dataclass(frozen=True, slots=True)
class WriteTxnMarkersResponse:
    markers: tuple[WritableTxnMarkerResult, ...]


class ProducersHandler:
    def __init__(self, catalog: Catalog, logs: LogManager, commits: GroupCommit) -> None:
        self._catalog = catalog
        self._logs = logs
        self._commits = commits

    def apis(self) -> list[Api]:
        return [
            Api(
                DESCRIBE_PRODUCERS_KEY,
                "DescribeProducers",
                DESCRIBE_PRODUCERS_VERSIONS,
                DescribeProducersRequest,
                self._describe,
            ),
            Api(
                WRITE_TXN_MARKERS_KEY,
                "WriteTxnMarkers",
                WRITE_TXN_MARKERS_VERSIONS,
                WriteTxnMarkersRequest,
                self._write_markers,
            ),
        ]

    def _describe(
        self, context: RequestContext, request: DescribeProducersRequest
    ) -> DescribeProducersResponse:
        return DescribeProducersResponse(
            tuple(
                TopicResponse(
                    topic.name, tuple(self._producers(topic.name, i) for i in topic.partition_indexes)
                )
                for topic in request.topics
            )
        )

    def _producers(self, topic: str, partition: int) -> PartitionResponse:
        try:
            log = self._log(topic, partition)
        except KafkaError as error:
            return PartitionResponse(partition, error.code, error.message or None, ())
        states = tuple(_state(log, producer_id, producer) for producer_id, producer in log.producers)
        return PartitionResponse(partition, ErrorCode.none, None, states)

    async def _write_markers(
        self, context: RequestContext, request: WriteTxnMarkersRequest
    ) -> WriteTxnMarkersResponse:
        """Answered when the markers are durable."""
        now_ms = time.time_ns() // 1_000_000
        written: list[tuple[PartitionLog, WritableTxnMarkerPartitionResult]] = []
        results = []
        for wanted in request.markers:
            marker = TransactionMarker(
                wanted.producer_id,
                wanted.producer_epoch,
                wanted.coordinator_epoch,
                wanted.transaction_result,
                wanted.transaction_version,
            )
            topics = []
            for topic in wanted.topics:
                partitions = tuple(WritableTxnMarkerPartitionResult(i) for i in topic.partition_indexes)
                topics.append(WritableTxnMarkerTopicResult(topic.name, partitions))
                for result in partitions:
                    try:
                        log = self._log(topic.name, result.partition_index)
                        log.append_marker(marker, now_ms)
                    except KafkaError as error:
                        result.error_code = error.code
                    else:
                        written.append((log, result))
            results.append(WritableTxnMarkerResult(wanted.producer_id, tuple(topics)))
        await self._commits.sync([log for log, _ in written])
        for log, result in written:
            if log.failure is not None:
                result.error_code = log.failure.code
        return WriteTxnMarkersResponse(tuple(results))

    def _log(self, topic: str, partition: int) -> PartitionLog:
        """Raises KafkaError when there is none here, or it is offline."""
        log = self._logs.get(topic, partition)
        if log is None:
            raise KafkaError(
                ErrorCode.unknown_topic_or_partition, f"{topic}-{partition} is no partition of this broker"
            )
        if not self._catalog.placement.leads(topic, partition):
            raise KafkaError(ErrorCode.not_leader_or_follower)
        log.check_online()
        return log


def _state(log: PartitionLog, producer_id: int, producer: Producer) -> ProducerState:
    start = log.open_transaction(producer_id)
    return ProducerState(
        producer_id,
        producer.producer_epoch,
        producer.last_sequence,
        producer.last_timestamp,
        producer.coordinator_epoch,
        NO_OFFSET if start is None else start,
    )
