"""The settings of EventRouter, in the groups of Debezium's: table, router and tracing."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from connect.api import Config, ConfigError, FieldError, Importance, Width, setting
from connect.api.java_regex import regex_error
from connect.transforms.debezium import ADJUSTMENTS, Choice, one_of
from connect.transforms.regex_router import replacement_errors

_TABLE: Final = "Table"
_ROUTER: Final = "Router"
_PLACEMENT: Final = "table.fields.additional.placement"


class Placement(StrEnum):
    """Where an additional column goes."""

    HEADER = "header"
    ENVELOPE = "envelope"
    PARTITION = "partition"


class AdditionalField(NamedTuple):
    """A column of `table.fields.additional.placement`, and what it is called where it goes."""

    column: str
    placement: Placement
    alias: str

    @classmethod
    def parse(cls, text: str) -> "AdditionalField":
        parts = [part.strip() for part in text.split(":")]
        if len(parts) not in (2, 3):
            why = "write column:placement or column:placement:alias, with commas between"
            raise ConfigError.invalid(_PLACEMENT, text, why)
        column, placement = parts[:2]
        if placement.lower() not in tuple(Placement):
            why = f"the placement must be one of {', '.join(Placement)}"
            raise ConfigError.invalid(_PLACEMENT, text, why)
        return cls(column, Placement(placement.lower()), parts[-1] if len(parts) == 3 else column)


def _tracing(name: str, display_name: str) -> Any:
    return setting(
        name, default=None, group="Tracing", importance=Importance.LOW, width=Width.MEDIUM,
        display_name=display_name, doc="Not supported: there are no OpenTelemetry spans here.",
    )  # fmt: skip


class EventRouterConfig(Config):
    """Settings of EventRouter."""

    event_id: str = setting(
        "table.field.event.id", default="id", group=_TABLE, importance=Importance.LOW, width=Width.MEDIUM,
        display_name="Event ID Field", doc="The column which contains the event ID within the outbox table",
    )  # fmt: skip
    key: str = setting(
        "table.field.event.key", default="aggregateid", group=_TABLE, importance=Importance.LOW,
        width=Width.MEDIUM, display_name="Event Key Field",
        doc="The column which contains the event key within the outbox table",
    )  # fmt: skip
    event_type: str = setting(
        "table.field.event.type", default="type", group=_TABLE, importance=Importance.LOW, width=Width.MEDIUM,
        display_name="Event Type Field",
        doc="The column which contains the event type within the outbox table. It goes nowhere by itself: "
            "name it in table.fields.additional.placement.",
    )  # fmt: skip
    payload: str = setting(
        "table.field.event.payload", default="payload", group=_TABLE, importance=Importance.LOW,
        width=Width.MEDIUM, display_name="Event Payload Field",
        doc="The column which contains the event payload within the outbox table",
    )  # fmt: skip
    timestamp: str | None = setting(
        "table.field.event.timestamp", default=None, group=_TABLE, width=Width.MEDIUM,
        display_name="Event Timestamp Field",
        doc="Optionally you can override the Kafka message timestamp with a value from a chosen column, "
            "otherwise it'll be the Debezium event processed timestamp.",
    )  # fmt: skip
    additional: list[str] | None = setting(
        _PLACEMENT, default=None, group=_TABLE, importance=Importance.HIGH,
        width=Width.MEDIUM, display_name="Settings for each additional column in the outbox table",
        doc="Extra fields can be added as part of the event envelope or a message header, format is a list "
            "of colon-delimited pairs or trios when you desire to have aliases, e.g. "
            "id:header,field_name:envelope:alias,field_name:partition",
    )  # fmt: skip
    missing: Choice = one_of(
        "table.field.additional.missing", "error", ("ignore", "error"), group=_TABLE, width=Width.MEDIUM,
        display_name="Behavior when an additional field is missing in the change data",
        doc="When transforming the 'table.fields.additional.placement' fields, defines the behavior when one "
            "of the configured fields is missing in the change data. 'error' (default) will throw an "
            "exception; 'ignore' will silently skip the missing field.",
    )  # fmt: skip
    old_missing_fails: bool | None = setting(
        "table.fields.additional.error.on.missing", default=None, internal=True,
        doc="What table.field.additional.missing was before Debezium 3.6: false is ignore.",
    )  # fmt: skip
    version: str | None = setting(
        "table.field.event.schema.version", default=None, group=_TABLE, importance=Importance.LOW,
        width=Width.MEDIUM, display_name="Event Schema Version Field",
        doc="The column which contains the event schema version within the outbox table",
    )  # fmt: skip
    invalid_operation: Choice = one_of(
        "table.op.invalid.behavior", "warn", ("warn", "error", "fatal"), group=_TABLE, width=Width.MEDIUM,
        display_name="Behavior when capturing an unexpected outbox event",
        doc="While Debezium is capturing changes from the outbox table, it is expecting only to process "
            "'create' or 'delete' row events; in case something else is processed this transform can log it "
            "as warning, error or stop the process.",
    )  # fmt: skip
    expands_json: bool = setting(
        "table.expand.json.payload", default=False, group=_TABLE, width=Width.MEDIUM,
        display_name="Expand Payload escaped string as real JSON",
        doc="Whether or not to try unescaping a JSON string and make it real JSON. It will infer schema "
            "information from payload and update the record schema accordingly. If content is not JSON, it "
            "just produces a warning and emits the record unchanged",
    )  # fmt: skip
    json_nulls: Choice = one_of(
        "table.json.payload.null.behavior", "ignore", ("ignore", "optional_bytes"), group=_TABLE,
        width=Width.MEDIUM, display_name="Behavior when json payload including null value",
        doc="Behavior when json payload including null value, the default will ignore null, optional_bytes "
            "will keep the null value, and treat null as optional bytes of connect.",
    )  # fmt: skip
    field_names: Choice = one_of(
        "field.name.adjustment.mode", "none", ADJUSTMENTS, group=_TABLE, importance=Importance.LOW,
        width=Width.MEDIUM, display_name="Field Name Adjustment",
        doc="How the names of fields are adjusted where a JSON payload is expanded: avro replaces what Avro "
            "does not allow with an underscore, avro_unicode with _uxxxx.",
    )  # fmt: skip
    route: str = setting(
        "route.by.field", default="aggregatetype", group=_ROUTER, importance=Importance.HIGH,
        width=Width.MEDIUM, display_name="Field to route events by",
        doc="The column which determines how the events will be routed, the value will become part of the "
            "topic name",
    )  # fmt: skip
    topic_regex: str = setting(
        "route.topic.regex", default="(?<routedByValue>.*)", group=_ROUTER, importance=Importance.LOW,
        width=Width.MEDIUM, display_name="The name of the routed topic", check=regex_error,
        doc="The default regex to use within the RegexRouter, the default capture will allow to replace the "
            "routed field into a new topic name defined in 'route.topic.replacement'",
    )  # fmt: skip
    topic_replacement: str = setting(
        "route.topic.replacement", default="outbox.event.${routedByValue}", group=_ROUTER,
        importance=Importance.HIGH, width=Width.MEDIUM, display_name="The name of the routed topic",
        doc="The name of the topic in which the events will be routed, a replacement '${routedByValue}' is "
            "available which is the value of The column configured via 'route.by.field'",
    )  # fmt: skip
    makes_tombstones: bool = setting(
        "route.tombstone.on.empty.payload", default=False, group=_ROUTER, importance=Importance.HIGH,
        width=Width.MEDIUM, display_name="Empty payloads cause a tombstone message",
        doc="Whether or not an empty payload should cause a tombstone event.",
    )  # fmt: skip
    tracing_context: str | None = _tracing(
        "tracing.span.context.field", "Serialized tracing span context field"
    )
    tracing_operation: str | None = _tracing("tracing.operation.name", "Tracing operation name")
    tracing_only_with_context: str | None = _tracing(
        "tracing.with.context.field.only", "Trace only events with context field present"
    )

    def check(self) -> Iterable[FieldError]:
        yield from replacement_errors("route.topic.replacement", self.topic_replacement, self.topic_regex)
        try:
            self.additional_fields()
        except ConfigError as exc:
            yield FieldError(_PLACEMENT, str(exc))
        for name, value in self.originals.items():
            if name.startswith("tracing.") and name in self.definitions():
                why = (
                    "tracing is not supported; remove it, and pass a column with the context of a trace on "
                    "as a header by table.fields.additional.placement"
                )
                yield FieldError(name, str(ConfigError.invalid(name, value, why)))

    @property
    def skips_missing(self) -> bool:
        """Whether additional columns may be missing; the older name counts where it says so."""
        return self.missing == "ignore" or self.old_missing_fails is False

    def additional_fields(self) -> list[AdditionalField]:
        """`table.fields.additional.placement`, understood."""
        if self.additional == []:
            raise ConfigError.invalid(_PLACEMENT, "", "name a column, or leave it out")
        return [AdditionalField.parse(text) for text in self.additional or ()]
