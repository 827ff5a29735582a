"""JsonConverter: JSON with its schema beside it (`schemas.enable`), or just JSON.

With schemas a message is `{"schema":…,"payload":…}`. Nearly all messages of a topic begin with the same
bytes, `{"schema":…,"payload":`: that *head* is made, or parsed, once per schema; after that only the
payload is looked at. A value that is JSON already (`JsonPayload`) is not looked at either.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import orjson

from connect.api import (
    Config,
    ConfigError,
    Converter,
    DataError,
    Header,
    HeaderConverter,
    Importance,
    JsonPayload,
    Schema,
    SchemaAndValue,
    setting,
)
from connect.api.per_schema import PerSchema
from connect.converters.json_plan import Action
from connect.converters.json_reader import InexactNumberError, compile_reader
from connect.converters.json_schema import schema_from_json, schema_to_json
from connect.converters.json_writer import (
    DecimalFormat,
    compile_writer,
    differs_from_default_settings,
    dump,
    dump_schemaless,
)
from connect.version import __version__

_SCHEMA_KEY: Final = b'{"schema":'
_PAYLOAD_KEY: Final = b',"payload":'
_SCHEMALESS_HEAD: Final = _SCHEMA_KEY + b"null" + _PAYLOAD_KEY
_NO_ENVELOPE: Final = (
    'JsonConverter with schemas.enable requires "schema" and "payload" fields and may not contain additional '
    "fields. If you are trying to deserialize plain JSON data, set schemas.enable=false in your converter "
    "configuration."
)


class JsonConverterConfig(Config):
    """Settings of JsonConverter."""

    schemas_enable: bool = setting(
        "schemas.enable", default=True, importance=Importance.HIGH, group="Schemas",
        display_name="Enable Schemas",
        doc="Include schemas within each of the serialized values and keys.",
    )  # fmt: skip
    schemas_cache_size: int = setting(
        "schemas.cache.size", default=1000, importance=Importance.HIGH, group="Schemas", at_least=1,
        display_name="Schema Cache Size",
        doc="The maximum number of schemas that can be cached in this converter instance.",
    )  # fmt: skip
    schema_content: str | None = setting(
        "schema.content", default=None, importance=Importance.HIGH, group="Schemas",
        display_name="Schema Content",
        doc="When set, every message read is a bare payload of this schema. Only with schemas.enable, and "
            "only for sinks.",
    )  # fmt: skip
    decimal_format: str = setting(
        "decimal.format", default="BASE64", importance=Importance.LOW, group="Serialization",
        display_name="Decimal Format", recommended=tuple(DecimalFormat),
        check=lambda value: (
            None if value.upper() in tuple(DecimalFormat) else "String must be one of: BASE64, NUMERIC"
        ),
        doc="How decimals are written: BASE64, the bytes of the unscaled number, or NUMERIC, a JSON number. "
            "Both are read.",
    )  # fmt: skip
    replace_null_with_default: bool = setting(
        "replace.null.with.default", default=True, importance=Importance.LOW, group="Serialization",
        display_name="Replace null with default",
        doc="Whether fields that have a default value and that are null are told as that default value.",
    )  # fmt: skip


class _WritePlan(NamedTuple):
    """How values of one schema are written. `head` is empty without schemas."""

    head: bytes
    write: Action
    takes_payload: bool  # whether a JsonPayload's bytes may be used as they are


class _ReadPlan(NamedTuple):
    """How payloads under one schema are read."""

    schema: Schema | None
    read: Action


def _as_it_is(value: Any) -> Any:
    return value


_SCHEMALESS_PLAN: Final = _ReadPlan(None, _as_it_is)


class JsonConverter(Converter, HeaderConverter):
    """Kafka Connect's JSON."""

    version = __version__
    config_class = JsonConverterConfig

    def configure(self, properties: Mapping[str, str], is_key: bool = False) -> None:
        self._config = config = JsonConverterConfig.parse(properties)
        self._decimal_format = DecimalFormat(config.decimal_format.upper())
        self._write_plan = PerSchema(self._make_write_plan, config.schemas_cache_size)
        self._heads: dict[bytes, _ReadPlan] = {_SCHEMALESS_HEAD: _SCHEMALESS_PLAN}
        self._last_head = _SCHEMALESS_HEAD
        self._last_read = _SCHEMALESS_PLAN
        self._fixed = self._fixed_plan(config.schema_content) if config.schemas_enable else None

    def from_connect(self, topic: str, schema: Schema | None, raw: Any) -> bytes | None:
        """The JSON of a value; None (a tombstone) for null without a schema."""
        if schema is None:
            return self._from_schemaless(raw)
        plan = self._write_plan(schema)
        if type(raw) is JsonPayload:
            payload = raw.json if plan.takes_payload else dump(plan.write(raw.value()))
        else:
            payload = dump(plan.write(raw))
        return b"".join((plan.head, payload, b"}")) if plan.head else payload

    def json_frame(self, topic: str, schema: Schema) -> tuple[bytes, bytes] | None:
        plan = self._write_plan(schema)
        if not plan.takes_payload:
            return None
        return (plan.head, b"}") if plan.head else (b"", b"")

    def to_connect(self, topic: str, data: bytes | None) -> SchemaAndValue[Any]:
        """The value of a message; JSON that is the value as it stands is kept beside it."""
        if data is None:
            return SchemaAndValue(None, None)
        if not self._config.schemas_enable:
            if not data:
                return SchemaAndValue(None, None)
            # Parsed now to know that it is valid, and again when somebody asks for the value: for a batch
            # that is cheaper than to keep the objects, and most sinks only want the text.
            parsed = _parse(data)
            return SchemaAndValue(None, None if parsed is None else JsonPayload(data, orjson.loads))
        if self._fixed is not None:
            return _value_of(self._fixed, _parse(data), data)
        if data.startswith(self._last_head):
            return self._read_after_head(data, self._last_head, self._last_read)
        if (at := data.find(_PAYLOAD_KEY)) >= 0:
            head = data[: at + len(_PAYLOAD_KEY)]
            if (plan := self._heads.get(head)) is not None:
                self._last_head, self._last_read = head, plan
                return self._read_after_head(data, head, plan)
        return self._read_whole(data)

    def from_connect_header(self, topic: str, header: Header) -> bytes | None:
        return self.from_connect(topic, header.schema, header.value)

    def to_connect_header(self, topic: str, name: str, data: bytes | None) -> Header:
        schema, raw = self.to_connect(topic, data)
        return Header(name, schema, raw.value() if type(raw) is JsonPayload else raw)

    def _from_schemaless(self, raw: Any) -> bytes | None:
        if raw is None:
            return None
        payload = raw.json if type(raw) is JsonPayload else dump_schemaless(raw, self._decimal_format)
        return b"".join((_SCHEMALESS_HEAD, payload, b"}")) if self._config.schemas_enable else payload

    def _make_write_plan(self, schema: Schema) -> _WritePlan:
        null_as_default = self._config.replace_null_with_default
        head = b""
        if self._config.schemas_enable:
            head = _SCHEMA_KEY + orjson.dumps(schema_to_json(schema, self._decimal_format)) + _PAYLOAD_KEY
        return _WritePlan(
            head,
            compile_writer(schema, self._decimal_format, null_as_default),
            not differs_from_default_settings(schema, self._decimal_format, null_as_default),
        )

    def _make_read_plan(self, schema_json: Any) -> _ReadPlan:
        if schema_json is None:
            return _SCHEMALESS_PLAN
        try:
            schema = schema_from_json(schema_json)
            return _ReadPlan(schema, compile_reader(schema, self._config.replace_null_with_default))
        except RecursionError:
            raise DataError("The schema is nested too deeply") from None

    def _fixed_plan(self, schema_content: str | None) -> _ReadPlan | None:
        if not schema_content:
            return None
        try:
            _parse(schema_content.encode())
            return self._make_read_plan(json.loads(schema_content, parse_float=Decimal))
        except DataError as exc:
            raise ConfigError.invalid("schema.content", schema_content, str(exc)) from None

    def _read_after_head(self, data: bytes, head: bytes, plan: _ReadPlan) -> SchemaAndValue[Any]:
        # If what stands between the head and the last brace is one JSON value, then all of it is the
        # envelope of that value; anything else (more fields, spaces at the end) is left to a full parse.
        if not data.endswith(b"}"):
            return self._read_whole(data)
        payload = data[len(head) : -1]
        try:
            parsed = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return self._read_whole(data)
        return _value_of(plan, parsed, payload)

    def _read_whole(self, data: bytes) -> SchemaAndValue[Any]:
        parsed = _parse(data) if data else None
        if type(parsed) is not dict or parsed.keys() != {"schema", "payload"}:
            raise DataError(_NO_ENVELOPE)
        # A message that does not begin with a head is known by its schema alone.
        key = _head_of(data, parsed["schema"]) or orjson.dumps(parsed["schema"])
        try:
            return self._read_envelope(parsed, key)
        except InexactNumberError:
            return self._read_envelope(json.loads(data, parse_float=Decimal), key)

    def _read_envelope(self, envelope: Mapping[str, Any], key: bytes) -> SchemaAndValue[Any]:
        plan = self._heads.get(key)
        if plan is None:
            plan = self._make_read_plan(envelope["schema"])
            while len(self._heads) >= self._config.schemas_cache_size:
                del self._heads[next(iter(self._heads))]
            self._heads[key] = plan
        return SchemaAndValue(plan.schema, plan.read(envelope["payload"]))


def _value_of(plan: _ReadPlan, parsed: Any, payload: bytes) -> SchemaAndValue[Any]:
    try:
        value = plan.read(parsed)
    except InexactNumberError:
        value = plan.read(json.loads(payload, parse_float=Decimal))
    # Null is told as null, so that nobody need look into a payload to know a tombstone.
    if value is not parsed or value is None:
        return SchemaAndValue(plan.schema, value)
    return SchemaAndValue(plan.schema, JsonPayload(payload, None, value))


def _head_of(data: bytes, schema_json: Any) -> bytes | None:
    """The bytes of a message up to its payload, where it is of the usual form."""
    if not data.startswith(_SCHEMA_KEY):
        return None
    at = data.find(_PAYLOAD_KEY)
    try:
        usual = at >= 0 and orjson.loads(data[len(_SCHEMA_KEY) : at]) == schema_json
    except orjson.JSONDecodeError:  # the schema itself has a key of that name
        return None
    return data[: at + len(_PAYLOAD_KEY)] if usual else None


def _parse(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise DataError(
            f"Converting byte[] to Kafka Connect data failed due to serialization error: {exc}"
        ) from None
