"""Heartbeats: records that carry the position on while no captured table changes."""

import time
from collections.abc import Mapping
from json.encoder import encode_basestring as quote
from typing import Any, Final

from connect.api import JsonPayload, Schema, SourceRecord
from connect.api import schemas as connect
from connect.api.schemas import struct
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.naming import Names
from connectors.postgres.values import decoder

_KEY: Final = struct(
    {"serverName": connect.STRING}, name="io.debezium.connector.common.ServerNameKey", version=1
)
_VALUE: Final = struct({"ts_ms": connect.INT64}, name="io.debezium.connector.common.Heartbeat", version=1)


class Heartbeats:
    """Says when the next heartbeat is due, and makes it."""

    def __init__(self, config: PostgresSourceConfig, source_partition: Mapping[str, Any]) -> None:
        self._interval_s = config.heartbeat_interval_ms / 1000
        self._due = time.monotonic() + self._interval_s
        self._source_partition = source_partition
        self._topic = Names(config).heartbeat_topic
        self._key = _payload(_KEY, f'{{"serverName":{quote(config.topic_prefix)}}}')

    def due(self) -> bool:
        """True once per interval."""
        if not self._interval_s or time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + self._interval_s
        return True

    def record(self, offset: Mapping[str, Any]) -> SourceRecord:
        value = _payload(_VALUE, f'{{"ts_ms":{time.time_ns() // 1_000_000}}}')
        return SourceRecord(
            self._source_partition,
            offset,
            self._topic,
            value,
            value_schema=_VALUE,
            key=self._key,
            key_schema=_KEY,
        )


def _payload(schema: Schema, json: str) -> JsonPayload:
    return JsonPayload(json.encode(), decoder(schema))
