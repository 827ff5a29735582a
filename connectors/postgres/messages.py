"""Logical messages (`pg_logical_emit_message`) as records of the topic `<topic.prefix>.message`."""

import time
from collections.abc import Mapping
from json.encoder import encode_basestring as quote
from typing import Any, Final

from connect.api import JsonPayload, SourceRecord
from connect.api import schemas as connect
from connect.api.schemas import struct
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import SOURCE, TRANSACTION
from connectors.postgres.filters import Filters
from connectors.postgres.naming import Names
from connectors.postgres.type_map import TypeMap
from connectors.postgres.values import decoder

SOURCE_TABLE: Final = '"schema":"","table":"",'
_KEY_SCHEMA: Final = struct(
    {"prefix": connect.OPTIONAL_STRING}, name="io.debezium.connector.postgresql.MessageKey", version=1
)


class MessageRecords:
    """Makes the records of messages whose prefix is captured."""

    def __init__(
        self, config: PostgresSourceConfig, filters: Filters, source_partition: Mapping[str, Any]
    ) -> None:
        self._topic = Names(config).message_topic
        self._filters = filters
        self._source_partition = source_partition
        content = TypeMap(config).bytea
        self._content = content.json
        message = struct(
            {"prefix": connect.OPTIONAL_STRING, "content": content.schema.as_optional()},
            name="io.debezium.connector.postgresql.Message", version=1,
        )  # fmt: skip
        self._value_schema = struct(
            {"op": connect.STRING, "ts_ms": connect.OPTIONAL_INT64, "source": SOURCE,
             "transaction": TRANSACTION, "message": message},
            name="io.debezium.connector.postgresql.MessageValue", version=1,
        )  # fmt: skip
        self._decode_key, self._decode_value = decoder(_KEY_SCHEMA), decoder(self._value_schema)

    def keeps(self, prefix: str) -> bool:
        return self._filters.keeps_message(prefix)

    def record(
        self, prefix: str, content: bytes, source: str, transaction: str, offset: Mapping[str, Any]
    ) -> SourceRecord:
        now_ms = time.time_ns() // 1_000_000
        shown = quote(prefix)
        value = (
            f'{{"op":"m","ts_ms":{now_ms},"source":{source},"transaction":{transaction},'
            f'"message":{{"prefix":{shown},"content":{self._content(chr(92) + "x" + content.hex())}}}}}'
        )
        return SourceRecord(
            self._source_partition, offset, self._topic, JsonPayload(value.encode(), self._decode_value),
            value_schema=self._value_schema,
            key=JsonPayload(f'{{"prefix":{shown}}}'.encode(), self._decode_key), key_schema=_KEY_SCHEMA,
        )  # fmt: skip
