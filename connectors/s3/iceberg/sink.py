"""The sink task that writes tables.

Exactly once: rows of all tables wait in data files until all are committed together, table by table. A
snapshot carries the offsets of its rows (see `commits`), so records that come again after a kill are left
out of the tables that have them, whatever offsets Kafka knows. A task that was overtaken, because it lost
its partitions without knowing, cannot commit: it drops its rows and has them delivered again.
"""

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import structlog

from connect.api import DataError, RetriableError, SinkRecord, SinkTask, SinkTaskContext, TopicPartition
from connectors.s3.config import S3SinkConfig
from connectors.s3.iceberg.catalog import Tables, catalog_properties
from connectors.s3.iceberg.commits import OvertakenError
from connectors.s3.iceberg.routes import Routes
from connectors.s3.iceberg.rows import RowMaker
from connectors.s3.iceberg.table import TableRules, TableWriter

log = structlog.get_logger(__name__)

# What the open files of a task may have waiting in memory, on the local disk, and as open files.
WAITING_BYTES_MAX: Final = 64 << 20
DISK_BYTES_MAX: Final = 2 << 30
OPEN_FILES_MAX: Final = 256
_FILE_BYTES: Final = 128 << 20  # one that is larger goes to the warehouse before the commit


class IcebergSinkTask(SinkTask[S3SinkConfig]):
    def __init__(self) -> None:
        self._writers: dict[str, TableWriter] = {}
        self._next: dict[TopicPartition, int] = {}  # the first offset that was not taken
        # Of what is not committed: the first offset, and how many records.
        self._waiting: dict[TopicPartition, int] = {}
        self._counts: dict[TopicPartition, int] = {}
        self._is_committing = False
        self._rewound: dict[TopicPartition, int] = {}  # asked for when partitions were taken away

    def start(self, context: SinkTaskContext, config: S3SinkConfig) -> None:
        self._context = context
        self._config = config
        properties = catalog_properties(config, config.access, config.iceberg_location)
        self._tables = Tables(config, properties)
        self._maker = RowMaker(all_optional=config.iceberg_force_optional)
        self._rules = TableRules(
            connector=context.connector_name,
            task=f"{re.sub('[^A-Za-z0-9_.-]', '_', context.connector_name)}-{context.task_id}",
            may_evolve=config.iceberg_evolve,
            write_properties=dict(config.write_properties),
            report=context.report_errant,
        )
        self._routes = Routes(config)
        self._next_commit_s = time.monotonic() + config.iceberg_commit_interval_ms / 1000

    def put(self, records: Sequence[SinkRecord]) -> None:
        if self._rewound:  # these come again, behind the ones before them
            self._rewind(self._rewound, records)
            self._rewound = {}
            return
        try:
            if self._is_committing:
                self._commit()
            for partition, run in _by_partition(records):
                self._take(partition, run)
            self._bound()
            if self._is_due:
                self._commit()
        except OvertakenError as exc:
            log.warning("having records delivered again", error=str(exc))
            self._rewind(self._drop(), records)
        except RetriableError:
            self._context.timeout(self._config.retry_backoff_ms)
            raise

    def pre_commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        return {**self._next, **self._waiting}

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        """Commits what there is: files have rows of several partitions."""
        gone = set(partitions)
        try:
            self._commit()
        except (OvertakenError, RetriableError) as exc:
            log.warning("dropping what is not committed", error=str(exc))
            dropped = self._drop()
            self._rewound = {p: offset for p, offset in dropped.items() if p not in gone}
            self._context.rewind(self._rewound)
        for partition in gone:
            self._next.pop(partition, None)
        self._writers.clear()  # from now on others may commit records of these partitions

    def stop(self) -> None:
        for writer in self._writers.values():
            writer.abandon()

    @property
    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        is_full = max(self._counts.values()) >= self._config.flush_size
        return is_full or time.monotonic() >= self._next_commit_s

    def _take(self, partition: TopicPartition, records: list[SinkRecord]) -> None:
        done = self._next.get(partition, 0)
        records = [record for record in records if record.offset >= done]
        if not records:
            return
        # From here on rows of them may be waiting, whatever happens.
        self._waiting.setdefault(partition, records[0].offset)
        self._counts[partition] = self._counts.get(partition, 0) + len(records)
        present = [record for record in records if self._is_present(record)]
        for name, routed in self._routes.split(present, self._context.report_errant).items():
            self._writer(name).write(routed)
        self._next[partition] = records[-1].offset + 1

    def _is_present(self, record: SinkRecord) -> bool:
        if record.raw_value is not None:
            return True
        if self._config.null_values.lower() == "fail":
            why = "has no value; set behavior.on.null.values to ignore to go on"
            place = f"{record.original_topic}-{record.original_partition}@{record.offset}"
            self._context.report_errant(record, DataError(f"the record at {place} {why}"))
        return False

    def _writer(self, name: str) -> TableWriter:
        if name not in self._writers:
            self._writers[name] = TableWriter(name, self._tables, self._maker, self._rules)
        return self._writers[name]

    def _commit(self) -> None:
        self._is_committing = True
        for writer in self._writers.values():
            writer.commit()
        self._is_committing = False
        self._forget()
        self._context.request_commit()

    def _drop(self) -> dict[TopicPartition, int]:
        """Drop all rows; from where on their records are needed again."""
        for writer in self._writers.values():
            writer.abandon()
        dropped = dict(self._waiting)
        self._next |= dropped
        self._is_committing = False
        self._forget()
        return dropped

    def _rewind(self, dropped: Mapping[TopicPartition, int], records: Sequence[SinkRecord]) -> None:
        """Have what was dropped delivered again, and `records`, which are not taken."""
        needed: dict[TopicPartition, int] = {}
        for partition, run in _by_partition(records):
            needed.setdefault(partition, run[0].offset)
        self._context.rewind({**needed, **dropped})

    def _forget(self) -> None:
        self._waiting.clear()
        self._counts.clear()
        self._next_commit_s = time.monotonic() + self._config.iceberg_commit_interval_ms / 1000

    def _bound(self) -> None:
        """Keep memory, disk and the number of files within their limits, the largest files first."""
        files = [(file, writer) for writer in self._writers.values() for file in writer.open_files]
        files.sort(key=lambda pair: pair[0].memory_bytes, reverse=True)
        memory = sum(file.memory_bytes for file, _ in files)
        for file, _ in files:
            if memory <= WAITING_BYTES_MAX:
                break
            memory -= file.memory_bytes
            file.flush()
        files.sort(key=lambda pair: pair[0].disk_bytes, reverse=True)
        disk, count = sum(file.disk_bytes for file, _ in files), len(files)
        for file, writer in files:
            size = file.disk_bytes
            if size < _FILE_BYTES and disk <= DISK_BYTES_MAX and count <= OPEN_FILES_MAX:
                break
            writer.complete(file)
            disk, count = disk - size, count - 1


def _by_partition(records: Sequence[SinkRecord]) -> Iterator[tuple[TopicPartition, list[SinkRecord]]]:
    for key, run in groupby(records, attrgetter("original_topic", "original_partition")):
        yield TopicPartition(*key), list(run)
