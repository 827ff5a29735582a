"""An S3 source task driven as the runtime drives it: polls, stored offsets, reports, crashes."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from connect.api import Config, ConnectError, JsonPayload, RetriableError, SourceRecord, TaskMetrics
from connectors.s3.source.aiven_config import AivenS3SourceConfig
from connectors.s3.source.config import S3SourceConfig
from connectors.s3.source.task import TASKS, S3SourceTask


def frozen(partition: Mapping[str, Any]) -> bytes:
    return orjson.dumps(partition, option=orjson.OPT_SORT_KEYS)


class Context:
    """`stored` are offsets by source partition. A task waits a moment at most."""

    connector_name = "restore"
    stopping = False
    transactions = None

    def __init__(self, stored: Mapping[bytes, Mapping[str, Any]], task_id: int, *, tolerant: bool) -> None:
        self.task_id = task_id
        self.metrics = TaskMetrics()
        self.advances: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
        self.reported: list[str] = []
        self._stored = dict(stored)
        self._tolerant = tolerant

    def offset(self, source_partition: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return self._stored.get(frozen(source_partition))

    def advance(self, source_partition: Mapping[str, Any], source_offset: Mapping[str, Any]) -> None:
        self.advances.append((source_partition, source_offset))

    def report_errant(self, record: SourceRecord, error: Exception) -> None:
        if not self._tolerant:
            raise ConnectError("Tolerance exceeded in error handler") from error
        self.reported.append(str(error))

    def wait(self, seconds: float) -> bool:
        time.sleep(min(seconds, 0.01))
        return False


class SourceDriver:
    """A task, and the offsets that are stored. `settings` are added to what reaches the bucket."""

    def __init__(
        self,
        s3: Any,
        bucket: str,
        settings: Mapping[str, str],
        *,
        aiven: bool = False,
        task: int = 0,
        tasks: int = 1,
        tolerant: bool = False,
    ) -> None:
        names = ("aws.s3.bucket.name", "aws.s3.endpoint", "aws.s3.region") if aiven else (
            "s3.bucket.name", "store.url", "s3.region"
        )  # fmt: skip
        reach = dict(zip(names, (bucket, s3.endpoint, s3.region), strict=True))
        keys = {"aws.access.key.id": s3.access_key, "aws.secret.access.key": s3.secret_key}
        kind: type[Config] = AivenS3SourceConfig if aiven else S3SourceConfig
        interval = {"poll.interval.ms" if aiven else "s3.poll.interval.ms": "1"}
        self.config: Any = kind.parse({**reach, **keys, **interval, TASKS: str(tasks), **settings})
        self.stored: dict[bytes, Mapping[str, Any]] = {}
        self._uncommitted: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
        self._task_id, self._tolerant = task, tolerant
        self.restart()

    def restart(self) -> None:
        """A new task that begins at the stored offsets; the old one is just gone."""
        self.context = Context(self.stored, self._task_id, tolerant=self._tolerant)
        self.task = S3SourceTask()
        self.task.start(self.context, self.config)

    def poll(self) -> list[SourceRecord]:
        """One poll; its records and offsets are stored."""
        try:
            records = list(self.task.poll())
        except RetriableError:
            return []
        for record in records:
            self.stored[frozen(record.source_partition)] = record.source_offset
        for partition, offset in self.context.advances:
            self.stored[frozen(partition)] = offset
        self._uncommitted += self.context.advances
        self.context.advances.clear()
        return records

    @property
    def has_uncommitted(self) -> bool:
        """Whether an object has been read to its end, and the task has not been told that this is durable."""
        return bool(self._uncommitted)

    def commit(self) -> None:
        """Tell the task that all these offsets are durable."""
        self.task.commit(self._uncommitted)
        self._uncommitted = []

    def next(self) -> list[SourceRecord]:
        """The records of the next poll that has any; none if two whole listings find nothing."""
        scans = self.task.listing.scans
        while not (records := self.poll()) and self.task.listing.scans < scans + 2:
            pass
        return records

    def run(self) -> list[SourceRecord]:
        """All there is."""
        found: list[SourceRecord] = []
        while records := self.next():
            found += records
        return found


def plain(value: Any) -> Any:
    """The Python value."""
    return value.value() if isinstance(value, JsonPayload) else value


def values(records: Sequence[SourceRecord]) -> list[Any]:
    return [plain(record.raw_value) for record in records]
