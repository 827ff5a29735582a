"""A snapshot in chunks: which rows are read together, and how far a snapshot has come.

A large table is read in pieces of some megabytes, so that several connections can read it at once and an
interrupted snapshot can go on at the piece it was in. Pieces are ranges of pages (`ctid`) or of the key:

- *pages* where the rows cannot move past the snapshot unseen: an update that moves a row writes it whole to
  the stream, unless a TOAST value of it stays as it was. A table that was rewritten has another file.
- *keys* where the table has TOAST values or partitions.
- The whole table at once where it is small, has no key, is a parent of others, or is read by a SELECT that
  the user gave.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg

from connect.api import ConnectError
from connectors.postgres.catalog import Column, Table
from connectors.postgres.connection import quote_name
from connectors.postgres.filters import Filters
from connectors.postgres.literals import quote_literal
from connectors.postgres.plan import TablePlan

CHUNK_BYTES_MAX: Final = 2 << 20
_TID_RANGES_SINCE: Final = 140000
_ROWS_UNKNOWN: Final = 10_000  # of a chunk, where the server knows no number of rows
_ROW_BYTES_MIN: Final = 32
_SIZE: Final = """
SELECT c.relkind = 'r' AND a.amname = 'heap' AND NOT c.relhassubclass,
       c.relkind = 'r' AND c.relhassubclass,
       coalesce(pg_relation_filenode(c.oid)::bigint, 0),
       CASE WHEN c.relkind = 'p' THEN (SELECT coalesce(sum(pg_relation_size(relid)), 0)::bigint
                                         FROM pg_partition_tree(c.oid) WHERE isleaf)
            ELSE pg_relation_size(c.oid) END,
       coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0),
       CASE WHEN c.relkind = 'p' THEN (SELECT coalesce(sum(greatest(p.reltuples, 0)), 0)
                                         FROM pg_partition_tree(c.oid) t JOIN pg_class p ON p.oid = t.relid
                                        WHERE t.isleaf)
            ELSE c.reltuples END::float8,
       current_setting('block_size')::int
  FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam WHERE c.oid = %s
"""


class TableSize(NamedTuple):
    """What the server knows of a table without reading it. `rows` is an estimate, None where there is none;
    `file_node` changes when the table is rewritten."""

    is_heap: bool
    is_parent: bool
    file_node: int
    heap_bytes: int
    toast_bytes: int
    rows: int | None
    page_bytes: int


def table_size(connection: psycopg.Connection[Any], oid: int) -> TableSize | None:
    """The table's size, or None where it is gone."""
    row = connection.execute(_SIZE, (oid,)).fetchone()
    if row is None:
        return None
    is_heap, is_parent, file_node, heap_bytes, toast_bytes, rows, page_bytes = row
    known = int(rows) if rows > 0 or heap_bytes == 0 else None  # -1: never analyzed; 0 may mean the same
    return TableSize(bool(is_heap), is_parent, file_node, heap_bytes, toast_bytes, known, page_bytes)


def captured_columns(filters: Filters, table: Table) -> list[Column]:
    """The columns that are captured or belong to a key."""
    keys = {*table.key, *filters.key_columns(table)}
    return [
        column
        for column in table.columns
        if column.name in keys or filters.keeps_column(table.schema, table.name, column.name)
    ]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a snapshot has come: the tables `done`, and of `table` all before `place`.

    `by` is "ctid", where `place` is the number of a page of the file `file_node`, or "key", where it is the
    last key as text.
    """

    done: tuple[str, ...] = ()
    table: str | None = None
    by: str = ""
    place: int | tuple[str, ...] = 0
    file_node: int = 0

    def to_json(self) -> str:
        """As it stands in an offset, whose fields cannot be nested."""
        if self.table is None:
            return json.dumps({"done": self.done})
        return json.dumps(
            {"done": self.done, "table": self.table, "by": self.by, "place": self.place,
             "file_node": self.file_node}
        )  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """Raises `ConnectError` for what `to_json` did not write."""
        try:
            found = json.loads(text)
            place = found.get("place", 0)
            return cls(
                tuple(found["done"]), found.get("table"), found.get("by", ""),
                place if isinstance(place, int) else tuple(place), found.get("file_node", 0),
            )  # fmt: skip
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise ConnectError(
                f"snapshot_progress in the offset cannot be read: {text!r}. Set the connector's offsets "
                "without this field: the snapshot then starts over"
            ) from exc


class Step(NamedTuple):
    """The condition of a chunk ("" for all rows), and the place behind it, None at the table's end."""

    condition: str
    place: int | tuple[str, ...] | None


class ByPage:
    """Ranges of pages, https://www.postgresql.org/docs/current/ddl-system-columns.html."""

    name: Final = "ctid"

    def __init__(self, size: TableSize, chunk_bytes: int, place: int) -> None:
        self._pages = -(-size.heap_bytes // size.page_bytes)
        self._step = max(1, chunk_bytes // size.page_bytes)
        self._page = place

    def next(self, connection: psycopg.Connection[Any]) -> Step:
        low = f"t.ctid >= '({self._page},0)'::tid"
        self._page += self._step
        # The last range is open: pages that came since belong to it.
        if self._page >= self._pages:
            return Step(low, None)
        return Step(f"{low} AND t.ctid < '({self._page},0)'::tid", self._page)


class ByKey:
    """Ranges of the key, each end found in the index."""

    name: Final = "key"

    def __init__(self, table: Table, rows: int, place: tuple[str, ...] | None) -> None:
        self._key = KeyRange(table.key)
        self._source = f"{quote_name(table.schema)}.{quote_name(table.name)}"
        self._rows = rows
        self._place = place

    def next(self, connection: psycopg.Connection[Any]) -> Step:
        key = self._key
        low = key.after(self._place) if self._place is not None else ""
        found = connection.execute(
            f"SELECT {key.as_text} FROM {self._source} AS t {'WHERE ' + low if low else ''} "
            f"ORDER BY {key.columns} OFFSET {self._rows - 1} LIMIT 1".encode()
        ).fetchone()
        if found is None:
            return Step(low, None)
        self._place = tuple(found)
        high = key.up_to(self._place)
        return Step(f"{low} AND {high}" if low else high, self._place)


class KeyRange:
    """SQL that compares the columns of a key (of the alias `t`) with values given as text.

    The values are literals without a type, which take that of the column they are compared with.
    """

    def __init__(self, key: Sequence[str]) -> None:
        names = [f"t.{quote_name(name)}" for name in key]
        self.columns = ", ".join(names)
        self.as_text = ", ".join(f"{name}::text" for name in names)
        self.reverse_order = ", ".join(f"{name} DESC" for name in names)

    def after(self, place: Sequence[str]) -> str:
        return f"({self.columns}) > ({_literals(place)})"

    def up_to(self, place: Sequence[str]) -> str:
        return f"({self.columns}) <= ({_literals(place)})"


def _literals(values: Sequence[str]) -> str:
    return ", ".join(quote_literal(value) for value in values)


class Whole:
    """The table at once."""

    name: Final = "whole"

    def next(self, connection: psycopg.Connection[Any]) -> Step:
        return Step("", None)


@dataclass(frozen=True, slots=True)
class Scan:
    """How a table is read: the SELECT without its condition, and the plan of what comes."""

    table: Table
    plan: TablePlan
    select: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that are read together. `progress` is how far the snapshot is once they have been written."""

    scan: Scan
    copy: str
    progress: Progress
    is_last: bool


Override = Callable[[str], str | None]
OpenTable = Callable[[psycopg.Connection[Any], Table], Scan]


class ChunkMaker:
    """The chunks of a snapshot in their order, each worked out when it is asked for."""

    def __init__(
        self, tables: Sequence[Table], open_table: OpenTable, override: Override,
        chunk_bytes: int, progress: Progress,
    ) -> None:  # fmt: skip
        self._tables = iter([table for table in tables if table.full_name not in progress.done])
        self._open = open_table
        self._override = override
        self._chunk_bytes = chunk_bytes
        self._resume = progress
        self._done = progress.done
        self._scan: Scan | None = None
        self._ranges: ByPage | ByKey | Whole = Whole()
        self._file_node = 0

    def next(self, connection: psycopg.Connection[Any]) -> Chunk | None:
        """The next chunk, None after the last; `connection` is in the snapshot's transaction."""
        if self._scan is None:
            table = next(self._tables, None)
            if table is None:
                return None
            self._scan = self._open(connection, table)
            self._ranges = self._split(connection, self._scan)
        scan = self._scan
        condition, place = self._ranges.next(connection)
        name = scan.table.full_name
        if place is None:
            self._done = (*self._done, name)
            self._scan = None
            progress = Progress(self._done)
        else:
            progress = Progress(self._done, name, self._ranges.name, place, self._file_node)
        where = f" WHERE {condition}" if condition else ""
        return Chunk(scan, f"COPY ({scan.select}{where}) TO STDOUT", progress, place is None)

    def _split(self, connection: psycopg.Connection[Any], scan: Scan) -> ByPage | ByKey | Whole:
        """How the table is read, from where an interrupted snapshot was if it was read the same way."""
        table = scan.table
        size = table_size(connection, table.oid)
        if size is None or size.is_parent or self._override(table.full_name) is not None:
            return Whole()
        self._file_node = size.file_node
        resume = self._resume if self._resume.table == table.full_name else Progress()
        if size.heap_bytes + size.toast_bytes <= self._chunk_bytes and not resume.by:
            return Whole()
        place = resume.place
        if size.is_heap and not size.toast_bytes and connection.info.server_version >= _TID_RANGES_SINCE:
            same = resume.by == ByPage.name and resume.file_node == size.file_node
            return ByPage(size, self._chunk_bytes, place if same and isinstance(place, int) else 0)
        if not table.key:
            return Whole()
        same = resume.by == ByKey.name
        rows = self._rows_of_chunk(size)
        return ByKey(table, rows, place if same and isinstance(place, tuple) else None)

    def _rows_of_chunk(self, size: TableSize) -> int:
        if not size.rows:
            return _ROWS_UNKNOWN
        row_bytes = max(_ROW_BYTES_MIN, (size.heap_bytes + size.toast_bytes) // size.rows)
        return max(1, self._chunk_bytes // row_bytes)
