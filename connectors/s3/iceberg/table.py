"""What a task has for one table: open data files, and from where to where their records reach."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import structlog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from connect.api import DataError, SinkRecord, TopicPartition
from connectors.s3.iceberg.catalog import Tables
from connectors.s3.iceberg.commits import Commit, OvertakenError, offsets_of
from connectors.s3.iceberg.datafiles import Layout, OpenDataFile
from connectors.s3.iceberg.rows import RowMaker, Rows

log = structlog.get_logger(__name__)

# A partition's values, and the ids of the columns and of the partitioning.
FileKey = tuple[tuple[Any, ...], int, int]


@dataclass(frozen=True)
class TableRules:
    """What all tables of a task share. `report` is told of each record that cannot be written."""

    connector: str
    task: str
    may_evolve: bool
    write_properties: dict[str, str]
    report: Callable[[SinkRecord, Exception], None]


class TableWriter:
    """Takes records of any Kafka partition, each once.

    Records that the table has already, from an earlier task, are left out. `write` raises `RetriableError`
    with some of the records taken; those are left out when they come again.
    """

    def __init__(self, name: str, tables: Tables, maker: RowMaker, rules: TableRules) -> None:
        self.name = name
        self._tables = tables
        self._maker = maker
        self._rules = rules
        self._table: Table | None = None
        self._layout: Layout | None = None
        self._committed: dict[TopicPartition, int] = {}
        self._taken: dict[TopicPartition, int] = {}
        self._files: dict[FileKey, OpenDataFile] = {}
        self._closing: list[OpenDataFile] = []  # they get no more rows
        self._complete: list[DataFile] = []
        self._commit: Commit | None = None
        self.find()

    def find(self) -> None:
        """Look the table up, and what it has already."""
        table = self._tables.find(self.name)
        if table is not None:
            self._use(table)
            self._committed = offsets_of(table, self._rules.connector)
            log.info("found a table", table=self.name, offsets=len(self._committed))

    @property
    def open_files(self) -> Iterator[OpenDataFile]:
        return iter(self._files.values())

    def write(self, records: Sequence[SinkRecord]) -> None:
        """Take records of one Kafka partition, none of whose values is null."""
        assert self._commit is None, "commit first"
        source = TopicPartition(records[0].original_topic, records[0].original_partition)
        done = max(self._committed.get(source, 0), self._taken.get(source, 0))
        if records[0].offset < done:
            if source not in self._taken:
                log.info("leaving out what the table has", table=self.name, **source._asdict(), offset=done)
            records = [record for record in records if record.offset >= done]
        for _, run in groupby(records, attrgetter("value_schema")):
            same = list(run)
            self._write_carefully(same)
            self._taken[source] = same[-1].offset + 1

    def commit(self) -> None:
        """Bring all rows into the table, in one snapshot. May be called again after `RetriableError`. After
        `OvertakenError` they are dropped, and the table's offsets are those of now."""
        if not self._taken:
            return
        if self._commit is None:
            self._complete_files(list(self._files))
            starts = {partition: self._committed.get(partition, 0) for partition in self._taken}
            ends = dict(self._taken)
            self._commit = Commit(self.name, self._rules.connector, self._complete, starts, ends)
        if self._complete:
            self._perform(self._commit)
        self._forget()

    def abandon(self) -> None:
        """Drop the rows. Complete files stay where they are: it may be that a snapshot names them yet."""
        for file in [*self._files.values(), *self._closing]:
            file.discard()
        self._forget()

    def complete(self, file: OpenDataFile) -> None:
        """Bring one of the open files to the warehouse."""
        self._complete_files([key for key, other in self._files.items() if other is file])

    def _perform(self, commit: Commit) -> None:
        try:
            self._use(commit.perform(self._tables))
        except OvertakenError:
            self.find()
            self._delete_complete()
            self.abandon()
            raise
        self._committed |= self._taken
        rows = sum(file.record_count for file in self._complete)
        log.info("committed", table=self.name, files=len(self._complete), rows=rows)

    def _write_carefully(self, records: list[SinkRecord]) -> None:
        try:
            self._write(records)
        except DataError as exc:
            if len(records) == 1:
                self._rules.report(records[0], exc)
                return
            for record in records:
                self._write_carefully([record])

    def _write(self, records: list[SinkRecord]) -> None:
        """All of them or, with `DataError`, none."""
        has = self._table.schema().as_struct() if self._table is not None else None
        rows = self._maker.rows(records, has)
        layout = self._layout_for(rows)
        fitting = rows.fit(layout.arrow)
        for key, part in layout.partitioning.split(fitting).items():
            self._file(layout, key).add(part)

    def _layout_for(self, rows: Rows) -> Layout:
        if self._table is None or self._layout is None:
            assert rows.columns is not None, "of a table that is not there nothing is known"
            self._use(self._tables.create(self.name, rows.columns))
        assert self._table is not None
        wanted = rows.changes(self._table.schema().as_struct())
        if not wanted:
            assert self._layout is not None
            return self._layout
        if self._rules.may_evolve:
            self._use(self._tables.change(self.name, lambda table: rows.changes(table.schema().as_struct())))
        elif new := [change for change in wanted if change.is_new]:
            raise DataError(
                f"the table {self.name} has not {new[0]}: add it, or set "
                "iceberg.tables.evolve-schema-enabled=true"
            )
        assert self._layout is not None
        return self._layout

    def _use(self, table: Table) -> None:
        self._table = table
        if self._layout is None or not self._layout.is_of(table):
            self._layout = Layout.of(table)

    def _file(self, layout: Layout, key: tuple[Any, ...]) -> OpenDataFile:
        place = (key, layout.schema.schema_id, layout.partitioning.spec.spec_id)
        if place not in self._files:
            assert self._table is not None, "its layout is known"
            properties = {**self._table.properties, **self._rules.write_properties}
            self._files[place] = OpenDataFile(layout, key, properties)
        return self._files[place]

    def _complete_files(self, keys: Sequence[FileKey]) -> None:
        self._closing += [self._files.pop(key) for key in keys]
        while self._closing:
            assert self._table is not None, "it has files"
            self._complete.append(self._closing[0].finish(self._table, self._rules.task))
            del self._closing[0]

    def _delete_complete(self) -> None:
        """Only where the commit can no longer work, not even one whose answer was lost."""
        if self._table is None:
            return
        for file in self._complete:
            try:
                self._table.io.delete(file.file_path)
            except OSError as exc:
                log.warning("a data file that no snapshot names stays", file=file.file_path, error=str(exc))

    def _forget(self) -> None:
        self._files.clear()
        self._closing.clear()
        self._complete = []
        self._taken.clear()
        self._commit = None
