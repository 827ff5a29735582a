"""Puts together what carries a source task's records to Kafka: producer, delivery, stored offsets."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connect.api import TransactionContext
from connect.runtime import offset_topics
from connect.runtime.client_overrides import client_settings, task_client, transactional_settings
from connect.runtime.config import WorkerConfig
from connect.runtime.connector_config import SourceConnectorConfig
from connect.runtime.offset_format import merged
from connect.runtime.offset_topics import OffsetTopic
from connect.runtime.producer import LibrdkafkaProducer, SourceProducer
from connect.runtime.source_delivery import AtLeastOnce, Delivery, DeliverySettings, ExactlyOnce
from connect.runtime.task_channel import TaskChannel
from connect.runtime.transaction_boundaries import (
    Boundaries,
    ConnectorBoundaries,
    IntervalBoundaries,
    PollBoundaries,
)
from connect.runtime.transactional_producer import Interrupted, TransactionalProducer
from connect.runtime.worker_offsets import WorkerOffsets

_STOP_SHARE: Final = 0.8  # of the graceful timeout, for the last acknowledgements

Pairs = Sequence[tuple[Mapping[str, Any], Any]]


@dataclass(frozen=True, slots=True)
class Made:
    """`offsets` are those that the task goes on at."""

    producer: SourceProducer
    delivery: Delivery
    offsets: Pairs
    transactions: TransactionContext | None = None


class SourceParts:
    """For one task; `config` is resolved. `watching` are more settings for its producer."""

    def __init__(
        self,
        channel: TaskChannel,
        worker: WorkerConfig,
        connector: str,
        task: int,
        config: Mapping[str, str | None],
        watching: Mapping[str, Any],
    ) -> None:
        self._channel = channel
        self._worker = worker
        self._connector = connector
        self._task = task
        self._config = config
        self._watching = watching

    def make(self, common: SourceConnectorConfig, offsets: Pairs) -> Made | None:
        """`offsets` are those of the worker's topic; for exactly-once they are asked for when the
        predecessors are fenced. None: the task was told to stop meanwhile."""
        if self._worker.standalone:
            return self._standalone(offsets)
        self._channel.progress.rest("waiting for Kafka")
        topic = offset_topics.offset_topic(self._worker, self._config)
        if not topic.is_workers:
            offset_topics.prepare(self._worker, topic, self._client("admin"))
        if self._worker.exactly_once:
            return self._exactly_once(common, topic)
        producer = LibrdkafkaProducer({**self._client("producer"), **self._watching})
        delivery = AtLeastOnce(self._settings(topic), self._channel, producer, self._offsets_producer(topic))
        return Made(producer, delivery, self._with_own(topic, offsets))

    def _standalone(self, offsets: Pairs) -> Made:
        settings = self._settings(OffsetTopic("", is_workers=True))
        producer = LibrdkafkaProducer({**self._client("producer"), **self._watching})
        return Made(
            producer, AtLeastOnce(settings, self._channel, producer, WorkerOffsets(self._channel)), offsets
        )

    def _exactly_once(self, common: SourceConnectorConfig, topic: OffsetTopic) -> Made | None:
        boundaries, longest_ms = self._boundaries(common)
        settings = transactional_settings(self._worker, self._connector, self._task, self._config, longest_ms)
        producer = TransactionalProducer({**settings, **self._watching})
        try:
            producer.initialize(lambda: self._channel.stopping, topic.name)
        except Interrupted:
            return None
        offsets = self._channel.offsets_after_fencing()
        if offsets is None:
            return None
        delivery = ExactlyOnce(self._settings(topic), self._channel, producer, boundaries)
        transactions = boundaries if isinstance(boundaries, ConnectorBoundaries) else None
        return Made(producer, delivery, self._with_own(topic, offsets), transactions)

    def _boundaries(self, common: SourceConnectorConfig) -> tuple[Boundaries, int]:
        """And for how long one transaction is meant to be open, in milliseconds."""
        kind = common.transaction_boundary.lower()
        if kind == "connector":
            return ConnectorBoundaries(), 0
        if kind == "poll":
            return PollBoundaries(), 0
        interval_ms = common.transaction_boundary_interval_ms or self._worker.offset_flush_interval_ms
        return IntervalBoundaries(interval_ms / 1000, time.monotonic), interval_ms

    def _with_own(self, topic: OffsetTopic, offsets: Pairs) -> Pairs:
        if topic.is_workers:
            return offsets
        own = offset_topics.read(self._client("consumer"), self._client("admin"), topic.name, self._connector)
        return merged(offsets, list(own.values()))

    def _offsets_producer(self, topic: OffsetTopic) -> LibrdkafkaProducer | None:
        """Another one where the connector's records go to another cluster than the worker's offsets."""
        if not topic.is_workers or not offset_topics.is_elsewhere(self._worker, self._config):
            return None
        settings = client_settings(self._worker, "producer", {}).values
        settings.setdefault("client.id", f"connector-offsets-{self._connector}-{self._task}")
        return LibrdkafkaProducer(settings)

    def _settings(self, topic: OffsetTopic) -> DeliverySettings:
        return DeliverySettings(
            self._connector,
            topic.name,
            self._worker.offset_flush_interval_ms / 1000,
            self._worker.offset_flush_timeout_ms / 1000,
            self._worker.task_shutdown_timeout_ms / 1000 * _STOP_SHARE,
            copied=not topic.is_workers,
        )

    def _client(self, kind: str) -> dict[str, Any]:
        return task_client(self._worker, kind, self._connector, self._task, self._config)
