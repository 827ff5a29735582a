"""DescribeTopicPartitions, version 0 (KIP-966): topics with their partitions, in pages.

Known gaps: a cursor at a topic that is gone is taken for the next topic, where Kafka refuses it.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from broker.catalog import Catalog, Topic, topic_name_problem
from broker.handlers.authorization import NOT_ASKED, TOPIC_OPERATIONS
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode

PARTITIONS_PER_PAGE_MAX = 2000


@dataclass(frozen=True, slots=True)
class TopicName:
    name: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins."""

    topic_name: str
    partition_index: int


@dataclass(frozen=True, slots=True)
class DescribeTopicPartitionsRequest:
    """No topics: all of them."""

    topics: tuple[TopicName, ...]
    response_partition_limit: int
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class DescribedPartition:
    partition_index: int
    leader_id: int
    leader_epoch: int
    replica_nodes: tuple[int, ...]
    isr_nodes: tuple[int, ...]
    error_code: ErrorCode = ErrorCode.none
    eligible_leader_replicas: tuple[int, ...] | None = ()
    last_known_elr: tuple[int, ...] | None = ()
    offline_replicas: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribedTopic:
    error_code: ErrorCode
    name: str
    topic_id: uuid.UUID | None = None
    is_internal: bool = False
    partitions: tuple[DescribedPartition, ...] = ()
    topic_authorized_operations: int = NOT_ASKED


@dataclass(frozen=True, slots=True)
class DescribeTopicPartitionsResponse:
    topics: tuple[DescribedTopic, ...]
    next_cursor: Cursor | None = None


class TopicPartitionsHandler:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def apis(self) -> list[Api]:
        return [Api(75, "DescribeTopicPartitions", range(1), DescribeTopicPartitionsRequest, self.describe)]

    def describe(
        self, _context: RequestContext, request: DescribeTopicPartitionsRequest
    ) -> DescribeTopicPartitionsResponse:
        topics = self._catalog.topics
        names = {topic.name for topic in request.topics}
        cursor = request.cursor or Cursor("", 0)
        if cursor.partition_index < 0:
            return DescribeTopicPartitionsResponse(
                tuple(DescribedTopic(ErrorCode.invalid_request, topic.name) for topic in request.topics)
            )
        found = [topic for topic in topics if topic.name in names or not names]
        missing = [_missing(name) for name in sorted(names) if name not in topics]
        page, next_cursor = self._page(found, cursor, request.response_partition_limit)
        return DescribeTopicPartitionsResponse((*page, *missing), next_cursor)

    def _page(
        self, topics: Iterable[Topic], cursor: Cursor, limit: int
    ) -> tuple[list[DescribedTopic], Cursor | None]:
        """By name, from the cursor on, and where the next page begins."""
        left = min(max(limit, 1), PARTITIONS_PER_PAGE_MAX)
        page: list[DescribedTopic] = []
        for topic in sorted(topics, key=lambda topic: topic.name):
            if topic.name < cursor.topic_name:
                continue
            start = cursor.partition_index if topic.name == cursor.topic_name else 0
            if not left:
                return page, Cursor(topic.name, start)
            end = min(topic.partitions, start + left)
            page.append(self._describe(topic, range(start, end)))
            left -= max(end - start, 0)
            if end < topic.partitions:
                return page, Cursor(topic.name, end)
        return page, None

    def _describe(self, topic: Topic, partitions: range) -> DescribedTopic:
        placement = self._catalog.placement
        return DescribedTopic(
            ErrorCode.none,
            topic.name,
            topic.topic_id,
            topic.is_internal,
            tuple(
                DescribedPartition(
                    partition,
                    placement.leader(topic.name, partition),
                    placement.leader_epoch(topic.name, partition),
                    placement.replicas(topic.name, partition),
                    placement.replicas(topic.name, partition),
                )
                for partition in partitions
            ),
            TOPIC_OPERATIONS,
        )


def _missing(name: str) -> DescribedTopic:
    invalid = topic_name_problem(name) is not None
    code = ErrorCode.invalid_topic_exception if invalid else ErrorCode.unknown_topic_or_partition
    return DescribedTopic(code, name, topic_authorized_operations=TOPIC_OPERATIONS)
