"""Stand-ins for what the runtime gives a task, to drive a task without a worker."""

from collections.abc import Mapping
from typing import Any

from connect.api import SourceRecord, TaskMetrics, TopicPartition, TransactionContext
from connect.testing.tasks import SinkRunContext


class SourceContext:
    """Offers the offset it was given; `wait` returns at once and counts what it was asked to wait."""

    connector_name = "test-source"
    task_id = 0

    def __init__(self, offset: Mapping[str, Any] | None = None) -> None:
        self.stored = offset
        self.metrics = TaskMetrics()
        self.stopping = False
        self.waits_s: list[float] = []
        self.advanced: Mapping[str, Any] | None = None

    def offset(self, source_partition: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return self.stored

    @property
    def transactions(self) -> TransactionContext | None:
        return None

    def advance(self, source_partition: Mapping[str, Any], source_offset: Mapping[str, Any]) -> None:
        self.advanced = source_offset

    def report_errant(self, record: SourceRecord, error: Exception) -> None:
        raise error

    def wait(self, seconds: float) -> bool:
        self.waits_s.append(seconds)
        return self.stopping


class SinkContext(SinkRunContext):
    """Remembers what else the task asked for."""

    connector_name = "test-sink"

    def __init__(self, *assignment: TopicPartition) -> None:
        super().__init__()
        self.assignment = frozenset(assignment)
        self.timeout_ms: int | None = None
        self.commits_requested = 0

    def timeout(self, milliseconds: int) -> None:
        self.timeout_ms = milliseconds

    def request_commit(self) -> None:
        self.commits_requested += 1
