"""Reads the chunks of an incremental snapshot: the rows behind a key, and what they show."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import psycopg
from psycopg import errors

from connectors.postgres.catalog import Catalog, Table
from connectors.postgres.columns import copied, row_of, unescape
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import quote_name, start_copy
from connectors.postgres.filters import Filters
from connectors.postgres.incremental_context import Collection, Key
from connectors.postgres.plan import TablePlan
from connectors.postgres.snapshot_chunks import KeyRange, captured_columns
from connectors.postgres.type_map import TypeMap

_WAIT_S: Final = 0.2
_LOCK_TIMEOUT_MS: Final = 1_000
_WAL_PAGE_BYTES: Final = 8192
_WAL_HEADER_BYTES_MAX: Final = 40
_XID_RANGE: Final = 1 << 32
_INSERT_LSN: Final = """
SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
             ELSE pg_current_wal_insert_lsn() END - '0/0')::int8
"""
_FIND: Final = """
SELECT c.oid::bigint, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname || '.' || c.relname = %s AND c.relkind IN ('r', 'p')
"""

_NULL: Final = "null"

Row = Sequence[str]
Identity = Callable[[Row], object]


@dataclass(frozen=True, slots=True)
class XidSnapshot:
    """Which transactions a query has seen: https://www.postgresql.org/docs/current/functions-info.html."""

    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "XidSnapshot":
        """From the text of a pg_snapshot, `xmin:xmax:xip,…`."""
        _, xmax, running = text.split(":")
        return cls(int(xmax), frozenset(map(int, filter(None, running.split(",")))))

    def sees(self, xid: int) -> bool:
        """Whether it shows what a transaction did that has committed since or before; `xid` is without its
        epoch, as in the stream."""
        behind = (self.xmax - xid) % _XID_RANGE
        if not 0 < behind < _XID_RANGE // 2:
            return False
        return self.xmax - behind not in self.running


class UnusableTable(Exception):
    """The table cannot be read in chunks; `status` is Debezium's word for it in notifications."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class BusyTable(Exception):
    """The table is locked by somebody else."""


@dataclass(slots=True)
class Window:
    """The rows of a chunk by what tells them apart, until the stream has come to where they belong.

    Without a key, `identity` is the whole row, and there may be several of them. What they show was committed
    before `lsn`; which transactions that are, `seen` says. `end` is the key of the last row, None where there
    were none; `maximum_key` that of the table's last row, None for an empty table.
    """

    plan: TablePlan
    rows: dict[object, list[list[str]]]
    identity: tuple[str, ...]
    key_types: tuple[str, ...]
    end: Key | None
    maximum_key: Key | None
    seen: XidSnapshot
    lsn: int
    rows_read: int

    def remaining(self) -> list[list[str]]:
        """The rows that are to be written."""
        return [row for rows in self.rows.values() for row in rows]

    def take_out(self, identity: object) -> list[str] | None:
        """Leave out one row, which the stream tells; the row, None where there is none."""
        rows = self.rows.get(identity)
        if rows is None:
            return None
        if len(rows) == 1:
            del self.rows[identity]
        return rows.pop()

    def put(self, identity: object, row: list[str]) -> None:
        self.rows.setdefault(identity, []).append(row)


class ChunkReader:
    """Reads over a connection that nobody else uses meanwhile. `read` is a generator that yields while it
    waits for the server."""

    def __init__(
        self, config: PostgresSourceConfig, filters: Filters, connection: psycopg.Connection[Any]
    ) -> None:
        self._config = config
        self._filters = filters
        self._types = TypeMap(config)
        self._connection = connection

    def read(
        self, collection: Collection, last_key: Key | None, maximum_key: Key | None
    ) -> Generator[None, None, Window]:
        """The chunk behind `last_key`, up to `maximum_key`, which is looked up where it is not known.

        Raises `UnusableTable` or `BusyTable`; `psycopg.Error` where the condition cannot be run.
        """
        place = self._connection.execute(_FIND, (collection.name,)).fetchone()
        if place is None or not self._filters.keeps_table(place[1], place[2]):
            raise UnusableTable("UNKNOWN_SCHEMA", "there is no such table among the captured ones")
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        try:
            table = self._lock(*place)
            window = yield from self._read(table, collection, last_key, maximum_key)
            self._connection.execute("COMMIT")
        except BaseException:
            if not self._connection.broken:
                self._connection.execute("ROLLBACK")
            raise
        return window

    def _lock(self, oid: int, schema: str, name: str) -> Table:
        """The table, which keeps its columns until the transaction ends.

        The lock comes before the transaction's snapshot is taken, or that could show the table as it was
        before.
        """
        self._connection.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}".encode())
        quoted = f"{quote_name(schema)}.{quote_name(name)}"
        try:
            self._connection.execute(f"LOCK TABLE {quoted} IN ACCESS SHARE MODE".encode())
        except errors.LockNotAvailable as exc:
            raise BusyTable(f"{schema}.{name}") from exc
        self._connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
        table = Catalog(self._connection).table(oid, schema, name)
        if table is None:
            raise UnusableTable("UNKNOWN_SCHEMA", "it has been dropped")
        return table

    def _read(
        self, table: Table, collection: Collection, last_key: Key | None, maximum_key: Key | None
    ) -> Generator[None, None, Window]:
        by = (collection.surrogate_key,) if collection.surrogate_key else table.key
        columns = {column.name: column for column in table.columns}
        if not by:
            raise UnusableTable(
                "NO_PRIMARY_KEY", "it has no primary key and no unique index over columns that are NOT NULL: "
                'name a column in the signal\'s "surrogate-key"',
            )  # fmt: skip
        if any(name not in columns for name in by):
            raise UnusableTable("SQL_EXCEPTION", f"it has no column {', '.join(by)}")
        seen = XidSnapshot.parse(self._scalar("SELECT pg_current_snapshot()::text"))
        lsn = _reachable(self._scalar(_INSERT_LSN))
        captured = captured_columns(self._filters, table)
        incoming = [(column.name, column.type, column.typmod) for column in captured]
        plan = TablePlan(table, incoming, (), self._config, self._types, self._filters)
        identity = table.key or tuple(column.name for column in captured)
        types = tuple((columns[name].type.base or columns[name].type).name for name in by)
        query = _Query(table, by, collection)
        if maximum_key is None:
            found = yield from self._copy(query.maximum())
            if not found:
                return Window(plan, {}, identity, types, None, None, seen, lsn, 0)
            maximum_key = _fields(found[0])
        names = ", ".join(f"t.{quote_name(column.name)}" for column in captured)
        lines = yield from self._copy(
            query.chunk(names, last_key, maximum_key, self._config.incremental_chunk_size)
        )
        end = _fields(lines[-1])[len(captured) :] if lines else None
        shown = b"".join([line.rsplit(b"\t", len(by))[0] + b"\n" for line in lines])
        made = copied(plan, shown, len(lines))
        rows = [row_of(made, place) for place in range(len(lines))]
        identify = row_identity(plan, identity)
        assert identify is not None
        window = Window(plan, {}, identity, types, end, maximum_key, seen, lsn, len(rows))
        for row in rows:
            window.put(identify(row), row)
        return window

    def _scalar(self, sql: str) -> Any:
        row = self._connection.execute(sql.encode()).fetchone()
        assert row is not None
        return row[0]

    def _copy(self, select: str) -> Generator[None, None, list[bytes]]:
        reader = start_copy(self._connection, f"COPY ({select}) TO STDOUT")
        lines: list[bytes] = []
        try:
            while True:
                line = reader.receive()
                if line is not None:
                    lines.append(line)
                elif not reader.wait(_WAIT_S):
                    yield None
        except EOFError:
            return lines


class _Query:
    """The SELECTs of one table."""

    def __init__(self, table: Table, by: Sequence[str], collection: Collection) -> None:
        self._key = KeyRange(by)
        self._source = f"{quote_name(table.schema)}.{quote_name(table.name)} AS t"
        self._conditions = [collection.condition] if collection.condition else []
        # Rows that share a surrogate key must not fall on both sides of a chunk's end.
        self._limit = "FETCH FIRST {} ROWS WITH TIES" if collection.surrogate_key else "LIMIT {}"

    def maximum(self) -> str:
        where = f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""
        select = f"SELECT {self._key.as_text} FROM {self._source}{where}"
        return f"{select} ORDER BY {self._key.reverse_order} LIMIT 1"

    def chunk(self, columns: str, last_key: Key | None, maximum_key: Key, size: int) -> str:
        """The rows, and behind their columns the key's as text."""
        after = [self._key.after(last_key)] if last_key is not None else []
        where = " AND ".join([*after, self._key.up_to(maximum_key), *self._conditions])
        comma = ", " if columns else ""
        return (
            f"SELECT {columns}{comma}{self._key.as_text} FROM {self._source} WHERE {where} "
            f"ORDER BY {self._key.columns} {self._limit.format(size)}"
        )


def _reachable(lsn: int) -> int:
    """The position that the server's stream comes to. At the beginning of a page the place of the next record
    is behind the page's header, the end of the last one before it."""
    return lsn - lsn % _WAL_PAGE_BYTES if lsn % _WAL_PAGE_BYTES <= _WAL_HEADER_BYTES_MAX else lsn


def row_identity(plan: TablePlan, names: Sequence[str]) -> Identity | None:
    """The function from a row's fragments to what tells it from all others; None where its plan lacks one of
    the columns."""
    places = {column.name: place for place, column in enumerate(plan.incoming)}
    if not names or any(name not in places for name in names):
        return None
    return itemgetter(*(places[name] for name in names))


def lacks_values(plan: TablePlan, row: Row) -> bool:
    """Whether the server has left out TOAST values of a changed row."""
    return any(
        value == stands for value, stands in zip(row, plan.unavailable, strict=True) if stands != _NULL
    )


def merged(plan: TablePlan, row: list[str], newer_plan: TablePlan, newer: Row) -> list[str]:
    """A row of `plan` with all values that a newer one has."""
    values = {
        column.name: value
        for column, value, stands in zip(newer_plan.incoming, newer, newer_plan.unavailable, strict=True)
        if value != stands or stands == _NULL
    }
    return [values.get(column.name, value) for column, value in zip(plan.incoming, row, strict=True)]


def _fields(line: bytes) -> Key:
    return tuple(unescape(field) for field in line.decode()[:-1].split("\t"))
