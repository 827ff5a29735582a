"""The keys of the offsets topic."""

from collections.abc import Mapping
from typing import Any

import orjson


def offset_key(connector: str, partition: Mapping[str, Any]) -> str:
    """`["CONNECTOR",{source partition}]`, as Kafka Connect writes it."""
    return orjson.dumps([connector, partition]).decode()
