"""Records of the recordings of transforms (tests/golden/smt, tests/golden/smt_debezium): made, and told.

Values are in JsonConverter's envelope; `{"schema": null}` marks a schemaless value, whose Java classes
stand under `java`.
"""

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from connect.api import (
    ConnectError,
    ConnectRecord,
    DataError,
    Header,
    JsonPayload,
    Schema,
    SchemaType,
    SinkRecord,
    SourceRecord,
)
from connect.converters.json_reader import compile_reader
from connect.converters.json_schema import schema_from_json, schema_to_json
from connect.converters.json_writer import compile_writer

# Errors of the JVM itself, which no plugin means to raise, and some that Connect does not know: here they are
# an error of the record.
JVM_ERRORS = (
    "java.lang.",
    "java.time.",
    "org.apache.kafka.common.errors.SerializationException",
    "io.debezium.DebeziumException",
)

# Python's type for each of Java's that stands under `java`.
KINDS = {
    "Byte": "int", "Short": "int", "Integer": "int", "Long": "int", "Float": "float", "Double": "float",
    "String": "str", "Boolean": "bool", "Date": "datetime", "byte[]": "bytes", "BigDecimal": "Decimal",
}  # fmt: skip


def record_of(recording: Mapping[str, Any]) -> ConnectRecord:
    key_schema, key = value_of(recording["key"])
    value_schema, value = value_of(recording["value"])
    details: dict[str, Any] = {
        "key_schema": key_schema, "key": key, "value_schema": value_schema,
        "timestamp_ms": recording["timestamp"],
        "headers": tuple(
            Header(header["name"], *value_of(header["value"])) for header in recording.get("headers", ())
        ),
    }  # fmt: skip
    topic, partition = recording["topic"], recording.get("partition")
    if "offset" in recording:
        return SinkRecord(topic, partition or 0, recording["offset"], value, **details)
    return SourceRecord({}, {}, topic, value, partition=partition, **details)


def value_of(envelope: Mapping[str, Any] | None) -> tuple[Schema | None, Any]:
    if envelope is None:
        return None, None
    if envelope["schema"] is None:
        return None, envelope["payload"]
    schema = schema_from_json(envelope["schema"])
    return schema, compile_reader(schema, null_as_default=False)(envelope["payload"])


def told_record(record: ConnectRecord) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset if isinstance(record, SinkRecord) else None,
        "timestamp": record.timestamp_ms,
        "key": told_value(record.key_schema, record.key),
        "value": told_value(record.value_schema, record.value),
        "headers": [(header.name, told_value(header.schema, header.value)) for header in record.headers],
    }


def told_value(schema: Schema | None, raw: Any) -> Any:
    value = raw.value() if isinstance(raw, JsonPayload) else raw
    if schema is None:
        return None if value is None else (None, plain(value), java_kinds(value))
    try:
        payload = orjson.loads(orjson.dumps(compile_writer(schema, null_as_default=False)(value)))
    except DataError:  # what the recordings call not_json_convertible
        payload = plain(value)
    return told_schema(schema), payload, None


def told_schema(schema: Schema | None) -> Any:
    """Its JSON; null for the elements of an array or map that have no type in common."""
    if schema is None:
        return None
    if schema.type is SchemaType.ARRAY and schema.value_schema is None:
        return {"type": "array", "items": None, "optional": schema.optional}
    if schema.type is SchemaType.MAP:
        parts = {"keys": told_schema(schema.key_schema), "values": told_schema(schema.value_schema)}
        return {"type": "map", **parts, "optional": schema.optional}
    return schema_to_json(schema)


def recorded_value(told: Mapping[str, Any] | None) -> Any:
    if told is None:
        return None
    if told["schema"] is None:
        return None, told["payload"], recorded_kinds(told["java"])
    return told["schema"], told["payload"], None


def plain(value: Any) -> Any:
    """A schemaless value as the recordings show it."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def java_kinds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: java_kinds(part) for key, part in value.items()}
    if isinstance(value, list):
        return [java_kinds(part) for part in value]
    return None if value is None else type(value).__name__


def recorded_kinds(told: Any) -> Any:
    if isinstance(told, dict):
        return {key: recorded_kinds(part) for key, part in told.items()}
    if isinstance(told, list):
        return [recorded_kinds(part) for part in told]
    return KINDS.get(told, told)


def assert_same_error(error: ConnectError, recorded_error: Mapping[str, Any]) -> None:
    java_class = recorded_error["class"]
    assert java_class == error.java_class or java_class.startswith(JVM_ERRORS), f"{type(error)}: {error}"
    if java_class.startswith("java.lang.NullPointer"):
        return
    # The sense: what both texts speak of, class names and the record itself aside.
    told = re.sub(r"\b(?:java|org|com)\.[\w.$]+|S\w+Record\{.*", "", recorded_error["message"])
    theirs, ours = words(told), words(str(error))
    assert len(theirs & ours) >= len(theirs) / 3, f"{error} instead of {recorded_error['message']}"


def words(text: str) -> set[str]:
    for mark in "[](){}:;,.'\"":
        text = text.replace(mark, " ")
    return {word.lower() for word in text.split()}
