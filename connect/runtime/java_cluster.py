"""What a Connect cluster left in its three internal topics, read without leaving a trace.

Nothing is created, written or committed and no group is joined, so it may be read while the cluster runs.
The records are those of Kafka Connect's eager, compatible and sessioned protocols alike: what only its
workers need (`session-key`, `logger-cluster-*`, `restart-connector-*`, `tasks-fencing-*`) is skipped.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiokafka
import orjson
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from connect.api import ConnectError
from connect.herder.config_state import ConfigState
from connect.herder.states import TaskId
from connect.runtime.client_overrides import client_settings
from connect.runtime.config import WorkerConfig
from connect.runtime.internal_topics import internal_topics
from connect.runtime.kafka_clients import aiokafka_settings

# What goes wrong is raised; librdkafka's own lines would say it again and again.
_SILENT: Final = logging.getLogger(f"{__name__}.librdkafka")
_SILENT.disabled = True
_REACH_S: Final = 10.0
_SILENCE_S: Final = 30.0
_POLL_MS: Final = 1_000
_STATUS_CONNECTOR: Final = "status-connector-"
_STATUS_TASK: Final = "status-task-"


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """One record of an internal topic, as its bytes; value None is a tombstone."""

    key: bytes | None
    value: bytes | None


@dataclass(slots=True)
class JavaCluster:
    """The cluster's image, `states` being the last state told of each connector and task.

    `unreadable` counts, by topic, the records that are no JSON or not of Connect's shape; `missing` names the
    settings whose topic does not exist; `runs` is whether workers are in its group.
    """

    config: ConfigState = field(default_factory=ConfigState)
    states: dict[str | TaskId, str] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    runs: bool = False
    _offsets: dict[str, dict[bytes, tuple[Any, Any]]] = field(default_factory=dict)

    @property
    def connectors(self) -> Mapping[str, Mapping[str, str | None]]:
        return self.config.connectors

    def offsets(self, name: str) -> list[tuple[Any, Any]]:
        """The (source partition, source offset) pairs of a connector."""
        return list(self._offsets.get(name, {}).values())

    def take(self, worker: WorkerConfig, topic: str, records: Iterable[TopicRecord]) -> None:
        """Fold the records of one of the worker's topics, in their order."""
        for record in records:
            try:
                self._take(worker, topic, record)
            except (AttributeError, KeyError, TypeError, ValueError):
                self.unreadable[topic] = self.unreadable.get(topic, 0) + 1

    def _take(self, worker: WorkerConfig, topic: str, record: TopicRecord) -> None:
        if record.key is None:
            raise ValueError("a record of a compacted topic has a key")
        value = None if record.value is None else orjson.loads(record.value)
        if topic == worker.offset_topic:
            self._take_offset(record.key, value)
            return
        key = record.key.decode()
        if topic == worker.config_topic:
            if key.startswith("connector-") and value is not None and not _is_properties(value):
                raise ValueError("the config of a connector holds its properties")
            self.config.apply(key, value)
        elif key.startswith((_STATUS_CONNECTOR, _STATUS_TASK)):
            part = _part(key)
            if value is None:
                self.states.pop(part, None)
            else:
                self.states[part] = str(value["state"])

    def _take_offset(self, key: bytes, value: Any) -> None:
        name, partition = orjson.loads(key)
        if not isinstance(name, str):
            raise TypeError("an offset's key begins with the name of its connector")
        known = self._offsets.setdefault(name, {})
        # The order of the partition's fields is the writer's: the same partition is the same offset.
        place = orjson.dumps(partition, option=orjson.OPT_SORT_KEYS)
        if value is None:
            known.pop(place, None)
        else:
            known[place] = (partition, value)


def _part(key: str) -> str | TaskId:
    """The connector or task of a status key."""
    if key.startswith(_STATUS_CONNECTOR):
        return key.removeprefix(_STATUS_CONNECTOR)
    name, _, number = key.removeprefix(_STATUS_TASK).rpartition("-")
    return TaskId(name, int(number))


def _is_properties(value: Any) -> bool:
    properties = value.get("properties") if isinstance(value, dict) else None
    return isinstance(properties, dict) and all(
        setting is None or isinstance(setting, str) for setting in properties.values()
    )


async def read_cluster(worker: WorkerConfig) -> JavaCluster:
    """Read the three topics to their present ends; raises `ConnectError` if Kafka does not answer."""
    admin = AdminClient(client_settings(worker, "admin", {}).values, logger=_SILENT)
    partitions = _partitions(admin, worker)
    cluster = JavaCluster(runs=_runs(admin, worker))
    places: list[aiokafka.TopicPartition] = []
    for topic in internal_topics(worker):
        if topic.name in partitions:
            places += [aiokafka.TopicPartition(topic.name, number) for number in partitions[topic.name]]
        else:
            cluster.missing[topic.setting] = topic.name
    if places:
        for name, records in (await _read(worker, places)).items():
            cluster.take(worker, name, records)
    return cluster


def _partitions(admin: AdminClient, worker: WorkerConfig) -> dict[str, list[int]]:
    """The partitions of every topic. All are asked for: to ask for one by its name may create it."""
    try:
        topics = admin.list_topics(timeout=_REACH_S).topics
    except KafkaException as exc:
        servers = ",".join(worker.bootstrap_servers)
        raise ConnectError(f"no Kafka broker answers at {servers}: {exc.args[0].str()}") from exc
    return {name: sorted(topic.partitions) for name, topic in topics.items()}


def _runs(admin: AdminClient, worker: WorkerConfig) -> bool:
    """Whether the group of the workers has members. (`list_consumer_groups` knows consumers only.)"""
    try:
        groups = admin.list_groups(worker.group_id, timeout=_REACH_S)
    except KafkaException as exc:
        raise ConnectError(f"group {worker.group_id} could not be described: {exc.args[0].str()}") from exc
    return any(group.members for group in groups)


async def _read(
    worker: WorkerConfig, places: Sequence[aiokafka.TopicPartition]
) -> dict[str, list[TopicRecord]]:
    """Everything that is in these partitions now by topic, in the order of each partition."""
    found: dict[str, list[TopicRecord]] = {place.topic: [] for place in places}
    consumer = aiokafka.AIOKafkaConsumer(
        **aiokafka_settings(worker.own_client()),
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    consumer.assign(places)
    try:
        async with asyncio.timeout(_SILENCE_S) as limit:
            await consumer.start()
            ends = await consumer.end_offsets(places)
            while behind := [place for place in places if await consumer.position(place) < ends[place]]:
                for place, batch in (await consumer.getmany(*behind, timeout_ms=_POLL_MS)).items():
                    found[place.topic] += [TopicRecord(record.key, record.value) for record in batch]
                    limit.reschedule(asyncio.get_running_loop().time() + _SILENCE_S)
    except TimeoutError:
        topics = ", ".join(found)
        raise ConnectError(f"topics {topics} could not be read: no answer for {_SILENCE_S:g} s") from None
    except KafkaError as exc:
        raise ConnectError(f"the internal topics could not be read: {exc}") from exc
    finally:
        await consumer.stop()
    return found
