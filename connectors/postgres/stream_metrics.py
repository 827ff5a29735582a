"""Metrics of the stream: Debezium's, where it has them, and what the server says of the slot."""

import time
from typing import Any, Final

import psycopg

from connect.api import TaskMetrics
from connectors.postgres import pgoutput
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.stream import Stream
from connectors.postgres.streamed import StreamedTransactions

_REPORT_S: Final = 1.0
_ASK_S: Final = 5.0
# https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW
_SLOT: Final = """
SELECT end_lsn - confirmed_flush_lsn, end_lsn - restart_lsn, extract(epoch FROM coalesce(flush_lag, '0'))
  FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid,
       LATERAL (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                            ELSE pg_current_wal_lsn() END) e(end_lsn)
 WHERE slot_name = %s
"""
_COUNTED: Final = {
    pgoutput.INSERT: "Create", pgoutput.UPDATE: "Update", pgoutput.DELETE: "Delete",
    pgoutput.TRUNCATE: "Truncate",
}  # fmt: skip
_UNKNOWN: Final = -1


class StreamMeter:
    """Reports on one stream after another of a task; counters go on over a lost connection."""

    def __init__(self, metrics: TaskMetrics, config: PostgresSourceConfig) -> None:
        self._metrics = metrics
        self._slot = config.slot_name
        self._labels = {"plugin": "postgres", "name": config.topic_prefix, "context": "streaming"}
        self._memory_bytes_max = config.streamed_memory_bytes
        self._before: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._report_at = self._ask_at = 0.0
        self._last_event_s: float | None = None
        self.disconnected()

    def disconnected(self) -> None:
        """There is no stream now."""
        self._before = dict(self._counts)
        self._gauge("Connected", 0)

    def batch(self, stream: Stream, reader: Any, connection: psycopg.Connection[Any], records: int) -> None:
        """Called after each read of the stream, which gave so many records."""
        now = time.monotonic()
        if records:
            self._last_event_s = now
        if now < self._report_at:
            return
        self._report_at = now + _REPORT_S
        self._events(stream, now, idle=not records)
        if isinstance(reader, StreamedTransactions):
            self._held(reader)
        if now >= self._ask_at:
            self._ask_at = now + _ASK_S
            self._ask(connection)

    def _events(self, stream: Stream, now: float, *, idle: bool) -> None:
        seen = {f"TotalNumberOf{name}EventsSeen": stream.seen[kind] for kind, name in _COUNTED.items()}
        seen["TotalNumberOfEventsSeen"] = sum(seen.values())
        seen["NumberOfEventsFiltered"] = stream.filtered
        seen["NumberOfCommittedTransactions"] = stream.commits
        self._counts = {name: count + self._before.get(name, 0) for name, count in seen.items()}
        for name, count in self._counts.items():
            self._metrics.counter(f"debezium_metrics_{name}", count, **self._labels)
        self._gauge("Connected", 1)
        behind_ms = _UNKNOWN
        if stream.last_commit_us:
            # Nothing that was committed has not come when nothing comes.
            behind_ms = 0 if idle else max(0, time.time_ns() // 1_000_000 - stream.last_commit_us // 1000)
            self._metrics.gauge(
                "millstream_postgres_last_commit_timestamp_seconds",
                stream.last_commit_us / 1e6,
                **self._labels,
            )
        self._gauge("MilliSecondsBehindSource", behind_ms)
        since = self._last_event_s
        self._gauge("MilliSecondsSinceLastEvent", _UNKNOWN if since is None else round((now - since) * 1000))

    def _held(self, transactions: StreamedTransactions) -> None:
        count, memory, disk = transactions.held
        self._gauge("CurrentQueueSizeInBytes", memory)
        self._gauge("MaxQueueSizeInBytes", self._memory_bytes_max)
        self._metrics.gauge("millstream_postgres_open_transactions", count, **self._labels)
        self._metrics.gauge("millstream_postgres_open_transactions_disk_bytes", disk, **self._labels)

    def _ask(self, connection: psycopg.Connection[Any]) -> None:
        row = connection.execute(_SLOT, (self._slot,)).fetchone()
        unconfirmed, retained, lag_s = row if row is not None else (None, None, None)
        for name, value in (
            ("lag_bytes", unconfirmed), ("retained_wal_bytes", retained), ("lag_seconds", lag_s),
        ):  # fmt: skip
            shown = None if value is None else max(0.0, float(value))
            self._metrics.gauge(f"millstream_postgres_slot_{name}", shown, **self._labels)

    def _gauge(self, name: str, value: float) -> None:
        self._metrics.gauge(f"debezium_metrics_{name}", value, **self._labels)
