"""Records: what moves between a task and a topic.

A value has up to two forms: the Python value of `schemas.py`, and the JSON text that JsonConverter
would write or has read (`JsonPayload`). Whoever asks for `record.value` gets the Python value, made on
first use; a source that already has JSON, and a sink that only wants JSON, never pay for it.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

from connect.api.schemas import Schema


class TimestampType(IntEnum):
    """Where a record's timestamp comes from; the numbers are librdkafka's."""

    NONE = 0
    CREATE_TIME = 1
    LOG_APPEND_TIME = 2


class Header(NamedTuple):
    """One header. `schema` is None for a schemaless value."""

    name: str
    schema: Schema | None
    value: Any


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class JsonPayload:
    """A value as JSON text: the `payload` that JsonConverter with its default settings would write.

    `decode` turns `json` into the Python value for the record's schema; it runs once, on first use, and
    is None where `value` is given at once. For a sink's record `json` is exactly what stood in the topic:
    valid JSON, perhaps with line breaks and spaces between its parts.
    """

    __slots__ = ("_decode", "_value", "json")

    def __init__(self, json: bytes, decode: Callable[[bytes], Any] | None, value: Any = None) -> None:
        self.json = json
        self._decode = decode
        self._value = value

    def value(self) -> Any:
        """The Python value."""
        if self._decode is not None:
            self._value = self._decode(self.json)
            self._decode = None
        return self._value

    def __repr__(self) -> str:
        return f"JsonPayload({self.json[:80]!r})"


_RAW: Final = {"key": "raw_key", "value": "raw_value"}


class ConnectRecord:
    """What source and sink records share.

    `raw_key` and `raw_value` are the value or its `JsonPayload`; `key` and `value` always the value.
    A record is not changed in place: `replace` makes the changed copy.
    """

    __slots__ = (
        "headers", "key_schema", "partition", "raw_key", "raw_value", "timestamp_ms", "topic", "value_schema",
    )  # fmt: skip

    topic: str
    partition: int | None
    key_schema: Schema | None
    raw_key: Any
    value_schema: Schema | None
    raw_value: Any
    timestamp_ms: int | None
    headers: Sequence[Header]

    @property
    def key(self) -> Any:
        """The key as a Python value."""
        raw = self.raw_key
        return raw.value() if type(raw) is JsonPayload else raw

    @property
    def value(self) -> Any:
        """The value as a Python value."""
        raw = self.raw_value
        return raw.value() if type(raw) is JsonPayload else raw

    def replace(self, **changes: Any) -> Self:
        """A copy with other `topic`, `key`, `value_schema`, `headers` and so on; `key` and `value` mean
        `raw_key` and `raw_value`."""
        copy = object.__new__(type(self))
        self._copy_to(copy)
        for name, value in changes.items():
            setattr(copy, _RAW.get(name, name), value)
        return copy

    def _copy_to(self, copy: Any) -> None:
        # Slot by slot in plain code: in a loop over the slots it costs four times as much.
        copy.topic = self.topic
        copy.partition = self.partition
        copy.key_schema = self.key_schema
        copy.raw_key = self.raw_key
        copy.value_schema = self.value_schema
        copy.raw_value = self.raw_value
        copy.timestamp_ms = self.timestamp_ms
        copy.headers = self.headers

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(topic={self.topic!r}, partition={self.partition}, key={self.key!r}, "
            f"value={self.value!r}, timestamp_ms={self.timestamp_ms})"
        )


class SourceRecord(ConnectRecord):
    """A record from outside on its way into a topic.

    `source_partition` names the place it comes from, `source_offset` where to go on *after* it; both are
    JSON-able and are written to the offsets topic once the record is acknowledged. They may be shared
    between records and must not be changed afterwards. `partition` None leaves the choice to the key.
    """

    __slots__ = ("source_offset", "source_partition")

    def __init__(
        self,
        source_partition: Mapping[str, Any],
        source_offset: Mapping[str, Any],
        topic: str,
        value: Any,
        *,
        value_schema: Schema | None = None,
        key: Any = None,
        key_schema: Schema | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[Header] = (),
    ) -> None:
        self.source_partition = source_partition
        self.source_offset = source_offset
        self.topic = topic
        self.raw_value = value
        self.value_schema = value_schema
        self.raw_key = key
        self.key_schema = key_schema
        self.partition = partition
        self.timestamp_ms = timestamp_ms
        self.headers = headers

    def _copy_to(self, copy: Any) -> None:
        super()._copy_to(copy)
        copy.source_partition = self.source_partition
        copy.source_offset = self.source_offset


class SinkRecord(ConnectRecord):
    """A record of a topic on its way out.

    `original_topic`, `original_partition` and `offset` say where it stands in the log, whatever a
    transform made of `topic` and `partition` (KIP-793): commit and name by those.
    """

    __slots__ = ("offset", "original_partition", "original_topic", "timestamp_type")

    partition: int

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        value: Any,
        *,
        value_schema: Schema | None = None,
        key: Any = None,
        key_schema: Schema | None = None,
        timestamp_ms: int | None = None,
        timestamp_type: TimestampType = TimestampType.CREATE_TIME,
        headers: Sequence[Header] = (),
    ) -> None:
        self.topic = self.original_topic = topic
        self.partition = self.original_partition = partition
        self.offset = offset
        self.raw_value = value
        self.value_schema = value_schema
        self.raw_key = key
        self.key_schema = key_schema
        self.timestamp_ms = timestamp_ms
        self.timestamp_type = timestamp_type
        self.headers = headers

    def _copy_to(self, copy: Any) -> None:
        super()._copy_to(copy)
        copy.offset = self.offset
        copy.original_topic = self.original_topic
        copy.original_partition = self.original_partition
        copy.timestamp_type = self.timestamp_type


T = TypeVar("T")


class SchemaAndValue(NamedTuple, Generic[T]):
    """A value with its schema (None: schemaless)."""

    schema: Schema | None
    value: T
