"""The offsets of a source where its own clients are needed: in its own topic, in a transaction (KIP-618);
and the fencing of its tasks. Operations of the plugin host.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson

from connect.api import ConnectError
from connect.runtime import offset_topics
from connect.runtime.client_overrides import client_settings, transactional_settings
from connect.runtime.config import WorkerConfig
from connect.runtime.config_providers import ConfigResolver
from connect.runtime.offset_format import offset_key
from connect.runtime.offset_topics import OffsetTopic
from connect.runtime.plugins import Plugins
from connect.runtime.producer import LibrdkafkaProducer
from connect.runtime.transactional_producer import Interrupted, TransactionalProducer

TIMEOUT_S: Final = 60.0
_AT_ONCE: Final = 16


class _Source:
    """What a request is about, as far as Kafka is concerned."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.worker = WorkerConfig.parse(request["worker"])
        resolver = ConfigResolver(self.worker.originals, Plugins.discover())
        self.config = resolver.resolve(request["config"])
        self.name: str = request["connector"]

    def topic(self) -> OffsetTopic:
        return offset_topics.offset_topic(self.worker, self.config)

    def read(self, topic: OffsetTopic) -> offset_topics.Offsets:
        consumer, admin = (
            client_settings(self.worker, kind, self.config).values for kind in ("consumer", "admin")
        )
        return offset_topics.read(consumer, admin, topic.name, self.name)

    def producer_settings(self, task: int) -> dict[str, Any]:
        return transactional_settings(self.worker, self.name, task, self.config)


def fence(request: Mapping[str, Any]) -> None:
    """End the transactions of tasks 0 to `tasks` - 1, and see to it that their producers write no more."""
    source = _Source(request)
    gives_up = _deadline()

    def fence_one(task: int) -> None:
        try:
            TransactionalProducer(source.producer_settings(task)).initialize(gives_up)
        except Interrupted:
            raise ConnectError(
                f"Failed to fence out the producer of task {source.name}-{task} in {TIMEOUT_S:g} s"
            ) from None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(fence_one, range(request["tasks"])))


def read(request: Mapping[str, Any]) -> list[offset_topics.Pair]:
    """The offsets in the connector's own topic; none where it has none."""
    source = _Source(request)
    topic = source.topic()
    return [] if topic.is_workers else list(source.read(topic).values())


def write(request: Mapping[str, Any]) -> Mapping[str, bool]:
    """Set `offsets`, pairs of source partition and source offset (None forgets it): all or none of them where
    the worker delivers exactly once; the tasks must have been fenced then. The answer's `own`: the topic is
    not the worker's."""
    source = _Source(request)
    topic = source.topic()
    if not topic.is_workers:
        admin = client_settings(source.worker, "admin", source.config).values
        offset_topics.prepare(source.worker, topic, admin)
    records = _records(source.name, source.read(topic), request["offsets"])
    if source.worker.exactly_once:
        _write_transaction(source.producer_settings(0), topic.name, records)
    else:
        producer = LibrdkafkaProducer(client_settings(source.worker, "producer", source.config).values)
        for key, value in records:
            producer.produce(topic.name, value, key, -1)
        if not producer.flush(TIMEOUT_S):
            raise ConnectError(f"offsets topic {topic.name} did not take the offsets in {TIMEOUT_S:g} s")
    return {"own": not topic.is_workers}


def _records(
    connector: str, known: offset_topics.Offsets, offsets: Sequence[offset_topics.Pair]
) -> list[tuple[bytes, bytes | None]]:
    """Key and value of each; a partition that is there keeps its key, whatever the order of its fields."""
    records = []
    for partition, offset in offsets:
        keys = [key for key, (stored, _) in known.items() if stored == partition]
        key = keys[0] if keys else offset_key(connector, partition)
        records.append((key.encode(), None if offset is None else orjson.dumps(offset)))
    return records


def _write_transaction(
    settings: Mapping[str, Any], topic: str, records: Sequence[tuple[bytes, bytes | None]]
) -> None:
    producer = TransactionalProducer(settings)
    gives_up = _deadline()
    producer.initialize(gives_up)
    producer.begin()
    for key, value in records:
        producer.produce(topic, value, key, -1)
    producer.commit(gives_up)


def _deadline() -> Callable[[], bool]:
    end = time.monotonic() + TIMEOUT_S
    return lambda: time.monotonic() >= end
