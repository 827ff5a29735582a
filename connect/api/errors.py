"""Errors that a plugin raises, and what the runtime does with each.

The names follow `org.apache.kafka.connect.errors`, so that `trace` in a status, dead letter headers and
log lines read as Connect's do. Each class names its Java twin in `java_class`.
"""

from typing import ClassVar


class ConnectError(Exception):
    """A failure that no retry mends: the task becomes FAILED with this text in its `trace`."""

    java_class: ClassVar[str] = "org.apache.kafka.connect.errors.ConnectException"


class RetriableError(ConnectError):
    """The same call may work later: the runtime waits (with backoff) and calls again.

    From `SinkTask.put` the same records come again; from `SourceTask.poll` nothing was lost.
    """

    java_class = "org.apache.kafka.connect.errors.RetriableException"


class DataError(ConnectError):
    """One record cannot be taken: `errors.tolerance` decides whether it is skipped or fails the task."""

    java_class = "org.apache.kafka.connect.errors.DataException"


class SchemaBuilderError(DataError):
    """A schema contradicts itself, for example a default that does not fit the type."""

    java_class = "org.apache.kafka.connect.errors.SchemaBuilderException"


class ConfigError(ConnectError):
    """A setting was refused. The text names the setting, the value and what would be right."""

    java_class = "org.apache.kafka.common.config.ConfigException"

    @classmethod
    def invalid(cls, name: str, value: object, why: str) -> "ConfigError":
        """Kafka's own wording of a refused value."""
        return cls(f"Invalid value {value} for configuration {name}: {why}")
