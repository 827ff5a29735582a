"""What a task has done, for whoever watches it: the groups of Kafka Connect's metrics, by its names.

The runners add to plain attributes, a batch at a time; the control thread makes a snapshot once a second.
Rates are made from totals, and bytes are counted by librdkafka, so that nothing here happens per record.
"""

import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import orjson

from connect.api import TaskMetrics, TopicPartition
from connect.runtime.metrics_window import Rates, Sampled

Group = dict[str, float]

_STATISTICS_MS: Final = 2_000
_SHOWN_S: Final = 5.0  # rates that a person looks at follow what happens sooner than Connect's
_MEMORY_S: Final = 5.0


class ErrorCounts:
    """The group task-error-metrics; the meanings are those of KIP-298."""

    __slots__ = (
        "errors", "failures", "last_error_ms", "letters", "letters_failed", "logged", "retries", "skipped",
    )  # fmt: skip

    def __init__(self) -> None:
        self.failures = 0  # attempts that failed
        self.errors = 0  # records that failed for good
        self.skipped = 0
        self.retries = 0
        self.logged = 0
        self.letters = 0
        self.letters_failed = 0
        self.last_error_ms = 0

    def group(self) -> Group:
        return {
            "total-record-failures": self.failures,
            "total-record-errors": self.errors,
            "total-records-skipped": self.skipped,
            "total-retries": self.retries,
            "total-errors-logged": self.logged,
            "deadletterqueue-produce-requests": self.letters,
            "deadletterqueue-produce-failures": self.letters_failed,
            "last-error-timestamp": self.last_error_ms,
        }


class Traffic:
    """Bytes of keys and values that a Kafka client has sent or received: librdkafka counts them anyway."""

    def __init__(self) -> None:
        self.bytes = 0

    @property
    def settings(self) -> Mapping[str, Any]:
        """What makes librdkafka tell."""
        return {"statistics.interval.ms": _STATISTICS_MS, "stats_cb": self._take}

    def _take(self, text: str) -> None:
        statistics = orjson.loads(text)
        self.bytes = statistics["txmsg_bytes"] + statistics["rxmsg_bytes"]


class TaskMeter(ABC):
    """Counts of one task. `own` are the metrics of its connector; `paused` tells whether it is paused."""

    group_name: ClassVar[str]  # Connect's group of this kind of task
    main_total: ClassVar[str]  # the total that stands for the task's work

    def __init__(self, own: TaskMetrics, errors: ErrorCounts, paused: Callable[[], bool]) -> None:
        self.batches = Sampled()
        self.call_ms = Sampled()  # of `poll` or `put`
        self.records_in = 0  # polled from the source, or read from Kafka
        self.records_out = 0  # handed to Kafka, or to `put`, after the transforms
        self.transactions = Sampled()
        self.commits_begun = 0
        self.commits_done = 0
        self._commit_ms = Sampled()
        self._commits = Sampled()  # 1 for a success, 0 for a failure
        self._active = Sampled()
        self._own = own
        self._errors = errors
        self._paused = paused
        self.traffic = Traffic()
        self._began = self._looked = time.monotonic()
        self._rates = Rates(self._began)
        self._paused_s = 0.0
        self._memory = -_MEMORY_S, 0

    def committed(self, began: float, done: bool, records: int = 0) -> None:
        """An attempt to commit offsets that began at this monotonic time is over; so is a transaction, if it
        was one of so many records."""
        now = time.monotonic()
        self.commits_begun += 1
        self._commits.add(float(done), now)
        if done:
            self.commits_done += 1
            self._commit_ms.add((now - began) * 1000, now)
            if records:
                self.transactions.add(records, now)

    def snapshot(self) -> dict[str, Any]:
        """Everything as it is now; called by one thread, about once a second."""
        now = time.monotonic()
        if self._paused():
            self._paused_s += now - self._looked
        self._looked = now
        active = self.active()
        self._active.add(sum(active.values()), now)
        totals = self._totals()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = usage.ru_utime + usage.ru_stime
        self._rates.note({**totals, "bytes": self.traffic.bytes, "cpu": cpu_s}, now)
        return {
            "groups": {
                "connector-task-metrics": self._task_group(now),
                self.group_name: {
                    **totals,
                    **{
                        f"{name.removesuffix('-total')}-rate": self._rates.per_second(name) for name in totals
                    },
                    **self.group(now, active),
                },
                "task-error-metrics": self._errors.group(),
            },
            "own": self._own.samples(),
            "shown": self._shown(now, cpu_s),
        }

    @abstractmethod
    def active(self) -> Mapping[Any, int]:
        """Records on their way, that a crash would bring again."""

    @abstractmethod
    def group(self, now: float, active: Mapping[Any, int]) -> Group:
        """What is not a total of `_totals` or its rate."""

    @abstractmethod
    def lag(self) -> Group:
        """How far the task is behind, as the status shows it."""

    @abstractmethod
    def _totals(self) -> Group: ...

    def _task_group(self, now: float) -> Group:
        succeeded = self._commits.average(now)
        age_s = max(now - self._began, 1e-9)
        return {
            "batch-size-avg": self.batches.average(now),
            "batch-size-max": self.batches.maximum(now),
            "offset-commit-avg-time-ms": self._commit_ms.average(now),
            "offset-commit-max-time-ms": self._commit_ms.maximum(now),
            "offset-commit-success-percentage": succeeded * 100,
            "offset-commit-failure-percentage": 100 - succeeded * 100,
            "pause-ratio": self._paused_s / age_s,
            "running-ratio": 1 - self._paused_s / age_s,
        }

    def _shown(self, now: float, cpu_s: float) -> Group:
        measured, memory = self._memory
        if now - measured >= _MEMORY_S:
            memory = _memory_bytes()
            self._memory = now, memory
        return {
            "records_per_second": self._rates.per_second(self.main_total, _SHOWN_S),
            "bytes_per_second": self._rates.per_second("bytes", _SHOWN_S),
            "records_total": self._totals()[self.main_total],
            "bytes_total": self.traffic.bytes,
            **self.lag(),
            "errors": self._errors.errors,
            "memory_bytes": memory,
            "cpu_percent": 100 * self._rates.per_second("cpu", _SHOWN_S),
            "cpu_seconds": cpu_s,
        }


class SourceMeter(TaskMeter):
    """The group source-task-metrics. `queued` tells how many records wait for their acknowledgement."""

    group_name = "source-task-metrics"
    main_total = "source-record-write-total"

    def __init__(
        self, own: TaskMetrics, errors: ErrorCounts, paused: Callable[[], bool], queued: Callable[[], int]
    ) -> None:
        super().__init__(own, errors, paused)
        self._queued = queued
        self._written = 0

    def polled(self, count: int, began: float) -> None:
        """`poll`, which began at this monotonic time, has returned so many records."""
        now = time.monotonic()
        self.call_ms.add((now - began) * 1000, now)
        self.batches.add(count, now)
        self.records_in += count

    def active(self) -> Mapping[Any, int]:
        return {None: self._queued()}

    def group(self, now: float, active: Mapping[Any, int]) -> Group:
        return {
            "poll-batch-avg-time-ms": self.call_ms.average(now),
            "poll-batch-max-time-ms": self.call_ms.maximum(now),
            "source-record-active-count": active[None],
            "source-record-active-count-avg": self._active.average(now),
            "source-record-active-count-max": self._active.maximum(now),
            "transaction-size-avg": self.transactions.average(now),
            "transaction-size-max": self.transactions.maximum(now),
            "transaction-size-min": self.transactions.minimum(now),
        }

    def lag(self) -> Group:
        lag_ms = self._own.lag_ms
        return {} if lag_ms is None else {"lag_ms": lag_ms}

    def _totals(self) -> Group:
        # What waits in the queue is not written; offsets wait there too, so that it may seem to go back.
        self._written = max(self._written, self.records_out - self._queued())
        return {
            "source-record-poll-total": self.records_in,
            "source-record-write-total": self._written,
        }


class SinkMeter(TaskMeter):
    """The group sink-task-metrics."""

    group_name = "sink-task-metrics"
    main_total = "sink-record-send-total"

    def __init__(self, own: TaskMetrics, errors: ErrorCounts, paused: Callable[[], bool]) -> None:
        super().__init__(own, errors, paused)
        self.partitions = 0
        self.log_ends: Mapping[TopicPartition, int] = {}  # the offsets after the last records, where known
        self.positions: Mapping[TopicPartition, int] = {}  # the next offset to put
        self.safe: dict[TopicPartition, int] = {}  # the offset from which a crash would bring all again

    def put(self, count: int, began: float) -> None:
        """`put`, which began at this monotonic time, has taken so many records."""
        now = time.monotonic()
        self.call_ms.add((now - began) * 1000, now)
        self.batches.add(count, now)
        self.records_out += count

    def active(self) -> Mapping[Any, int]:
        return {
            partition: max(0, position - self.safe.get(partition, position))
            for partition, position in list(self.positions.items())
        }

    def group(self, now: float, active: Mapping[Any, int]) -> Group:
        return {
            "put-batch-avg-time-ms": self.call_ms.average(now),
            "put-batch-max-time-ms": self.call_ms.maximum(now),
            "partition-count": self.partitions,
            "offset-commit-seq-no": self.commits_begun,
            "sink-record-active-count": sum(active.values()),
            "sink-record-active-count-avg": self._active.average(now),
            "sink-record-active-count-max": self._active.maximum(now),
            "sink-record-lag-max": max(active.values(), default=0),
        }

    def lag(self) -> Group:
        lag = 0
        for partition, position in list({**self.safe, **self.positions}.items()):
            end = self.log_ends.get(partition)
            if end is not None:
                lag += max(0, end - position)
        return {"lag": lag}

    def _totals(self) -> Group:
        return {
            "sink-record-read-total": self.records_in,
            "sink-record-send-total": self.records_out,
            "offset-commit-completion-total": self.commits_done,
            # Commits are made one after the other, each waiting for its answer: none comes too late.
            "offset-commit-skip-total": 0,
        }


def _memory_bytes() -> int:
    """This process's share of memory (PSS): pages that tasks share count in part. 0 where the system does not
    say."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_bytes().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:"))
