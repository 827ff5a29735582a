"""Makes sure that the config, offset and status topics are there, and are compacted."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from connect.api import ConfigError, ConnectError
from connect.runtime.config import WorkerConfig

_LOG = logging.getLogger(__name__)
_REPLICAS: Final = 3
_CONNECT_S: Final = 60.0
_RETRY_S: Final = 0.5
_VISIBLE_S: Final = 30.0
_VISIBLE_RETRY_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class InternalTopic:
    """`partitions` None: any number will do for a topic that exists."""

    setting: str
    name: str
    partitions: int
    replication_factor: int | None
    configs: Mapping[str, str]
    holds: str


def internal_topics(worker: WorkerConfig) -> list[InternalTopic]:
    """The three topics of a worker, from its settings."""
    return [
        InternalTopic("config.storage.topic", worker.config_topic, 1, worker.config_replication,
                      worker.topic_settings("config"), "connector configurations"),
        InternalTopic("offset.storage.topic", worker.offset_topic, worker.offset_partitions,
                      worker.offset_replication, worker.topic_settings("offset"), "source connector offsets"),
        InternalTopic("status.storage.topic", worker.status_topic, worker.status_partitions,
                      worker.status_replication, worker.topic_settings("status"),
                      "connector and task statuses"),
    ]  # fmt: skip


async def prepare_internal_topics(worker: WorkerConfig, client: Mapping[str, Any]) -> str:
    """Create what is missing, check what is there; the id of the Kafka cluster.

    Waits up to a minute for Kafka; raises `ConnectError` if it stays away, `ConfigError` for a topic that
    would lose data.
    """
    admin = await _connect(client)
    try:
        cluster = await admin.describe_cluster()
        brokers = len(cluster["brokers"])
        await asyncio.gather(*(_prepare(admin, topic, brokers) for topic in internal_topics(worker)))
        return str(cluster["cluster_id"])
    except KafkaError as exc:
        raise ConnectError(f"the internal topics could not be prepared: {exc}") from exc
    finally:
        await admin.close()


async def lookup_cluster(client: Mapping[str, Any]) -> str:
    """The id of the Kafka cluster; waits for it and raises like `prepare_internal_topics`."""
    admin = await _connect(client)
    try:
        return str((await admin.describe_cluster())["cluster_id"])
    except KafkaError as exc:
        raise ConnectError(f"the Kafka cluster could not be described: {exc}") from exc
    finally:
        await admin.close()


async def _connect(client: Mapping[str, Any]) -> AIOKafkaAdminClient:
    deadline = asyncio.get_running_loop().time() + _CONNECT_S
    while True:
        admin = AIOKafkaAdminClient(**client)
        try:
            await admin.start()
        except KafkaError as exc:
            await admin.close()
            if asyncio.get_running_loop().time() >= deadline:
                servers = ",".join(client["bootstrap_servers"])
                raise ConnectError(
                    f"Failed to connect to and describe Kafka cluster at {servers}: {exc}. "
                    "Check worker's broker connection and security properties."
                ) from exc
            await asyncio.sleep(_RETRY_S)
        else:
            return admin


async def _prepare(admin: AIOKafkaAdminClient, topic: InternalTopic, brokers: int) -> None:
    await _create(admin, topic, brokers)
    await _check(admin, topic)


async def _create(admin: AIOKafkaAdminClient, topic: InternalTopic, brokers: int) -> None:
    replication = topic.replication_factor
    if replication is None:
        replication = min(_REPLICAS, brokers)
    wanted = NewTopic(
        topic.name, topic.partitions, replication,
        topic_configs={"cleanup.policy": "compact", **topic.configs},
    )  # fmt: skip
    response: Any = await admin.create_topics([wanted])
    for name, code, *message in response.topic_errors:
        if code == TopicAlreadyExistsError.errno:
            continue
        if code:
            told = message[0] if message and message[0] else for_code(code).description
            raise ConnectError(f"topic {name} ({topic.setting}) could not be created: {told}")
        _LOG.info("created topic %s for %s", name, topic.holds)


async def _check(admin: AIOKafkaAdminClient, topic: InternalTopic) -> None:
    partitions = await _partition_count(admin, topic)
    if topic.partitions == 1 and partitions != 1:
        raise ConfigError(
            f"Topic '{topic.name}' supplied via the '{topic.setting}' property is required to have a single "
            f"partition in order to guarantee consistency of {topic.holds}, "
            f"but found {partitions} partitions."
        )
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name)])
    policy = _config_value(responses, "cleanup.policy")
    if policy is not None and policy.strip() != "compact":
        raise ConfigError(
            f"Topic '{topic.name}' supplied via the '{topic.setting}' property is required to have "
            f"'cleanup.policy=compact' to guarantee consistency and durability of {topic.holds}, but found "
            f"the topic currently has 'cleanup.policy={policy}'. Continuing would likely result in "
            f"eventually losing {topic.holds}. Change the '{topic.setting}' property of the worker to a "
            "topic with 'cleanup.policy=compact'."
        )


async def _partition_count(admin: AIOKafkaAdminClient, topic: InternalTopic) -> int:
    """Waits for a topic that was just created: a broker may hear of it a little later."""
    deadline = asyncio.get_running_loop().time() + _VISIBLE_S
    while True:
        described = await admin.describe_topics([topic.name])
        if partitions := len(described[0]["partitions"]):
            return partitions
        if asyncio.get_running_loop().time() >= deadline:
            raise ConnectError(f"topic {topic.name} ({topic.setting}) cannot be found at the brokers")
        await asyncio.sleep(_VISIBLE_RETRY_S)


def _config_value(responses: Any, name: str) -> str | None:
    for response in responses:
        for resource in response.resources:
            for entry in resource[4]:
                if entry[0] == name:
                    return str(entry[1])
    return None
