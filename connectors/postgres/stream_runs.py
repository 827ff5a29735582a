"""Runs of plain rows in the stream, which are read by column, as a snapshot's are.

A plain row is an insert, or an update that tells nothing of the old row. A run has such rows of one relation,
with nothing between them but the ends and beginnings of their transactions.
"""

import struct
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from connect.api import ConnectError, RecordBatch
from connectors.postgres import pgoutput
from connectors.postgres.columns import fragments, row_of
from connectors.postgres.connection import XLOG_HEAD_BYTES
from connectors.postgres.envelope import TransactionSource
from connectors.postgres.joiner import Column
from connectors.postgres.plan import TablePlan
from connectors.postgres.records import CREATE, UPDATE, RecordMaker
from connectors.postgres.type_map import UnknownLabelError

ROW_HEAD: Final = slice(XLOG_HEAD_BYTES, XLOG_HEAD_BYTES + 8)
"""Where a message has the kind of the change, the relation, the kind of row and its number of columns: all
that the rows of a run have in common."""
position: Final = struct.Struct(">xQ").unpack_from
_NONE: Final = b"none"
ROWS_MAX: Final = 1_000
"""So many are written at once: what they become should stay in the processor's cache."""
_ROWS_MIN: Final = 3
"""So many rows before the last one make it worth while."""


class Place(NamedTuple):
    """What the changes of one transaction share. `commit_lsn` is the end of the one before it, 0 if unknown;
    a change before `floor` is told as if that had ended there. `fields` are in all offsets."""

    begin: pgoutput.Begin
    source: TransactionSource
    commit_lsn: int
    floor: int
    fields: Mapping[str, Any]

    def offset(self, lsn: int, operation: str) -> dict[str, Any]:
        """The offset behind a change."""
        begin = self.begin
        offset: dict[str, Any] = {"lsn_proc": lsn, "messageType": operation, "lsn": lsn, "txId": begin.xid,
                                  "ts_usec": begin.commit_us}  # fmt: skip
        # The slot may have moved on between an old change and its commit, and is not ahead for that.
        if commit_lsn := self.floor if lsn < self.floor else self.commit_lsn:
            offset["lsn_commit"] = commit_lsn
        offset.update(self.fields)
        return offset


class Run:
    """One run after the other. `head` is that of its messages, `rows` are those that are to be written;
    whoever has read a message with this head appends it there.

    `last_lsn` is the position of the last record before them, -1 if no row can have the same.
    """

    def __init__(self, maker: RecordMaker) -> None:
        self._maker = maker
        self.head = _NONE
        self.rows: list[bytes] = []
        self.last_lsn = -1
        self._parts: list[tuple[int, Place]] = []  # the first row of each transaction
        self._lsns: list[int] = []

    def begin(self, head: bytes, plan: TablePlan, place: Place, last_lsn: int) -> None:
        """The rows with this head belong together; those before them were written."""
        self.head = head
        self._plan = plan
        self._op, self._operation = (CREATE, "INSERT") if head[0] == pgoutput.INSERT else (UPDATE, "UPDATE")
        self._parts = [(0, place)]
        self.last_lsn = last_lsn

    @property
    def is_open(self) -> bool:
        """It has begun and not ended."""
        return self.head is not _NONE

    def part(self, place: Place) -> None:
        """The rows that follow are of another transaction."""
        self._parts.append((len(self.rows), place))

    def place(self, number: int) -> Place:
        """The transaction of a row."""
        return _place_of(self._parts, number)

    def written(self) -> None:
        """The rows have become records. The run may go on."""
        self.rows = []
        self._parts = [(0, self._parts[-1][1])]

    def end(self) -> None:
        """No more rows until another one begins; all were written."""
        self.head = _NONE

    def write(self, tail: str, batch: RecordBatch) -> bool:
        """Append the rows' records, the last one singly. False, and nothing is done, where they have to be
        made one by one."""
        plan, last = self._plan, len(self.rows) - 1
        if last < _ROWS_MIN:
            return False
        try:
            texts, has_gaps = pgoutput.texts(self.rows, len(plan.encoders), XLOG_HEAD_BYTES)
            columns = fragments(plan, texts, has_gaps)
        except (pgoutput.MalformedMessage, ConnectError):  # only the row that it is about is to fail
            return False
        except UnknownLabelError as exc:  # and only from that row on the label is known
            exc.ask_again()
            return False
        self._lsns = lsns = [position(message)[0] for message in self.rows]
        source, positions = self._sources(last)
        offset_of = self._offsets()
        shown = [column[:last] for column in columns]
        records = self._maker.many(self._op, plan, shown, last, source, tail, offset_of, positions)
        if records is None:
            return False
        if lsns[0] == self.last_lsn and batch:
            batch[-1].source_offset = unfinished(batch[-1].source_offset, lsns[0])
        batch.add(records)
        block = self.place(last).source.block(plan.source_table, lsns[last])
        batch.append(self._maker.present(self._op, plan, row_of(columns, last), block, tail, offset_of(last)))
        self.last_lsn = lsns[last]
        return True

    def _sources(self, count: int) -> tuple[str, list[Column]]:
        """The template of the source blocks of the first rows, and what goes into it."""
        table = self._plan.source_table
        if len(self._parts) == 1:
            positions = list(map(str, self._lsns[:count]))
            return self._parts[0][1].source.template(table), [positions, positions]
        ends = [*(start for start, _ in self._parts[1:]), count]
        blocks: list[str] = []
        for (start, place), end in zip(self._parts, ends, strict=True):
            block = place.source.block
            blocks += [block(table, lsn) for lsn in self._lsns[start : min(end, count)]]
        return "%s", [blocks]

    def _offsets(self) -> Callable[[int], dict[str, Any]]:
        """What gives the offset of a row."""
        lsns, parts, operation = [*self._lsns, -1], self._parts, self._operation

        def offset_of(number: int) -> dict[str, Any]:
            lsn = lsns[number]
            offset = _place_of(parts, number).offset(lsn, operation)
            return unfinished(offset, lsn) if lsns[number + 1] == lsn else offset

        return offset_of


def is_plain(message: bytes, width: int) -> bool:
    """Whether the insert or update in a message of the stream is a plain row of so many columns."""
    head = message[ROW_HEAD]
    return head[0] != pgoutput.DELETE and head[5] == pgoutput.NEW and int.from_bytes(head[6:], "big") == width


def unfinished(offset: Mapping[str, Any], lsn: int) -> dict[str, Any]:
    """The offset of a record when more at the same position has to follow."""
    return {**offset, "lsn_proc": lsn - 1}


def _place_of(parts: Sequence[tuple[int, Place]], number: int) -> Place:
    return parts[bisect(parts, number, key=itemgetter(0)) - 1][1]
