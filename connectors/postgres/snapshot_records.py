"""Makes the records of a snapshot: rows of COPY become events with Debezium's markers and offsets."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from connect.api import RecordBatch, SourceRecord
from connectors.postgres.columns import copied, row_of
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import SourceBlocks, TransactionSource, timestamps
from connectors.postgres.joiner import Column, as_template
from connectors.postgres.notifications import SnapshotNotifications
from connectors.postgres.offsets import PROGRESS, Lsn, snapshot_offset
from connectors.postgres.plan import TablePlan
from connectors.postgres.records import READ, RecordMaker
from connectors.postgres.snapshot_chunks import Progress
from connectors.postgres.snapshot_progress import SnapshotMeter
from connectors.postgres.snapshot_readers import Piece

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
        self._maker = maker
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

    def batch(self, piece: Piece) -> RecordBatch:
        """The records of a piece, but for its last row; before them the one that was pending."""
        chunk = piece.chunk
        plan = chunk.scan.plan
        batch = RecordBatch()
        if plan is not self._plan:
            self._begin_table(plan, batch)
        for lines, count in piece.blocks:
            self._take(plan, copied(plan, lines, count), count, batch)
            self._meter.add(plan.table.full_name, count)
        if piece.is_end:
            self._after = self._offset(chunk.progress)
            if chunk.is_last:
                name = plan.table.full_name
                batch += self._notifications.table_done(name, self._rows, self._tables, self._given)
                self._meter.table_done(name)
        return batch

    def _begin_table(self, plan: TablePlan, batch: RecordBatch) -> None:
        self._first_of_all = self._plan is None  # of rows, if the first table has any
        self._plan = plan
        self._rows = 0
        self._middle = self._markers.middle.block(plan.source_table, self._point.lsn)
        batch += self._notifications.table_started(plan.table.full_name, self._tables, self._given)

    def _take(self, plan: TablePlan, columns: Sequence[Column], count: int, batch: RecordBatch) -> None:
        tail, after = timestamps(time.time_ns()), self._after
        is_first = self._rows == 0
        self._rows += count
        if self._pending is not None:
            marker = self._markers.followed(self._pending, same_table=not is_first)
            batch.append(self._record(self._pending, marker, tail, after))
            self._given = after
        begin, end = 0, count - 1
        if is_first and end:
            first = _Pending(plan, row_of(columns, 0), True, self._first_of_all)
            batch.append(self._record(first, self._markers.followed(first, same_table=True), tail, after))
            is_first = self._first_of_all = False
            begin = 1
        if begin < end:
            self._take_middle(plan, [column[begin:end] for column in columns], end - begin, tail, batch)
        self._pending = _Pending(plan, row_of(columns, end), is_first, is_first and self._first_of_all)
        self._first_of_all = False

    def _take_middle(
        self, plan: TablePlan, columns: Sequence[Column], count: int, tail: str, batch: RecordBatch
    ) -> None:
        """Rows that are neither the first nor, perhaps, the last of their table."""
        source, after = self._middle, self._after
        records = self._maker.many(READ, plan, columns, count, as_template(source), tail, lambda _: after)
        if records is not None:
            batch.add(records)
        else:
            read = self._read
            batch += [read(plan, row_of(columns, place), source, tail, after) for place in range(count)]

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
