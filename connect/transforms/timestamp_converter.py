"""TimestampConverter: texts, Unix times, Date, Time and Timestamp into each other."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from connect.api import (
    Config,
    ConfigError,
    ConnectError,
    DataError,
    FieldError,
    Importance,
    Schema,
    SchemaType,
    setting,
)
from connect.api.java_patterns import MS_PER_DAY, JavaPattern, epoch_ms_of
from connect.api.per_schema import PerSchema
from connect.api.schemas import DATE, INT64, STRING, TIME, TIMESTAMP
from connect.transforms.base import (
    OnKey,
    OnValue,
    R,
    SidedTransform,
    copy_of,
    like,
    null_as_default_setting,
    require_map,
    require_struct,
)

_PURPOSE = "converting timestamp formats"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# How many of each make a millisecond; seconds are the other way round.
_PER_MS: Final = {"nanoseconds": 1_000_000, "microseconds": 1_000, "milliseconds": 1, "seconds": 1}
_TARGETS: Final[Mapping[str, Schema]] = {
    "string": STRING,
    "unix": INT64,
    "Date": Schema(SchemaType.INT32, name=DATE, version=1),
    "Time": Schema(SchemaType.INT32, name=TIME, version=1),
    "Timestamp": Schema(SchemaType.INT64, name=TIMESTAMP, version=1),
}
_SOURCES: Final[Mapping[Any, str]] = {
    DATE: "Date", TIME: "Time", TIMESTAMP: "Timestamp",
    SchemaType.STRING: "string", SchemaType.INT64: "unix",
}  # fmt: skip


class TimestampConverterConfig(Config):
    """Settings of TimestampConverter."""

    field: str = setting(
        "field", default="", importance=Importance.HIGH,
        doc="The field containing the timestamp, or empty if the entire value is a timestamp",
    )  # fmt: skip
    target: str = setting(
        "target.type", importance=Importance.HIGH, choices=tuple(_TARGETS),
        doc="The desired timestamp representation: string, unix, Date, Time, or Timestamp",
    )  # fmt: skip
    format: str = setting(
        "format", default="",
        doc="A SimpleDateFormat-compatible format for the timestamp. Used to generate the output when "
            "type=string or used to parse the input if the input is a string. In UTC.",
    )  # fmt: skip
    precision: str = setting(
        "unix.precision", default="milliseconds", importance=Importance.LOW, choices=tuple(_PER_MS),
        doc="The desired Unix precision for the timestamp: seconds, milliseconds, microseconds, or "
            "nanoseconds. Used to generate the output when type=unix or used to parse the input if the input "
            "is a Long. What is below a millisecond is lost.",
    )  # fmt: skip
    null_as_default: bool = null_as_default_setting()

    def check(self) -> Iterable[FieldError]:
        if self.target == "string" and not self.format:
            yield FieldError(
                "format",
                "TimestampConverter requires format option to be specified when using string timestamps",
            )
        try:
            JavaPattern.simple_date_format(self.format)
        except ValueError as exc:
            why = f"{exc}: TimestampConverter requires a SimpleDateFormat-compatible pattern"
            yield FieldError("format", str(ConfigError.invalid("format", self.format, why)))


class _Plan(NamedTuple):
    """For a schema: the one that comes out, and what the timestamp in it is."""

    schema: Schema
    source: str


class TimestampConverter(SidedTransform[R]):
    """Converts one field, or the whole key or value. Times are in UTC."""

    config_class = TimestampConverterConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = TimestampConverterConfig.parse(properties)
        self._field = config.field
        self._target = config.target
        self._format = JavaPattern.simple_date_format(config.format) if config.format else None
        self._precision = config.precision
        self._null_as_default = config.null_as_default
        self._plan = PerSchema(self._make_plan)

    def apply(self, record: R) -> R:
        schema, value = self.operand(record)
        if schema is None:
            return self.renewed(record, None, self._without_schema(value))
        if not self._field:
            plan = self._plan(schema)
            return self.renewed(record, plan.schema, self._converted(plan.source, value))
        if value is None:
            return self.renewed(record, self._plan(schema).schema, None)
        fields = require_struct(schema, value, _PURPOSE)
        plan = self._plan(schema)
        return self.renewed(record, plan.schema, self._with_schema(schema, plan.source, fields))

    def _with_schema(self, schema: Schema, source: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        changed = copy_of(schema, fields, self._null_as_default)
        if self._field in changed:
            changed[self._field] = self._converted(source, changed[self._field])
        return changed

    def _without_schema(self, value: Any) -> Any:
        if not self._field or value is None:
            return self._converted_schemaless(value)
        fields = require_map(value, _PURPOSE)
        return {**fields, self._field: self._converted_schemaless(fields.get(self._field))}

    def _make_plan(self, schema: Schema) -> _Plan:
        target = _TARGETS[self._target]
        if not self._field:
            return _Plan(target.as_optional() if schema.optional else target, _source(schema))
        found = schema.field(self._field)
        if found is None:
            return _Plan(schema, "")
        fields = []
        for field in schema.fields:
            converted = target.as_optional() if field.schema.optional else target
            fields.append((field.name, converted if field is found else field.schema))
        source = _source(found.schema)
        default = None if schema.default is None else self._with_schema(schema, source, schema.default)
        return _Plan(replace(like(schema, fields), optional=schema.optional, default=default), source)

    def _converted(self, source: str, value: Any) -> Any:
        """A value under a schema: dates and times are numbers."""
        if value is None:
            return None
        epoch_ms = self._epoch_ms(source, value)
        if self._target == "Date":
            return epoch_ms // MS_PER_DAY
        if self._target == "Time":
            return epoch_ms % MS_PER_DAY
        return epoch_ms if self._target == "Timestamp" else self._text_or_unix(epoch_ms)

    def _converted_schemaless(self, value: Any) -> Any:
        """A value without a schema: dates and times are `datetime`."""
        if value is None:
            return None
        epoch_ms = self._epoch_ms(_source_of_value(value), value)
        if self._target in ("string", "unix"):
            return self._text_or_unix(epoch_ms)
        if self._target == "Date":
            epoch_ms -= epoch_ms % MS_PER_DAY
        elif self._target == "Time":
            epoch_ms %= MS_PER_DAY
        try:
            return _EPOCH + timedelta(milliseconds=epoch_ms)
        except OverflowError:
            raise DataError(f"{epoch_ms} ms since 1970 are beyond the years 1 to 9999") from None

    def _epoch_ms(self, source: str, value: Any) -> int:
        if source == "string":
            return self._parsed(value)
        if source == "Date":
            return int(value) * MS_PER_DAY
        if source == "unix":
            if self._precision == "seconds":
                return int(value) * 1000
            # Towards zero, as Java's TimeUnit.
            whole = abs(value) // _PER_MS[self._precision]
            return int(whole if value >= 0 else -whole)
        if isinstance(value, datetime):
            return epoch_ms_of(value)
        return int(value)

    def _parsed(self, text: str) -> int:
        if self._format is None:
            raise DataError(
                f"TimestampConverter has no pattern to read the text ({text}) with: set the option format"
            )
        try:
            return self._format.parse(text)
        except ValueError:
            raise DataError(
                f"Could not parse timestamp: value ({text}) does not match pattern ({self._format.pattern})"
            ) from None

    def _text_or_unix(self, epoch_ms: int) -> str | int:
        if self._target == "string":
            assert self._format is not None, "checked with the config"
            return self._format.format(epoch_ms)
        if self._precision == "seconds":
            return epoch_ms // 1000 if epoch_ms >= 0 else -(-epoch_ms // 1000)
        return epoch_ms * _PER_MS[self._precision]


def _source(schema: Schema) -> str:
    source = _SOURCES.get(schema.name) or _SOURCES.get(schema.type)
    if source is None:
        raise ConnectError(
            f"Schema {schema.name or schema.type.name} does not correspond to a known timestamp type format"
        )
    return source


def _source_of_value(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, datetime):
        return "Timestamp"
    if isinstance(value, int) and not isinstance(value, bool):
        return "unix"
    raise DataError(f"TimestampConverter does not support {type(value).__name__} objects as timestamps")


class TimestampConverterKey(OnKey[R], TimestampConverter[R]):
    """TimestampConverter on keys."""


class TimestampConverterValue(OnValue[R], TimestampConverter[R]):
    """TimestampConverter on values."""
