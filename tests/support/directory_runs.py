"""A directory source driven as the runtime drives it, in this process: what it reads and moves, and when."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connect.api import ConnectError, SourceConnector, SourceRecord
from connect.testing.tasks import SourceRunContext, partition_key


class Context(SourceRunContext):
    """Tolerates what cannot be read unless told otherwise."""

    tolerant = False

    def report_errant(self, record: SourceRecord, error: Exception) -> None:
        super().report_errant(record, error)
        if not self.tolerant:
            raise ConnectError("Tolerance exceeded in error handler") from error

    def wait(self, seconds: float) -> bool:
        time.sleep(seconds)  # until the next look into the directory, a millisecond
        return False


class DirectoryRun:
    """One task. `offsets` outlives it, as the offsets topic does: `restart` is a kill and a new start."""

    def __init__(
        self, connector: type[SourceConnector[Any]], folder: Path, *, tolerant: bool = False, **settings: str
    ) -> None:
        for name in ("in", "done", "bad"):
            (folder / name).mkdir(exist_ok=True)
        self.input, self.done, self.bad = folder / "in", folder / "done", folder / "bad"
        self.properties = {
            "topic": "t", "input.path": str(self.input), "finished.path": str(self.done),
            "error.path": str(self.bad), "input.file.pattern": ".*", "empty.poll.wait.ms": "1", **settings,
        }  # fmt: skip
        self.connector = connector
        self.tolerant = tolerant
        self.offsets: dict[bytes, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self.start()

    def start(self, task: int = 0, tasks: int = 1) -> None:
        config_class = self.connector.config_class
        configs = self.connector().task_configs(config_class.parse(self.properties), tasks)
        self.context = Context(task, dict(self.offsets))
        self.context.tolerant = self.tolerant
        self.task = self.connector.task_class()
        self.noted: dict[bytes, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        self.task.start(self.context, config_class.parse(dict(configs[task])))

    restart = start

    def write(self, name: str, content: str | bytes) -> Path:
        """A file in the input directory."""
        path = self.input / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def poll(self) -> list[SourceRecord]:
        records: list[SourceRecord] = self.task.poll()
        for record in records:
            pair = record.source_partition, record.source_offset
            self.noted[partition_key(record.source_partition)] = pair
        for pair in self.context.advances:
            self.noted[partition_key(pair[0])] = pair
        self.context.advances.clear()
        return records

    def read(self) -> list[SourceRecord]:
        """All there is for now."""
        found: list[SourceRecord] = []
        while True:
            records, noted = self.poll(), dict(self.noted)
            found += records
            if not records and noted == self.noted and not self.poll():
                return found

    def store(self) -> None:
        """What was noted is durable, although nobody told the task yet."""
        self.offsets |= self.noted

    def commit(self) -> None:
        """What was noted is durable, and the task knows."""
        self.store()
        noted, self.noted = self.noted, {}
        self.task.commit(list(noted.values()))

    def values(self) -> list[Any]:
        """All values there are for now, committed."""
        found = [record.value for record in self.read()]
        self.commit()
        return found


def names(folder: Path) -> list[str]:
    """The files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
