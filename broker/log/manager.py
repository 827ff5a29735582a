"""The logs of a data directory: one directory `<topic>-<partition>` each, as Kafka's.

The catalog is the truth about which partitions there are. At the start:

* a partition of the catalog without a directory is an empty log, if nothing of it was ever synced;
* `*-delete` directories are of deleted topics: removed;
* other partition directories, which belong to no topic of the catalog or to an older one of the same
  name (by the id in `partition.metadata`), are moved to `orphans/` and left there for a person to look
  at: a lost catalog must not take the data with it.

`recovery-points` says up to where each log was synced (by topic id: a topic of the same name starts
anew), and `.kafka_cleanshutdown` that the last shutdown was clean, so that nothing needs reading.
"""

import asyncio
import shutil
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import structlog

from broker.log.checkpoint import (
    CLEAN_SHUTDOWN,
    RECOVERY_POINTS,
    PartitionId,
    read_checkpoint,
    write_checkpoint,
)
from broker.log.config import LogConfig
from broker.log.deletion import DeletedFiles
from broker.log.partition_log import SEGMENTS_DELETED_AT_ONCE, PartitionLog, sync_directory
from broker.log.recovery import open_log
from broker.wire.errors import ErrorCode, KafkaError

logger = structlog.get_logger(__name__)

DELETED_SUFFIX = "-delete"
ORPHANS = "orphans"


class LogManager:
    """Opens, finds and deletes logs. The data directory must be this process's alone."""

    def __init__(self, data_dir: Path) -> None:
        self.deleted_files = DeletedFiles()
        self._data_dir = data_dir
        self._logs: dict[tuple[str, int], PartitionLog] = {}
        self._ids: dict[PartitionLog, PartitionId] = {}
        self._checkpoint_path = data_dir / RECOVERY_POINTS
        self._clean_path = data_dir / CLEAN_SHUTDOWN
        self._found_points = read_checkpoint(self._checkpoint_path)
        self._was_clean = self._clean_path.exists()
        self._is_started = False

    def __iter__(self) -> Iterator[PartitionLog]:
        return iter(self._logs.values())

    def __len__(self) -> int:
        return len(self._logs)

    def get(self, topic: str, partition: int) -> PartitionLog | None:
        return self._logs.get((topic, partition))

    def partition_id(self, log: PartitionLog) -> PartitionId:
        return self._ids[log]

    def create(self, topic: str, topic_id: uuid.UUID, partition: int, config: LogConfig) -> PartitionLog:
        """The log of a partition that is in the catalog: recovered if it is on disk, else empty."""
        topic_uuid = _kafka_uuid(topic_id)
        directory = self._data_dir / f"{topic}-{partition}"
        metadata = f"version: 0\ntopic_id: {topic_uuid}\n"
        log = PartitionLog(directory, config, metadata=metadata, deleted=self.deleted_files)
        if directory.exists() and _belongs_to_another(log, metadata):
            self._set_aside(directory)
        open_log(log, self._found_points.get((topic_uuid, partition), 0), clean=self._was_clean)
        self._logs[topic, partition] = log
        self._ids[log] = (topic_uuid, partition)
        return log

    def finish_start(self) -> None:
        """All logs of the catalog are created: clear up what else there is, and be unclean from now on."""
        known = {log.directory.name for log in self}
        for path in self._data_dir.iterdir():
            if not path.is_dir() or path.name in known or not _is_partition_directory(path):
                continue
            if path.name.endswith(DELETED_SUFFIX):
                shutil.rmtree(path)
            else:
                self._set_aside(path)
        self._was_clean = False
        self._is_started = True
        self._clean_path.unlink(missing_ok=True)
        sync_directory(self._data_dir)

    def delete(self, topic: str, partition: int) -> Path | None:
        """Forget a partition that is no longer in the catalog. Returns a directory to `remove`, if any.

        The name of the directory is free for a new partition at once; removing may take its time.
        """
        log = self._logs.pop((topic, partition), None)
        if log is None:
            return None
        del self._ids[log]
        log.close_for(KafkaError(ErrorCode.unknown_topic_or_partition, f"{log.directory.name} was deleted"))
        if not log.directory.exists():
            return None
        return log.directory.rename(self._data_dir / f"{uuid.uuid4().hex}{DELETED_SUFFIX}")

    @staticmethod
    def remove(directory: Path) -> None:
        """Remove what `delete` left. May be called in a thread."""
        shutil.rmtree(directory, ignore_errors=True)  # what remains is removed at the next start

    async def expire_producers(self, before_ms: int) -> None:
        """Forget producers that have not written since `before_ms`, in all logs."""
        for log in list(self):
            log.producers.expire(before_ms)

    async def enforce_retention(self, now_ms: int) -> None:
        """Delete old segments, in all logs."""
        for log in list(self):
            await asyncio.sleep(0)
            try:
                deleted = SEGMENTS_DELETED_AT_ONCE
                while deleted == SEGMENTS_DELETED_AT_ONCE:
                    deleted = log.enforce_retention(now_ms)
                    await asyncio.sleep(0)
            except OSError as exc:
                logger.error("retention failed", log=log.directory.name, error=str(exc))

    async def remove_deleted_files(self) -> None:
        """Those whose `file.delete.delay.ms` is over."""
        due = self.deleted_files.take_due()
        if due:
            await asyncio.to_thread(self.deleted_files.remove, due)

    def recovery_points(self) -> dict[PartitionId, int]:
        """Up to where each log is synced."""
        return {self._ids[log]: log.recovery_point for log in self if log.recovery_point}

    def write_checkpoint(self, points: dict[PartitionId, int]) -> None:
        """Make the recovery points durable. May be called in a thread."""
        write_checkpoint(self._checkpoint_path, points)
        sync_directory(self._data_dir)

    def close(self) -> None:
        """Sync all, and note that it was done. After a failed log the next start looks closer."""
        if not self._is_started:  # then what is on disk is as the last run has left it
            return
        for log in self:
            log.close()
        self.write_checkpoint(self.recovery_points())
        if all(log.failure is None for log in self):
            self._clean_path.touch()
            sync_directory(self._data_dir)

    def _set_aside(self, directory: Path) -> None:
        target = self._data_dir / ORPHANS / uuid.uuid4().hex / directory.name
        target.parent.mkdir(parents=True)
        directory.rename(target)
        logger.warning("directory of no known topic set aside", directory=directory.name, now=str(target))


def _belongs_to_another(log: PartitionLog, metadata: str) -> bool:
    """Whether the directory says that it is of another topic. One that says nothing is believed."""
    try:
        found = log.metadata_path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return False
    return found.startswith("version: 0\ntopic_id: ") and found.endswith("\n") and found != metadata


def _is_partition_directory(path: Path) -> bool:
    return path.name.rpartition("-")[2].isdecimal() or path.name.endswith(DELETED_SUFFIX)


def _kafka_uuid(value: uuid.UUID) -> str:
    return urlsafe_b64encode(value.bytes).rstrip(b"=").decode("ascii")
