"""The settings that every connector has, with Kafka Connect's names, texts, groups and order."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from connect.api import Config, Definition, FieldError, Importance, Kind, Width, setting
from connect.api.java_regex import compile_java, regex_error

_TRANSFORMS: Final = re.compile(r"(transforms|predicates)\..+")
_CONVERTERS: Final = re.compile(r"(key|value|header)\.converter\..+")
_OVERRIDES: Final = re.compile(r"(producer|consumer|admin)\.override\..+")
_TOPIC_CREATION: Final = re.compile(r"topic\.creation\..+")
_MILLSTREAM: Final = re.compile(r"millstream\..+")


def one_of(*choices: str, ignore_case: bool = False) -> Callable[[Any], str | None]:
    """A check with Kafka's text."""
    allowed = {choice.lower() if ignore_case else choice for choice in choices}
    how = " (case insensitive)" if ignore_case else ""

    def check(value: Any) -> str | None:
        text = str(value).lower() if ignore_case else value
        return None if text in allowed else f"String must be one of{how}: {', '.join(choices)}"

    return check


def _check_name(value: Any) -> str | None:
    if not value:
        return "String may not be empty"
    if any(ord(character) < 32 for character in value):
        return "String may not contain control sequences but had the following ASCII chars: " + ", ".join(
            str(ord(character)) for character in value if ord(character) < 32
        )
    return None


def _check_tasks_max(value: Any) -> str | None:
    if value is None:
        return "Value must be non-null"
    return "Value must be at least 1" if value < 1 else None


def _check_aliases(value: Any) -> str | None:
    return "Duplicate alias provided." if len(set(value)) < len(value) else None


def _check_not_empty(value: Any) -> str | None:
    return "String must be non-empty" if value == "" else None


class ConnectorConfig(Config):
    """Sources and sinks alike."""

    patterns: ClassVar[tuple[re.Pattern[str], ...]] = (_TRANSFORMS, _CONVERTERS, _OVERRIDES, _MILLSTREAM)
    # Where the order in a group is not that of the declarations.
    orders: ClassVar[Mapping[str, int]] = {"transforms": 12, "predicates": 13, "config.action.reload": 14}

    name: str = setting(
        "name", importance=Importance.HIGH, width=Width.MEDIUM, check=_check_name,
        group="Common", display_name="Connector name",
        doc="Globally unique name to use for this connector.",
    )  # fmt: skip

    connector_class: str = setting(
        "connector.class", importance=Importance.HIGH, width=Width.LONG,
        group="Common", display_name="Connector class",
        doc=(
            "Name or alias of the class for this connector. Must be a subclass of "
            "org.apache.kafka.connect.connector.Connector. If the connector is "
            "org.apache.kafka.connect.file.FileStreamSinkConnector, you can either specify this full name,  "
            "or use \"FileStreamSink\" or \"FileStreamSinkConnector\" to make the configuration a bit shorter"
        ),
    )  # fmt: skip

    connector_plugin_version: str | None = setting(
        "connector.plugin.version", default=None, importance=Importance.MEDIUM, width=Width.MEDIUM,
        group="Common", display_name="Connector version",
        doc="Version of the connector.",
    )  # fmt: skip

    tasks_max: int = setting(
        "tasks.max", default=1, importance=Importance.HIGH, width=Width.SHORT, check=_check_tasks_max,
        group="Common", display_name="Tasks max",
        doc="Maximum number of tasks to use for this connector.",
    )  # fmt: skip

    tasks_max_enforce: bool = setting(
        "tasks.max.enforce", default=True, importance=Importance.LOW, width=Width.SHORT,
        group="Common", display_name="Enforce tasks max",
        doc=(
            "(Deprecated) Whether to enforce that the tasks.max property is respected by the connector. By "
            "default, connectors that generate too many tasks will fail, and existing sets of tasks that "
            "exceed the tasks.max property will also be failed. If this property is set to false, then "
            "connectors will be allowed to generate more than the maximum number of tasks, and existing "
            "sets of tasks that exceed the tasks.max property will be allowed to run. This property is "
            "deprecated and will be removed in an upcoming major release."
        ),
    )  # fmt: skip

    key_converter: str | None = setting(
        "key.converter", default=None, importance=Importance.LOW, width=Width.SHORT, kind=Kind.CLASS,
        group="Common", display_name="Key converter class",
        doc=(
            "Converter class used to convert between Kafka Connect format and the serialized form that is "
            "written to Kafka. This controls the format of the keys in messages written to or read from "
            "Kafka, and since this is independent of connectors it allows any connector to work with any "
            "serialization format. Examples of common formats include JSON and Avro."
        ),
    )  # fmt: skip

    key_converter_plugin_version: str | None = setting(
        "key.converter.plugin.version", default=None, importance=Importance.LOW, width=Width.SHORT,
        group="Common", display_name="Key converter version",
        doc="Version of the key converter.",
    )  # fmt: skip

    value_converter: str | None = setting(
        "value.converter", default=None, importance=Importance.LOW, width=Width.SHORT, kind=Kind.CLASS,
        group="Common", display_name="Value converter class",
        doc=(
            "Converter class used to convert between Kafka Connect format and the serialized form that is "
            "written to Kafka. This controls the format of the values in messages written to or read from "
            "Kafka, and since this is independent of connectors it allows any connector to work with any "
            "serialization format. Examples of common formats include JSON and Avro."
        ),
    )  # fmt: skip

    value_converter_plugin_version: str | None = setting(
        "value.converter.plugin.version", default=None, importance=Importance.LOW, width=Width.SHORT,
        group="Common", display_name="Value converter version",
        doc="Version of the value converter.",
    )  # fmt: skip

    header_converter: str | None = setting(
        "header.converter", default=None, importance=Importance.LOW, width=Width.SHORT, kind=Kind.CLASS,
        group="Common", display_name="Header converter class",
        doc=(
            "HeaderConverter class used to convert between Kafka Connect format and the serialized form "
            "that is written to Kafka. This controls the format of the header values in messages written to "
            "or read from Kafka, and since this is independent of connectors it allows any connector to "
            "work with any serialization format. Examples of common formats include JSON and Avro. By "
            "default, the SimpleHeaderConverter is used to serialize header values to strings and "
            "deserialize them by inferring the schemas."
        ),
    )  # fmt: skip

    header_converter_plugin_version: str | None = setting(
        "header.converter.plugin.version", default=None, importance=Importance.LOW, width=Width.SHORT,
        group="Common", display_name="Header converter version",
        doc="Version of the header converter.",
    )  # fmt: skip

    transforms: list[str] = setting(
        "transforms", default=[], importance=Importance.LOW, width=Width.LONG, check=_check_aliases,
        group="Transforms", display_name="Transforms",
        doc="Aliases for the transformations to be applied to records.",
    )  # fmt: skip

    predicates: list[str] = setting(
        "predicates", default=[], importance=Importance.LOW, width=Width.LONG, check=_check_aliases,
        group="Predicates", display_name="Predicates",
        doc="Aliases for the predicates used by transformations.",
    )  # fmt: skip

    config_action_reload: str = setting(
        "config.action.reload", default="restart", importance=Importance.LOW,
        width=Width.MEDIUM, check=one_of("none", "restart"),
        group="Common", display_name="Reload Action",
        doc=(
            "The action that Connect should take on the connector when changes in external configuration "
            "providers result in a change in the connector's configuration properties. A value of 'none' "
            "indicates that Connect will do nothing. A value of 'restart' indicates that Connect should "
            "restart/reload the connector with the updated configuration properties.The restart may "
            "actually be scheduled in the future if the external configuration provider indicates that a "
            "configuration value will expire in the future."
        ),
    )  # fmt: skip

    errors_retry_timeout_ms: int = setting(
        "errors.retry.timeout", default=0, importance=Importance.MEDIUM, width=Width.MEDIUM, kind=Kind.LONG,
        group="Error Handling", display_name="Retry Timeout for Errors",
        doc=(
            "The maximum duration in milliseconds that a failed operation will be reattempted. The default "
            "is 0, which means no retries will be attempted. Use -1 for infinite retries."
        ),
    )  # fmt: skip

    errors_retry_delay_max_ms: int = setting(
        "errors.retry.delay.max.ms", default=60_000, importance=Importance.MEDIUM,
        width=Width.MEDIUM, kind=Kind.LONG,
        group="Error Handling", display_name="Maximum Delay Between Retries for Errors",
        doc=(
            "The maximum duration in milliseconds between consecutive retry attempts. Jitter will be added "
            "to the delay once this limit is reached to prevent thundering herd issues."
        ),
    )  # fmt: skip

    errors_tolerance: str = setting(
        "errors.tolerance", default="none", importance=Importance.MEDIUM,
        width=Width.SHORT, check=one_of("none", "all"),
        group="Error Handling", display_name="Error Tolerance",
        doc=(
            "Behavior for tolerating errors during connector operation. 'none' is the default value and "
            "signals that any error will result in an immediate connector task failure; 'all' changes the "
            "behavior to skip over problematic records."
        ),
    )  # fmt: skip

    errors_log_enable: bool = setting(
        "errors.log.enable", default=False, importance=Importance.MEDIUM, width=Width.SHORT,
        group="Error Handling", display_name="Log Errors",
        doc=(
            "If true, write each error and the details of the failed operation and problematic record to "
            "the Connect application log. This is 'false' by default, so that only errors that are not "
            "tolerated are reported."
        ),
    )  # fmt: skip

    errors_log_include_messages: bool = setting(
        "errors.log.include.messages", default=False, importance=Importance.MEDIUM, width=Width.SHORT,
        group="Error Handling", display_name="Log Error Details",
        doc=(
            "Whether to include in the log the Connect record that resulted in a failure. For sink records, "
            "the topic, partition, offset, and timestamp will be logged. For source records, the key and "
            "value (and their schemas), all headers, and the timestamp, Kafka topic, Kafka partition, "
            "source partition, and source offset will be logged. This is 'false' by default, which will "
            "prevent record keys, values, and headers from being written to log files."
        ),
    )  # fmt: skip

    @classmethod
    def definitions(cls) -> Mapping[str, Definition]:
        found = dict(super().definitions())
        for name, order in cls.orders.items():
            found[name] = replace(found[name], order_in_group=order)
        return found


class SourceConnectorConfig(ConnectorConfig):
    """What sources have besides."""

    patterns: ClassVar[tuple[re.Pattern[str], ...]] = (*ConnectorConfig.patterns, _TOPIC_CREATION)
    orders: ClassVar[Mapping[str, int]] = {
        **ConnectorConfig.orders,
        "exactly.once.support": 2, "transaction.boundary": 3, "transaction.boundary.interval.ms": 4,
    }  # fmt: skip

    topic_creation_groups: list[str] = setting(
        "topic.creation.groups", default=[], importance=Importance.LOW,
        width=Width.LONG, check=_check_aliases,
        group="Topic Creation", display_name="Topic Creation Groups",
        doc="Groups of configurations for topics created by source connectors",
    )  # fmt: skip

    exactly_once_support: str = setting(
        "exactly.once.support", default="requested", importance=Importance.MEDIUM,
        width=Width.SHORT, check=one_of("requested", "required", ignore_case=True),
        group="Exactly Once Support", display_name="Exactly once support",
        doc=(
            "Permitted values are requested, required. If set to \"required\", forces a preflight check for "
            "the connector to ensure that it can provide exactly-once semantics with the given "
            "configuration. Some connectors may be capable of providing exactly-once semantics but not "
            "signal to Connect that they support this; in that case, documentation for the connector should "
            "be consulted carefully before creating it, and the value for this property should be set to "
            "\"requested\". Additionally, if the value is set to \"required\" but the worker that performs "
            "preflight validation does not have exactly-once support enabled for source connectors, "
            "requests to create or validate the connector will fail."
        ),
    )  # fmt: skip

    transaction_boundary: str = setting(
        "transaction.boundary", default="poll", importance=Importance.MEDIUM,
        width=Width.SHORT, check=one_of("INTERVAL", "POLL", "CONNECTOR", ignore_case=True),
        group="Exactly Once Support", display_name="Transaction Boundary",
        doc=(
            "Permitted values are: poll, interval, connector. If set to 'poll', a new producer transaction "
            "will be started and committed for every batch of records that each task from this connector "
            "provides to Connect. If set to 'connector', relies on connector-defined transaction "
            "boundaries; note that not all connectors are capable of defining their own transaction "
            "boundaries, and in that case, attempts to instantiate a connector with this value will fail. "
            "Finally, if set to 'interval', commits transactions only after a user-defined time interval "
            "has passed."
        ),
    )  # fmt: skip

    transaction_boundary_interval_ms: int | None = setting(
        "transaction.boundary.interval.ms", default=None, importance=Importance.LOW,
        width=Width.SHORT, kind=Kind.LONG, at_least=1,
        group="Exactly Once Support", display_name="Transaction boundary interval",
        doc=(
            "If 'transaction.boundary' is set to 'interval', determines the interval for producer "
            "transaction commits by connector tasks. If unset, defaults to the value of the worker-level "
            "'offset.flush.interval.ms' property. It has no effect if a different transaction.boundary is "
            "specified."
        ),
    )  # fmt: skip

    offsets_storage_topic: str | None = setting(
        "offsets.storage.topic", default=None, importance=Importance.LOW,
        width=Width.LONG, check=_check_not_empty,
        group="offsets.topic", display_name="Offsets topic",
        doc=(
            "The name of a separate offsets topic to use for this connector. If empty or not specified, the "
            "worker’s global offsets topic name will be used. If specified, the offsets topic will be "
            "created if it does not already exist on the Kafka cluster targeted by this connector (which "
            "may be different from the one used for the worker's global offsets topic if the "
            "bootstrap.servers property of the connector's producer has been overridden from the worker's). "
            "Only applicable in distributed mode; in standalone mode, setting this property will have no "
            "effect."
        ),
    )  # fmt: skip


class SinkConnectorConfig(ConnectorConfig):
    """What sinks have besides."""

    orders: ClassVar[Mapping[str, int]] = {**ConnectorConfig.orders, "topics": 4, "topics.regex": 4}

    topics: list[str] = setting(
        "topics", default=[], importance=Importance.HIGH, width=Width.LONG,
        group="Common", display_name="Topics",
        doc="List of topics to consume, separated by commas",
    )  # fmt: skip

    topics_regex: str = setting(
        "topics.regex", default="", importance=Importance.HIGH, width=Width.LONG, check=regex_error,
        group="Common", display_name="Topics regex",
        doc=(
            "Regular expression giving topics to consume. Under the hood, the regex is compiled to a "
            "<code>java.util.regex.Pattern</code>. Only one of topics or topics.regex should be specified."
        ),
    )  # fmt: skip

    errors_deadletterqueue_topic_name: str = setting(
        "errors.deadletterqueue.topic.name", default="", importance=Importance.MEDIUM, width=Width.MEDIUM,
        group="Error Handling", display_name="Dead Letter Queue Topic Name",
        doc=(
            "The name of the topic to be used as the dead letter queue (DLQ) for messages that result in an "
            "error when processed by this sink connector, or its transformations or converters. The topic "
            "name is blank by default, which means that no messages are to be recorded in the DLQ."
        ),
    )  # fmt: skip

    errors_deadletterqueue_topic_replication_factor: int = setting(
        "errors.deadletterqueue.topic.replication.factor", default=3, importance=Importance.MEDIUM,
        width=Width.MEDIUM, kind=Kind.SHORT,
        group="Error Handling", display_name="Dead Letter Queue Topic Replication Factor",
        doc="Replication factor used to create the dead letter queue topic when it doesn't already exist.",
    )  # fmt: skip

    errors_deadletterqueue_context_headers_enable: bool = setting(
        "errors.deadletterqueue.context.headers.enable", default=False, importance=Importance.MEDIUM,
        width=Width.MEDIUM,
        group="Error Handling", display_name="Enable Error Context Headers",
        doc=(
            "If true, add headers containing error context to the messages written to the dead letter "
            "queue. To avoid clashing with headers from the original record, all error context header keys, "
            "all error context header keys will start with <code>__connect.errors.</code>"
        ),
    )  # fmt: skip

    def check(self) -> Iterable[FieldError]:
        if self.topics and self.topics_regex:
            why = "topics and topics.regex are mutually exclusive options, but both are set."
        elif not self.topics and not self.topics_regex:
            why = "Must configure one of topics or topics.regex"
        elif self.errors_deadletterqueue_topic_name and self._consumes_dead_letters():
            why = (
                f"The DLQ topic '{self.errors_deadletterqueue_topic_name}' may not be included in the list "
                "of topics consumed by the connector"
            )
        else:
            return
        names = ("topics", "topics.regex") if "DLQ" not in why else ("topics",)
        yield from (FieldError(name, why) for name in names)

    def _consumes_dead_letters(self) -> bool:
        topic = self.errors_deadletterqueue_topic_name
        return topic in self.topics or bool(
            self.topics_regex and compile_java(self.topics_regex).fullmatch(topic)
        )
