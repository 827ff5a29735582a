"""DeleteRecords, versions 0 to 2. Known gaps: none; `timeout` has nothing to wait for on one node."""

from collections import defaultdict
from dataclasses import dataclass

from broker.catalog import Catalog
from broker.catalog.topics import INTERNAL_TOPICS
from broker.handlers.registry import Api, RequestContext
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.sync import GroupCommit
from broker.wire.errors import ErrorCode, KafkaError

NO_WATERMARK = -1

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RecordsToDelete:
    """All records before `offset`; -1 is the high watermark."""

    partition_index: int
    offset: int


@dataclass(frozen=True, slots=True)
class TopicToTrim:
    name: str
    partitions: tuple[RecordsToDelete, ...]


@dataclass(frozen=True, slots=True)
class DeleteRecordsRequest:
    topics: tuple[TopicToTrim, ...]


@dataclass(frozen=True, slots=True)
class TrimmedPartition:
    """`low_watermark` is the log start offset, -1 with an error."""

    partition_index: int
    low_watermark: int
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class TrimmedTopic:
    name: str
    partitions: tuple[TrimmedPartition, ...]


@dataclass(frozen=True, slots=True)
class DeleteRecordsResponse:
    topics: tuple[TrimmedTopic, ...]


class DeleteRecordsHandler:
    def __init__(self, catalog: Catalog, logs: LogManager, commits: GroupCommit) -> None:
        self._catalog = catalog
        self._logs = logs
        self._commits = commits

    def apis(self) -> list[Api]:
        return [Api(21, "DeleteRecords", range(3), DeleteRecordsRequest, self.delete)]

    async def delete(self, _context: RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse:
        """Each partition fails alone. Of one that is named twice, the last offset counts, as in Kafka."""
        wanted = {
            (topic.name, records.partition_index): records.offset
            for topic in request.topics
            for records in topic.partitions
        }
        trimmed: dict[TopicPartition, PartitionLog | ErrorCode] = {}
        for (topic, partition), offset in wanted.items():
            try:
                trimmed[topic, partition] = self._trim(topic, partition, offset)
            except KafkaError as error:
                trimmed[topic, partition] = error.code
        await self._commits.sync([log for log in trimmed.values() if isinstance(log, PartitionLog)])
        results: defaultdict[str, list[TrimmedPartition]] = defaultdict(list)
        for (topic, partition), log in trimmed.items():
            results[topic].append(_result(partition, log))
        return DeleteRecordsResponse(
            tuple(TrimmedTopic(topic, tuple(partitions)) for topic, partitions in results.items())
        )

    def _trim(self, topic: str, partition: int, offset: int) -> PartitionLog:
        """The log, whose start is durable once it is synced. Raises KafkaError."""
        if topic in INTERNAL_TOPICS:
            raise KafkaError(ErrorCode.invalid_topic_exception)
        log = self._logs.get(topic, partition)
        if log is None:
            raise KafkaError(ErrorCode.unknown_topic_or_partition)
        if not self._catalog.placement.leads(topic, partition):
            raise KafkaError(ErrorCode.not_leader_or_follower)
        log.delete_records(offset)
        return log


def _result(partition: int, log: PartitionLog | ErrorCode) -> TrimmedPartition:
    if isinstance(log, PartitionLog):
        if log.failure is None:
            return TrimmedPartition(partition, log.log_start_offset, ErrorCode.none)
        log = log.failure.code
    return TrimmedPartition(partition, NO_WATERMARK, log)
