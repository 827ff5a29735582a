"""The offsets of a sink: those of its consumer group. Operations of the plugin host."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from connect.api import ConnectError
from connect.runtime.client_overrides import check_overrides, client_settings, overrides, sink_group
from connect.runtime.config import WorkerConfig
from connect.runtime.kafka_clients import aiokafka_settings
from connect.runtime.offset_delete import delete_offsets

_TIMEOUT_S: Final = 30.0


def _admin(request: Mapping[str, Any]) -> tuple[AdminClient, str]:
    worker, config = WorkerConfig.parse(request["worker"]), request["config"]
    admin = AdminClient(client_settings(worker, "admin", config).values)
    return admin, sink_group(request["connector"], config)


def read(request: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """(topic, partition, committed offset) of the group; empty if there is none."""
    admin, group = _admin(request)
    asked = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=_TIMEOUT_S
    )
    try:
        found = asked[group].result()
    except KafkaException as exc:
        if exc.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise _failed(group, "read", exc) from exc
    return sorted((p.topic, p.partition, p.offset) for p in found.topic_partitions if p.offset >= 0)


def alter(request: Mapping[str, Any]) -> None:
    """Commit `offsets`, a list of [topic, partition, offset]; offset None forgets that partition's.

    The group must have no members. Whatever ends this in the middle, no other offset is touched.
    """
    wanted = {(topic, partition): offset for topic, partition, offset in request["offsets"]}
    if forgotten := [place for place, offset in wanted.items() if offset is None]:
        _forget(request, forgotten)
    commits = [TopicPartition(*place, offset) for place, offset in wanted.items() if offset is not None]
    if not commits:
        return
    admin, group = _admin(request)
    asked = admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, commits)], request_timeout=_TIMEOUT_S
    )
    try:
        done = asked[group].result()
    except KafkaException as exc:
        raise _failed(group, "altered", exc) from exc
    for partition in done.topic_partitions:
        if partition.error is not None:
            raise ConnectError(
                f"Failed to alter consumer group offsets for topic partition {partition.topic}-"
                f"{partition.partition} of group {group}: {partition.error.str()}"
            )


def _forget(request: Mapping[str, Any], places: Iterable[tuple[str, int]]) -> None:
    worker, config = WorkerConfig.parse(request["worker"]), request["config"]
    check_overrides(worker, "admin", config)
    client = aiokafka_settings({**worker.client("admin"), **overrides("admin", config)})
    asyncio.run(delete_offsets(client, sink_group(request["connector"], config), places))


def reset(request: Mapping[str, Any]) -> None:
    """Delete the group; none is as good."""
    admin, group = _admin(request)
    try:
        admin.delete_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result()
    except KafkaException as exc:
        if exc.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise _failed(group, "reset", exc) from exc


def _failed(group: str, what: str, exc: KafkaException) -> ConnectError:
    return ConnectError(f"The offsets of consumer group {group} could not be {what}: {exc.args[0].str()}")
