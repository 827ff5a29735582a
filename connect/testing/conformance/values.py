"""Whether a value is what its schema says, and can be written and read by JsonConverter."""

from typing import Any

from connect.api import ConnectRecord, Header, JsonPayload, Schema
from connect.converters.json import JsonConverter


def json_converter(*, schemas: bool) -> JsonConverter:
    """One that tells nulls from defaults, so that what is read equals what was written."""
    converter = JsonConverter()
    enable = "true" if schemas else "false"
    converter.configure({"schemas.enable": enable, "replace.null.with.default": "false"})
    return converter


def plain(raw: Any) -> Any:
    """The Python value of a value or its `JsonPayload`."""
    return raw.value() if type(raw) is JsonPayload else raw


def assert_convertible(topic: str, schema: Schema | None, raw: Any) -> None:
    """With schemas the value comes back as it was; without, it can be written. A value that does not fit its
    schema raises `DataError` here, as it would in the task."""
    described = json_converter(schemas=True)
    data = described.from_connect(topic, schema, raw)
    back = described.to_connect(topic, data)
    assert plain(back.value) == plain(raw)
    # JsonConverter reads null as null, without a schema.
    assert schema is None or back.value is None or back.schema == schema
    json_converter(schemas=False).from_connect(topic, schema, raw)


def assert_well_formed(record: ConnectRecord) -> None:
    """A record that the runtime can write."""
    assert isinstance(record.topic, str)
    assert record.topic, "the record has no topic"
    assert record.partition is None or (type(record.partition) is int and record.partition >= 0)
    assert record.timestamp_ms is None or type(record.timestamp_ms) is int, "timestamps are milliseconds"
    for header in record.headers:
        assert type(header) is Header
        assert isinstance(header.name, str)
        assert_convertible(record.topic, header.schema, header.value)
    assert_convertible(record.topic, record.key_schema, record.raw_key)
    assert_convertible(record.topic, record.value_schema, record.raw_value)
