"""The keys of offsets topics, and the source partitions in them."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson


def offset_key(connector: str, partition: Mapping[str, Any]) -> str:
    """`["CONNECTOR",{source partition}]`, as Kafka Connect writes it."""
    return orjson.dumps([connector, partition]).decode()


def frozen(partition: Mapping[str, Any]) -> bytes:
    """What tells source partitions apart, whatever the order of their fields."""
    return orjson.dumps(partition, option=orjson.OPT_SORT_KEYS)


def merged(
    workers: Iterable[tuple[Mapping[str, Any], Any]], own: Iterable[tuple[Mapping[str, Any], Any]]
) -> list[tuple[Mapping[str, Any], Any]]:
    """A connector's offsets: its own topic counts, the worker's for what is not in there (KIP-618)."""
    return list({frozen(partition): (partition, offset) for partition, offset in (*workers, *own)}.values())
