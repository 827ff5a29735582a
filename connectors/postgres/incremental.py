"""The incremental snapshot: tables read in chunks while the stream goes on.

After "DBLog: A Watermark Based Change-Data-Capture Framework": a chunk is read between two marks, and waits
in a *window* until the stream has come past it. A row that the stream changes meanwhile is left out: the
stream tells it newer. The marks are rows of the signal table; with read.only=true, or without such a table,
the second one is a position in the WAL, and the first is not needed.

A chunk's query may miss a transaction that has committed already: the stream can be ahead of what others see.
So the query tells which transactions it has seen, and a change by any other takes its row out of the window,
wherever it stands in the stream.
"""

import time
import uuid
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring as quote
from typing import Any, Final

import psycopg
import structlog

from connect.api import SourceRecord
from connectors.postgres.catalog import Catalog
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import quote_name
from connectors.postgres.filters import Filters
from connectors.postgres.incremental_chunks import (
    BusyTable,
    ChunkReader,
    Identity,
    UnusableTable,
    Window,
    lacks_values,
    merged,
    row_identity,
)
from connectors.postgres.incremental_context import Collection, IncrementalContext
from connectors.postgres.notifications import INCREMENTAL, Notifications
from connectors.postgres.plan import TablePlan
from connectors.postgres.signals import CLOSE, OPEN, SnapshotRequest, matches

_BUSY_RETRY_S: Final = 1.0
_UNSEEN_RETRY_S: Final = 0.1
_RECENT_MAX: Final = 1_000

Row = Sequence[str]
Work = Generator[list[SourceRecord], None, None]

log = structlog.get_logger(__name__)


class IncrementalSnapshot:
    """One connector's. `connection` is for its queries and marks alone while `work` is under way."""

    def __init__(
        self, config: PostgresSourceConfig, filters: Filters, connection: psycopg.Connection[Any],
        notifications: Notifications, context: IncrementalContext,
    ) -> None:  # fmt: skip
        self._config = config
        self._filters = filters
        self._connection = connection
        self._reader = ChunkReader(config, filters, connection)
        self._notifications = notifications
        self._context = context
        self._window: Window | None = None
        self._window_id = ""
        self._stopped = False
        self._is_open = False  # the stream is past the first mark
        self._identities: dict[int, tuple[TablePlan, Identity | None]] = {}
        self._rows = 0  # of the table
        self._not_before = 0.0
        self._recent: deque[int] = deque(maxlen=_RECENT_MAX)
        self._announced: list[tuple[str, dict[str, str]]] = []
        table = config.signal_data_collection
        self._marks_in = (
            None if config.read_only or table is None else ".".join(map(quote_name, table.split(".")))
        )

    # --- what users ask for

    def execute(self, request: SnapshotRequest) -> None:
        """Read these tables, after those that wait already."""
        names = self._expand(request.tables)
        was_running = self._context.running
        self._context.add([_collection(name, request) for name in names], request.id)
        log.info("incremental snapshot requested", tables=names, signal=request.id)
        if not was_running:
            self._rows = 0
            self._announce("STARTED", data_collections=self._names())

    def _expand(self, patterns: Sequence[str]) -> list[str]:
        """The captured tables that are meant; a name that means none stays, and is told of when its turn
        comes."""
        captured = [
            f"{schema}.{name}" for _, schema, name in Catalog(self._connection).tables()
            if self._filters.keeps_table(schema, name)
        ]  # fmt: skip
        found: list[str] = []
        for pattern in patterns:
            found += [name for name in captured if matches(pattern, name)] or [pattern]
        return found

    def stop(self, patterns: Sequence[str]) -> None:
        """Read these tables no more, or none of any."""
        if not self._context.running:
            log.warning("there is no incremental snapshot to stop")
            return
        names = [collection.name for collection in self._context.collections]
        if patterns:
            names = [name for name in names if any(matches(pattern, name) for pattern in patterns)]
        if self._context.remove(names):
            self._stopped = True  # a chunk that has been read is still written, and counts for nothing
        log.info("incremental snapshot stopped", tables=names)
        self._announce("ABORTED", data_collections=",".join(names))

    def pause(self) -> None:
        if self._context.running and not self._context.paused:
            self._context.pause(True)
            log.info("incremental snapshot paused")
            self._announce("PAUSED", data_collections=self._names())

    def resume(self) -> None:
        if self._context.paused:
            self._context.pause(False)
            log.info("incremental snapshot resumed")
            self._announce("RESUMED", data_collections=self._names())

    # --- what the stream shows

    @property
    def wants_chunk(self) -> bool:
        """`work` has something to do."""
        return self._context.running and not self._context.paused and self._window is None

    @property
    def is_idle(self) -> bool:
        """Changes need not be shown to it."""
        return not self._context.running and self._window is None

    def transaction(self, xid: int) -> None:
        """A transaction's changes follow."""
        self._recent.append(xid)

    def changed(self, plan: TablePlan, rows: tuple[Row | None, Row | None], xid: int) -> None:
        """A row of a table was changed: what it was and is, as far as known."""
        window = self._window
        if window is None or not window.rows or window.plan.table.oid != plan.table.oid:
            return
        is_seen = window.seen.sees(xid)
        if is_seen and not self._is_open:
            return
        known = self._identities.get(id(plan))
        if known is None:
            known = self._identities[id(plan)] = plan, row_identity(plan, window.identity)
        identify = known[1]
        if identify is None:
            return
        before, after = rows
        shown = window.take_out(identify(before)) if before is not None else None
        # A new row that the chunk cannot show may look like another one, where there is no key.
        if after is not None and (is_seen or plan.table.key):
            shown = window.take_out(identify(after)) or shown
        if shown is not None and after is not None and lacks_values(plan, after):
            # The stream tells less than the chunk: both together are the row.
            window.put(identify(after), merged(window.plan, shown, plan, after))

    def truncated(self, plan: TablePlan) -> None:
        if self._window is not None and self._window.plan.table.oid == plan.table.oid:
            self._window.rows.clear()

    def described(self, plan: TablePlan) -> None:
        """The stream's rows of the table are so from now on. A chunk of other columns is read again."""
        window = self._window
        if window is None or window.plan.table.oid != plan.table.oid:
            return
        known = {column.name: column for column in window.plan.incoming}
        if any(known.get(column.name, column) != column for column in plan.incoming) or any(
            self._filters.keeps_column(plan.table.schema, plan.table.name, column.name)
            and column.name not in known
            for column in plan.incoming
        ):
            log.info("the table has changed: its chunk is read again", table=plan.table.full_name)
            window.rows.clear()
            window.end = self._context.last_key
            window.rows_read = 0

    def mark(self, kind: str, mark_id: str | None) -> Window | None:
        """A mark came in the stream; the window that has to be written now, if it is its second one."""
        if self._window is None or mark_id is None:
            return None
        if kind == OPEN and mark_id == f"{self._window_id}-open":
            self._is_open = True
        elif kind == CLOSE and mark_id in (f"{self._window_id}-close", f"{self._window_id}-open"):
            return self._window
        return None

    def passed(self, lsn: int) -> Window | None:
        """Everything before `lsn` has come; the window that has to be written now with read.only=true."""
        if self._window is not None and self._marks_in is None and lsn >= self._window.lsn:
            return self._window
        return None

    @property
    def waits_for_position(self) -> bool:
        """A window waits for what `passed` is told."""
        return self._marks_in is None and self._window is not None

    def written(self, window: Window) -> None:
        """The window's rows have been handed out, or there were none."""
        assert window is self._window
        self._window = None
        self._is_open = False
        self._identities.clear()
        if window.end is not None and not self._stopped:
            self._context.advance(window.end, window.key_types)

    def fields(self) -> Mapping[str, Any]:
        """What an offset has to say of it."""
        return self._context.fields()

    # --- reading

    def work(self, offset: Mapping[str, Any]) -> Work:
        """Read the next chunk, if one is wanted. Yields notifications, whose offset is `offset`, and empty
        batches while it waits."""
        yield from self._tell(offset)
        if not self.wants_chunk or time.monotonic() < self._not_before:
            return
        chunk_id = str(uuid.uuid4())
        opened = _now()
        self._open_mark(chunk_id, opened)
        while self._context.running:
            window = yield from self._read_chunk()
            if window is None:
                break
            if window.rows_read:
                self._window, self._window_id = window, chunk_id
                self._stopped = False
                self._progress(window)
                break
            self._end_table("EMPTY" if window.maximum_key is None else "SUCCEEDED")
        self._close_mark(chunk_id, opened)
        if not self._context.running:
            self._announce("COMPLETED")
        yield from self._tell(offset)

    def _read_chunk(self) -> Generator[list[SourceRecord], None, Window | None]:
        """The next chunk, of the next table that can be read; a window without rows at the table's end; None
        where none is left, or to try again later."""
        context = self._context
        while context.running:
            collection = context.collections[0]
            try:
                steps = self._reader.read(collection, context.last_key, context.maximum_key)
                while True:
                    next(steps)
                    yield []
            except StopIteration as done:
                return self._checked(done.value)
            except BusyTable:
                log.warning("the table is locked: its chunk is read later", table=collection.name)
                self._not_before = time.monotonic() + _BUSY_RETRY_S
                return None
            except (UnusableTable, psycopg.ProgrammingError, psycopg.DataError) as exc:
                reason = str(exc).strip()
                log.warning("the table cannot be read in chunks", table=collection.name, reason=reason)
                self._end_table(exc.status if isinstance(exc, UnusableTable) else "SQL_EXCEPTION")
        return None

    def _checked(self, window: Window) -> Window | None:
        if any(not window.seen.sees(xid) for xid in self._recent):
            # The stream is ahead of what the query saw, and its changes will not come again.
            self._not_before = time.monotonic() + _UNSEEN_RETRY_S
            return None
        if self._context.maximum_key is None and window.maximum_key is not None:
            self._context.begin(window.maximum_key, window.key_types)
        return window

    def _end_table(self, status: str) -> None:
        self._announce(
            "TABLE_SCAN_COMPLETED", scanned_collection=self._context.collections[0].name,
            total_rows_scanned=str(self._rows), status=status, data_collections=self._names(),
        )  # fmt: skip
        self._context.next_table()
        self._rows = 0

    def _progress(self, window: Window) -> None:
        self._rows += window.rows_read
        self._announce(
            "IN_PROGRESS", current_collection_in_progress=self._context.collections[0].name,
            maximum_key=",".join(window.maximum_key or ()), data_collections=self._names(),
            last_processed_key=",".join(window.end or ()),
        )  # fmt: skip

    # --- marks

    def _open_mark(self, chunk_id: str, opened: str) -> None:
        if self._marks_in is not None:
            data = f'{{"openWindowTimestamp": {quote(opened)}}}'
            self._insert(f"{chunk_id}-open", OPEN, data)

    def _close_mark(self, chunk_id: str, opened: str) -> None:
        if self._marks_in is None:
            return
        if self._config.incremental_watermarking == "insert_delete":
            self._connection.execute(
                f"DELETE FROM {self._marks_in} WHERE id = %s".encode(), (f"{chunk_id}-open",)
            )
            return
        times = f'"openWindowTimestamp": {quote(opened)}, "closeWindowTimestamp": {quote(_now())}'
        self._insert(f"{chunk_id}-close", CLOSE, f"{{{times}}}")

    def _insert(self, *values: str) -> None:
        self._connection.execute(f"INSERT INTO {self._marks_in} VALUES (%s, %s, %s)".encode(), values)

    # --- notifications

    def _names(self) -> str:
        return ",".join(collection.name for collection in self._context.collections)

    def _announce(self, kind: str, **data: str) -> None:
        self._announced.append((kind, data))

    def _tell(self, offset: Mapping[str, Any]) -> Work:
        announced, self._announced = self._announced, []
        records: list[SourceRecord] = []
        for kind, data in announced:
            records += self._notifications.send(
                INCREMENTAL, kind, offset, self._context.correlation_id, **data
            )
        if records:
            yield records


def _collection(name: str, request: SnapshotRequest) -> Collection:
    condition = request.condition(name)
    return Collection(name, None if condition is None else f"({condition})", request.surrogate_key)


def _now() -> str:
    """As Java's Instant shows it."""
    now_ns = time.time_ns()
    seconds = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{seconds}.{now_ns % 1_000_000_000:09d}Z"
