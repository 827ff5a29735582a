"""The snapshot: every captured table read by COPY as of one moment, in chunks, made into records."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import errors

from connect.api import ConnectError, SourceRecord
from connectors.postgres.catalog import Catalog, Table
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import connect, quote_name
from connectors.postgres.filters import Filters
from connectors.postgres.notifications import SnapshotNotifications
from connectors.postgres.plan import TablePlan
from connectors.postgres.records import RecordMaker
from connectors.postgres.snapshot_chunks import (
    CHUNK_BYTES_MAX,
    ChunkMaker,
    Override,
    Progress,
    Scan,
    captured_columns,
    table_size,
)
from connectors.postgres.snapshot_progress import SnapshotMeter
from connectors.postgres.snapshot_readers import QUEUE_BYTES_MAX, ParallelReader, SerialReader
from connectors.postgres.snapshot_records import SnapshotPoint, SnapshotRecords
from connectors.postgres.type_map import TypeMap

_CHUNK_BYTES_MIN: Final = 1 << 20
_COUNTED_BYTES_MAX: Final = 8 << 20
_OWN_SNAPSHOT: Final = ("repeatable_read", "serializable")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which of the captured tables are read (None: those that the config says), by which SELECT where it is
    not the table itself, and what has been read already. Tables are `schema.table`."""

    override: Override
    wants: Callable[[str], bool] | None = None
    progress: Progress = field(default_factory=Progress)


class Snapshot:
    """Reads the tables once, over connections of its own."""

    def __init__(
        self, config: PostgresSourceConfig, filters: Filters, maker: RecordMaker, batch_bytes_max: int,
        notifications: SnapshotNotifications, meter: SnapshotMeter,
    ) -> None:  # fmt: skip
        self._config = config
        self._filters = filters
        self._types = TypeMap(config)
        self._maker = maker
        self._batch_bytes_max = batch_bytes_max
        self._notifications = notifications
        self._meter = meter
        self.completed_offset: Mapping[str, Any] = {}
        """The offset behind the snapshot, once `read` has ended."""

    def read(self, point: SnapshotPoint, scope: Scope) -> Iterator[Sequence[SourceRecord]]:
        """Batches of records, some of them empty while the server is slow."""
        with ExitStack() as stack:
            # Closed without a word to the server: it may be in the middle of a COPY.
            control = stack.enter_context(closing(connect(self._config)))
            name = self._begin(control, point.name)
            tables = self._tables(control, scope)
            self._lock(control, tables)
            chunks = ChunkMaker(
                tables, partial(self._open, scope.override), scope.override, self._chunk_bytes(),
                scope.progress,
            )  # fmt: skip
            records = SnapshotRecords(
                self._config, self._maker, point, _next_tx_id(control), scope.progress,
                self._notifications, self._meter,
            )  # fmt: skip
            self._meter.begin({table.full_name: _estimate(control, table) for table in tables})
            if notified := records.started([table.full_name for table in tables]):
                yield notified
            threads = self._config.snapshot_max_threads
            lines_max, bytes_max = self._config.max_batch_size, self._batch_bytes_max
            reader: SerialReader | ParallelReader
            if threads == 1:
                reader = SerialReader(control, chunks, lines_max, bytes_max)
            else:
                others = partial(self._connect, name or self._export(control))
                reader = ParallelReader(others, chunks, lines_max, bytes_max, threads)
            stack.enter_context(reader)
            for piece in reader:
                yield [] if piece is None else records.batch(piece)
            yield records.finished()
            self.completed_offset = records.completed_offset
            control.execute("COMMIT")
        self._meter.end()

    def _chunk_bytes(self) -> int:
        return max(
            _CHUNK_BYTES_MIN, min(CHUNK_BYTES_MAX, QUEUE_BYTES_MAX // self._config.snapshot_max_threads)
        )

    # --- the transaction

    def _connect(self, snapshot: str | None) -> psycopg.Connection[Any]:
        connection = connect(self._config)
        try:
            self._begin(connection, snapshot)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, connection: psycopg.Connection[Any], snapshot: str | None) -> str | None:
        """Begin the transaction that reads; the snapshot that it shows, where it is an exported one."""
        if self._config.snapshot_isolation_mode in _OWN_SNAPSHOT:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if snapshot is not None:
                connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'".encode())
        else:  # each statement has a snapshot of its own
            connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY")
            snapshot = None
        connection.execute("SET LOCAL statement_timeout = 0")
        return snapshot

    def _export(self, control: psycopg.Connection[Any]) -> str | None:
        if self._config.snapshot_isolation_mode not in _OWN_SNAPSHOT:
            return None
        row = control.execute("SELECT pg_export_snapshot()").fetchone()
        return row[0] if row else None

    def _lock(self, control: psycopg.Connection[Any], tables: Sequence[Table]) -> None:
        if self._config.snapshot_locking_mode != "shared" or not tables:
            return
        timeout_ms = self._config.snapshot_lock_timeout_ms
        control.execute(f"SET LOCAL lock_timeout = {timeout_ms}".encode())
        for table in tables:
            try:
                control.execute(f"LOCK TABLE {_quoted(table)} IN ACCESS SHARE MODE".encode())
            except errors.LockNotAvailable as exc:
                raise ConnectError(
                    f"table {table.full_name} could not be locked within snapshot.lock.timeout.ms="
                    f"{timeout_ms}: end the statement that locks it, such as ALTER TABLE, and restart the "
                    "task; or set snapshot.locking.mode=none"
                ) from exc
        control.execute("SET LOCAL lock_timeout = 0")

    # --- the tables

    def _tables(self, control: psycopg.Connection[Any], scope: Scope) -> list[Table]:
        catalog = Catalog(control)
        found = sorted(
            (self._filters.snapshot_order(schema, name), schema, name, oid)
            for oid, schema, name in catalog.tables()
            if self._is_wanted(schema, name, scope)
        )
        tables = [catalog.table(oid, schema, name) for _, schema, name, oid in found]
        present = [table for table in tables if table is not None]
        order = self._config.snapshot_order_by_row_count
        if order != "disabled":
            rows = {table.oid: _row_count(control, table) for table in present}
            present.sort(key=lambda table: rows[table.oid], reverse=order == "descending")
        return present

    def _is_wanted(self, schema: str, name: str, scope: Scope) -> bool:
        if scope.wants is None:
            return self._filters.in_snapshot(schema, name)
        return self._filters.keeps_table(schema, name) and scope.wants(f"{schema}.{name}")

    def _open(self, override_of: Override, connection: psycopg.Connection[Any], table: Table) -> Scan:
        """How to read the table's columns that are captured or belong to its key."""
        columns = captured_columns(self._filters, table)
        incoming = [(column.name, column.type, column.typmod) for column in columns]
        plan = TablePlan(table, incoming, (), self._config, self._types, self._filters)
        names = [column.name for column in columns]
        override = override_of(table.full_name)
        if override is None:
            source = _quoted(table)
            wanted = ", ".join(f"t.{quote_name(name)}" for name in names)
        else:
            source = f"({override.rstrip().rstrip(';')})"
            given = connection.execute(f"SELECT * FROM {source} AS t LIMIT 0".encode()).description or ()
            present = {column.name for column in given}
            wanted = ", ".join(f"t.{quote_name(name)}" if name in present else "NULL" for name in names)
        return Scan(table, plan, f"SELECT {wanted} FROM {source} AS t")


def _quoted(table: Table) -> str:
    return f"{quote_name(table.schema)}.{quote_name(table.name)}"


def _next_tx_id(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT txid_snapshot_xmax(txid_current_snapshot())").fetchone()
    return int(row[0]) if row else 0


def _estimate(connection: psycopg.Connection[Any], table: Table) -> int | None:
    size = table_size(connection, table.oid)
    return None if size is None else size.rows


def _row_count(connection: psycopg.Connection[Any], table: Table) -> int:
    """As the server estimates; small tables are counted, as it may know nothing of them yet."""
    size = table_size(connection, table.oid)
    if size is not None and size.heap_bytes > _COUNTED_BYTES_MAX and size.rows is not None:
        return size.rows
    row = connection.execute(f"SELECT count(*) FROM {_quoted(table)}".encode()).fetchone()
    return int(row[0]) if row else 0
