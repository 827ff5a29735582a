"""Error tolerance: retries, `errors.tolerance`, logging, the dead letter topic; and what a trace looks like.

As Kafka Connect does it (KIP-298): an operation on one record runs in a *stage*; `RetriableError` is tried
again for `errors.retry.timeout`; then the record is reported, and skipped or the task fails.
"""

import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from connect.api import ConnectError, JsonPayload, RetriableError, Schema, SourceRecord
from connect.runtime.connector_config import ConnectorConfig
from connect.runtime.metrics import ErrorCounts
from connect.runtime.plugins import Plugins
from connect.transforms.chain import TransformChain

_LOG = logging.getLogger(__name__)
_FIRST_DELAY_S: Final = 0.3
_HEADER_PREFIX: Final = "__connect.errors."
_TIMESTAMP_TYPES: Final = ("NoTimestampType", "CreateTime", "LogAppendTime")

T = TypeVar("T")


class Stage(StrEnum):
    """Where a record was when it failed."""

    TASK_POLL = "TASK_POLL"
    TASK_PUT = "TASK_PUT"
    TRANSFORMATION = "TRANSFORMATION"
    KEY_CONVERTER = "KEY_CONVERTER"
    VALUE_CONVERTER = "VALUE_CONVERTER"
    HEADER_CONVERTER = "HEADER_CONVERTER"
    KAFKA_PRODUCE = "KAFKA_PRODUCE"
    KAFKA_CONSUME = "KAFKA_CONSUME"


class Tolerated(Exception):
    """The record failed, was reported, and may be skipped."""


class Stopping(Exception):
    """The task is to stop while it waits to try again: the record comes again after its next start."""


class Failure:
    """One failed operation: what a reporter needs.

    `record` is the source's record or the consumer's message; `plugin` the class that failed, as users know
    it; `value_type` the type of what it was given.
    """

    __slots__ = ("error", "plugin", "record", "stage", "value_type")

    def __init__(self, record: Any, stage: Stage, plugin: str, error: Exception, value_type: str) -> None:
        self.record = record
        self.stage = stage
        self.plugin = plugin
        self.error = error
        self.value_type = value_type


Reporter = Callable[[Failure], None]


class ErrorHandler:
    """Runs operations that failed once more, and decides what becomes of their records.

    `wait(seconds)` sleeps and returns True when the task should stop; `now()` is a monotonic clock.
    """

    def __init__(
        self,
        settings: ConnectorConfig,
        wait: Callable[[float], bool],
        now: Callable[[], float],
        reporters: Sequence[Reporter] = (),
    ) -> None:
        self._tolerate = settings.errors_tolerance == "all"
        self._retry_s = settings.errors_retry_timeout_ms / 1000
        self._delay_max_s = settings.errors_retry_delay_max_ms / 1000
        self._wait = wait
        self._now = now
        self._reporters = list(reporters)
        self.counts = ErrorCounts()

    def add_reporter(self, reporter: Reporter) -> None:
        self._reporters.append(reporter)

    def execute(
        self,
        operation: Callable[[], T],
        record: Any,
        stage: Stage,
        plugin: object,
        given: tuple[Schema | None, Any],
    ) -> T:
        """The result of the operation of a plugin on a record; raises `Tolerated`, `ConnectError` if the task
        must fail, `Stopping` if it should stop. `given` is what the plugin works on, with its schema."""
        deadline = None if self._retry_s < 0 else self._now() + self._retry_s
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                return operation()
            except RetriableError as exc:
                self.counts.failures += 1
                now = self._now()
                if deadline is not None and now >= deadline:
                    self._fail(record, stage, plugin, exc, given)
                wait_s = min(delay_s, self._delay_max_s)
                if self._wait(wait_s if deadline is None else min(wait_s, deadline - now)):
                    raise Stopping from exc
                _LOG.info("%s is tried again: %s", stage, exc)
                self.counts.retries += 1
                delay_s *= 2
            except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
                self.counts.failures += 1
                self._fail(record, stage, plugin, exc, given)

    def transform(self, chain: TransformChain, record: Any, original: Any) -> Any:
        """The record after a connector's transforms, each run on its own; None if one dropped it."""
        for transform, step in chain.steps:
            given = record.value_schema, record.raw_value
            record = self.execute(partial(step, record), original, Stage.TRANSFORMATION, transform, given)
            if record is None:
                return None
        return record

    def _fail(
        self, record: Any, stage: Stage, plugin: object, exc: Exception, given: tuple[Schema | None, Any]
    ) -> NoReturn:
        name = Plugins.discover().name_of(plugin)
        self.counts.errors += 1
        self._report(Failure(record, stage, name, exc, type_of(*given)))
        self.counts.skipped += 1
        raise Tolerated

    def reject(self, failure: Failure) -> None:
        """Report a record that failed outside of `execute`: when it was sent, or was with a sink. Returns if
        that is tolerated, else raises `ConnectError`."""
        self.counts.failures += 1
        try:
            self._report(failure)
        except ConnectError:
            self.counts.errors += 1
            raise

    def _report(self, failure: Failure) -> None:
        """Tell all reporters; raises `ConnectError` unless failures are tolerated."""
        self.counts.last_error_ms = time.time_ns() // 1_000_000
        for report in self._reporters:
            report(failure)
        if not self._tolerate:
            exceeded = ConnectError("Tolerance exceeded in error handler")
            exceeded.add_note(
                f"in {failure.stage} with {failure.plugin}, {_origin(failure.record)}, "
                f"value of type {failure.value_type}"
            )
            raise exceeded from failure.error


def type_of(schema: Schema | None, value: Any) -> str:
    """The type of a value in a word or two, without its content."""
    if value is None:
        return "null"
    if schema is not None:
        return f"{schema.type.value} {schema.name}" if schema.name else schema.type.value
    return "JSON" if isinstance(value, JsonPayload) else type(value).__name__


def log_reporter(settings: ConnectorConfig, task: str, counts: ErrorCounts) -> Reporter | None:
    """`errors.log.enable`: one line per failure, with the record's place if `errors.log.include.messages`."""
    if not settings.errors_log_enable:
        return None

    def report(failure: Failure) -> None:
        where = _place(failure.record) if settings.errors_log_include_messages else ""
        _LOG.error(
            "Error encountered in task %s. Executing stage '%s' with class '%s' on a value of type %s%s.",
            task, failure.stage, failure.plugin, failure.value_type, where, exc_info=failure.error,
        )  # fmt: skip
        counts.logged += 1

    return report


def _place(record: Any) -> str:
    if isinstance(record, SourceRecord):
        return f", where source record is = {record!r}"
    timestamp_type, timestamp_ms = record.timestamp()
    return (
        f", where consumed record is {{topic='{record.topic()}', partition={record.partition()}, "
        f"offset={record.offset()}, timestamp={timestamp_ms}, "
        f"timestampType={_TIMESTAMP_TYPES[timestamp_type]}}}"
    )


def _origin(record: Any) -> str:
    """Where a record comes from, without its content."""
    if isinstance(record, SourceRecord):
        return f"record of {record.source_partition} before {record.source_offset} for topic {record.topic}"
    return f"record of topic {record.topic()}, partition {record.partition()}, offset {record.offset()}"


def context_headers(failure: Failure, connector: str, task: int) -> list[tuple[str, bytes | None]]:
    """The headers of a dead letter record (`errors.deadletterqueue.context.headers.enable`)."""
    message, error = failure.record, failure.error
    values: Mapping[str, str | None] = {
        "topic": message.topic(),
        "partition": str(message.partition()),
        "offset": str(message.offset()),
        "connector.name": connector,
        "task.id": str(task),
        "stage": failure.stage.value,
        "class.name": failure.plugin,
        "exception.class.name": java_name(error),
        "exception.message": str(error),
        "exception.stacktrace": trace_of(error),
    }
    return [
        (f"{_HEADER_PREFIX}{name}", None if value is None else value.encode())
        for name, value in values.items()
    ]


def java_name(error: BaseException) -> str:
    """The class name that Connect's users know, or Python's for what has no twin there."""
    if isinstance(error, ConnectError):
        return error.java_class
    return f"{type(error).__module__}.{type(error).__qualname__}"


def trace_of(error: BaseException) -> str:
    """A trace that reads like Connect's: `class: message`, its causes, then Python's own traceback for what
    nobody foresaw."""
    if not isinstance(error, ConnectError):
        headline = ConnectError(f"unexpected {type(error).__name__}: {error}")
        return _headline(headline) + "\n" + "".join(traceback.format_exception(error)).rstrip()
    lines = [_headline(error), *getattr(error, "__notes__", ())]
    cause = error.__cause__
    while cause is not None:
        lines.append(f"Caused by: {_headline(cause)}")
        if not isinstance(cause, ConnectError):
            lines += [line.rstrip() for line in traceback.format_tb(cause.__traceback__)]
        cause = cause.__cause__
    return "\n".join(lines)


def _headline(error: BaseException) -> str:
    return f"{java_name(error)}: {error}"
