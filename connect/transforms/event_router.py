"""EventRouter (Debezium): the rows of an outbox table as messages of their own, each in its topic.

https://debezium.io/documentation/reference/stable/transformations/outbox-event-router.html
"""

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from connect.api import (
    ConnectError,
    DataError,
    Field,
    Header,
    Schema,
    SchemaBuilderError,
    SchemaType,
    Transform,
)
from connect.api.java_text import java_text
from connect.api.per_schema import PerSchema
from connect.api.schemas import struct
from connect.transforms.base import R, require_struct
from connect.transforms.debezium import AFTER, field_namer, get, is_envelope, typed_field
from connect.transforms.event_router_config import EventRouterConfig, Placement
from connect.transforms.json_expansion import JsonExpansion
from connect.transforms.regex_router import Renaming
from connect.version import __version__

_LOG = logging.getLogger(__name__)
_VALUE_SCHEMAS_MAX: Final = 256
# How many of each make a millisecond.
_PER_MS: Final[Mapping[str | None, int]] = {
    "io.debezium.time.Timestamp": 1,
    "io.debezium.time.MicroTimestamp": 1_000,
    "io.debezium.time.NanoTimestamp": 1_000_000,
}


class _Plan(NamedTuple):
    """For the schema of an envelope: the columns of its rows that are looked at."""

    row: Schema
    payload: Field
    timestamp: Field | None
    event_id: Field
    version: Field | None
    route: Field
    key: Field
    headers: list[tuple[str, Field]]
    in_envelope: list[tuple[str, Field]]
    partition: Field | None


class EventRouter(Transform[R]):
    """`{"after":{"id":…,"aggregatetype":"order","aggregateid":"7","payload":"{…}"},"op":"c",…}` → the
    payload, in the topic `outbox.event.order` with the key `7` and the header `id`. Deletes and tombstones
    are dropped; what is no change event passes unchanged."""

    version = __version__
    config_class = EventRouterConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        self._config = config = EventRouterConfig.parse(properties)
        self._additional = config.additional_fields()
        self._has_envelope = any(
            additional.placement is Placement.ENVELOPE for additional in self._additional
        )
        self._topic = Renaming(config.topic_regex, config.topic_replacement)
        self._expansion = JsonExpansion(
            field_namer(config.field_names), config.json_nulls == "optional_bytes"
        )
        self._plan = PerSchema(self._make_plan)
        # By the route too, which the name tells: Debezium's cache goes by the payload alone.
        self._value_schema = lru_cache(_VALUE_SCHEMAS_MAX)(self._make_value_schema)

    def apply(self, record: R) -> R | None:
        if record.raw_value is None:
            return None
        schema = record.value_schema
        if schema is None or not is_envelope(schema):
            return record
        event = require_struct(schema, record.value, "Detect Debezium Operation")
        operation = event.get("op")
        if operation == "d":
            return None
        if operation in ("u", "t"):
            self._unexpected(record, "update" if operation == "u" else "truncate")
            return None
        return self._routed(record, event, self._plan(schema))

    def _routed(self, record: R, event: Mapping[str, Any], plan: _Plan) -> R:
        row = require_struct(plan.row, event.get(AFTER), "Read Outbox Event")
        timestamp_ms = _timestamp_ms(plan.timestamp, row, event)
        payload_schema, payload = plan.payload.schema, get(row, plan.payload)
        if self._config.expands_json and payload is not None:
            payload_schema, payload = self._expanded(payload_schema, payload)
        headers = [*record.headers, Header("id", plan.event_id.schema, get(row, plan.event_id))]
        headers += [Header(name, field.schema, get(row, field)) for name, field in plan.headers]
        route = row.get(plan.route.name)
        if route is None:
            raise DataError(f"route.by.field={plan.route.name}: the row has null there, which names no topic")
        schema: Schema | None = payload_schema
        value = payload
        if self._config.makes_tombstones and _is_empty(payload):
            schema = value = None
        elif self._has_envelope:
            version = None if plan.version is None else row.get(plan.version.name)
            schema = self._value_schema(plan.row, payload_schema, route, version)
            value = {"payload": payload, **{name: get(row, field) for name, field in plan.in_envelope}}
        if plan.partition is not None:
            record = record.replace(partition=row.get(plan.partition.name))
        return record.replace(
            topic=self._topic(route) or route,
            key_schema=plan.key.schema,
            key=get(row, plan.key),
            value_schema=schema,
            value=value,
            timestamp_ms=timestamp_ms,
            headers=headers,
        )

    def _unexpected(self, record: R, operation: str) -> None:
        """What becomes of a row that is changed where rows are only added."""
        behavior = self._config.invalid_operation
        if behavior == "fatal":
            key = java_text(record.key_schema, record.key)
            raise DataError(f"Unexpected {operation} message received {key}, fail.")
        level = logging.WARNING if behavior == "warn" else logging.ERROR
        _LOG.log(level, "Unexpected %s message received in %s and ignored", operation, record.topic)

    def _expanded(self, schema: Schema, payload: Any) -> tuple[Schema, Any]:
        """The payload as a struct; as it is where it is no JSON object, or none that a schema can hold."""
        column = self._config.payload
        if not isinstance(payload, str):
            _LOG.warning("Expand JSON payload is turned on but %s is not a string", column)
        elif not payload.startswith(("{", "[")):
            _LOG.warning("JSON expansion of %s failed, it stays a string: it is no JSON object", column)
        else:
            try:
                return self._expansion(column, payload)
            except DataError as exc:
                _LOG.warning("JSON expansion of %s failed, it stays a string: %s", column, exc)
        return schema, payload

    def _make_plan(self, envelope: Schema) -> _Plan:
        config = self._config
        row = typed_field(envelope, AFTER, SchemaType.STRUCT).schema
        payload = _found(row, config.payload, "payload field")
        timestamp = None
        if config.timestamp is not None:
            _found(row, config.timestamp, "timestamp field")
            timestamp = typed_field(row, config.timestamp, SchemaType.INT64)
        event_id = typed_field(row, config.event_id)
        version = None
        if self._has_envelope and config.version is not None:
            version = typed_field(row, config.version, SchemaType.INT32)
        route = typed_field(row, config.route, SchemaType.STRING)
        placed: dict[Placement, list[tuple[str, Field]]] = {placement: [] for placement in Placement}
        for column, placement, alias in self._additional:
            if row.field(column) is None and config.skips_missing:
                continue
            if placement is Placement.ENVELOPE:
                field = _found(row, column, "field")
            else:
                kind = SchemaType.INT32 if placement is Placement.PARTITION else None
                field = typed_field(row, column, kind)
            placed[placement].append((alias, field))
        partition = placed[Placement.PARTITION][-1][1] if placed[Placement.PARTITION] else None
        in_envelope = placed[Placement.ENVELOPE]
        _refuse_duplicates(["payload", *(name for name, _ in in_envelope)])
        key = typed_field(row, config.key)
        headers = placed[Placement.HEADER]
        return _Plan(row, payload, timestamp, event_id, version, route, key, headers, in_envelope, partition)

    def _make_value_schema(self, row: Schema, payload: Schema, route: str, version: int | None) -> Schema:
        fields = [("payload", payload)]
        for column, placement, alias in self._additional:
            field = row.field(column)
            if placement is Placement.ENVELOPE and field is not None:
                fields.append((alias, field.schema))
        around, dot, last = (row.name or "").rpartition(".")
        name = f"{around}{dot}{route}.{last}" if last else route
        return struct(fields, name=name, version=version)


def _timestamp_ms(field: Field | None, row: Mapping[str, Any], event: Mapping[str, Any]) -> Any:
    timestamp = None if field is None else row.get(field.name)
    if field is None or timestamp is None:
        return event.get("ts_ms")
    per_ms = _PER_MS.get(field.schema.name)
    if per_ms is None:
        kind = field.schema.name or f"{field.schema.type.name} (without logical schema name)"
        raise ConnectError(f"Unsupported field type {kind} for event timestamp")
    # Towards zero, as Java divides.
    return timestamp // per_ms if timestamp >= 0 else -(-timestamp // per_ms)


def _found(row: Schema, column: str, what: str) -> Field:
    field = row.field(column)
    if field is None:
        raise ConnectError(f"Unable to find {what} {column} in event")
    return field


def _refuse_duplicates(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SchemaBuilderError(f"Cannot create field because of field name duplication {name}")
        seen.add(name)


def _is_empty(payload: Any) -> bool:
    return payload is None or (isinstance(payload, str) and not payload.strip())
