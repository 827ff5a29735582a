"""ExtractNewRecordState (Debezium): the row that a change event is about, in place of its envelope."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from connect.api import Config, ConfigError, DataError, Header, Importance, Schema, Transform, Width, setting
from connect.api.per_schema import PerSchema
from connect.api.schemas import OPTIONAL_STRING
from connect.transforms.base import R, copy_of, like, null_as_default_setting
from connect.transforms.debezium import is_envelope
from connect.version import __version__

_DELETED: Final = "__deleted"
_ENVELOPE_FIELDS: Final = ("op", "ts_ms", "ts_us", "ts_ns")
_TRANSACTION_FIELDS: Final = ("id", "total_order", "data_collection_order")
_ADD_DOC: Final = (
    "A name alone is looked for in the envelope, the transaction and the source; with a dot the part before "
    "it says where. `name:other` gives it another name. What an event does not have is left out."
)


class Mode(StrEnum):
    """What becomes of deletes, and of the tombstones that follow them."""

    DROP = "drop"
    TOMBSTONE = "tombstone"
    REWRITE = "rewrite"
    REWRITE_WITH_TOMBSTONE = "rewrite-with-tombstone"
    DELETE_TO_TOMBSTONE = "delete-to-tombstone"


_MODE: Final = "delete.tombstone.handling.mode"
# By `delete.handling.mode` and `drop.tombstones`, which were there before Debezium 2.5.
_OLD_MODES: Final = {
    ("drop", True): Mode.DROP,
    ("drop", False): Mode.TOMBSTONE,
    ("rewrite", True): Mode.REWRITE,
    ("rewrite", False): Mode.REWRITE_WITH_TOMBSTONE,
    ("none", True): Mode.DELETE_TO_TOMBSTONE,
    ("none", False): Mode.TOMBSTONE,
}


class ExtractNewRecordStateConfig(Config):
    """Settings of ExtractNewRecordState."""

    mode: Mode = setting(
        _MODE, default="tombstone", choices=tuple(Mode), width=Width.MEDIUM,
        display_name="Handle delete and tombstone records",
        doc="How to handle delete records. drop: remove the delete event and its tombstone. tombstone: leave "
            "one record with a null value. rewrite: remove the tombstone, and add a __deleted field with the "
            "value true to the deleted row. rewrite-with-tombstone: the same, and retain the tombstone. "
            "delete-to-tombstone: make the delete event a tombstone, and remove the one that follows.",
    )  # fmt: skip
    route_by_field: str = setting(
        "route.by.field", default="", importance=Importance.LOW, width=Width.LONG,
        display_name="Route by field name",
        doc="The column which determines how the events will be routed, the value will replace the topic "
            "name.",
    )  # fmt: skip
    fields_prefix: str = setting(
        "add.fields.prefix", default="__", importance=Importance.LOW, width=Width.SHORT,
        display_name="Field prefix to be added to each field.", doc="Adds this prefix to each field listed.",
    )  # fmt: skip
    fields: list[str] = setting(
        "add.fields", default=[], importance=Importance.LOW, width=Width.LONG,
        display_name="Adds the specified field(s) to the message if they exist.",
        doc="Adds each field listed, called __<field>, or __<struct>_<field> with a struct. " + _ADD_DOC,
    )  # fmt: skip
    headers_prefix: str = setting(
        "add.headers.prefix", default="__", importance=Importance.LOW, width=Width.SHORT,
        display_name="Header prefix to be added to each header.", doc="Adds this prefix to each header.",
    )  # fmt: skip
    headers: list[str] = setting(
        "add.headers", default=[], importance=Importance.LOW, width=Width.LONG,
        display_name="Adds the specified fields to the header if they exist.",
        doc="Adds each field listed as a header, named as with add.fields. " + _ADD_DOC,
    )  # fmt: skip
    drop_header: str | None = setting(
        "drop.fields.header.name", default=None, importance=Importance.LOW, width=Width.SHORT,
        display_name="Specifies a header that contains a list of field names to be removed",
        doc="Specifies the name of a header that contains a list of fields to be removed from the value.",
    )  # fmt: skip
    drop_from_key: bool = setting(
        "drop.fields.from.key", default=False, importance=Importance.LOW, width=Width.SHORT,
        display_name="Specifies whether the fields to be dropped should also be omitted from the key",
        doc="Specifies whether to remove the fields from the key as well as from the value.",
    )  # fmt: skip
    drop_compatible: bool = setting(
        "drop.fields.keep.schema.compatible", default=True, importance=Importance.LOW, width=Width.SHORT,
        display_name="Specifies if fields are dropped, will the event's schemas be compatible",
        doc="Whether only those fields are removed that are optional.",
    )  # fmt: skip
    null_as_default: bool = null_as_default_setting()
    old_mode: str | None = setting(
        "delete.handling.mode", default=None, choices=("drop", "rewrite", "none"), importance=Importance.LOW,
        width=Width.MEDIUM, display_name="Handle delete records (old)",
        doc=f"What {_MODE} was before, together with drop.tombstones; it counts where that is not set.",
    )  # fmt: skip
    old_drop: bool | None = setting(
        "drop.tombstones", default=None, importance=Importance.LOW, width=Width.SHORT,
        display_name="Drop tombstones (old)",
        doc=f"What {_MODE} was before, together with delete.handling.mode; it counts where that is not set.",
    )  # fmt: skip

    def effective_mode(self) -> Mode:
        """The mode, also where it is set in the words of older versions."""
        is_old = self.old_mode is not None or self.old_drop is not None
        if not is_old or _MODE in self.originals:
            return self.mode
        return _OLD_MODES[self.old_mode or "drop", self.old_drop is not False]


class _Reference(NamedTuple):
    """A field of an event: the struct it is in (None: the envelope itself), and what it will be called."""

    struct: str | None
    field: str
    new_name: str

    @classmethod
    def parse(cls, setting_name: str, text: str, prefix: str) -> "_Reference":
        path, _, new_name = text.partition(":")
        *around, field = path.split(".")
        if len(around) > 1 or not field:
            raise ConfigError.invalid(setting_name, text, "write field, struct.field or struct.field:name")
        name = prefix + (new_name or "_".join((*around, field)))
        if around:
            return cls(around[0], field, name)
        if field in _ENVELOPE_FIELDS:
            return cls(None, field, name)
        return cls("transaction" if field in _TRANSACTION_FIELDS else "source", field, name)

    def found_in(self, envelope: Schema) -> "_Added | None":
        """What to add; None if the events have no such field."""
        around: Schema | None = envelope
        if self.struct is not None:
            struct = envelope.field(self.struct)
            around = None if struct is None else struct.schema
        found = None if around is None else around.field(self.field)
        if found is None:
            return None
        # Debezium leaves what is at its default out of `source`, and then finds null there.
        unset = found.schema.default if self.struct == "source" else None
        return _Added(self, found.schema.as_optional().with_default(None), unset)


class _Added(NamedTuple):
    """A field to add, with its schema; the value `unset` is told as null."""

    reference: _Reference
    schema: Schema
    unset: Any

    @property
    def name(self) -> str:
        return self.reference.new_name

    def read(self, event: Mapping[str, Any]) -> Any:
        """Its value in an event; null where a struct on the way is null."""
        struct, field, _ = self.reference
        around: Any = event if struct is None else event.get(struct)
        value = None if around is None else around.get(field)
        return None if value == self.unset else value


class _Plan(NamedTuple):
    """For the schema of an envelope: that of its rows, that of what comes out, and what is added."""

    row: Schema
    out: Schema
    fields: list[_Added]
    headers: list[_Added]


class ExtractNewRecordState(Transform[R]):
    """`{"before":…,"after":{"id":1},"op":"c",…}` → `{"id":1}`. What is no change event passes unchanged."""

    version = __version__
    config_class = ExtractNewRecordStateConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        self._config = config = ExtractNewRecordStateConfig.parse(properties)
        self._mode = config.effective_mode()
        self._rewrites = self._mode in (Mode.REWRITE, Mode.REWRITE_WITH_TOMBSTONE)
        self._fields = [_Reference.parse("add.fields", text, config.fields_prefix) for text in config.fields]
        self._headers = [
            _Reference.parse("add.headers", text, config.headers_prefix) for text in config.headers
        ]
        self._plan = PerSchema(self._make_plan)

    def apply(self, record: R) -> R | None:
        event, schema = record.value, record.value_schema
        if event is None:
            return record if self._mode is Mode.REWRITE_WITH_TOMBSTONE else None
        if schema is None or not is_envelope(schema):
            return record
        is_delete = event.get("after") is None
        if event.get("op") == "t" or (is_delete and self._mode is Mode.DROP):
            return None
        plan = self._plan(schema)
        row = event.get("before") if is_delete else event["after"]
        changes: dict[str, Any] = {}
        if plan.headers:
            added = [Header(header.name, header.schema, header.read(event)) for header in plan.headers]
            changes["headers"] = [*record.headers, *added]
        if self._config.route_by_field:
            changes["topic"] = self._topic(row)
        if is_delete and (not self._rewrites or row is None):
            is_plain = self._mode is Mode.DELETE_TO_TOMBSTONE
            return record.replace(value_schema=None if is_plain else plan.row, value=None, **changes)
        unwrapped = copy_of(plan.row, row, self._config.null_as_default)
        if self._rewrites:
            unwrapped[_DELETED] = "true" if is_delete else "false"
        for field in plan.fields:
            unwrapped[field.name] = field.read(event)
        changed = record.replace(value_schema=plan.out, value=unwrapped, **changes)
        return (
            changed if self._config.drop_header is None else self._dropped(changed, self._config.drop_header)
        )

    def _make_plan(self, envelope: Schema) -> _Plan:
        after = envelope.field("after")
        if after is None:
            raise DataError(f"{envelope.name} has no field after")
        row = after.schema
        fields = [(field.name, field.schema) for field in row.fields]
        if self._rewrites:
            fields.append((_DELETED, OPTIONAL_STRING))
        added = self._found(self._fields, envelope)
        fields += [(field.name, field.schema) for field in added]
        names = [name for name, _ in fields]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"Cannot create field because of field name duplication {twice}")
        return _Plan(row, like(row, fields), added, self._found(self._headers, envelope))

    @staticmethod
    def _found(references: Sequence[_Reference], envelope: Schema) -> list[_Added]:
        found = [reference.found_in(envelope) for reference in references]
        return [added for added in found if added is not None]

    def _topic(self, row: Mapping[str, Any] | None) -> str:
        topic = None if row is None else row.get(self._config.route_by_field)
        if not isinstance(topic, str):
            raise DataError(
                f"route.by.field={self._config.route_by_field}: the row has no text in that field to route by"
            )
        return topic

    def _dropped(self, record: R, header_name: str) -> R:
        """The record without the fields that its header names."""
        named = next((header.value for header in record.headers if header.name == header_name), None)
        if not named:
            return record
        schema, value = self._without(record.value_schema, record.value, named)
        record = record.replace(value_schema=schema, value=value)
        if self._config.drop_from_key and record.key is not None:
            schema, value = self._without(record.key_schema, record.key, named)
            record = record.replace(key_schema=schema, key=value)
        return record

    def _without(
        self, schema: Schema | None, value: Mapping[str, Any], names: Sequence[str]
    ) -> tuple[Schema | None, dict[str, Any]]:
        if schema is None:
            return None, {name: part for name, part in value.items() if name not in names}
        rest = _schema_without(schema, frozenset(names), self._config.drop_compatible)
        return rest, {field.name: value[field.name] for field in rest.fields}


@lru_cache(256)
def _schema_without(schema: Schema, names: frozenset[str], only_optional: bool) -> Schema:
    kept = [
        (field.name, field.schema)
        for field in schema.fields
        if field.name not in names or (only_optional and not field.schema.optional)
    ]
    return like(schema, kept)
