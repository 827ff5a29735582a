"""ByLogicalTableRouter (Debezium): the events of several tables in one topic, told apart by their keys."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from connect.api import (
    Config,
    ConfigError,
    DataError,
    FieldError,
    Importance,
    Schema,
    SchemaBuilderError,
    SchemaType,
    Transform,
    Width,
    setting,
)
from connect.api.java_regex import regex_error
from connect.api.schemas import STRING, struct
from connect.transforms.base import R, copy_of, require_struct
from connect.transforms.debezium import (
    ADJUSTMENTS,
    AFTER,
    BEFORE,
    Choice,
    is_envelope,
    one_of,
    required,
    schema_namer,
    typed_field,
)
from connect.transforms.regex_router import Renaming, replacement_errors
from connect.version import __version__

_PURPOSE: Final = "Updating schema"
# With fewer than there are tables, Debezium's default of 16 makes schemas anew for each record.
_KEPT_MIN: Final = 1024


class ByLogicalTableRouterConfig(Config):
    """Settings of ByLogicalTableRouter."""

    topic_regex: str = setting(
        "topic.regex", importance=Importance.LOW, width=Width.LONG, display_name="Topic regex",
        check=lambda text: required(text) or regex_error(text),
        doc="The regex used for extracting the name of the logical table from the original topic name.",
    )  # fmt: skip
    topic_replacement: str = setting(
        "topic.replacement", importance=Importance.LOW, width=Width.LONG, display_name="Topic replacement",
        check=required,
        doc="The replacement string used in conjunction with topic.regex. This will be used to create the "
            "new topic name.",
    )  # fmt: skip
    unique_keys: bool = setting(
        "key.enforce.uniqueness", default=True, importance=Importance.LOW, width=Width.SHORT,
        display_name="Add source topic name into key",
        doc="Augment each record's key with a field denoting the source topic. This field distinguishes "
            "records coming from different physical tables which may otherwise have primary/unique key "
            "conflicts. If the source tables are guaranteed to have globally unique keys then this may be "
            "set to false to disable key rewriting.",
    )  # fmt: skip
    key_regex: str = setting(
        "key.field.regex", default="", importance=Importance.LOW, width=Width.LONG,
        display_name="Key field regex", check=regex_error,
        doc="The regex used for extracting the physical table identifier from the original topic name.",
    )  # fmt: skip
    key_replacement: str = setting(
        "key.field.replacement", default="", importance=Importance.LOW, width=Width.LONG,
        display_name="Key field replacement",
        doc="The replacement string used in conjunction with key.field.regex. This will be used to create "
            "the physical table identifier in the record's key.",
    )  # fmt: skip
    key_field: str = setting(
        "key.field.name", default="__dbz__physicalTableIdentifier", importance=Importance.LOW,
        width=Width.LONG, display_name="Key field name",
        doc="Each record's key schema will be augmented with this field name, which distinguishes the "
            "physical tables that share a topic. No key may have a field of this name.",
    )  # fmt: skip
    adjustment: Choice = one_of(
        "schema.name.adjustment.mode", "none", ADJUSTMENTS, importance=Importance.LOW, width=Width.MEDIUM,
        display_name="Schema Name Adjustment",
        doc="How the schema names derived from the resulting topic name should be adjusted: avro replaces "
            "the characters that cannot be used in an Avro name with an underscore, avro_unicode with the "
            "corresponding unicode like _uxxxx (and the underscore as well), none does not adjust them.",
    )  # fmt: skip
    cache_size: int = setting(
        "logical.table.cache.size", default=16, importance=Importance.LOW, width=Width.LONG,
        display_name="Logical table cache size",
        doc="How many topics and schemas are kept with what they become; never fewer than 1024.",
    )  # fmt: skip

    def check(self) -> Iterable[FieldError]:
        yield from replacement_errors("topic.replacement", self.topic_replacement, self.topic_regex)
        if self.key_regex and not self.key_replacement:
            why = "key.field.replacement must be non-empty if key.field.regex is set."
            name = "key.field.replacement"
            yield FieldError(name, str(ConfigError.invalid(name, self.key_replacement, why)))
        yield from replacement_errors("key.field.replacement", self.key_replacement, self.key_regex)


class ByLogicalTableRouter(Transform[R]):
    """Routes by a regular expression, names the schemas after the new topic, and adds to the key where a
    record comes from: `{"id":1}` → `{"id":1,"__dbz__physicalTableIdentifier":"server.public.t"}`."""

    version = __version__
    config_class = ByLogicalTableRouterConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        self._config = config = ByLogicalTableRouterConfig.parse(properties)
        kept_max = max(config.cache_size, _KEPT_MIN)
        self._new_topic = Renaming(config.topic_regex, config.topic_replacement, kept_max)
        self._identifier = (
            Renaming(config.key_regex, config.key_replacement, kept_max) if config.key_regex else None
        )
        self._named = schema_namer(config.adjustment)
        # By topic too: tables may share a schema, and heartbeats do.
        self._key_schema = lru_cache(kept_max)(self._make_key_schema)
        self._envelope_schema = lru_cache(kept_max)(self._make_envelope_schema)

    def apply(self, record: R) -> R:
        topic = self._new_topic(record.topic)
        if not topic:
            return record
        changes: dict[str, Any] = {"topic": topic, "key_schema": None}
        if record.raw_key is not None:
            changes["key_schema"], changes["key"] = self._key(record, topic)
        schema = record.value_schema
        if schema is not None and record.raw_value is not None and is_envelope(schema):
            # The names of schemas are not in the value, which nobody has to look into.
            changes["value_schema"] = self._envelope_schema(schema, topic)
        return record.replace(**changes)

    def _key(self, record: R, topic: str) -> tuple[Schema, dict[str, Any]]:
        if record.key_schema is None:
            raise DataError(
                f"Only Struct objects supported for [{_PURPOSE}], found: {type(record.key).__name__}"
            )
        fields = require_struct(record.key_schema, record.key, _PURPOSE)
        key = copy_of(record.key_schema, fields, null_as_default=False)
        if self._config.unique_keys:
            renamed = None if self._identifier is None else self._identifier(record.topic)
            key[self._config.key_field] = record.topic if renamed is None else renamed
        return self._key_schema(record.key_schema, topic), key

    def _make_key_schema(self, key: Schema, topic: str) -> Schema:
        fields = [(field.name, field.schema) for field in key.fields]
        name = self._config.key_field
        if self._config.unique_keys:
            if key.field(name) is not None:
                raise SchemaBuilderError(f"Cannot create field because of field name duplication {name}")
            fields.append((name, STRING))
        return _renamed(key, self._named(f"{topic}.Key"), fields)

    def _make_envelope_schema(self, envelope: Schema, topic: str) -> Schema:
        rows = typed_field(envelope, BEFORE, SchemaType.STRUCT).schema
        new_rows = _renamed(rows, self._named(f"{topic}.Value"), [(f.name, f.schema) for f in rows.fields])
        fields = [
            (field.name, new_rows if field.name in (BEFORE, AFTER) else field.schema)
            for field in envelope.fields
        ]
        return _renamed(envelope, self._named(f"{topic}.Envelope"), fields)


def _renamed(schema: Schema, name: str, fields: list[tuple[str, Schema]]) -> Schema:
    return struct(
        fields,
        name=name,
        optional=schema.optional,
        version=schema.version,
        doc=schema.doc,
        parameters=schema.parameters,
    )
