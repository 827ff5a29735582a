"""Metadata, versions 0 to 13. Creates topics that are asked for, when both sides allow it.

Known gaps: none. A topic that is created by the request is in the answer at once (Kafka lets the client
ask again).
"""

import uuid
from dataclasses import dataclass

import structlog

from broker.catalog import CatalogWriteError, Topic, topic_name_problem
from broker.config import BrokerSettings
from broker.handlers.authorization import CLUSTER_OPERATIONS, NOT_ASKED, TOPIC_OPERATIONS
from broker.handlers.registry import Api, RequestContext
from broker.handlers.topic_admin import TopicAdmin
from broker.wire.errors import ErrorCode, KafkaError

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TopicRef:
    """By id if there is one, else by name."""

    name: str | None = None
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class MetadataRequest:
    topics: tuple[TopicRef, ...] | None
    allow_auto_topic_creation: bool = True
    include_cluster_authorized_operations: bool = False
    include_topic_authorized_operations: bool = False


@dataclass(frozen=True, slots=True)
class Broker:
    node_id: int
    host: str
    port: int
    rack: str | None = None


@dataclass(frozen=True, slots=True)
class PartitionMetadata:
    error_code: ErrorCode
    partition_index: int
    leader_id: int
    leader_epoch: int
    replica_nodes: tuple[int, ...]
    isr_nodes: tuple[int, ...]
    offline_replicas: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicMetadata:
    error_code: ErrorCode
    name: str | None
    topic_id: uuid.UUID | None = None
    is_internal: bool = False
    partitions: tuple[PartitionMetadata, ...] = ()
    topic_authorized_operations: int = NOT_ASKED


@dataclass(frozen=True, slots=True)
class MetadataResponse:
    brokers: tuple[Broker, ...] = ()
    cluster_id: str | None = None
    controller_id: int = -1
    topics: tuple[TopicMetadata, ...] = ()
    cluster_authorized_operations: int = NOT_ASKED
    error_code: ErrorCode = ErrorCode.none


FIRST_VERSION_WITH_NULL_NAMES = 12


class MetadataHandler:
    def __init__(self, admin: TopicAdmin, settings: BrokerSettings) -> None:
        self._admin = admin
        self._catalog = admin.catalog
        self._settings = settings

    def apis(self) -> list[Api]:
        return [Api(3, "Metadata", range(14), MetadataRequest, self.metadata, on_error=_failed)]

    async def metadata(self, context: RequestContext, request: MetadataRequest) -> MetadataResponse:
        operations = TOPIC_OPERATIONS if request.include_topic_authorized_operations else NOT_ASKED
        asks_for_all = request.topics is None or (context.api_version == 0 and not request.topics)
        if asks_for_all:
            topics = [self._describe(topic, operations) for topic in self._catalog.topics]
        else:
            refs = dict.fromkeys(request.topics or ())
            if request.allow_auto_topic_creation and self._settings.auto_create_topics_enable:
                await self._create_missing([ref for ref in refs if ref.topic_id is None])
            topics = [self._find(context, ref, operations) for ref in refs]
        node_id = self._catalog.placement.node_id
        asks_operations = request.include_cluster_authorized_operations
        return MetadataResponse(
            brokers=(Broker(node_id, context.endpoint.host, context.endpoint.port),),
            cluster_id=self._catalog.cluster_id,
            controller_id=node_id,
            topics=tuple(topics),
            cluster_authorized_operations=CLUSTER_OPERATIONS if asks_operations else NOT_ASKED,
        )

    async def _create_missing(self, refs: list[TopicRef]) -> None:
        if all(ref.name in self._catalog.topics for ref in refs if ref.name is not None):
            return
        async with self._catalog.topic_changes:
            names = [
                ref.name
                for ref in refs
                if ref.name and ref.name not in self._catalog.topics and topic_name_problem(ref.name) is None
            ]
            partitions = self._settings.num_partitions
            if not names:
                return
            try:
                await self._admin.create([Topic(name, uuid.uuid4(), partitions) for name in names])
            except CatalogWriteError as exc:  # the client sees that they are not there, and asks again
                logger.error("topics could not be created", topics=names, error=str(exc))

    def _find(self, context: RequestContext, ref: TopicRef, operations: int) -> TopicMetadata:
        if ref.topic_id is not None:
            topic = self._catalog.topics.by_id(ref.topic_id)
            if topic is None:
                name = None if context.api_version >= FIRST_VERSION_WITH_NULL_NAMES else ref.name or ""
                return TopicMetadata(ErrorCode.unknown_topic_id, name, ref.topic_id)
            return self._describe(topic, operations)
        name = ref.name or ""
        if topic_name_problem(name) is not None:
            return TopicMetadata(
                ErrorCode.invalid_topic_exception, name, topic_authorized_operations=operations
            )
        topic = self._catalog.topics.get(name)
        if topic is None:
            return TopicMetadata(
                ErrorCode.unknown_topic_or_partition, name, topic_authorized_operations=operations
            )
        return self._describe(topic, operations)

    def _describe(self, topic: Topic, operations: int) -> TopicMetadata:
        placement = self._catalog.placement
        partitions = []
        for partition in range(topic.partitions):
            replicas = placement.replicas(topic.name, partition)
            partitions.append(
                PartitionMetadata(
                    error_code=ErrorCode.none,
                    partition_index=partition,
                    leader_id=placement.leader(topic.name, partition),
                    leader_epoch=placement.leader_epoch(topic.name, partition),
                    replica_nodes=replicas,
                    isr_nodes=replicas,
                )
            )
        return TopicMetadata(
            error_code=ErrorCode.none,
            name=topic.name,
            topic_id=topic.topic_id,
            is_internal=topic.is_internal,
            partitions=tuple(partitions),
            topic_authorized_operations=operations,
        )


def _failed(error: KafkaError) -> MetadataResponse:
    return MetadataResponse(error_code=error.code)
