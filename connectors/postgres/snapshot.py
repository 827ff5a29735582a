"""The snapshot: every captured table read by COPY in one REPEATABLE READ transaction."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import psycopg

from connect.api import ConnectError, SourceRecord
from connectors.postgres.catalog import Catalog, Table
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import CopyReader, quote_name, start_copy
from connectors.postgres.envelope import SourceBlocks, TransactionSource, timestamps
from connectors.postgres.filters import Filters
from connectors.postgres.offsets import Lsn, snapshot_offset
from connectors.postgres.plan import TablePlan
from connectors.postgres.records import READ, RECORD_OVERHEAD_BYTES, RecordMaker
from connectors.postgres.type_map import TypeMap

_ESCAPE: Final = re.compile(r"\\(.)")
# https://www.postgresql.org/docs/current/sql-copy.html, "Text Format"
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NULL_TEXT: Final = "\\N"
_WAIT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class SnapshotPoint:
    """What the snapshot shows. `lsn` is where the stream goes on; `name` an exported snapshot."""

    lsn: Lsn
    name: str | None


class _Pending(NamedTuple):
    """The last row so far: its marker depends on what comes next."""

    plan: TablePlan
    row: list[str]
    first: bool
    first_of_all: bool


class Snapshot:
    """Reads the tables once; give it a connection of its own."""

    def __init__(
        self, config: PostgresSourceConfig, connection: psycopg.Connection[Any], filters: Filters,
        maker: RecordMaker, batch_bytes_max: int,
    ) -> None:  # fmt: skip
        self._config = config
        self._connection = connection
        self._catalog = Catalog(connection)
        self._filters = filters
        self._types = TypeMap(config)
        self._maker = maker
        self._sources = SourceBlocks(config)
        self._batch_bytes_max = batch_bytes_max

    def read(self, point: SnapshotPoint) -> Iterator[list[SourceRecord]]:
        """Batches of records, some of them empty while the server is slow."""
        self._begin(point)
        ts_us = time.time_ns() // 1000
        tx_id = self._scalar("SELECT txid_snapshot_xmax(txid_current_snapshot())")
        offset = snapshot_offset(point.lsn, tx_id, ts_us, completed=False)
        markers = _Markers(self._sources, ts_us, tx_id)
        read = partial(self._maker.present, READ)
        pending: _Pending | None = None
        for place, table in enumerate(self._tables()):
            plan, reader = self._open(table)
            middle = markers.middle.block(plan.source_table, point.lsn)
            first = True
            for rows in self._rows(plan, reader):
                batch: list[SourceRecord] = []
                tail = timestamps(time.time_ns())
                if rows and first:
                    if pending is not None:
                        source = markers.followed(pending, same_table=False).block(
                            pending.plan.source_table, point.lsn
                        )
                        batch.append(read(pending.plan, pending.row, source, tail, offset))
                    pending = _Pending(plan, rows.pop(0), True, place == 0)
                    first = False
                if rows and pending is not None:
                    source = markers.followed(pending, same_table=True).block(plan.source_table, point.lsn)
                    batch.append(read(plan, pending.row, source, tail, offset))
                    pending = _Pending(plan, rows.pop(), False, False)
                    batch += [read(plan, row, middle, tail, offset) for row in rows]
                yield batch
        if pending is not None:
            source = markers.last.block(pending.plan.source_table, point.lsn)
            completed = snapshot_offset(point.lsn, tx_id, ts_us, completed=True)
            yield [read(pending.plan, pending.row, source, timestamps(time.time_ns()), completed)]
        self._connection.execute("COMMIT")

    def _begin(self, point: SnapshotPoint) -> None:
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if point.name is not None:
            self._connection.execute(f"SET TRANSACTION SNAPSHOT '{point.name}'".encode())
        self._connection.execute("SET LOCAL statement_timeout = 0")

    def _scalar(self, sql: str) -> Any:
        row = self._connection.execute(sql.encode()).fetchone()
        return row[0] if row else None

    def _tables(self) -> list[Table]:
        found = [
            (self._filters.snapshot_order(schema, name), schema, name, oid)
            for oid, schema, name in self._catalog.tables()
            if self._filters.in_snapshot(schema, name)
        ]
        tables = [self._catalog.table(oid, schema, name) for _, schema, name, oid in sorted(found)]
        return [table for table in tables if table is not None]

    def _open(self, table: Table) -> tuple[TablePlan, CopyReader]:
        """The table's plan, and the rows of its columns that are captured or belong to its key."""
        columns = [
            column for column in table.columns
            if column.name in table.key or self._filters.keeps_column(table.schema, table.name, column.name)
        ]  # fmt: skip
        incoming = [(column.name, column.type, column.typmod) for column in columns]
        plan = TablePlan(table, incoming, (), self._config, self._types, self._filters)
        names = [column.name for column in columns]
        source = f"{quote_name(table.schema)}.{quote_name(table.name)}"
        override = (
            self._config.override(table.full_name)
            if table.full_name in self._config.snapshot_overrides
            else None
        )
        if override is None:
            wanted = ", ".join(quote_name(name) for name in names)
        else:
            source = f"({override.rstrip().rstrip(';')}) AS rows"
            given = self._connection.execute(f"SELECT * FROM {source} LIMIT 0".encode()).description or ()
            present = {column.name for column in given}
            wanted = ", ".join(quote_name(name) if name in present else "NULL" for name in names)
        return plan, start_copy(self._connection, f"COPY (SELECT {wanted} FROM {source}) TO STDOUT")

    def _rows(self, plan: TablePlan, reader: CopyReader) -> Iterator[list[list[str]]]:
        """The rows as JSON fragments, in batches; an empty batch when the server takes long."""
        limit, bytes_max = self._config.max_batch_size, self._batch_bytes_max
        receive, encoders = reader.receive, plan.encoders
        steps = [(place, encode) for place, encode in enumerate(encoders) if encode is not None]
        rows: list[list[str]] = []
        size = 0
        try:
            while True:
                line = receive()
                if line is None:
                    if rows:
                        yield rows
                        rows, size = [], 0
                    elif not reader.wait(_WAIT_S):
                        yield []
                    continue
                text = line.decode()
                fields = text[:-1].split("\t") if encoders else []
                if "\\" in text:
                    fields = [
                        "null" if field == _NULL_TEXT else encode(_unescape(field)) if encode else field
                        for field, encode in zip(fields, encoders, strict=True)
                    ]
                else:
                    for place, encode in steps:
                        fields[place] = encode(fields[place])
                rows.append(fields)
                size += len(line) + RECORD_OVERHEAD_BYTES
                if len(rows) >= limit or size >= bytes_max:
                    yield rows
                    rows, size = [], 0
        except EOFError:
            yield rows
        except ValueError as exc:
            raise ConnectError(f"a row of {plan.table.full_name} cannot be read: {exc}") from exc


def _unescape(field: str) -> str:
    if "\\" not in field:
        return field
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), field)


class _Markers:
    """The source blocks of a snapshot by the marker of its records."""

    def __init__(self, sources: SourceBlocks, ts_us: int, tx_id: int) -> None:
        def block(marker: str) -> TransactionSource:
            return sources.transaction(ts_us, tx_id, 0, marker)

        self.middle = block("true")
        self.last = block("last")
        self._first = block("first")
        self._first_of_table = block("first_in_data_collection")
        self._last_of_table = block("last_in_data_collection")

    def followed(self, row: _Pending, same_table: bool) -> TransactionSource:
        """The block of a row that another one follows, in the same table or the next."""
        if row.first_of_all:
            return self._first
        if not same_table:
            return self._last_of_table
        return self._first_of_table if row.first else self.middle
