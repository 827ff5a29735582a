"""CreateTopics 2 to 7, DeleteTopics 1 to 6, CreatePartitions 0 to 3.

Known gaps: one broker, so a replication factor is 1 or -1 (the default). Changes are done when they are
answered, so `timeout` has no meaning.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from broker.catalog import CatalogWriteError, Topic, topic_name_problem
from broker.catalog.config_types import InvalidConfig
from broker.catalog.topic_config import DEFINITIONS
from broker.config import BrokerSettings
from broker.handlers.registry import Api, RequestContext
from broker.handlers.topic_admin import TopicAdmin
from broker.wire.errors import ErrorCode, KafkaError

PARTITIONS_PER_REQUEST_MAX = 10_000
BY_DEFAULT = -1


@dataclass(frozen=True, slots=True)
class Assignment:
    partition_index: int
    broker_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class NewTopic:
    name: str
    num_partitions: int
    replication_factor: int
    assignments: tuple[Assignment, ...]
    configs: tuple[ConfigEntry, ...]


@dataclass(frozen=True, slots=True)
class CreateTopicsRequest:
    topics: tuple[NewTopic, ...]
    validate_only: bool


@dataclass(frozen=True, slots=True)
class CreatedConfig:
    name: str
    value: str | None
    read_only: bool
    config_source: int
    is_sensitive: bool


@dataclass(frozen=True, slots=True)
class CreatedTopic:
    name: str
    error_code: ErrorCode
    error_message: str | None = None
    topic_id: uuid.UUID | None = None
    num_partitions: int = -1
    replication_factor: int = -1
    configs: tuple[CreatedConfig, ...] | None = ()


@dataclass(frozen=True, slots=True)
class CreateTopicsResponse:
    topics: tuple[CreatedTopic, ...]


@dataclass(frozen=True, slots=True)
class DeletedTopicRef:
    name: str | None = None
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class DeleteTopicsRequest:
    """Names alone before version 6."""

    topic_names: tuple[str, ...] = ()
    topics: tuple[DeletedTopicRef, ...] = ()


@dataclass(frozen=True, slots=True)
class DeletedTopic:
    name: str | None
    error_code: ErrorCode
    error_message: str | None = None
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class DeleteTopicsResponse:
    responses: tuple[DeletedTopic, ...]


@dataclass(frozen=True, slots=True)
class NewPartitionsAssignment:
    broker_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NewPartitions:
    name: str
    count: int
    assignments: tuple[NewPartitionsAssignment, ...] | None


@dataclass(frozen=True, slots=True)
class CreatePartitionsRequest:
    topics: tuple[NewPartitions, ...]
    validate_only: bool


@dataclass(frozen=True, slots=True)
class GrownTopic:
    name: str
    error_code: ErrorCode
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class CreatePartitionsResponse:
    results: tuple[GrownTopic, ...]


class TopicsHandler:
    def __init__(self, admin: TopicAdmin, settings: BrokerSettings) -> None:
        self._admin = admin
        self._catalog = admin.catalog
        self._settings = settings
        # A thousand topics that are created alike have their configs worked out once.
        self._configs = lru_cache(16)(self._describe_configs)

    def apis(self) -> list[Api]:
        return [
            Api(19, "CreateTopics", range(2, 8), CreateTopicsRequest, self.create),
            Api(20, "DeleteTopics", range(1, 7), DeleteTopicsRequest, self.delete),
            Api(37, "CreatePartitions", range(4), CreatePartitionsRequest, self.create_partitions),
        ]

    async def create(self, _context: RequestContext, request: CreateTopicsRequest) -> CreateTopicsResponse:
        """Creates the valid ones of the topics, in one transaction."""
        async with self._catalog.topic_changes:
            results: dict[str, CreatedTopic] = {}
            new: dict[str, Topic] = {}
            repeated = _repeated(topic.name for topic in request.topics)
            partitions_left = PARTITIONS_PER_REQUEST_MAX
            for asked in request.topics:
                try:
                    if asked.name in repeated:
                        raise KafkaError(ErrorCode.invalid_request, "Duplicate topic name.")
                    topic = self._new_topic(asked, new)
                    partitions_left -= topic.partitions
                    if partitions_left < 0:
                        raise KafkaError(
                            ErrorCode.policy_violation, "Excessively large number of partitions per request."
                        )
                except KafkaError as error:
                    results[asked.name] = CreatedTopic(asked.name, error.code, error.message)
                else:
                    new[topic.name] = topic
                    results[topic.name] = self._created(topic)
            if new and not request.validate_only:
                try:
                    await self._admin.create(new.values())
                except CatalogWriteError as exc:
                    results |= {
                        name: CreatedTopic(name, ErrorCode.kafka_storage_error, str(exc)) for name in new
                    }
        return CreateTopicsResponse(tuple(results.values()))

    async def delete(self, context: RequestContext, request: DeleteTopicsRequest) -> DeleteTopicsResponse:
        refs = request.topics or tuple(DeletedTopicRef(name) for name in request.topic_names)
        if not self._settings.delete_topic_enable:
            code = (
                ErrorCode.topic_deletion_disabled if context.api_version >= 3 else ErrorCode.invalid_request
            )
            return DeleteTopicsResponse(
                tuple(DeletedTopic(r.name, code, "Topic deletion is disabled.", r.topic_id) for r in refs)
            )
        async with self._catalog.topic_changes:
            results: dict[DeletedTopicRef, DeletedTopic] = {}
            gone: dict[DeletedTopicRef, Topic] = {}
            repeated = _repeated(self._name_of(ref) for ref in refs)
            for ref in refs:
                try:
                    topic = self._find(ref)
                    if self._name_of(ref) in repeated:
                        raise KafkaError(ErrorCode.invalid_request, "Duplicate topic name.")
                except KafkaError as error:
                    results[ref] = DeletedTopic(ref.name, error.code, error.message, ref.topic_id)
                else:
                    gone[ref] = topic
                    results[ref] = DeletedTopic(topic.name, ErrorCode.none, None, topic.topic_id)
            if gone:
                try:
                    await self._admin.delete(gone.values())
                except CatalogWriteError as exc:
                    for ref in gone:
                        results[ref] = DeletedTopic(
                            ref.name, ErrorCode.kafka_storage_error, str(exc), ref.topic_id
                        )
        return DeleteTopicsResponse(tuple(results.values()))

    async def create_partitions(
        self, _context: RequestContext, request: CreatePartitionsRequest
    ) -> CreatePartitionsResponse:
        async with self._catalog.topic_changes:
            results: dict[str, GrownTopic] = {}
            counts: dict[Topic, int] = {}
            repeated = _repeated(topic.name for topic in request.topics)
            for asked in request.topics:
                try:
                    if asked.name in repeated:
                        raise KafkaError(ErrorCode.invalid_request, "Duplicate topic name.")
                    counts[self._growing_topic(asked)] = asked.count
                except KafkaError as error:
                    results[asked.name] = GrownTopic(asked.name, error.code, error.message)
                else:
                    results[asked.name] = GrownTopic(asked.name, ErrorCode.none)
            if counts and not request.validate_only:
                try:
                    await self._admin.grow(counts)
                except CatalogWriteError as exc:
                    for topic in counts:
                        results[topic.name] = GrownTopic(topic.name, ErrorCode.kafka_storage_error, str(exc))
        return CreatePartitionsResponse(tuple(results.values()))

    def _new_topic(self, asked: NewTopic, others: dict[str, Topic]) -> Topic:
        """The topic to create; KafkaError with Kafka's text when it cannot be."""
        if (problem := topic_name_problem(asked.name)) is not None:
            raise KafkaError(ErrorCode.invalid_topic_exception, problem)
        if asked.name in self._catalog.topics:
            raise KafkaError(ErrorCode.topic_already_exists, f"Topic '{asked.name}' already exists.")
        if (other := self._catalog.topics.colliding(asked.name, others)) is not None:
            raise KafkaError(
                ErrorCode.invalid_topic_exception,
                f"Topic '{asked.name}' collides with existing topic: {other}",
            )
        try:
            configs = self._admin.configs.validate({config.name: config.value for config in asked.configs})
        except InvalidConfig as exc:
            raise KafkaError(ErrorCode.invalid_config, str(exc)) from exc
        return Topic(asked.name, uuid.uuid4(), self._partition_count(asked), configs)

    def _partition_count(self, asked: NewTopic) -> int:
        if asked.assignments:
            if asked.replication_factor != BY_DEFAULT:
                raise KafkaError(
                    ErrorCode.invalid_request,
                    "A manual partition assignment was specified, but replication factor was not set to -1.",
                )
            if asked.num_partitions != BY_DEFAULT:
                raise KafkaError(
                    ErrorCode.invalid_request,
                    "A manual partition assignment was specified, but numPartitions was not set to -1.",
                )
            self._check_assignments(asked.assignments)
            return len(asked.assignments)
        if asked.replication_factor < BY_DEFAULT or asked.replication_factor == 0:
            raise KafkaError(
                ErrorCode.invalid_replication_factor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            )
        if asked.replication_factor > 1:
            raise KafkaError(
                ErrorCode.invalid_replication_factor,
                f"Unable to replicate the partition {asked.replication_factor} time(s): "
                f"The target replication factor of {asked.replication_factor} cannot be reached "
                "because only 1 broker(s) are registered or some brokers have all their log directories "
                "cordoned.",
            )
        if asked.num_partitions < BY_DEFAULT or asked.num_partitions == 0:
            raise KafkaError(
                ErrorCode.invalid_partitions,
                "Number of partitions was set to an invalid non-positive value.",
            )
        return self._settings.num_partitions if asked.num_partitions == BY_DEFAULT else asked.num_partitions

    def _check_assignments(self, assignments: Sequence[Assignment]) -> None:
        counts = Counter(assignment.partition_index for assignment in assignments)
        for partition, count in counts.items():
            if count > 1:
                raise KafkaError(
                    ErrorCode.invalid_replica_assignment,
                    f"Found multiple manual partition assignments for partition {partition}",
                )
        for assignment in assignments:
            self._check_brokers(assignment.broker_ids)
        if set(counts) != set(range(len(assignments))):
            raise KafkaError(
                ErrorCode.invalid_replica_assignment,
                "partitions should be a consecutive 0-based integer sequence",
            )

    def _check_brokers(self, broker_ids: Sequence[int]) -> None:
        if not broker_ids:
            raise KafkaError(
                ErrorCode.invalid_replica_assignment,
                "The manual partition assignment includes an empty replica list.",
            )
        for broker_id in broker_ids:
            if broker_id != self._catalog.placement.node_id:
                raise KafkaError(
                    ErrorCode.invalid_replica_assignment,
                    f"The manual partition assignment includes broker {broker_id}, "
                    "but no such broker is registered.",
                )
            if broker_ids.count(broker_id) > 1:
                raise KafkaError(
                    ErrorCode.invalid_replica_assignment,
                    f"The manual partition assignment includes the broker {broker_id} more than once.",
                )

    def _created(self, topic: Topic) -> CreatedTopic:
        return CreatedTopic(
            name=topic.name,
            error_code=ErrorCode.none,
            topic_id=topic.topic_id,
            num_partitions=topic.partitions,
            replication_factor=1,
            configs=self._configs(tuple(topic.configs.items())),
        )

    def _describe_configs(self, explicit: tuple[tuple[str, str], ...]) -> tuple[CreatedConfig, ...]:
        configs, values = self._admin.configs, dict(explicit)
        return tuple(
            CreatedConfig(
                name=name,
                value=values.get(name, configs.text(name, {})),  # as it was sent
                read_only=False,
                config_source=configs.source(name, values),
                is_sensitive=False,
            )
            for name in DEFINITIONS
        )

    def _find(self, ref: DeletedTopicRef) -> Topic:
        if ref.name is not None and ref.topic_id is not None:
            raise KafkaError(ErrorCode.invalid_request, "You may not specify both topic name and topic id.")
        if ref.topic_id is not None:
            if (topic := self._catalog.topics.by_id(ref.topic_id)) is None:
                raise KafkaError(ErrorCode.unknown_topic_id, "This server does not host this topic ID.")
            return topic
        if ref.name is None:
            raise KafkaError(ErrorCode.invalid_request, "Neither topic name nor id were specified.")
        if (topic := self._catalog.topics.get(ref.name)) is None:
            raise KafkaError(
                ErrorCode.unknown_topic_or_partition, "This server does not host this topic-partition."
            )
        return topic

    def _name_of(self, ref: DeletedTopicRef) -> str | None:
        topic = self._catalog.topics.by_id(ref.topic_id)
        return topic.name if topic is not None else ref.name

    def _growing_topic(self, asked: NewPartitions) -> Topic:
        topic = self._catalog.topics.get(asked.name)
        if topic is None:
            raise KafkaError(
                ErrorCode.unknown_topic_or_partition, "This server does not host this topic-partition."
            )
        if asked.count == topic.partitions:
            raise KafkaError(
                ErrorCode.invalid_partitions, f"Topic already has {topic.partitions} partition(s)."
            )
        if asked.count < topic.partitions:
            raise KafkaError(
                ErrorCode.invalid_partitions,
                f"The topic {topic.name} currently has {topic.partitions} partition(s); "
                f"{asked.count} would not be an increase.",
            )
        added = asked.count - topic.partitions
        if added > PARTITIONS_PER_REQUEST_MAX:
            raise KafkaError(
                ErrorCode.policy_violation, "Excessively large number of partitions per request."
            )
        if asked.assignments is not None:
            if len(asked.assignments) != added:
                raise KafkaError(
                    ErrorCode.invalid_replica_assignment,
                    f"Attempted to add {added} additional partition(s), "
                    f"but only {len(asked.assignments)} assignment(s) were specified.",
                )
            for assignment in asked.assignments:
                self._check_brokers(assignment.broker_ids)
        return topic


def _repeated(names: Iterable[str | None]) -> set[str]:
    return {name for name, count in Counter(names).items() if name is not None and count > 1}
