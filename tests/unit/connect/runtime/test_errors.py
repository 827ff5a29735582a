"""Retries, tolerance, and what a trace looks like."""

from collections.abc import Callable

import pytest

from connect.api import ConnectError, DataError, RetriableError, SourceRecord
from connect.converters.string import StringConverter
from connect.runtime.connector_config import SourceConnectorConfig
from connect.runtime.errors import ErrorHandler, Failure, Stage, Tolerated, trace_of


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.waits.append(seconds)
        return False


def handler(clock: Clock, reported: list[Failure], **properties: str) -> ErrorHandler:
    named = {name.replace("_", "."): value for name, value in properties.items()}
    config = SourceConnectorConfig.parse({"name": "n", "connector.class": "c", **named})
    return ErrorHandler(config, clock.wait, lambda: clock.now, [reported.append])


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [error] * times

    def operation() -> str:
        if left:
            raise left.pop()
        return "done"

    return operation


RECORD = SourceRecord({"file": "a"}, {"position": 7}, "t", b"secret")


def run(errors: ErrorHandler, operation: Callable[[], str]) -> str:
    return errors.execute(operation, RECORD, Stage.VALUE_CONVERTER, StringConverter(), (None, b"secret"))


def test_by_default_the_first_error_fails_the_task_and_is_reported() -> None:
    clock, reported = Clock(), []  # type: tuple[Clock, list[Failure]]
    with pytest.raises(ConnectError, match="Tolerance exceeded in error handler") as caught:
        run(handler(clock, reported), failing(1, DataError("bad")))
    assert trace_of(caught.value).splitlines() == [
        "org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler",
        "in VALUE_CONVERTER with org.apache.kafka.connect.storage.StringConverter, "
        "record of {'file': 'a'} before {'position': 7} for topic t, value of type bytes",
        "Caused by: org.apache.kafka.connect.errors.DataException: bad",
    ]
    assert [(f.stage, f.plugin, str(f.error)) for f in reported] == [
        (Stage.VALUE_CONVERTER, "org.apache.kafka.connect.storage.StringConverter", "bad")
    ]
    assert clock.waits == []


def test_a_tolerated_error_skips_the_record() -> None:
    reported: list[Failure] = []
    errors = handler(Clock(), reported, errors_tolerance="all")
    with pytest.raises(Tolerated):
        run(errors, failing(1, KeyError("bad")))
    assert (len(reported), errors.counts.skipped) == (1, 1)


def test_retriable_errors_are_retried_with_growing_pauses_for_a_while() -> None:
    clock, reported = Clock(), []  # type: tuple[Clock, list[Failure]]
    errors = handler(
        clock, reported, **{"errors.retry.timeout": "10000", "errors.retry.delay.max.ms": "1000"}
    )
    assert run(errors, failing(4, RetriableError("later"))) == "done"
    assert clock.waits == [0.3, 0.6, 1.0, 1.0]
    assert reported == []


def test_retries_end_with_the_time() -> None:
    clock, reported = Clock(), []  # type: tuple[Clock, list[Failure]]
    errors = handler(clock, reported, **{"errors.retry.timeout": "1000"})
    with pytest.raises(ConnectError, match="Tolerance exceeded"):
        run(errors, failing(99, RetriableError("later")))
    assert clock.now < 2.5
    assert len(reported) == 1


def test_only_retriable_errors_are_retried() -> None:
    clock, reported = Clock(), []  # type: tuple[Clock, list[Failure]]
    with pytest.raises(ConnectError, match="Tolerance exceeded"):
        run(handler(clock, reported, **{"errors.retry.timeout": "-1"}), failing(1, ValueError("no")))
    assert clock.waits == []


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as exc:  # noqa: BLE001 - it is what the test needs
        return exc


def test_a_trace_names_javas_classes_and_the_causes() -> None:
    cause = raised(DataError("not JSON"))
    assert trace_of(raised(ConnectError("it failed"), cause)) == (
        "org.apache.kafka.connect.errors.ConnectException: it failed\n"
        "Caused by: org.apache.kafka.connect.errors.DataException: not JSON"
    )


def test_a_trace_of_what_nobody_foresaw_has_pythons_own() -> None:
    lines = trace_of(raised(KeyError("k"))).splitlines()
    assert lines[0] == "org.apache.kafka.connect.errors.ConnectException: unexpected KeyError: 'k'"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "KeyError: 'k'"
