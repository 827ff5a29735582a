"""Makes the records of a snapshot: rows of COPY become events with Debezium's markers and offsets."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from connect.api import ConnectError, SourceRecord
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import SourceBlocks, TransactionSource, timestamps
from connectors.postgres.notifications import SnapshotNotifications
from connectors.postgres.offsets import PROGRESS, Lsn, snapshot_offset
from connectors.postgres.plan import TablePlan
from connectors.postgres.records import READ, RecordMaker
from connectors.postgres.snapshot_chunks import Progress
from connectors.postgres.snapshot_progress import SnapshotMeter
from connectors.postgres.snapshot_readers import Piece

_ESCAPE: Final = re.compile(r"\\(.)")
# https://www.postgresql.org/docs/current/sql-copy.html, "Text Format"
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NULL_TEXT: Final = "\\N"

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class SnapshotPoint:
    """What the snapshot shows and where the stream goes on behind it.

    `name` is an exported snapshot, None to take one now. A snapshot that interrupts the stream has the
    stream's `commit_lsn`, `tx_id` and `stream_offset`, and what says how to go on: `requests` while it is
    under way, `requests_left` behind it.
    """

    lsn: Lsn
    name: str | None
    kind: str = "INITIAL"
    commit_lsn: int = 0
    tx_id: int | None = None
    stream_offset: Mapping[str, Any] = field(default_factory=dict)
    requests: Mapping[str, Any] = field(default_factory=dict)
    requests_left: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Pending:
    """The last row so far: its marker and offset depend on what comes next."""

    plan: TablePlan
    row: Row
    first: bool
    first_of_all: bool


def copy_rows(plan: TablePlan, lines: Sequence[bytes]) -> list[list[str]]:
    """Lines of COPY as rows of JSON fragments; raises `ConnectError` for a value that cannot be read."""
    encoders = plan.encoders
    steps = [(place, encode) for place, encode in enumerate(encoders) if encode is not None]
    rows: list[list[str]] = []
    try:
        for line in lines:
            text = line.decode()
            fields = text[:-1].split("\t") if encoders else []
            if "\\" in text:
                fields = [
                    "null" if item == _NULL_TEXT else encode(unescape(item)) if encode else item
                    for item, encode in zip(fields, encoders, strict=True)
                ]
            else:
                for place, encode in steps:
                    fields[place] = encode(fields[place])
            rows.append(fields)
    except ValueError as exc:
        raise ConnectError(f"a row of {plan.table.full_name} cannot be read: {exc}") from exc
    return rows


def unescape(item: str) -> str:
    """A field of a line of COPY that is not null."""
    if "\\" not in item:
        return item
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), item)


class SnapshotRecords:
    """Takes the pieces of a snapshot in their order."""

    def __init__(
        self, config: PostgresSourceConfig, maker: RecordMaker, point: SnapshotPoint, next_tx_id: int,
        progress: Progress, notifications: SnapshotNotifications, meter: SnapshotMeter,
    ) -> None:  # fmt: skip
        ts_us = time.time_ns() // 1000
        tx_id = next_tx_id if point.tx_id is None else point.tx_id
        self._point = point
        self._tx_id = tx_id
        self._ts_us = ts_us
        self._read = partial(maker.present, READ)
        self._markers = _Markers(SourceBlocks(config), ts_us, tx_id, point.commit_lsn)
        self._notifications = notifications
        self._meter = meter
        self._tables: list[str] = []
        # The offset after what has been given out, and the one after the row that is pending.
        self._given = self._after = self._offset(progress)
        self._pending: _Pending | None = None
        self._plan: TablePlan | None = None
        self._rows = 0  # of the table
        self._first_of_all = False
        self._middle = ""

    def _offset(self, progress: Progress | None) -> dict[str, Any]:
        """The offset with this much done, None for all."""
        point = self._point
        offset = snapshot_offset(point.lsn, self._tx_id, self._ts_us, progress is None, point.kind)
        if progress is None:
            return {**point.stream_offset, **offset, **point.requests_left}
        shown = {PROGRESS: progress.to_json()} if progress != Progress() else {}
        return {**point.stream_offset, **offset, **point.requests, **shown}

    def started(self, tables: Sequence[str]) -> list[SourceRecord]:
        self._tables = list(tables)
        return self._notifications.started(self._given)

    def batch(self, piece: Piece) -> list[SourceRecord]:
        """The records of a piece, but for its last row; before them the one that was pending."""
        chunk = piece.chunk
        plan = chunk.scan.plan
        batch: list[SourceRecord] = []
        if plan is not self._plan:
            self._begin_table(plan, batch)
        rows = copy_rows(plan, piece.lines)
        self._meter.add(plan.table.full_name, len(rows))
        if rows:
            self._take(plan, rows, batch)
        if piece.is_end:
            self._after = self._offset(chunk.progress)
            if chunk.is_last:
                name = plan.table.full_name
                batch += self._notifications.table_done(name, self._rows, self._tables, self._given)
                self._meter.table_done(name)
        return batch

    def _begin_table(self, plan: TablePlan, batch: list[SourceRecord]) -> None:
        self._first_of_all = self._plan is None  # of rows, if the first table has any
        self._plan = plan
        self._rows = 0
        self._middle = self._markers.middle.block(plan.source_table, self._point.lsn)
        batch += self._notifications.table_started(plan.table.full_name, self._tables, self._given)

    def _take(self, plan: TablePlan, rows: list[list[str]], batch: list[SourceRecord]) -> None:
        read, tail, after = self._read, timestamps(time.time_ns()), self._after
        is_first = self._rows == 0
        self._rows += len(rows)
        if self._pending is not None:
            marker = self._markers.followed(self._pending, same_table=not is_first)
            batch.append(self._record(self._pending, marker, tail, after))
            self._given = after
        last = rows.pop()
        if is_first and rows:
            first = _Pending(plan, rows.pop(0), True, self._first_of_all)
            batch.append(self._record(first, self._markers.followed(first, same_table=True), tail, after))
            is_first = self._first_of_all = False
        middle = self._middle
        batch += [read(plan, row, middle, tail, after) for row in rows]
        self._pending = _Pending(plan, last, is_first, is_first and self._first_of_all)
        self._first_of_all = False

    def _record(
        self, row: _Pending, source: TransactionSource, tail: str, offset: Mapping[str, Any]
    ) -> SourceRecord:
        block = source.block(row.plan.source_table, self._point.lsn)
        return self._read(row.plan, row.row, block, tail, offset)

    def finished(self) -> list[SourceRecord]:
        """The last row, if there was any, with the word that it is."""
        completed = self._offset(None)
        batch: list[SourceRecord] = []
        if self._pending is not None:
            batch.append(
                self._record(self._pending, self._markers.last, timestamps(time.time_ns()), completed)
            )
        return batch + self._notifications.completed(completed)

    @property
    def completed_offset(self) -> Mapping[str, Any]:
        """The offset behind the snapshot."""
        return self._offset(None)


class _Markers:
    """The source blocks of a snapshot by the marker of its records."""

    def __init__(self, sources: SourceBlocks, ts_us: int, tx_id: int, commit_lsn: int) -> None:
        def block(marker: str) -> TransactionSource:
            return sources.transaction(ts_us, tx_id, commit_lsn, marker)

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
