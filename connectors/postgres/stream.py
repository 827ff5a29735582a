"""The stream: pgoutput's messages become records, transaction by transaction as they are committed."""

import struct
import time
from collections.abc import Callable
from typing import Any, Final

from connect.api import SourceRecord
from connectors.postgres import pgoutput
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import CopyReader, ReplicationConnection
from connectors.postgres.envelope import SourceBlocks, TransactionSource, timestamps
from connectors.postgres.messages import SOURCE_TABLE, MessageRecords
from connectors.postgres.offsets import Lsn, Position
from connectors.postgres.plan import TablePlan
from connectors.postgres.records import CREATE, RECORD_OVERHEAD_BYTES, Change, RecordMaker

_XLOG_DATA, _KEEPALIVE = b"w"[0], b"k"[0]
_XLOG_HEAD_BYTES: Final = 25
# The position in the WAL, the type of the message behind it, and the relation's oid where it is a row.
_CHANGE_HEAD: Final = struct.Struct(">xQ16xBI").unpack_from
_CHANGE_BYTES_MIN: Final = 30
_KEEPALIVE_FORMAT: Final = struct.Struct(">cQqB")
_STATUS_FORMAT: Final = struct.Struct(">cQQQqB")
_ROWS: Final = {pgoutput.INSERT: "INSERT", pgoutput.UPDATE: "UPDATE", pgoutput.DELETE: "DELETE"}
_OPERATIONS: Final = {
    "c": pgoutput.INSERT, "u": pgoutput.UPDATE, "d": pgoutput.DELETE, "t": pgoutput.TRUNCATE,
}  # fmt: skip

PlanOf = Callable[[pgoutput.Relation], TablePlan | None]


class Stream:
    """Reads changes from a slot's stream, and tells the server what is durable.

    `resume` filters what comes a second time: transactions that ended at or before its `commit_lsn`, and
    of the transaction it lies in the changes up to its `done_lsn`.

    A restart must neither skip a change nor, if it can be helped, repeat one. Several changes can share
    one position (a COPY writes many rows in one WAL record), and one change can make several records, so
    only the last record of a position has an offset that says the position is done. The last record of a
    batch is held back until the next message shows that no other change shares its position.
    """

    def __init__(
        self, connection: ReplicationConnection, reader: CopyReader, start: Lsn, resume: Position | None,
        plan_of: PlanOf, maker: RecordMaker, messages: MessageRecords, sources: SourceBlocks,
        config: PostgresSourceConfig,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._reader = reader
        self._resume = resume
        self._plan_of = plan_of
        self._maker = maker
        self._messages = messages
        self._sources = sources
        self._skipped = {_OPERATIONS[name] for name in config.skipped_operations if name != "none"}
        self._skip_unchanged = config.skip_without_change
        self._status_interval_s = config.status_update_interval_ms / 1000
        self._status_due = time.monotonic() + self._status_interval_s
        self._plans: dict[int, TablePlan | None] = {}
        self._commit_lsn = Lsn(resume.commit_lsn if resume else 0)
        self._confirmed = start
        self._received = Lsn(0)  # not before the server tells a position that no transaction spans
        self._begin: pgoutput.Begin | None = None
        self._last_commit_us = 0
        self._origin: tuple[str, int] | None = None
        self._source: TransactionSource | None = None
        self._skip_until = 0
        self._last_lsn = -1
        self._held: list[SourceRecord] = []

    # --- reading

    def read(self, batch_size: int, bytes_max: int, wait_s: float) -> list[SourceRecord]:
        """The next records; empty when none came within `wait_s`. Returns as soon as there are some."""
        batch, self._held = self._held, []
        size = 0
        receive = self._reader.receive
        tail = timestamps(time.time_ns())
        deadline = time.monotonic() + wait_s
        while len(batch) <= batch_size and size < bytes_max:
            message = receive()
            if message is None:
                if len(batch) > (1 if self._last_lsn >= 0 else 0):
                    break
                self._send_status_if_due()
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._reader.wait(left_s):
                    break
                tail = timestamps(time.time_ns())
            elif message[0] == _XLOG_DATA:
                size += len(message) + RECORD_OVERHEAD_BYTES
                if len(message) < _CHANGE_BYTES_MIN:
                    raise pgoutput.MalformedMessage(
                        f"a message of {len(message)} bytes is too short: {message!r}"
                    )
                lsn, kind, oid = _CHANGE_HEAD(message)
                if kind in _ROWS:
                    self._row(kind, oid, lsn, message, tail, batch)
                else:
                    self._other(kind, lsn, message[_XLOG_HEAD_BYTES:], tail, batch)
            elif message[0] == _KEEPALIVE:
                self._keepalive(message)
        self._send_status_if_due()
        if batch and (self._last_lsn >= 0 or len(batch) > batch_size):
            self._held = [batch.pop()]
        return batch

    def _row(self, kind: int, oid: int, lsn: int, data: bytes, tail: str, batch: list[SourceRecord]) -> None:
        if lsn <= self._skip_until or kind in self._skipped:
            return
        try:
            plan = self._plans[oid]
        except KeyError:
            raise pgoutput.MalformedMessage(
                f"a change of relation {oid} came before its description"
            ) from None
        if plan is None:
            return
        old, key_only, new = pgoutput.row(data, plan.encoders, plan.unavailable, _XLOG_HEAD_BYTES)
        if self._skip_unchanged and old and new and not key_only and plan.row(old) == plan.row(new):
            return
        offset = self._at(lsn, _ROWS[kind], batch)
        source = (self._source or self._new_source()).block(plan.source_table, lsn)
        if kind == pgoutput.INSERT and new is not None:
            batch.append(self._maker.present(CREATE, plan, new, source, tail, offset))
            return
        change = Change(plan, source, tail, offset, {**offset, "lsn_proc": lsn - 1})
        if new is not None:
            batch += self._maker.update(change, old, key_only, new)
        elif old is not None:
            batch += self._maker.delete(change, old, key_only)

    def _other(self, kind: int, lsn: int, message: bytes, tail: str, batch: list[SourceRecord]) -> None:
        if kind == pgoutput.BEGIN:
            self._begin_transaction(pgoutput.begin(message))
        elif kind == pgoutput.COMMIT:
            commit = pgoutput.commit(message)
            self._commit_lsn = self._received = Lsn(commit.end_lsn)
            self._last_commit_us = commit.commit_us
            self._skip_until = 0
            self._begin = self._source = self._origin = None
            self._last_lsn = -1
        elif kind == pgoutput.RELATION:
            relation = pgoutput.relation(message)
            self._plans[relation.oid] = self._plan_of(relation)
        elif kind == pgoutput.TRUNCATE:
            self._truncate(pgoutput.truncate(message), lsn, tail, batch)
        elif kind == pgoutput.ORIGIN:
            found = pgoutput.origin(message)
            self._origin = (found.name, found.commit_lsn)
            self._source = None
        elif kind == pgoutput.MESSAGE:
            self._message(pgoutput.logical_message(message), lsn, batch)
        # A type's description tells nothing that the catalog does not.

    def _begin_transaction(self, begin: pgoutput.Begin) -> None:
        self._begin = begin
        self._source = None
        self._skip_until = 0
        if self._resume is not None:
            if begin.final_lsn < self._resume.commit_lsn:
                self._skip_until = begin.final_lsn
            elif begin.xid == self._resume.tx_id:
                self._skip_until = self._resume.done_lsn
            else:
                if not self._commit_lsn and self._resume.tx_id is not None:
                    self._commit_lsn = self._resume.start  # its transaction has ended, and is not sent again
                self._resume = None

    def _truncate(self, truncate: pgoutput.Truncate, lsn: int, tail: str, batch: list[SourceRecord]) -> None:
        if lsn <= self._skip_until or pgoutput.TRUNCATE in self._skipped:
            return
        for oid in truncate.oids:
            if (plan := self._plans.get(oid)) is not None:
                offset = self._at(lsn, "TRUNCATE", batch)
                source = (self._source or self._new_source()).block(plan.source_table, lsn)
                batch.append(self._maker.truncate(plan, source, tail, offset))

    def _message(self, message: pgoutput.Message, lsn: int, batch: list[SourceRecord]) -> None:
        if lsn <= self._skip_until or not self._messages.keeps(message.prefix):
            return
        if self._begin is not None:
            offset = self._at(lsn, "MESSAGE", batch)
            source = self._source or self._new_source()
        else:  # it belongs to no transaction, and all that committed before it have been sent
            self._commit_lsn = self._received = Lsn(lsn)
            ts_us = self._last_commit_us or time.time_ns() // 1000
            offset = {"lsn_proc": lsn, "messageType": "MESSAGE", "lsn_commit": lsn, "lsn": lsn,
                      "ts_usec": ts_us}  # fmt: skip
            source = self._sources.transaction(ts_us, None, lsn)
        batch.append(
            self._messages.record(message.prefix, message.content, source.block(SOURCE_TABLE, lsn), offset)
        )

    def _at(self, lsn: int, operation: str, batch: list[SourceRecord]) -> dict[str, Any]:
        """The offset of the change at `lsn`; the record before it loses its claim to have finished it."""
        begin = self._begin
        if begin is None:
            raise pgoutput.MalformedMessage(f"a change at {lsn} came outside of a transaction")
        if lsn == self._last_lsn:
            batch[-1].source_offset = {**batch[-1].source_offset, "lsn_proc": lsn - 1}
        self._last_lsn = lsn
        if self._commit_lsn:
            return {"lsn_proc": lsn, "messageType": operation, "lsn_commit": self._commit_lsn, "lsn": lsn,
                    "txId": begin.xid, "ts_usec": begin.commit_us}  # fmt: skip
        return {"lsn_proc": lsn, "messageType": operation, "lsn": lsn, "txId": begin.xid,
                "ts_usec": begin.commit_us}  # fmt: skip

    def _new_source(self) -> TransactionSource:
        begin = self._begin
        assert begin is not None
        self._source = self._sources.transaction(
            begin.commit_us, begin.xid, self._commit_lsn, origin=self._origin
        )
        return self._source

    # --- telling the server

    def _keepalive(self, message: bytes) -> None:
        _, end, _, reply_requested = _KEEPALIVE_FORMAT.unpack(message)
        # Everything that committed before `end` has been sent to us.
        if self._begin is None:
            self._received = Lsn(max(self._received, end))
        if reply_requested:
            self._send_status()

    @property
    def received(self) -> Lsn:
        """Every transaction that committed before it has been read from this stream."""
        return self._received

    def idle_offset(self) -> dict[str, Any] | None:
        """The offset after everything that has come, None in the middle of a transaction."""
        if self._begin is not None or self._held or not self._received:
            return None
        lsn, ts_us = self._received, self._last_commit_us or time.time_ns() // 1000
        return {"lsn_proc": lsn, "messageType": "COMMIT", "lsn_commit": lsn, "lsn": lsn, "ts_usec": ts_us}

    def confirm(self, lsn: Lsn) -> None:
        """Everything that committed before `lsn` is durable: the server may forget it."""
        if lsn > self._confirmed:
            self._confirmed = lsn
            self._send_status()

    def _send_status_if_due(self) -> None:
        if time.monotonic() >= self._status_due:
            self._send_status()

    def _send_status(self) -> None:
        now_us = time.time_ns() // 1000 - pgoutput.POSTGRES_EPOCH_US
        confirmed = self._confirmed
        self._connection.send(
            _STATUS_FORMAT.pack(b"r", max(self._received, confirmed), confirmed, confirmed, now_us, 0)
        )
        self._status_due = time.monotonic() + self._status_interval_s
