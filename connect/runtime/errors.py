"""Error tolerance: retries, `errors.tolerance`, logging, the dead letter topic; and what a trace looks like.

As Kafka Connect does it (KIP-298): an operation on one record runs in a *stage*; `RetriableError` is tried
again for `errors.retry.timeout`; then the record is reported, and skipped or the task fails.
"""

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

from connect.api import ConnectError, RetriableError, SourceRecord
from connect.runtime.connector_config import ConnectorConfig
from connect.runtime.plugins import Plugins
from connect.transforms.chain import TransformChain

_LOG = logging.getLogger(__name__)
_FIRST_DELAY_S: Final = 0.3
_HEADER_PREFIX: Final = "__connect.errors."

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


class Failure:
    """One failed operation: what a reporter needs."""

    __slots__ = ("error", "plugin", "record", "stage")

    def __init__(self, record: Any, stage: Stage, plugin: object, error: Exception) -> None:
        self.record = record
        self.stage = stage
        self.plugin = Plugins.discover().name_of(plugin)
        self.error = error


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
        self.skipped = 0

    def add_reporter(self, reporter: Reporter) -> None:
        self._reporters.append(reporter)

    def execute(self, operation: Callable[[], T], record: Any, stage: Stage, plugin: object) -> T:
        """The result of the operation of a plugin on a record; raises `Tolerated`, or `ConnectError` if the
        task must fail."""
        started, delay_s = self._now(), _FIRST_DELAY_S
        while True:
            try:
                return operation()
            except RetriableError as exc:
                if not self._may_retry(started) or self._wait(min(delay_s, self._delay_max_s)):
                    self.fail(Failure(record, stage, plugin, exc))
                _LOG.info("%s is tried again: %s", stage, exc)
                delay_s *= 2
            except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
                self.fail(Failure(record, stage, plugin, exc))

    def transform(self, chain: TransformChain, record: Any, original: Any) -> Any:
        """The record after a connector's transforms, each run on its own; None if one dropped it."""
        for transform, step in chain.steps:
            record = self.execute(partial(step, record), original, Stage.TRANSFORMATION, transform)
            if record is None:
                return None
        return record

    def fail(self, failure: Failure) -> None:
        """Report a failed record, then raise `Tolerated` or `ConnectError`."""
        for report in self._reporters:
            report(failure)
        if not self._tolerate:
            exceeded = ConnectError("Tolerance exceeded in error handler")
            exceeded.add_note(f"in {failure.stage} with {failure.plugin}, {_origin(failure.record)}")
            raise exceeded from failure.error
        self.skipped += 1
        raise Tolerated

    def _may_retry(self, started: float) -> bool:
        if self._retry_s < 0:
            return True
        return self._now() - started < self._retry_s


def log_reporter(settings: ConnectorConfig, task: str) -> Reporter | None:
    """`errors.log.enable`: one line per failure, with the record's place if `errors.log.include.messages`."""
    if not settings.errors_log_enable:
        return None

    def report(failure: Failure) -> None:
        where = f", where record is {_place(failure.record)}" if settings.errors_log_include_messages else ""
        _LOG.error(
            "Error encountered in task %s. Executing stage '%s' with class '%s'%s.",
            task, failure.stage, failure.plugin, where, exc_info=failure.error,
        )  # fmt: skip

    return report


def _place(record: Any) -> str:
    offset = getattr(record, "offset", None)
    if callable(offset):  # a message of the Kafka client
        return (
            f"{{topic='{record.topic()}', partition={record.partition()}, offset={offset()}, "
            f"timestamp={record.timestamp()[1]}}}"
        )
    return repr(record)


def _origin(record: Any) -> str:
    """Where a record comes from, without its content."""
    if isinstance(record, SourceRecord):
        return f"record of {record.source_partition} before {record.source_offset}"
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
