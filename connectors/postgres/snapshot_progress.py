"""How far a snapshot is and how long it will take: in the log, and as metrics with Debezium's names."""

import time
from collections.abc import Mapping
from typing import Final

import structlog

from connect.api import TaskMetrics

_LOG_EVERY_S: Final = 10.0
_TABLE_METRICS_MAX: Final = 100

log = structlog.get_logger(__name__)


class SnapshotMeter:
    """Counts rows. `begin`, `add` for each batch, `table_done`, `end`; `interrupt` where it did not end."""

    def __init__(self, metrics: TaskMetrics, topic_prefix: str) -> None:
        self._metrics = metrics
        self._labels = {"plugin": "postgres", "name": topic_prefix, "context": "snapshot"}
        self._own_labels = {"name": topic_prefix}
        self._estimates: Mapping[str, int | None] = {}
        self._rows: dict[str, int] = {}
        self._remaining: set[str] = set()
        self._begun = self._logged = time.monotonic()

    def begin(self, estimates: Mapping[str, int | None]) -> None:
        """A snapshot of these tables, each with about so many rows (None: unknown)."""
        self._estimates = estimates
        self._rows = dict.fromkeys(estimates, 0)
        self._remaining = set(estimates)
        self._begun = self._logged = time.monotonic()
        self._gauge("TotalTableCount", len(estimates))
        self._gauge("RemainingTableCount", len(estimates))
        self._gauge("SnapshotCompleted", 0)
        self._gauge("SnapshotRunning", 1)
        log.info("snapshot starts", tables=len(estimates), rows_about=self._rows_expected())

    def add(self, table: str, rows: int) -> None:
        """So many rows more."""
        done = self._rows[table] = self._rows.get(table, 0) + rows
        if len(self._rows) <= _TABLE_METRICS_MAX:
            self._gauge("RowsScanned", done, table=table)
        if time.monotonic() - self._logged >= _LOG_EVERY_S:
            self._logged = time.monotonic()
            self._report(table)

    def table_done(self, table: str) -> None:
        self._remaining.discard(table)
        self._gauge("RemainingTableCount", len(self._remaining))

    def end(self) -> None:
        self._gauge("SnapshotCompleted", 1)
        rows, seconds = sum(self._rows.values()), time.monotonic() - self._begun
        log.info("snapshot finished", rows=rows, seconds=round(seconds, 1))

    def interrupt(self) -> None:
        """It runs no longer, whether it has ended or not."""
        self._gauge("SnapshotRunning", 0)
        self._own_gauge("remaining_seconds", None)
        self._own_gauge("rows_per_second", None)

    def _report(self, table: str) -> None:
        seconds = self._logged - self._begun
        rows = sum(self._rows.values())
        rate = rows / seconds
        expected = self._rows_expected()
        left_s = None if expected is None else max(0.0, expected - rows) / max(rate, 1e-9)
        self._gauge("SnapshotDurationInSeconds", round(seconds))
        self._own_gauge("rows", rows)
        self._own_gauge("rows_per_second", rate)
        self._own_gauge("rows_estimated", expected)
        self._own_gauge("remaining_seconds", left_s)
        log.info(
            "snapshot goes on", table=table, rows=rows, rows_about=expected, rows_per_second=round(rate),
            seconds_left=None if left_s is None else round(left_s),
        )  # fmt: skip

    def _rows_expected(self) -> int | None:
        """About how many rows there are in all, None where the server does not know of each table."""
        known = [rows for rows in self._estimates.values() if rows is not None]
        return sum(known) if len(known) == len(self._estimates) else None

    def _gauge(self, name: str, value: float, **labels: str) -> None:
        self._metrics.gauge(f"debezium_metrics_{name}", value, **self._labels, **labels)

    def _own_gauge(self, name: str, value: float | None) -> None:
        self._metrics.gauge(f"millstream_postgres_snapshot_{name}", value, **self._own_labels)
