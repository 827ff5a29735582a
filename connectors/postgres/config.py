"""All settings of the PostgreSQL source, under Debezium's names and with its defaults."""

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

from connect.api import FieldError, Importance, Kind, setting
from connectors.postgres.connection_settings import ConnectionSettings
from connectors.postgres.driver_settings import without_effect
from connectors.postgres.event_checks import REGEX_NAMING, check_events
from connectors.postgres.mask_rules import MASK_NAME
from connectors.postgres.patterns import compiled
from connectors.postgres.reselect_settings import RESELECT_NAME, ReselectSettings, reselect_settings
from connectors.postgres.signal_checks import check_signals
from connectors.postgres.snapshot_settings import OVERRIDE_NAME, SIGNAL_CONSUMER_NAME, SnapshotSettings

HIGH, LOW = Importance.HIGH, Importance.LOW
TOPIC_NAMING: Final = [
    "io.debezium.schema.SchemaTopicNamingStrategy", REGEX_NAMING,
    "io.debezium.schema.SchemaUnicodeTopicNamingStrategy",
]  # fmt: skip
_HEX: Final = "hex:"
_SOURCE_INFO: Final = "io.debezium.connector.postgresql.PostgresSourceInfoStructMaker"
_TRANSACTIONS: Final = "io.debezium.pipeline.txmetadata.DefaultTransactionMetadataFactory"
_DRIVER: Final = re.compile(r"driver\.(.+)")


class PostgresSourceConfig(SnapshotSettings, ConnectionSettings):
    """Settings of `io.debezium.connector.postgresql.PostgresConnector`."""

    patterns: ClassVar[tuple[re.Pattern[str], ...]] = (
        MASK_NAME,
        RESELECT_NAME,
        OVERRIDE_NAME,
        SIGNAL_CONSUMER_NAME,
        _DRIVER,
    )
    renamed: ClassVar[Mapping[str, str]] = {
        "database.server.name": "topic.prefix",
        "heartbeat.topics.prefix": "topic.heartbeat.prefix",
    }

    # Filters and keys
    schema_include: list[str] = setting(
        "schema.include.list", default=[], importance=HIGH, doc="Regexes of schemas to capture."
    )
    schema_exclude: list[str] = setting(
        "schema.exclude.list", default=[], importance=HIGH, doc="Regexes of schemas to leave out."
    )
    table_include: list[str] = setting(
        "table.include.list", default=[], importance=HIGH, doc="Regexes of `schema.table` to capture."
    )
    table_exclude: list[str] = setting(
        "table.exclude.list", default=[], importance=HIGH, doc="Regexes of `schema.table` to leave out."
    )
    column_include: list[str] = setting(
        "column.include.list", default=[], doc="Regexes of `schema.table.column` to keep."
    )
    column_exclude: list[str] = setting(
        "column.exclude.list", default=[], doc="Regexes of `schema.table.column` to leave out."
    )
    message_key_columns: str | None = setting(
        "message.key.columns", default=None, doc="`regex:column,column;…` of keys."
    )
    skip_without_change: bool = setting(
        "skip.messages.without.change", default=False, doc="Leave out updates of no captured column."
    )
    skipped_operations: list[str] = setting(
        "skipped.operations", default=["t"], doc="Of c, u, d, t: what to leave out; or none."
    )
    message_prefix_include: list[str] = setting(
        "message.prefix.include.list", default=[], doc="Prefixes of logical messages."
    )
    message_prefix_exclude: list[str] = setting(
        "message.prefix.exclude.list", default=[], doc="Prefixes of logical messages."
    )
    column_propagate: list[str] = setting(
        "column.propagate.source.type", default=[], doc="Columns whose type goes into the schema."
    )
    datatype_propagate: list[str] = setting(
        "datatype.propagate.source.type", default=[], doc="Types that go into the schema."
    )

    converters: list[str] = setting(
        "converters", default=[], importance=LOW, doc="Java classes of Debezium's; Millstream has transforms."
    )
    post_processors: list[str] = setting(
        "post.processors", default=[],
        doc="Post processors; known is io.debezium.processors.reselect.ReselectColumnsPostProcessor.",
    )  # fmt: skip
    source_info_maker: str = setting(
        "sourceinfo.struct.maker", default=_SOURCE_INFO, kind=Kind.CLASS, choices=[_SOURCE_INFO],
        importance=LOW, doc="Form of the source block.",
    )  # fmt: skip
    transaction_factory: str = setting(
        "transaction.metadata.factory", default=_TRANSACTIONS, kind=Kind.CLASS, choices=[_TRANSACTIONS],
        importance=LOW, doc="Form of the transaction metadata.",
    )  # fmt: skip

    # Types
    decimal_mode: str = setting(
        "decimal.handling.mode",
        default="precise",
        choices=["precise", "double", "string"],
        doc="How numeric and money are written.",
    )
    time_mode: str = setting(
        "time.precision.mode", default="adaptive", doc="How dates and times are written.",
        choices=["adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds",
                 "nanoseconds"],
    )  # fmt: skip
    hstore_mode: str = setting(
        "hstore.handling.mode", default="json", choices=["json", "map"], doc="How hstore is written."
    )
    interval_mode: str = setting(
        "interval.handling.mode",
        default="numeric",
        choices=["numeric", "string"],
        doc="How interval is written.",
    )
    binary_mode: str = setting(
        "binary.handling.mode",
        default="bytes",
        choices=["bytes", "base64", "base64-url-safe", "hex"],
        doc="How bytea is written.",
    )
    money_fraction_digits: int = setting(
        "money.fraction.digits", default=2, at_least=0, doc="Digits behind the point of money."
    )
    include_unknown: bool = setting(
        "include.unknown.datatypes", default=False, doc="Write other types as bytes of their text."
    )
    placeholder: str = setting(
        "unavailable.value.placeholder",
        default="__debezium_unavailable_value",
        doc="Stands for a TOAST value that the server did not send; its bytes in hexadecimal behind `hex:`.",
    )
    unavailable_mode: str = setting(
        "unavailable.value.handling.mode", default="placeholder", choices=["placeholder", "omit"],
        doc="What an event shows of a TOAST value that the server did not send: "
        "unavailable.value.placeholder, or no such field, in the schema neither.",
    )  # fmt: skip
    include_schema_changes: bool = setting(
        "include.schema.changes", default=False,
        doc="Tell tables' structures and their changes in the topic named topic.prefix.",
    )  # fmt: skip
    include_schema_comments: bool = setting(
        "include.schema.comments", default=False, importance=LOW,
        doc="Without effect, as in Debezium's connector for PostgreSQL.",
    )  # fmt: skip
    schema_name_adjustment: str = setting(
        "schema.name.adjustment.mode",
        default="none",
        choices=["none", "avro", "avro_unicode"],
        doc="Characters of schema names.",
    )
    field_name_adjustment: str = setting(
        "field.name.adjustment.mode",
        default="none",
        choices=["none", "avro", "avro_unicode"],
        doc="Characters of field names.",
    )

    # Flow, heartbeat, topics
    max_batch_size: int = setting("max.batch.size", default=2048, at_least=1, doc="Records of a batch.")
    max_queue_size: int = setting(
        "max.queue.size", default=8192, at_least=1, doc="Not needed: there is no queue."
    )
    max_queue_bytes: int = setting(
        "max.queue.size.in.bytes",
        default=0,
        kind=Kind.LONG,
        at_least=0,
        doc="Limit of a batch in bytes; 0: 8 MiB.",
    )
    poll_interval_ms: int = setting(
        "poll.interval.ms", default=500, at_least=1, doc="Longest wait for a change."
    )
    heartbeat_interval_ms: int = setting(
        "heartbeat.interval.ms", default=0, at_least=0, doc="Heartbeat records; 0 is none."
    )
    heartbeat_action_query: str | None = setting(
        "heartbeat.action.query", default=None, doc="SQL run with each heartbeat."
    )
    heartbeat_prefix: str = setting(
        "topic.heartbeat.prefix", default="__debezium-heartbeat", doc="Prefix of the heartbeat topic."
    )
    topic_delimiter: str = setting("topic.delimiter", default=".", doc="Between the parts of a topic name.")
    topic_naming_strategy: str = setting(
        "topic.naming.strategy", default=TOPIC_NAMING[0], kind=Kind.CLASS, choices=TOPIC_NAMING,
        doc="How topics are named: by schema and table, by topic.regex, or with `_uXXXX` for the rest.",
    )  # fmt: skip
    topic_regex: str | None = setting(
        "topic.regex", default=None, doc="Regex of the topics to rename, for SchemaRegexTopicNamingStrategy."
    )
    topic_replacement: str | None = setting(
        "topic.replacement", default=None, doc="Their new name; $1 is a group of topic.regex."
    )
    topic_key_enforce_uniqueness: bool = setting(
        "topic.key.enforce.uniqueness", default=True, doc="Tell the table in the key, too."
    )
    topic_key_field_name: str = setting(
        "topic.key.field.name", default="__dbz__physicalTableIdentifier", doc="Field of the key that does so."
    )
    topic_key_field_regex: str | None = setting(
        "topic.key.field.regex", default=None, doc="Regex of topic names, to shorten what the field says."
    )
    topic_key_field_replacement: str | None = setting(
        "topic.key.field.replacement", default=None, doc="What the field says where that regex matches."
    )
    topic_cache_size: int = setting(
        "topic.cache.size", default=10_000, importance=LOW, doc="Not needed: names are made once a table."
    )
    tombstones_on_delete: bool = setting(
        "tombstones.on.delete", default=True, doc="A record with null after each delete."
    )
    extended_headers: bool = setting(
        "extended.headers.enabled", default=True, doc="The `__debezium.context.` headers."
    )
    provide_transactions: bool = setting(
        "provide.transaction.metadata", default=False, doc="Transaction topic and block."
    )
    topic_transaction: str = setting(
        "topic.transaction", default="transaction", doc="Name of the transaction topic."
    )
    notification_channels: list[str] = setting(
        "notification.enabled.channels", default=[], doc="Where notifications go: sink, log."
    )
    notification_topic: str | None = setting(
        "notification.sink.topic.name", default=None, doc="Topic of notifications."
    )
    errors_max_retries: int = setting(
        "errors.max.retries", default=-1, doc="How often a lost connection is tried again; -1 has no end."
    )
    retriable_wait_ms: int = setting(
        "retriable.restart.connector.wait.ms",
        default=10_000,
        at_least=0,
        doc="Longest wait between two tries to connect; the first follow quickly.",
    )
    failure_handling: str = setting(
        "event.processing.failure.handling.mode",
        default="fail",
        choices=["fail", "warn", "skip", "ignore"],
        doc="What to do with a change that cannot be read.",
    )

    def check(self) -> Iterable[FieldError]:
        """Exclusive lists, and settings of features that this version does not have."""
        for kind in ("schema", "table", "column", "message.prefix"):
            attribute = kind.replace(".", "_")
            if getattr(self, f"{attribute}_include") and getattr(self, f"{attribute}_exclude"):
                name = f"{kind}.exclude.list"
                yield FieldError(
                    name, f'"{kind}.include.list" is already specified: give only one of it and {name}'
                )
        for attribute in _PATTERN_LISTS:
            yield from self._check_patterns(attribute)
        for operation in self.skipped_operations:
            if operation not in ("c", "u", "d", "t", "none"):
                yield self.error("skipped_operations", "only c, u, d, t and none are allowed")
        for table in self.snapshot_overrides:
            if self.override(table) is None:
                name = f"snapshot.select.statement.overrides.{table}"
                yield FieldError(
                    "snapshot.select.statement.overrides", f"{name} is missing: give the SELECT for {table}"
                )
        yield from check_events(self)
        yield from check_signals(self)
        for option, _ in self.stream_params():
            if option != "origin":
                why = _STREAM_PARAMS.get(option, "pgoutput has no such option; the only one here is origin")
                yield self.error("slot_stream_params", f"{option}: {why}")
        yield from self._not_yet()

    def warnings(self) -> Iterable[FieldError]:
        for name in without_effect(self.originals):
            yield FieldError(name, f"{name} is a setting of Java's driver and has no effect here")

    def _check_patterns(self, attribute: str) -> Iterable[FieldError]:
        for pattern in getattr(self, attribute):
            try:
                compiled(pattern)
            except ValueError as exc:
                yield self.error(attribute, f"{pattern!r} is no regular expression: {exc}")

    def _not_yet(self) -> Iterable[FieldError]:
        fields = type(self).model_fields
        for attribute, why in _NOT_YET.items():
            default = fields[attribute].get_default(call_default_factory=True)
            if getattr(self, attribute) != default:
                yield self.error(attribute, f"{why} not supported yet: remove the setting")
        for attribute, choices in _NOT_YET_CHOICES.items():
            if getattr(self, attribute) in choices:
                yield self.error(attribute, "this choice is not supported yet")

    def error(self, attribute: str, why: str) -> FieldError:
        """What is wrong with the value of a field."""
        name = type(self).model_fields[attribute].alias or attribute
        shown = type(self).definitions()[name].show(getattr(self, attribute))
        return FieldError(name, f"Invalid value {shown} for configuration {name}: {why}")

    @property
    def placeholder_bytes(self) -> bytes:
        """unavailable.value.placeholder; behind `hex:` stand its bytes."""
        given = self.placeholder
        return bytes.fromhex(given[len(_HEX) :]) if given.startswith(_HEX) else given.encode()

    @property
    def marks_unavailable(self) -> bool:
        """Whether TOAST values that were not sent need more than their placeholder."""
        return self.unavailable_mode != "placeholder" or self.reselect is not None

    @property
    def reselect(self) -> ReselectSettings | None:
        """The settings of the post processor that reads columns again."""
        return reselect_settings(self.post_processors, self.originals)


_PATTERN_LISTS: Final = (
    "schema_include", "schema_exclude", "table_include", "table_exclude", "column_include", "column_exclude",
    "snapshot_include", "message_prefix_include", "message_prefix_exclude", "column_propagate",
    "datatype_propagate",
)  # fmt: skip
# Options of pgoutput that a user may not give.
_STREAM_PARAMS: Final = {
    "proto_version": "follows from streaming.transactions",
    "publication_names": "set publication.name",
    "streaming": "set streaming.transactions",
    "messages": "they always come; choose among them by message.prefix.include.list",
    "binary": "values are read as text",
    "two_phase": "prepared transactions come when they are committed",
}
# Settings whose feature is not there yet: refused when set, never silently ignored.
_NOT_YET: Final = {
    "sslfactory": "a Java class cannot be loaded; it is",
}
_NOT_YET_CHOICES: Final = {
    "snapshot_mode": ("custom",),
    "snapshot_locking_mode": ("custom",),
}
