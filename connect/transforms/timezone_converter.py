"""TimezoneConverter (Debezium): the times of change events in another time zone."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from connect.api import Config, ConfigError, Field, FieldError, Importance, Schema, Transform, Width, setting
from connect.api.schemas import TIMESTAMP
from connect.transforms.base import R
from connect.transforms.debezium import AFTER, BEFORE, SOURCE, is_envelope, required
from connect.transforms.zoned_times import Zone
from connect.version import __version__

_LOG = logging.getLogger(__name__)
_PLANS_MAX: Final = 256
_TOPIC: Final = "topic"
_INCLUDE: Final = "include.list"
_EXCLUDE: Final = "exclude.list"
_ZONE: Final = "converted.timezone"
_ZONED_TIMESTAMP: Final = "io.debezium.time.ZonedTimestamp"
_ZONED_TIME: Final = "io.debezium.time.ZonedTime"
# How many of each make a second.
_TIMESTAMPS: Final[Mapping[str | None, int]] = {
    "io.debezium.time.Timestamp": 1_000,
    "io.debezium.time.MicroTimestamp": 1_000_000,
    "io.debezium.time.NanoTimestamp": 1_000_000_000,
    TIMESTAMP: 1_000,
}
_EPOCH_FIELDS: Final[Mapping[str, int]] = {"ts_ms": 1_000, "ts_us": 1_000_000, "ts_ns": 1_000_000_000}
_WITHOUT_A_DAY_OR_A_TIME: Final = (
    "io.debezium.time.Date",
    "io.debezium.time.MicroTime",
    "io.debezium.time.NanoTime",
    "io.debezium.time.Time",
    "org.apache.kafka.connect.data.Date",
    "org.apache.kafka.connect.data.Time",
)
_RULE: Final = re.compile(r'[\w\s".-]+(?::[\w\s".-]+){0,2}')
_RULES_DOC: Final = (
    "source:<table> and source:<table>:<field> go by the table in the event's source, topic:<topic> and "
    "topic:<topic>:<field> by the topic, <name>:<field> by either. before.<field> and after.<field> mean one "
    "of the two rows, source.ts_ms, source.ts_us and source.ts_ns the times of the event itself."
)


class TimezoneConverterConfig(Config):
    """Settings of TimezoneConverter."""

    zone: str = setting(
        _ZONE, importance=Importance.HIGH, width=Width.MEDIUM, display_name="Converted Timezone",
        check=lambda text: required(text) or _zone_error(text),
        doc="A string that represents the timezone to which the time-based fields should be converted. The "
            "format can be geographic (e.g. America/Los_Angeles), or it can be a UTC offset in the format of "
            "+/-hh:mm, (e.g. +08:00).",
    )  # fmt: skip
    include: list[str] = setting(
        _INCLUDE, default=[], importance=Importance.HIGH, width=Width.MEDIUM, display_name="Include List",
        doc="A comma-separated list of rules that say what is converted. " + _RULES_DOC,
    )  # fmt: skip
    exclude: list[str] = setting(
        _EXCLUDE, default=[], importance=Importance.HIGH, width=Width.MEDIUM, display_name="Exclude List",
        doc="A comma-separated list of rules that say what is not converted. " + _RULES_DOC,
    )  # fmt: skip

    def check(self) -> Iterable[FieldError]:
        for name, rules in ((_INCLUDE, self.include), (_EXCLUDE, self.exclude)):
            for rule in rules:
                # The first rule says whether names are topics or tables, which later ones need not repeat.
                if _RULE.fullmatch(rule) is None or ":" not in rules[0]:
                    why = (
                        f"Invalid {name.removesuffix('.list')} list format. Please specify a list of rules "
                        'in the format of "source:<tablename>:<fieldnames>", "topic:<topicname>:<fieldnames>"'
                        ', "<matchname>:<fieldnames>"'
                    )
                    yield FieldError(name, str(ConfigError.invalid(name, rule, why)))
        if self.include and self.exclude:
            why = "Both include and exclude lists are specified. Please specify only one."
            yield FieldError(_EXCLUDE, str(ConfigError.invalid(_EXCLUDE, ",".join(self.exclude), why)))


def _zone_error(text: str) -> str | None:
    try:
        Zone(text)
    except ValueError as exc:
        return (
            "Invalid timezone format. Please specify either a geographic timezone (e.g. America/Los_Angeles) "
            f"or a UTC offset in the format of +/-hh:mm, (e.g. +08:00): {exc}"
        )
    return None


class _Rules:
    """The fields that a list names, for each topic and table; none means all."""

    def __init__(self, rules: Iterable[str]) -> None:
        self._of_topics: dict[str, set[str]] = {}
        self._of_tables: dict[str, set[str]] = {}
        self._of_either: dict[str, set[str]] = {}
        scope = self._of_either
        for rule in rules:
            parts = rule.split(":")
            if parts[0].lower() in (SOURCE, _TOPIC) and len(parts) > 1:
                kind, *parts = parts
                # A rule without a kind has that of the rule before; one in capitals is of no kind.
                scope = {SOURCE: self._of_tables, _TOPIC: self._of_topics}.get(kind, self._of_either)
            scope.setdefault(parts[0], set()).update(parts[1:2])

    def fields(self, topic: str, table: str | None) -> set[str] | None:
        """None where no rule speaks of them."""
        for scope, name in (
            (self._of_topics, topic),
            (self._of_tables, table),
            (self._of_either, topic),
            (self._of_either, table),
        ):
            if name is not None and name in scope:
                return scope[name]
        return None


class _Conversion(NamedTuple):
    """A field to convert in one of the structs of an event."""

    struct: str
    field: str
    convert: Callable[[Any], Any]


class TimezoneConverter(Transform[R]):
    """Timestamps with a zone get that of the setting: `2024-07-01T12:00:00Z` → `2024-07-01T14:00:00+02:00`.

    Timestamps without one are taken for the time that clocks in the zone show, and become the instant: in
    Berlin's summer noon becomes ten o'clock UTC. What is no change event passes unchanged.
    """

    version = __version__
    config_class = TimezoneConverterConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        self._config = config = TimezoneConverterConfig.parse(properties)
        self._zone = Zone(config.zone)
        self._rules = _Rules(config.include or config.exclude)
        self._plan = lru_cache(_PLANS_MAX)(self._make_plan)

    def apply(self, record: R) -> R:
        schema = record.value_schema
        if schema is None or record.raw_value is None or not is_envelope(schema):
            return record
        event = record.value
        table = (event.get(SOURCE) or {}).get("table")
        changed: dict[str, dict[str, Any]] = {}
        for struct, field, convert in self._plan(schema, record.topic, table):
            row = event.get(struct)
            value = None if row is None else row.get(field)
            if value is not None:
                changed.setdefault(struct, dict(row))[field] = convert(value)
        return record.replace(value={**event, **changed}) if changed else record

    def _make_plan(self, envelope: Schema, topic: str, table: str | None) -> list[_Conversion]:
        fields = self._rules.fields(topic, table)
        if self._config.include and fields is None:
            return []
        if self._config.exclude and fields == set():
            return []
        plan = []
        for struct in (BEFORE, AFTER, SOURCE):
            named = _named_in(struct, fields or ())
            around = envelope.field(struct)
            # The times of the event itself are converted only where a rule speaks of them.
            if around is None or (struct == SOURCE and not named):
                continue
            for field in around.schema.fields:
                is_wanted = not fields or (field.name in named) == bool(self._config.include)
                convert = self._conversion(struct, field) if is_wanted else None
                if convert is not None:
                    plan.append(_Conversion(struct, field.name, convert))
        return plan

    def _conversion(self, struct: str, field: Field) -> Callable[[Any], Any] | None:
        zone, name = self._zone, field.schema.name
        if name is None:
            epoch = _EPOCH_FIELDS.get(field.name) if struct == SOURCE else None
            return None if epoch is None else lambda value: zone.shown(value, epoch)
        if name in _WITHOUT_A_DAY_OR_A_TIME:
            _LOG.warning(
                "Skipping conversion for unsupported logical type: %s for field: %s", name, field.name
            )
            return None
        if name == _ZONED_TIMESTAMP:
            return zone.timestamp
        if name == _ZONED_TIME:
            return lambda value: zone.time(value, int(time.time()))
        per_second = _TIMESTAMPS.get(name)
        return None if per_second is None else lambda value: zone.instant(value, per_second)


def _named_in(struct: str, fields: Iterable[str]) -> set[str]:
    """Those of the fields of the rules that are in this struct; a name alone means both rows."""
    named = set()
    for field in fields:
        place, dot, name = field.partition(".")
        if dot and place in (BEFORE, AFTER, SOURCE):
            if place == struct:
                named.add(name)
        elif struct != SOURCE:
            named.add(field)
    return named
