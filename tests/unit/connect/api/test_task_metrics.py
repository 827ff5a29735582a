"""A connector's own metrics: what may be set, and what is kept."""

import pytest

from connect.api.metrics import SERIES_MAX, TaskMetrics


def test_the_last_value_of_each_metric_is_kept() -> None:
    metrics = TaskMetrics()
    metrics.gauge("lag_bytes", 7, slot="a")
    metrics.gauge("lag_bytes", 8, slot="b")
    metrics.gauge("lag_bytes", 9, slot="a")
    metrics.counter("rows_total", 1)
    metrics.counter("rows_total", True)
    assert metrics.samples() == [
        ("lag_bytes", "gauge", (("slot", "a"),), 9.0),
        ("lag_bytes", "gauge", (("slot", "b"),), 8.0),
        ("rows_total", "counter", (), 1.0),
    ]


def test_none_forgets_a_gauge() -> None:
    metrics = TaskMetrics()
    metrics.gauge("lag_bytes", None)
    metrics.gauge("lag_bytes", 7)
    metrics.gauge("lag_bytes", None)
    assert metrics.samples() == []


@pytest.mark.parametrize("name", ["", "1st", "lag-bytes", "lag bytes", "kafka_connect_x", 'x"} 1'])
def test_a_name_that_prometheus_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a metric's name"):
        TaskMetrics().gauge(name, 1)


@pytest.mark.parametrize("label", ["task", "connector", "__name__", "a-b", "1a"])
def test_a_label_that_is_taken_or_malformed_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="cannot be a label of lag"):
        TaskMetrics().gauge("lag", 1, **{label: "x"})


def test_a_metric_does_not_change_its_kind() -> None:
    metrics = TaskMetrics()
    metrics.gauge("lag", 1, slot="a")
    with pytest.raises(ValueError, match="lag is a gauge already"):
        metrics.counter("lag", 1, slot="b")


def test_labels_without_end_take_no_memory_without_end(caplog: pytest.LogCaptureFixture) -> None:
    metrics = TaskMetrics()
    for number in range(SERIES_MAX + 10):
        metrics.gauge("lag", number, row=str(number))
    assert len(metrics.samples()) == SERIES_MAX
    assert caplog.text.count("is left out") == 1
