"""Connectors that misbehave on demand, for tests of the runtime; deployed as `fault_connectors:ClassName`.

What a task does is a setting that is read at its start, so that a test can change it by a new config.
"""

import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from connect.api import (
    Config,
    ConfigProvider,
    ConnectError,
    FieldError,
    RetriableError,
    SinkConnector,
    SinkRecord,
    SinkTask,
    SinkTaskContext,
    SourceConnector,
    SourceRecord,
    SourceTask,
    SourceTaskContext,
    TopicPartition,
    setting,
)


class FaultConfig(Config):
    fault: str = setting("fault", default="none", doc="What goes wrong, and where.")
    tasks: int = setting("tasks", default=1, doc="How many task configs to make.")


class LeasedFiles(ConfigProvider):
    """`${NAME:/path/file:any}`: the text of a file, good for a second."""

    def configure(self, properties: Mapping[str, str]) -> None:
        pass

    def get(self, path: str, keys: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(keys, Path(path).read_text())

    def ttl_ms(self, path: str) -> int | None:
        return 1_000


class CountingConfig(FaultConfig):
    topic: str = setting("topic", doc="Where the numbers go.")
    limit: int = setting("limit", default=100, doc="How many numbers.")
    batch: int = setting("batch", default=10, doc="Numbers a poll.")
    value_bytes: int = setting("value.bytes", default=0, doc="Pad values to so many bytes.")


class _Faulty:
    """What both connectors do."""

    def task_configs(self, config: Any, max_tasks: int) -> Sequence[Mapping[str, str]]:
        if config.fault == "task_configs raises":
            raise ConnectError("no tasks today")
        if config.fault == "task_configs hangs":
            time.sleep(3600)
        if config.fault == "task_configs dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return [{**config.originals, "number": str(number)} for number in range(config.tasks)]

    def check_connection(self, config: Any) -> Iterable[FieldError]:
        if config.fault == "check hangs":
            time.sleep(3600)
        if config.fault == "check complains":
            yield FieldError("fault", "the server does not answer")


class CountingSource(_Faulty, SourceConnector[CountingConfig]):
    """Writes the numbers 0 … limit-1, one source partition, the offset is the next number."""

    version = "1.2.3"
    config_class = CountingConfig

    def exactly_once_support(self, config: Any) -> bool | None:
        if config.fault == "exactly once?":
            raise ValueError("I do not know")
        return None if config.fault == "does not say" else False

    def can_define_transaction_boundaries(self, config: Any) -> bool:
        return bool(config.fault == "aborts odd batches")

    def alter_offsets(self, config: Any, offsets: Any) -> bool:
        for _, offset in offsets:
            if offset is not None and not isinstance(offset.get("next"), int):
                raise ConnectError("the offset needs an integer 'next'")
        return True


class CountingTask(SourceTask[CountingConfig]):
    def start(self, context: SourceTaskContext, config: CountingConfig) -> None:
        self._context = context
        self._config = config
        self._partition = {"counter": context.task_id}
        offset = context.offset(self._partition) or {"next": 0}
        self._next = offset["next"]
        if config.fault == "start raises":
            raise ConnectError("cannot start")
        _misbehave(config.fault, "start")
        if config.fault == "start exits":
            os._exit(7)

    def poll(self) -> Sequence[SourceRecord]:
        _misbehave(self._config.fault, "poll")
        metrics = self._context.metrics
        metrics.counter("millstream_counting_numbers_total", self._next)
        metrics.gauge("millstream_counting_left", self._config.limit - self._next, what="numbers")
        metrics.lag_ms = 0
        if self._next >= self._config.limit:
            self._context.wait(0.2)
            return ()
        last = min(self._next + self._config.batch, self._config.limit)
        numbers, self._next = range(self._next, last), last
        if self._context.transactions is not None:
            if numbers.start // self._config.batch % 2:
                self._context.transactions.abort()
            else:
                self._context.transactions.commit()
        return [
            SourceRecord(
                self._partition, {"next": number + 1}, self._config.topic,
                str(number).rjust(self._config.value_bytes).encode(),
            )
            for number in numbers
        ]  # fmt: skip


CountingSource.task_class = CountingTask


class CollectingConfig(FaultConfig):
    file: str = setting("file", doc="Where the values go, a line each.")


class CollectingSink(_Faulty, SinkConnector[CollectingConfig]):
    """Appends `topic partition offset value` lines to a file at `flush`."""

    version = "4.5.6"
    config_class = CollectingConfig


class CollectingTask(SinkTask[CollectingConfig]):
    def start(self, context: SinkTaskContext, config: CollectingConfig) -> None:
        self._context = context
        self._config = config
        self._lines: list[str] = []
        self._late: list[SinkRecord] = []
        self._calls = itertools.count()
        _misbehave(config.fault, "start")

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        self._log(f"open {sorted(partitions)}")
        if self._config.fault == "pauses":
            self._context.pause(*(partition for partition in partitions if partition.partition))

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        self._log(f"close {sorted(partitions)}")

    def put(self, records: Sequence[SinkRecord]) -> None:
        _misbehave(self._config.fault, "put")
        if records and self._config.fault == "put retries twice" and next(self._calls) < 2:
            self._context.timeout(100)
            raise RetriableError("not yet")
        if self._config.fault == "pauses" and Path(f"{self._config.file}.go").exists():
            self._context.resume(*self._context.assignment)
        if records and self._config.fault == "put always retries":
            raise RetriableError("not yet")
        if records and self._config.fault == "rewinds once" and next(self._calls) == 0:
            first = records[0]
            self._context.rewind({TopicPartition(first.topic, first.partition): first.offset})
        for record in records:
            text = record.value.decode() if isinstance(record.value, bytes) else str(record.value)
            if text == self._config.fault.removeprefix("errant late "):
                self._late.append(record)
                continue
            if text == self._config.fault.removeprefix("errant "):
                self._context.report_errant(record, ConnectError(f"{text} is errant"))
                continue
            self._lines.append(
                f"{record.original_topic} {record.original_partition} {record.offset} {text.strip()}\n"
            )

    def flush(self, offsets: Mapping[TopicPartition, int]) -> None:
        _misbehave(self._config.fault, "flush")
        late, self._late = self._late, []
        for record in late:
            self._context.report_errant(record, ConnectError("it was errant all the time"))
        with Path(self._config.file).open("a") as file:
            file.writelines(self._lines)
        self._lines.clear()

    def stop(self) -> None:
        self._log("stop")

    def _log(self, what: str) -> None:
        with Path(f"{self._config.file}.calls").open("a") as file:
            file.write(f"{what}\n")


CollectingSink.task_class = CollectingTask


def _misbehave(fault: str, where: str) -> None:
    if fault == f"{where} raises":
        raise ConnectError("it broke")
    if fault == f"{where} raises KeyError":
        raise KeyError("unexpected")
    if fault == f"{where} hangs":
        time.sleep(3600)
    if fault == f"{where} holds the lock":
        re.match("(a+)+$", "a" * 64 + "b")  # takes for ever, and does not let another thread run
    if fault == f"{where} starts a child":
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
        time.sleep(3600)
    if fault == f"{where} kills itself":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == f"{where} eats memory":
        _ = [bytearray(1 << 20) for _ in range(1 << 20)]
