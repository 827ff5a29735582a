"""Offsets of sinks as users write them (KIP-875), with Connect's refusals."""

from collections.abc import Mapping
from typing import Any

from connect.runtime.service import BadRequest, Offsets


def sink_offset_changes(offsets: Offsets) -> list[tuple[str, int, int | None]]:
    """(topic, partition, offset or None) of each entry; raises `BadRequest`."""
    return [_change(partition, offset) for partition, offset in offsets]


def _change(
    partition: Mapping[str, Any] | None, offset: Mapping[str, Any] | None
) -> tuple[str, int, int | None]:
    if partition is None:
        raise BadRequest("The partition for a sink connector offset cannot be null or missing")
    for key in ("kafka_topic", "kafka_partition"):
        if key not in partition:
            raise BadRequest(f"The partition for a sink connector offset must contain the key '{key}'")
    topic = partition["kafka_topic"]
    if not isinstance(topic, str):
        raise BadRequest("Kafka topic names must be valid strings and may not be null")
    number = _integer("partition", partition["kafka_partition"])
    if offset is None:
        return topic, number, None
    if "kafka_offset" not in offset:
        raise BadRequest(
            "The offset for a sink connector should either be null or contain the key 'kafka_offset'"
        )
    return topic, number, _integer("offset", offset["kafka_offset"])


def _integer(what: str, value: Any) -> int:
    """An integer, or one written as text, as Connect takes it."""
    try:
        if isinstance(value, bool | float):
            raise ValueError
        return int(value)
    except (TypeError, ValueError):
        raise BadRequest(
            f"Failed to parse the following Kafka {what} value in the provided offsets: '{value}'. "
            f"{what.capitalize()} values for sink connectors need to be integers."
        ) from None
