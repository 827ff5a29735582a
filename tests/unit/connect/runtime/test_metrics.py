"""Windows of time, and what a task's meter makes of what the runner tells it."""

import math
from collections.abc import Mapping

import pytest

from connect.api import TaskMetrics, TopicPartition
from connect.runtime import metrics
from connect.runtime.metrics import ErrorCounts, SinkMeter, SourceMeter
from connect.runtime.metrics_window import WINDOW_S, Rates, Sampled

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(metrics, "time", clock)
    return clock


def test_an_average_and_a_maximum_are_of_the_last_windows() -> None:
    sampled = Sampled()
    assert math.isnan(sampled.average(0))
    assert math.isnan(sampled.maximum(0))
    sampled.add(9, 0)
    sampled.add(1, WINDOW_S)
    sampled.add(2, WINDOW_S + 1)
    assert (sampled.average(WINDOW_S + 1), sampled.maximum(WINDOW_S + 1)) == (4, 9)
    assert (sampled.average(2 * WINDOW_S), sampled.maximum(2 * WINDOW_S)) == (1.5, 2)
    assert math.isnan(sampled.average(3 * WINDOW_S))


def test_rates_follow_the_window_that_is_asked_for() -> None:
    rates = Rates(0)
    for second in range(1, 101):
        rates.note({"rows": second * 10 if second <= 90 else 900}, second)
    assert rates.per_second("rows", 5) == 0
    assert rates.per_second("rows") == pytest.approx(20 * 10 / 30)
    assert rates.per_second("unknown") == 0


def test_what_happened_before_the_first_note_counts() -> None:
    rates = Rates(0)
    rates.note({"rows": 10}, 2)
    assert rates.per_second("rows") == 5


def groups(meter: SourceMeter | SinkMeter) -> Mapping[str, Mapping[str, float]]:
    found: Mapping[str, Mapping[str, float]] = meter.snapshot()["groups"]
    return found


def test_a_source(clock: Clock) -> None:
    queued = 4
    own = TaskMetrics()
    meter = SourceMeter(own, ErrorCounts(), lambda: False, lambda: queued)
    for count, took in ((10, 0.5), (30, 1.5)):
        began = clock.now
        clock.now += took
        meter.polled(count, began)
    meter.records_out += 38
    meter.committed(clock.now - 0.25, True, 7)
    meter.committed(clock.now, False)
    found = groups(meter)
    assert found["source-task-metrics"] == {
        "source-record-poll-total": 40, "source-record-write-total": 34,
        "source-record-poll-rate": 20, "source-record-write-rate": 17,
        "poll-batch-avg-time-ms": 1000, "poll-batch-max-time-ms": 1500,
        "source-record-active-count": 4, "source-record-active-count-avg": 4,
        "source-record-active-count-max": 4,
        "transaction-size-avg": 7, "transaction-size-max": 7, "transaction-size-min": 7,
    }  # fmt: skip
    task = found["connector-task-metrics"]
    assert (task["batch-size-avg"], task["batch-size-max"]) == (20, 30)
    assert (task["offset-commit-success-percentage"], task["offset-commit-failure-percentage"]) == (50, 50)
    assert task["offset-commit-avg-time-ms"] == task["offset-commit-max-time-ms"] == 250
    queued = 6  # offsets are on their way too: what was written stays written
    assert groups(meter)["source-task-metrics"]["source-record-write-total"] == 34
    assert "lag_ms" not in meter.snapshot()["shown"]
    own.lag_ms = 7
    assert meter.snapshot()["shown"]["lag_ms"] == 7


def test_a_sink(clock: Clock) -> None:
    ends = {P0: 120}
    meter = SinkMeter(TaskMetrics(), ErrorCounts(), lambda: False)
    meter.log_ends = ends
    meter.partitions = 2
    meter.safe = {P0: 100, P1: 5}
    meter.positions = {P0: 110, P1: 6}
    meter.records_in += 11
    began = clock.now
    clock.now += 2
    meter.put(11, began)
    found = meter.snapshot()
    assert found["groups"]["sink-task-metrics"] == {
        "sink-record-read-total": 11, "sink-record-send-total": 11,
        "sink-record-read-rate": 5.5, "sink-record-send-rate": 5.5,
        "offset-commit-completion-total": 0, "offset-commit-completion-rate": 0,
        "offset-commit-skip-total": 0, "offset-commit-skip-rate": 0,
        "offset-commit-seq-no": 0, "partition-count": 2,
        "put-batch-avg-time-ms": 2000, "put-batch-max-time-ms": 2000,
        "sink-record-active-count": 11, "sink-record-active-count-avg": 11,
        "sink-record-active-count-max": 11, "sink-record-lag-max": 10,
    }  # fmt: skip
    assert found["shown"]["lag"] == 10
    meter.positions = {}  # the first records are with `put`, which does not return
    assert meter.snapshot()["shown"]["lag"] == 20


def test_time_spent_in_a_pause(clock: Clock) -> None:
    paused = False
    meter = SourceMeter(TaskMetrics(), ErrorCounts(), lambda: paused, lambda: 0)
    clock.now += 3
    meter.snapshot()
    paused = True
    clock.now += 1
    task = groups(meter)["connector-task-metrics"]
    assert (task["pause-ratio"], task["running-ratio"]) == (0.25, 0.75)
