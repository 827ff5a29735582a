"""OffsetForLeaderEpoch, versions 2 to 4: clients ask it to see whether a log was truncated under them.

One broker never loses its leadership, so there is one leader epoch and it ends where the log ends.
"""

from dataclasses import dataclass

from broker.handlers.registry import Api, RequestContext
from broker.log.manager import LogManager
from broker.log.partition_log import LEADER_EPOCH
from broker.wire.errors import ErrorCode

OFFSET_FOR_LEADER_EPOCH_KEY = 23
VERSIONS = range(2, 5)


@dataclass(frozen=True, slots=True)
class OffsetForLeaderPartition:
    partition: int
    current_leader_epoch: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class OffsetForLeaderTopic:
    topic: str
    partitions: tuple[OffsetForLeaderPartition, ...]


@dataclass(frozen=True, slots=True)
class OffsetForLeaderEpochRequest:
    topics: tuple[OffsetForLeaderTopic, ...]


@dataclass(frozen=True, slots=True)
class EpochEndOffset:
    error_code: ErrorCode
    partition: int
    leader_epoch: int = -1
    end_offset: int = -1


@dataclass(frozen=True, slots=True)
class OffsetForLeaderTopicResult:
    topic: str
    partitions: tuple[EpochEndOffset, ...]


@dataclass(frozen=True, slots=True)
class OffsetForLeaderEpochResponse:
    topics: tuple[OffsetForLeaderTopicResult, ...]


class OffsetForLeaderEpochHandler:
    def __init__(self, logs: LogManager) -> None:
        self._logs = logs

    def apis(self) -> list[Api]:
        return [
            Api(
                OFFSET_FOR_LEADER_EPOCH_KEY,
                "OffsetForLeaderEpoch",
                VERSIONS,
                OffsetForLeaderEpochRequest,
                self._offsets,
            )
        ]

    def _offsets(
        self, context: RequestContext, request: OffsetForLeaderEpochRequest
    ) -> OffsetForLeaderEpochResponse:
        return OffsetForLeaderEpochResponse(
            tuple(
                OffsetForLeaderTopicResult(
                    topic.topic, tuple(self._end_offset(topic.topic, wanted) for wanted in topic.partitions)
                )
                for topic in request.topics
            )
        )

    def _end_offset(self, topic: str, wanted: OffsetForLeaderPartition) -> EpochEndOffset:
        log = self._logs.get(topic, wanted.partition)
        if log is None:
            return EpochEndOffset(ErrorCode.unknown_topic_or_partition, wanted.partition)
        if log.failure is not None:
            return EpochEndOffset(log.failure.code, wanted.partition)
        if wanted.current_leader_epoch > LEADER_EPOCH:
            return EpochEndOffset(ErrorCode.unknown_leader_epoch, wanted.partition)
        if wanted.leader_epoch != LEADER_EPOCH:
            return EpochEndOffset(ErrorCode.none, wanted.partition)
        return EpochEndOffset(ErrorCode.none, wanted.partition, LEADER_EPOCH, log.log_end_offset)
