"""Connectors that notice when one of their tasks runs twice at once; deployed as
`exclusive_connectors:ExclusiveSource` and `exclusive_connectors:ExclusiveSink`.

The processes of all workers share a directory. A task holds a lock there for as long as it lives, and writes
its process id down as the owner; whatever it does later, it looks first whether it still is. A process that
is stopped (SIGSTOP) does nothing: its lock may be passed over, but when it goes on it must not do anything.
"""

import fcntl
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from connect.api import (
    Config,
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

VIOLATIONS: Final = "violations"  # a file in the directory, a line each
ENOUGH: Final = "enough"  # a file that tells the sources to make no more
_PAUSE_S: Final = 0.05
_BATCH: Final = 5


class Claim:
    """One task's hold on its name."""

    def __init__(self, directory: Path, name: str) -> None:
        self._violations = directory / VIOLATIONS
        self._name = name
        self._me = str(os.getpid())
        self._owner = directory / f"{name}.owner"
        self._lock = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._owner.read_text()
            if is_running(int(holder)):
                self._complain(f"starts while {holder} runs")
        new = directory / f"{name}.owner.{self._me}"
        new.write_text(self._me)
        new.replace(self._owner)

    def check(self, call: str) -> None:
        owner = self._owner.read_text()
        if owner != self._me:
            self._complain(f"is in {call} although {owner} has started")

    def _complain(self, what: str) -> None:
        with self._violations.open("a") as file:
            file.write(f"{self._name}: process {self._me} {what}\n")


def is_running(pid: int) -> bool:
    """Whether a process is neither stopped nor dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "TtZX"


class ExclusiveConfig(Config):
    directory: str = setting("directory", doc="Shared by all processes.")
    tasks: int = setting("tasks", default=1, doc="How many.")


class ExclusiveSourceConfig(ExclusiveConfig):
    topic: str = setting("topic", doc="Where the numbers go.")


class _Exclusive:
    def task_configs(self, config: Any, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [{**config.originals, "number": str(number)} for number in range(config.tasks)]


class ExclusiveSource(_Exclusive, SourceConnector[ExclusiveSourceConfig]):
    """Each task writes `TASK NUMBER`, from 0 on, until there is a file `enough`."""

    version = "1"
    config_class = ExclusiveSourceConfig


class ExclusiveSourceTask(SourceTask[ExclusiveSourceConfig]):
    def start(self, context: SourceTaskContext, config: ExclusiveSourceConfig) -> None:
        directory = Path(config.directory)
        self._claim = Claim(directory, f"{context.connector_name}-{context.task_id}")
        self._context = context
        self._topic = config.topic
        self._enough = directory / ENOUGH
        self._partition = {"task": context.task_id}
        self._next = (context.offset(self._partition) or {"next": 0})["next"]

    def poll(self) -> Sequence[SourceRecord]:
        # No check here: a process that was stopped in a poll may finish it; nobody gets its records.
        if self._context.wait(_PAUSE_S) or self._enough.exists():
            return ()
        numbers = range(self._next, self._next + _BATCH)
        self._next = numbers.stop
        return [
            SourceRecord(
                self._partition, {"next": number + 1}, self._topic, f"{self._context.task_id} {number}"
            )
            for number in numbers
        ]

    def commit(self, offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        self._claim.check("commit")


ExclusiveSource.task_class = ExclusiveSourceTask


class ExclusiveSinkConfig(ExclusiveConfig):
    file: str = setting("file", doc="Where the records go, all tasks' together.")


class ExclusiveSink(_Exclusive, SinkConnector[ExclusiveSinkConfig]):
    """Appends `PARTITION OFFSET VALUE` to a file, in each call of `put`."""

    version = "1"
    config_class = ExclusiveSinkConfig


class ExclusiveSinkTask(SinkTask[ExclusiveSinkConfig]):
    def start(self, context: SinkTaskContext, config: ExclusiveSinkConfig) -> None:
        self._claim = Claim(Path(config.directory), f"{context.connector_name}-{context.task_id}")
        self._file = os.open(config.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        self._claim.check("open")

    def put(self, records: Sequence[SinkRecord]) -> None:
        self._claim.check("put")
        lines = "".join(f"{r.original_partition} {r.offset} {r.value}\n" for r in records)
        os.write(self._file, lines.encode())

    def flush(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._claim.check("flush")


ExclusiveSink.task_class = ExclusiveSinkTask
