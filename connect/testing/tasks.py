"""Connectors driven as the runtime drives them, without Kafka and in this process: for tests of a connector.

run = SourceRun(LinesSourceConnector, {"file": "a.txt", "topic": "lines"})
run.start()
records = run.read(3)
run.store(records[:2])  # their offsets are durable now
run.stop()
run.start()             # goes on at the stored offsets
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from connect.api import (
    RetriableError,
    SinkConnector,
    SinkRecord,
    SinkTask,
    SourceConnector,
    SourceRecord,
    SourceTask,
    TaskMetrics,
    TopicPartition,
    TransactionContext,
)

DEADLINE_S: Final = 60.0
_RETRY_S: Final = 0.05

Offset = tuple[Mapping[str, Any], Mapping[str, Any]]


def partition_key(source_partition: Mapping[str, Any]) -> bytes:
    """What tells source partitions apart: equal ones may be different objects."""
    return orjson.dumps(source_partition, option=orjson.OPT_SORT_KEYS)


class SourceRunContext:
    """What a source task sees of the runtime; `stop` is what tells it to return."""

    connector_name = "conformance"

    def __init__(self, task_id: int, offsets: Mapping[bytes, Offset]) -> None:
        self.task_id = task_id
        self.metrics = TaskMetrics()
        self.advances: list[Offset] = []
        self.errant: list[tuple[SourceRecord, Exception]] = []
        self._offsets = offsets
        self._stop = threading.Event()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def offset(self, source_partition: Mapping[str, Any]) -> Mapping[str, Any] | None:
        found = self._offsets.get(partition_key(source_partition))
        return found[1] if found is not None else None

    @property
    def transactions(self) -> TransactionContext | None:
        return None

    def advance(self, source_partition: Mapping[str, Any], source_offset: Mapping[str, Any]) -> None:
        self.advances.append((source_partition, source_offset))

    def report_errant(self, record: SourceRecord, error: Exception) -> None:
        self.errant.append((record, error))

    def wait(self, seconds: float) -> bool:
        return self._stop.wait(seconds)

    def stop(self) -> None:
        """The task should stop."""
        self._stop.set()


class SourceRun:
    """The tasks of a source connector, and the offsets that the runtime would store for them.

    `tasks` and `contexts` are those that run now, by task number.
    """

    def __init__(
        self, connector: type[SourceConnector[Any]], properties: Mapping[str, str], tasks_max: int = 1
    ) -> None:
        self._connector = connector
        self._properties = properties
        self._tasks_max = tasks_max
        self.offsets: dict[bytes, Offset] = {}
        self.tasks: list[SourceTask[Any]] = []
        self.contexts: list[SourceRunContext] = []
        self._owners: dict[bytes, SourceTask[Any]] = {}  # by source partition

    def start(self) -> None:
        """Start tasks at the stored offsets."""
        parse = self._connector.config_class.parse
        made = self._connector().task_configs(parse(self._properties), self._tasks_max)
        # As they come back from the topic that holds them: strings through JSON.
        stored = {
            key: (orjson.loads(key), orjson.loads(orjson.dumps(offset)))
            for key, (_, offset) in self.offsets.items()
        }
        for number, config in enumerate(made):
            task, context = self._connector.task_class(), SourceRunContext(number, stored)
            self.tasks.append(task)
            self.contexts.append(context)
            task.start(context, parse(dict(config)))

    def poll(self) -> list[SourceRecord]:
        """One poll of each task; one that is to be tried again gives nothing this time."""
        records: list[SourceRecord] = []
        for task in self.tasks:
            try:
                polled = task.poll()
            except RetriableError:
                time.sleep(_RETRY_S)
                continue
            self._owners |= {partition_key(record.source_partition): task for record in polled}
            records += polled
        return records

    def read(self, count: int, seconds: float = DEADLINE_S) -> list[SourceRecord]:
        """Poll until there are at least `count` records; `AssertionError` if they do not come in time."""
        deadline = time.monotonic() + seconds
        records: list[SourceRecord] = []
        while len(records) < count:
            assert time.monotonic() < deadline, f"{len(records)} of {count} records came in {seconds:g} s"
            records += self.poll()
        return records

    def store(self, records: Iterable[SourceRecord], *, tell: bool = True) -> None:
        """These records are acknowledged and their offsets durable; `tell` the tasks so (a worker that dies
        in between does not)."""
        stored = {partition_key(r.source_partition): (r.source_partition, r.source_offset) for r in records}
        self.offsets |= stored
        if tell:
            for task in self.tasks:
                if mine := [offset for key, offset in stored.items() if self._owners.get(key) is task]:
                    task.commit(mine)

    def stop(self) -> None:
        """Stop all tasks."""
        tasks, self.tasks = self.tasks, []
        contexts, self.contexts = self.contexts, []
        for context in contexts:
            context.stop()
        for task in tasks:
            task.stop()


class SinkRunContext:
    """What a sink task sees of the runtime, and what it asked for."""

    connector_name = "conformance"
    task_id = 0

    def __init__(self) -> None:
        self.metrics = TaskMetrics()
        self.assignment: frozenset[TopicPartition] = frozenset()
        self.rewound: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.errant: list[tuple[SinkRecord, Exception]] = []

    def rewind(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.rewound.update(offsets)

    def timeout(self, milliseconds: int) -> None:
        """A run tries again at its own pace."""

    def request_commit(self) -> None:
        """A run commits when the test says so."""

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused.difference_update(partitions)

    def report_errant(self, record: SinkRecord, error: Exception) -> None:
        self.errant.append((record, error))


class SinkRun:
    """A task of a sink connector, the log that it reads, and the offsets that are committed for it.

    `log` holds the records of each partition, in the order of their offsets.
    """

    def __init__(
        self,
        connector: type[SinkConnector[Any]],
        properties: Mapping[str, str],
        log: Mapping[TopicPartition, Sequence[SinkRecord]],
    ) -> None:
        self._connector = connector
        self._properties = properties
        self.log = log
        self.committed: dict[TopicPartition, int] = {}
        self.positions: dict[TopicPartition, int] = {}  # of the open partitions, the next offset to put
        self.context = SinkRunContext()
        self.task: SinkTask[Any] | None = None

    def start(self, *partitions: TopicPartition) -> None:
        """Start a task with these partitions (all of the log), each at its committed offset."""
        parse = self._connector.config_class.parse
        config = self._connector().task_configs(parse(self._properties), 1)[0]
        self.context, self.positions = SinkRunContext(), {}
        self.task = self._connector.task_class()
        self._running.start(self.context, parse(dict(config)))
        self.open(*(partitions or self.log))

    def open(self, *partitions: TopicPartition) -> None:
        """Assign partitions to the running task."""
        self.context.assignment |= set(partitions)
        self.positions |= {partition: self.committed.get(partition, 0) for partition in partitions}
        self._running.open(list(partitions))
        self._follow_rewinds()

    def deliver(self, count: int, seconds: float = DEADLINE_S) -> bool:
        """Put the next `count` records of each open partition, again while the task says that it cannot take
        them yet. False if there was nothing to put."""
        batch = [
            record
            for partition, position in self.positions.items()
            if partition not in self.context.paused
            for record in [r for r in self.log[partition] if r.offset >= position][:count]
        ]
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._running.put(batch)
            except RetriableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)
            else:
                break
        for record in batch:
            place = TopicPartition(record.original_topic, record.original_partition)
            self.positions[place] = record.offset + 1
        self._follow_rewinds()
        return bool(batch)

    def commit(self) -> Mapping[TopicPartition, int]:
        """What the task says is safe, which is committed then; nothing while it cannot tell."""
        safe: Mapping[TopicPartition, int] = {}
        with suppress(RetriableError):
            safe = self._running.pre_commit(dict(self.positions))
        self.committed.update(safe)
        self._follow_rewinds()
        return safe

    def finish(self, seconds: float = DEADLINE_S) -> None:
        """Deliver all there is, and go on until all is committed; `AssertionError` if it is not in time."""
        deadline = time.monotonic() + seconds
        ends = {p: self.log[p][-1].offset + 1 for p in self.positions if self.log[p]}
        while any(self.committed.get(partition, 0) < end for partition, end in ends.items()):
            assert time.monotonic() < deadline, f"committed {self.committed} of {ends} in {seconds:g} s"
            if not self.deliver(5):
                time.sleep(_RETRY_S)
            self.commit()

    def close(self, *partitions: TopicPartition) -> None:
        """Commit these partitions and take them away, as in a rebalance."""
        safe = self._running.pre_commit({partition: self.positions[partition] for partition in partitions})
        self.committed.update({partition: safe[partition] for partition in partitions if partition in safe})
        self.lose(*partitions)

    def lose(self, *partitions: TopicPartition) -> None:
        """Take these partitions away without a commit, as from a member that the group has given up."""
        self._running.close(list(partitions))
        self.context.assignment -= set(partitions)
        for partition in partitions:
            del self.positions[partition]

    def stop(self) -> None:
        """Commit, close and stop, as for a connector that is stopped."""
        if self.positions:
            self.close(*self.positions)
        self.abandon()

    def abandon(self) -> None:
        """Stop the task without a commit: what was not committed comes again."""
        if self.task is not None:
            task, self.task = self.task, None
            if self.positions:
                task.close(list(self.positions))
            task.stop()

    @property
    def _running(self) -> SinkTask[Any]:
        assert self.task is not None, "start it first"
        return self.task

    def _follow_rewinds(self) -> None:
        self.positions |= {p: offset for p, offset in self.context.rewound.items() if p in self.positions}
        self.context.rewound = {}
