"""Notifications of snapshots, as Debezium sends them: to a topic (`sink`) and to the log."""

import time
import uuid
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring as quote
from typing import Any, Final

import structlog

from connect.api import JsonPayload, Schema, SchemaType, SourceRecord
from connect.api import schemas as connect
from connect.api.schemas import struct
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.values import decoder

INITIAL: Final = "Initial Snapshot"
INCREMENTAL: Final = "Incremental Snapshot"

_KEY: Final = struct({"id": connect.STRING}, name="io.debezium.connector.common.NotificationKey", version=1)
_VALUE: Final = struct(
    {
        "id": connect.STRING, "type": connect.STRING, "aggregate_type": connect.STRING,
        "additional_data": Schema(
            SchemaType.MAP, True, key_schema=connect.STRING, value_schema=connect.STRING
        ),
        "timestamp": connect.INT64,
    },
    name="io.debezium.connector.common.Notification", version=1,
)  # fmt: skip

# As Java's HashMap has them.
_ORDER: Final = (
    "scanned_collection", "current_collection_in_progress", "connector_name", "total_rows_scanned", "status",
    "maximum_key", "data_collections", "last_processed_key",
)  # fmt: skip

log = structlog.get_logger(__name__)


class Notifications:
    """Sends to the enabled channels; what it returns are records for the sink topic, perhaps none."""

    def __init__(self, config: PostgresSourceConfig, source_partition: Mapping[str, Any]) -> None:
        self._to_log = "log" in config.notification_channels
        self._topic = config.notification_topic if "sink" in config.notification_channels else None
        self._connector_name = config.topic_prefix
        self._source_partition = source_partition
        self._decode_key, self._decode_value = decoder(_KEY), decoder(_VALUE)

    def send(
        self,
        aggregate: str,
        kind: str,
        offset: Mapping[str, Any],
        notification_id: str | None = None,
        **data: str,
    ) -> list[SourceRecord]:
        """One notification. `offset` is that of what was handed out before: it tells no progress itself."""
        if not self._to_log and self._topic is None:
            return []
        identity = notification_id or str(uuid.uuid4())
        more = {"connector_name": self._connector_name, **data}
        more = {name: more[name] for name in _ORDER if name in more}
        if self._to_log:
            log.info("notification", id=identity, type=kind, aggregate_type=aggregate, **more)
        if self._topic is None:
            return []
        shown = ",".join(f"{quote(name)}:{quote(value)}" for name, value in more.items())
        value = (
            f'{{"id":{quote(identity)},"type":{quote(kind)},"aggregate_type":{quote(aggregate)},'
            f'"additional_data":{{{shown}}},"timestamp":{time.time_ns() // 1_000_000}}}'
        )
        return [
            SourceRecord(
                self._source_partition, offset, self._topic, JsonPayload(value.encode(), self._decode_value),
                value_schema=_VALUE,
                key=JsonPayload(f'{{"id":{quote(identity)}}}'.encode(), self._decode_key), key_schema=_KEY,
            )
        ]  # fmt: skip


class SnapshotNotifications:
    """What is told of a snapshot that reads whole tables."""

    def __init__(self, notifications: Notifications) -> None:
        self._send = notifications.send

    def started(self, offset: Mapping[str, Any]) -> list[SourceRecord]:
        return self._send(INITIAL, "STARTED", offset)

    def table_started(
        self, table: str, tables: Sequence[str], offset: Mapping[str, Any]
    ) -> list[SourceRecord]:
        return self._send(
            INITIAL, "IN_PROGRESS", offset, current_collection_in_progress=table,
            data_collections=",".join(tables),
        )  # fmt: skip

    def table_done(
        self, table: str, rows: int, tables: Sequence[str], offset: Mapping[str, Any]
    ) -> list[SourceRecord]:
        return self._send(
            INITIAL, "TABLE_SCAN_COMPLETED", offset, scanned_collection=table,
            total_rows_scanned=str(rows), status="SUCCEEDED", data_collections=",".join(tables),
        )  # fmt: skip

    def completed(self, offset: Mapping[str, Any]) -> list[SourceRecord]:
        return self._send(INITIAL, "COMPLETED", offset)

    def skipped(self, offset: Mapping[str, Any]) -> list[SourceRecord]:
        return self._send(INITIAL, "SKIPPED", offset)
