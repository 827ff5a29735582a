"""The stream: pgoutput's messages become records, transaction by transaction as they are committed."""

import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import psycopg
import structlog

from connect.api import ConnectError, RecordBatch, SourceRecord
from connectors.postgres import pgoutput
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import XLOG_DATA, XLOG_HEAD_BYTES, MessageReader, ReplicationConnection
from connectors.postgres.envelope import SourceBlocks, timestamps
from connectors.postgres.incremental_chunks import Window
from connectors.postgres.incremental_context import without_context
from connectors.postgres.messages import SOURCE_TABLE, MessageRecords
from connectors.postgres.offsets import Lsn, Position, show_lsn
from connectors.postgres.plan import TablePlan
from connectors.postgres.records import CREATE, READ, RECORD_OVERHEAD_BYTES, Change, RecordMaker
from connectors.postgres.schema_changes import SchemaChanges
from connectors.postgres.signal_watch import SignalWatch
from connectors.postgres.stream_runs import ROW_HEAD, ROWS_MAX, Place, Run, is_plain, unfinished
from connectors.postgres.transactions import MESSAGES, TransactionRecords
from connectors.postgres.type_map import UnknownLabelError
from connectors.postgres.unavailable import UnavailableValues

_TAKEN_MAX: Final = 1_000
_TAKEN_BYTES_MAX: Final = 1 << 20
_KEEPALIVE: Final = b"k"[0]
# The position in the WAL, the type of the message behind it, and the relation's oid where it is a row.
_CHANGE_HEAD: Final = struct.Struct(">xQ16xBI").unpack_from
_CHANGE_BYTES_MIN: Final = 30
_KEEPALIVE_FORMAT: Final = struct.Struct(">cQqB")
_STATUS_FORMAT: Final = struct.Struct(">cQQQqB")
_ROWS: Final = {pgoutput.INSERT: "INSERT", pgoutput.UPDATE: "UPDATE", pgoutput.DELETE: "DELETE"}
_OPERATIONS: Final = {
    "c": pgoutput.INSERT, "u": pgoutput.UPDATE, "d": pgoutput.DELETE, "t": pgoutput.TRUNCATE,
}  # fmt: skip


class SilentServerError(psycopg.OperationalError):
    """The connection seems to be there, and nothing comes over it."""


PlanOf = Callable[[pgoutput.Relation], TablePlan | None]
log = structlog.get_logger(__name__)


class Records(NamedTuple):
    """Who makes which records; None where they are not wanted."""

    changes: RecordMaker
    messages: MessageRecords
    sources: SourceBlocks
    transactions: TransactionRecords | None
    schema_changes: SchemaChanges | None


class Stream:
    """Reads changes from a slot's stream, and tells the server what is durable.

    `resume` filters what comes a second time: transactions that ended at or before its `commit_lsn`, and
    of the transaction it lies in the changes up to its `done_lsn`.

    A restart must neither skip a change nor, if it can be helped, repeat one. Several changes can share
    one position (a COPY writes many rows in one WAL record), and one change can make several records, so
    only the last record of a position has an offset that says the position is done. The last record of a
    batch is held back until the next message shows that no other change shares its position.

    `silence_s`: so long the server may say nothing; 0 is forever. `seen` are the changes by kind of message,
    `filtered` those of tables that are not captured, `commits` transactions.
    """

    def __init__(
        self, connection: ReplicationConnection, reader: MessageReader, start: Lsn, resume: Position | None,
        plan_of: PlanOf, records: Records, unavailable: UnavailableValues | None,
        config: PostgresSourceConfig, silence_s: float, watch: SignalWatch | None = None,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._watch = watch
        self._interrupted = False
        self._reader = reader
        self._resume = resume
        self._plan_of = plan_of
        self._maker = records.changes
        self._maker.transaction = None
        self._messages = records.messages
        self._sources = records.sources
        self._transactions = records.transactions
        self._schema_changes = records.schema_changes
        self._undescribed: list[TablePlan] = []
        self._unavailable = unavailable
        self._fail = config.failure_handling == "fail"
        self._quiet = config.failure_handling in ("skip", "ignore")
        self._skipped = {_OPERATIONS[name] for name in config.skipped_operations if name != "none"}
        self._skip_unchanged = config.skip_without_change
        self._silence_s = silence_s
        self._heard = time.monotonic()
        self._status_interval_s = config.status_update_interval_ms / 1000
        if silence_s:
            self._status_interval_s = min(self._status_interval_s, silence_s / 4)
        self._status_due = time.monotonic() + self._status_interval_s
        self._confirms_nothing = config.lsn_flush_mode == "manual"
        self._relations: dict[int, pgoutput.Relation] = {}
        self._plans: dict[int, TablePlan | None] = {}
        self._commit_lsn = Lsn(resume.commit_lsn if resume else 0)
        self._confirmed = start
        self._received = Lsn(0)  # not before the server tells a position that no transaction spans
        self._begin: pgoutput.Begin | None = None
        self._floor = Lsn(0)
        self._last_commit_us = 0
        self._last_xid: int | None = None
        self._origin: tuple[str, int] | None = None
        self._place: Place | None = None
        self._skip_until = 0
        self._last_lsn = -1
        self._held: list[SourceRecord] = []
        self._arrived: Iterator[bytes] = iter(())
        self._run = Run(self._maker)
        self.seen = dict.fromkeys((*_ROWS, pgoutput.TRUNCATE), 0)
        self.filtered = self.commits = 0

    # --- reading

    def read(self, batch_size: int, bytes_max: int, wait_s: float) -> RecordBatch:
        """The next records; empty when none came within `wait_s`. Returns as soon as there are some."""
        batch = RecordBatch(self._held)
        self._held = []
        size, heard = 0, False
        tail = timestamps(time.time_ns())
        deadline = time.monotonic() + wait_s
        self._interrupted = False
        run, records = self._run, len(batch)
        while records <= batch_size and size < bytes_max and not self._interrupted:
            message = next(self._arrived, None) or self._receive()
            if message is None:
                self._end_run(tail, batch)
                if len(batch) > (1 if self._last_lsn >= 0 else 0):
                    break
                self._send_status_if_due()
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._reader.wait(left_s):
                    break
                heard = True
                tail = timestamps(time.time_ns())
                continue
            size += len(message) + RECORD_OVERHEAD_BYTES
            if message[ROW_HEAD] == run.head:
                run.rows.append(message)
                records += 1
                if len(run.rows) >= ROWS_MAX:
                    self._write_run(tail, batch)
            elif message[0] == XLOG_DATA:
                self._data(message, tail, batch)
                records = len(batch) + len(run.rows)
            elif message[0] == _KEEPALIVE:
                self._keepalive(message)
        self._end_run(tail, batch)  # the next one asks anew whether a signal needs to see its rows
        self._notice_silence(heard or size > 0)
        self._send_status_if_due()
        if batch and (self._last_lsn >= 0 or len(batch) > batch_size):
            self._held = [batch.pop()]
        return batch

    def _receive(self) -> bytes | None:
        self._arrived = iter(self._reader.take(_TAKEN_MAX, _TAKEN_BYTES_MAX))
        return next(self._arrived, None)

    def _data(self, message: bytes, tail: str, batch: RecordBatch) -> None:
        if len(message) < _CHANGE_BYTES_MIN:
            raise pgoutput.MalformedMessage(f"a message of {len(message)} bytes is too short: {message!r}")
        lsn, kind, oid = _CHANGE_HEAD(message)
        if kind == pgoutput.COMMIT or kind == pgoutput.BEGIN:
            # A run of rows goes on behind them, if they make no records and no rows are passed over.
            if self._transactions is not None or self._resume is not None:
                self._end_run(tail, batch)
            self._boundary(kind, lsn, message[XLOG_HEAD_BYTES:], batch)
            return
        self._end_run(tail, batch)
        if kind not in _ROWS:
            self._other(kind, lsn, message[XLOG_HEAD_BYTES:], tail, batch)
        elif (plan := self._plan_of_run(kind, oid, lsn, message)) is not None:
            self._run.begin(message[ROW_HEAD], plan, self._place or self._new_place(), self._last_lsn)
            self._run.rows.append(message)
        else:
            self._row(kind, oid, lsn, message, tail, batch)

    def _plan_of_run(self, kind: int, oid: int, lsn: int, message: bytes) -> TablePlan | None:
        """The plan of a row that is the first of a run, None for any other row."""
        if kind in self._skipped or lsn <= self._skip_until or self._begin is None or self._undescribed:
            return None
        if self._maker.transaction is not None or self._unavailable is not None:
            return None
        plan = self._plans.get(oid)
        if plan is None or not is_plain(message, len(plan.encoders)):
            return None
        return plan if self._watch is None or self._watch.ignores(plan) else None

    def _write_run(self, tail: str, batch: RecordBatch) -> None:
        run = self._run
        if run.write(tail, batch):
            self.seen[run.head[0]] += len(run.rows)
            if run.place(len(run.rows) - 1) is self._place:  # its transaction goes on
                self._last_lsn = run.last_lsn
            run.written()
        else:
            self._write_singly(tail, batch)
            run.written()
            run.end()  # its plan may be another one now

    def _write_singly(self, tail: str, batch: RecordBatch) -> None:
        """The rows of a run one by one, each in its transaction."""
        now = self._begin, self._place
        self._last_lsn = self._run.last_lsn
        for number, message in enumerate(self._run.rows):
            self._place = place = self._run.place(number)
            self._begin = place.begin
            lsn, kind, oid = _CHANGE_HEAD(message)
            self._row(kind, oid, lsn, message, tail, batch)
        if self._place is not now[1]:
            self._last_lsn = -1
        self._begin, self._place = now

    def _end_run(self, tail: str, batch: RecordBatch) -> None:
        if self._run.rows:
            self._write_run(tail, batch)
        self._run.end()

    def _row(self, kind: int, oid: int, lsn: int, data: bytes, tail: str, batch: RecordBatch) -> None:
        self.seen[kind] += 1
        if lsn <= self._skip_until or (kind in self._skipped and self._watch is None):
            return
        try:
            plan = self._plans[oid]
        except KeyError:
            raise pgoutput.MalformedMessage(
                f"a change of relation {oid} came before its description"
            ) from None
        if plan is None:
            self.filtered += 1
            return
        if self._undescribed:
            self._describe(lsn, batch)
        try:
            old, key_only, new = pgoutput.row(data, plan.encoders, plan.unavailable, XLOG_HEAD_BYTES)
        except pgoutput.MalformedMessage as exc:
            self._unreadable(plan, lsn, exc)
            return
        except UnknownLabelError:  # the server does not describe a table again when an enum gets a label
            self._described(self._relations[oid])
            self.seen[kind] -= 1
            self._row(kind, oid, lsn, data, tail, batch)
            return
        window = None
        if self._watch is not None and self._begin is not None:
            is_skipped = kind in self._skipped
            window = self._watch.row(kind, plan, old, new, self._begin.xid, is_skipped)
            self._interrupted = self._watch.interrupts
            if is_skipped:
                if window is not None:
                    self._write(window, lsn, tail, batch)
                return
        if self._skip_unchanged and old and new and not key_only and plan.row(old) == plan.row(new):
            return
        if self._unavailable is not None and new is not None:
            plan = self._unavailable.resolve(plan, data, XLOG_HEAD_BYTES, new)
        offset = self._at(lsn, _ROWS[kind], batch)
        source = (self._place or self._new_place()).source.block(plan.source_table, lsn)
        if kind == pgoutput.INSERT and new is not None:
            batch.append(self._maker.present(CREATE, plan, new, source, tail, offset))
        else:
            change = Change(plan, source, tail, offset, self._unfinished(offset, lsn))
            if new is not None:
                records = self._maker.update(change, old, key_only, new)
            else:
                records = self._maker.delete(change, old, key_only) if old is not None else []
            if not records:
                return
            batch += records
        if self._maker.transaction is not None:
            self._numbered(batch)
        if window is not None:
            self._write(window, lsn, tail, batch)

    def _write(self, window: Window, lsn: int, tail: str, batch: RecordBatch) -> None:
        """The rows of an incremental snapshot that belong here. Only with the last one they are done."""
        assert self._watch is not None
        source = self.incremental_source(window, lsn)
        rows = window.remaining()
        for row in rows[:-1]:
            offset = self._at(lsn, "INSERT", batch)
            batch.append(self._maker.present(READ, window.plan, row, source, tail, offset))
        if not rows:
            self._watch.written(window)
            if lsn == self._last_lsn:
                known = without_context(batch[-1].source_offset)
                batch[-1].source_offset = {**known, **self._watch.fields()}
            return
        at = self._at(lsn, "INSERT", batch)
        self._watch.written(window)
        offset = {**without_context(at), **self._watch.fields()}
        batch.append(self._maker.present(READ, window.plan, rows[-1], source, tail, offset))
        if self._maker.transaction is not None:
            self._numbered(batch)

    def incremental_source(self, window: Window, lsn: int) -> str:
        """The source block of a window's rows that are written at `lsn`."""
        return self._sources.incremental(
            window.plan.source_table, time.time_ns() // 1000, self._commit_lsn, lsn
        )

    def _unreadable(self, plan: TablePlan, lsn: int, exc: pgoutput.MalformedMessage) -> None:
        """event.processing.failure.handling.mode"""
        if self._fail:
            raise ConnectError(
                f"a change of {plan.table.full_name} at {show_lsn(lsn)} cannot be read: {exc}. "
                "event.processing.failure.handling.mode=warn leaves such changes out"
            ) from exc
        if not self._quiet:
            log.warning("a change cannot be read and is left out", table=plan.table.full_name,
                        lsn=show_lsn(lsn), why=str(exc))  # fmt: skip

    def _numbered(self, batch: RecordBatch) -> None:
        """The last record's offset tells how many events of its transaction there are so far."""
        assert self._maker.transaction is not None
        batch[-1].source_offset = {**batch[-1].source_offset, **self._maker.transaction.offset()}

    def _other(self, kind: int, lsn: int, message: bytes, tail: str, batch: RecordBatch) -> None:
        if kind == pgoutput.RELATION:
            self._described(pgoutput.relation(message))
        elif kind == pgoutput.TRUNCATE:
            self._truncate(pgoutput.truncate(message), lsn, tail, batch)
        elif kind == pgoutput.ORIGIN:
            found = pgoutput.origin(message)
            self._origin = (found.name, found.commit_lsn)
            self._place = None
        elif kind == pgoutput.MESSAGE:
            self._message(pgoutput.logical_message(message), lsn, batch)
        # A type's description tells nothing that the catalog does not.

    def _described(self, relation: pgoutput.Relation) -> None:
        self._relations[relation.oid] = relation
        plan = self._plans[relation.oid] = self._plan_of(relation)
        if self._watch is not None and plan is not None:
            self._watch.described(plan)
        if self._schema_changes is not None and plan is not None:
            self._undescribed.append(plan)

    def _boundary(self, kind: int, lsn: int, message: bytes, batch: RecordBatch) -> None:
        if kind == pgoutput.COMMIT:
            self._commit(pgoutput.commit(message), batch)
        else:
            self._begin_transaction(pgoutput.begin(message), lsn, batch)

    def _begin_transaction(self, begin: pgoutput.Begin, lsn: int, batch: RecordBatch) -> None:
        # All that committed before it comes before this transaction, whose changes may be older.
        self._floor = max(self._commit_lsn, self._received, self._confirmed)
        self._begin = begin
        if self._watch is not None:
            self._watch.transaction(begin.xid)
        self._place = None
        if self._run.is_open:
            self._run.part(self._new_place())
        self._skip_until = 0
        if self._resume is not None:
            if begin.final_lsn < self._resume.commit_lsn:
                self._skip_until = begin.final_lsn
                return
            if begin.xid == self._resume.tx_id:
                self._skip_until = self._resume.done_lsn
            else:
                if not self._commit_lsn and self._resume.tx_id is not None:
                    self._commit_lsn = self._resume.start  # its transaction has ended, and is not sent again
                self._resume = None
        if self._transactions is not None:
            transaction, is_new = self._transactions.begin(begin.xid)
            self._maker.transaction = transaction
            if is_new:
                floor = self._floor
                offset = {"lsn_proc": floor, "messageType": "BEGIN", "lsn_commit": floor, "lsn": floor,
                          "ts_usec": begin.commit_us, **self._fields()}  # fmt: skip
                batch.append(
                    self._transactions.began(transaction, lsn or begin.final_lsn, begin.commit_us, offset)
                )

    def _commit(self, commit: pgoutput.Commit, batch: RecordBatch) -> None:
        end, begin = commit.end_lsn, self._begin
        if self._transactions is not None and self._maker.transaction is not None and begin is not None:
            offset = {"lsn_proc": end, "messageType": "COMMIT", "lsn_commit": end, "lsn": end,
                      "txId": begin.xid, "ts_usec": commit.commit_us, **self._fields()}  # fmt: skip
            batch.append(self._transactions.ended(self._maker.transaction, end, commit.commit_us, offset))
            self._maker.transaction = None
        self._commit_lsn = self._received = Lsn(end)
        self._last_commit_us = commit.commit_us
        self._last_xid = begin and begin.xid
        self.commits += 1
        self._skip_until = 0
        self._begin = self._place = self._origin = None
        self._last_lsn = -1
        if self._watch is not None:
            self._interrupted = self._watch.wants_pause or self._watch.is_passed(end)

    def _describe(self, lsn: int, batch: RecordBatch) -> None:
        """Tell what tables look like before the first change that needs it: their descriptions come without a
        position."""
        offset = {**self._offset(lsn, "NOOP"), "lsn_proc": lsn - 1}
        if self._maker.transaction is not None:
            offset |= self._maker.transaction.offset()
        source = (self._place or self._new_place()).source
        for plan in self._undescribed:
            assert self._schema_changes is not None
            record = self._schema_changes.record(plan, source.block(plan.source_table, lsn), offset)
            if record is not None:
                batch.append(record)
        self._undescribed.clear()

    def _truncate(self, truncate: pgoutput.Truncate, lsn: int, tail: str, batch: RecordBatch) -> None:
        self.seen[pgoutput.TRUNCATE] += 1
        if self._watch is not None:
            for known in filter(None, map(self._plans.get, truncate.oids)):
                self._watch.truncated(known)
        if lsn <= self._skip_until or pgoutput.TRUNCATE in self._skipped:
            return
        if self._undescribed:
            self._describe(lsn, batch)
        for oid in truncate.oids:
            if (plan := self._plans.get(oid)) is not None:
                offset = self._at(lsn, "TRUNCATE", batch)
                source = (self._place or self._new_place()).source.block(plan.source_table, lsn)
                batch.append(self._maker.truncate(plan, source, tail, offset))
                if self._maker.transaction is not None:
                    self._numbered(batch)

    def _message(self, message: pgoutput.Message, lsn: int, batch: RecordBatch) -> None:
        if lsn <= self._skip_until or not self._messages.keeps(message.prefix):
            return
        if self._begin is not None:
            offset = self._at(lsn, "MESSAGE", batch)
            source = (self._place or self._new_place()).source
        else:  # it belongs to no transaction, and all that committed before it have been sent
            self._commit_lsn = self._received = Lsn(lsn)
            ts_us = self._last_commit_us or time.time_ns() // 1000
            offset = {"lsn_proc": lsn, "messageType": "MESSAGE", "lsn_commit": lsn, "lsn": lsn,
                      "ts_usec": ts_us, **self._fields()}  # fmt: skip
            source = self._sources.transaction(ts_us, None, lsn)
        transaction = self._maker.transaction if message.transactional else None
        block = transaction.block(MESSAGES) if transaction is not None else "null"
        batch.append(
            self._messages.record(
                message.prefix, message.content, source.block(SOURCE_TABLE, lsn), block, offset
            )
        )
        if self._maker.transaction is not None:
            self._numbered(batch)

    def _at(self, lsn: int, operation: str, batch: RecordBatch) -> dict[str, Any]:
        """The offset of the change at `lsn`; the record before it loses its claim to have finished it."""
        if lsn == self._last_lsn and batch:
            batch[-1].source_offset = self._unfinished(batch[-1].source_offset, lsn)
        elif self._maker.transaction is not None:
            self._maker.transaction.at(lsn)
        self._last_lsn = lsn
        return self._offset(lsn, operation)

    def _unfinished(self, offset: Mapping[str, Any], lsn: int) -> dict[str, Any]:
        """The offset of a record when more at the same position has to follow."""
        transaction = self._maker.transaction
        return unfinished(offset if transaction is None else transaction.unfinished(offset), lsn)

    def _offset(self, lsn: int, operation: str) -> dict[str, Any]:
        offset = (self._place or self._new_place()).offset(lsn, operation)
        if self._watch is not None:
            offset |= self._watch.fields()
        return offset

    def _fields(self) -> Mapping[str, Any]:
        """What every offset says beside the position."""
        return {} if self._watch is None else self._watch.fields()

    def _new_place(self) -> Place:
        begin = self._begin
        if begin is None:
            raise pgoutput.MalformedMessage("a change came outside of a transaction")
        xmin = self._sources.xmin
        source = self._sources.transaction(begin.commit_us, begin.xid, self._commit_lsn, origin=self._origin)
        self._place = Place(
            begin, source, self._commit_lsn, self._floor, {} if xmin is None else {"xmin": xmin}
        )
        return self._place

    def close(self) -> None:
        """No more is read; what was read and not handed out comes again."""
        self._reader.close()
        self._arrived = iter(())

    # --- telling the server

    def _keepalive(self, message: bytes) -> None:
        if len(message) != _KEEPALIVE_FORMAT.size:
            raise pgoutput.MalformedMessage(f"a keepalive of {len(message)} bytes: {message!r}")
        _, end, _, reply_requested = _KEEPALIVE_FORMAT.unpack(message)
        # Everything that committed before `end` has been sent to us.
        if self._begin is None:
            self._received = Lsn(max(self._received, end))
            if self._watch is not None and self._watch.is_passed(end):
                self._interrupted = True
        if reply_requested:
            # A server that shuts down waits until all is flushed here, or until all has come where nothing
            # is said to be flushed. What has not been stored comes again after its start.
            self._send_status(flushed=Lsn(0))

    @property
    def last_commit_us(self) -> int:
        """When the transaction that was read last was committed; 0 before the first."""
        return self._last_commit_us

    @property
    def received(self) -> Lsn:
        """Every transaction that committed before it has been read from this stream."""
        return self._received

    def idle_offset(self) -> dict[str, Any] | None:
        """The offset after everything that has come, None in the middle of a transaction."""
        if self._begin is not None or self._held or not self._received:
            return None
        lsn, ts_us = self._received, self._last_commit_us or time.time_ns() // 1000
        transaction = {} if self._last_xid is None else {"txId": self._last_xid}
        return {"lsn_proc": lsn, "messageType": "COMMIT", "lsn_commit": lsn, "lsn": lsn, **transaction,
                "ts_usec": ts_us, **self._fields()}  # fmt: skip

    @property
    def is_between(self) -> bool:
        """No transaction is under way, and all that was read has been handed out."""
        return self._begin is None and not self._held

    @property
    def holds(self) -> bool:
        """Something that was read has not been handed out yet."""
        return bool(self._held)

    def keep_alive(self) -> None:
        """To be called now and then while nothing is read, and so nothing heard."""
        self._heard = time.monotonic()
        self._send_status_if_due()

    def ask_position(self) -> None:
        """Have the server tell how far it is."""
        self._send_status(reply=True)

    def confirm(self, lsn: Lsn) -> None:
        """Everything that committed before `lsn` is durable: the server may forget it."""
        if lsn > self._confirmed:
            self._confirmed = lsn
            self._send_status()

    def _notice_silence(self, heard: bool) -> None:
        """A server that is there answers when it is asked; one behind a network that was cut says nothing,
        not even that."""
        now = time.monotonic()
        if heard:
            self._heard = now
        elif self._silence_s and now - self._heard > self._silence_s:
            raise SilentServerError(f"nothing came from the server for {self._silence_s:g} s")

    def _send_status_if_due(self) -> None:
        if time.monotonic() >= self._status_due:
            self._send_status()

    def _send_status(self, flushed: Lsn | None = None, reply: bool = False) -> None:
        now_us = time.time_ns() // 1000 - pgoutput.POSTGRES_EPOCH_US
        # 0 moves nothing: with lsn.flush.mode=manual somebody else moves the slot.
        confirmed = Lsn(0) if self._confirms_nothing else self._confirmed if flushed is None else flushed
        now = time.monotonic()
        ask = bool(self._silence_s) and now - self._heard > self._silence_s / 2
        self._connection.send(
            _STATUS_FORMAT.pack(
                b"r", max(self._received, confirmed), confirmed, confirmed, now_us, ask or reply
            )
        )
        self._status_due = now + self._status_interval_s
