"""The task: snapshot, then stream, and back to where it was after any interruption."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import psycopg
import structlog
from psycopg import errors

from connect.api import ConnectError, RetriableError, SourceRecord, SourceTask, SourceTaskContext
from connectors.postgres import pgoutput
from connectors.postgres.catalog import Catalog, Column, Table
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import CopyReader, MessageReader, ReplicationConnection, connect
from connectors.postgres.envelope import SourceBlocks
from connectors.postgres.filters import Filters
from connectors.postgres.heartbeat import Heartbeats
from connectors.postgres.identity import set_identities
from connectors.postgres.messages import MessageRecords
from connectors.postgres.notifications import Notifications, SnapshotNotifications
from connectors.postgres.offsets import (
    PROGRESS,
    Lsn,
    Position,
    moved,
    parse_lsn,
    read_offset,
    show_lsn,
    start_offset,
)
from connectors.postgres.on_demand import OnDemand
from connectors.postgres.plan import TablePlan
from connectors.postgres.publication import Publication
from connectors.postgres.records import RecordMaker
from connectors.postgres.refusals import is_hopeless
from connectors.postgres.schema_changes import SchemaChanges
from connectors.postgres.signal_channels import SignalChannels
from connectors.postgres.slots import (
    LostWalError,
    Slot,
    create_slot,
    current_lsn,
    drop_slot,
    find_slot,
    is_behind,
    resume_at,
)
from connectors.postgres.snapshot import Scope, Snapshot
from connectors.postgres.snapshot_chunks import Progress
from connectors.postgres.snapshot_mode import snapshot_mode
from connectors.postgres.snapshot_progress import SnapshotMeter
from connectors.postgres.snapshot_records import SnapshotPoint
from connectors.postgres.stream import Records, SilentServerError, Stream
from connectors.postgres.stream_metrics import StreamMeter
from connectors.postgres.stream_options import stream_options
from connectors.postgres.streamed import StreamedTransactions
from connectors.postgres.transactions import TransactionRecords
from connectors.postgres.type_map import TypeMap
from connectors.postgres.unavailable import Reselect, UnavailableValues
from connectors.postgres.xmin import SlotXmin

_BATCH_BYTES: Final = 8 << 20
_FIRST_RETRY_S: Final = 0.05
_DOUBLINGS: Final = 20
_SILENCE_LONGEST_S: Final = 3600.0
_PAUSE_S: Final = 0.5
# The primary key, or an index: pg_class.relreplident.
_KEYED: Final = ("d", "i")

log = structlog.get_logger(__name__)


class PostgresSourceTask(SourceTask[PostgresSourceConfig]):
    """Reads one database. All work happens in `poll`, so that a server that is down is tried again."""

    _started = False

    def start(self, context: SourceTaskContext, config: PostgresSourceConfig) -> None:
        self._context = context
        self._config = config
        self._filters = Filters(config)
        self._maker = RecordMaker(config, context.task_id)
        self._schema_changes = (
            SchemaChanges(config, self._maker.source_partition) if config.include_schema_changes else None
        )
        self._mode = snapshot_mode(config)
        self._notifications = Notifications(config, self._maker.source_partition)
        self._meter = SnapshotMeter(context.metrics, config.topic_prefix)
        self._batch_bytes = config.max_queue_bytes or _BATCH_BYTES
        stored = context.offset(self._maker.source_partition)
        # The offset after the last record handed out: a lost connection goes on there.
        self._last_offset: Mapping[str, Any] | None = stored
        if stored is not None:
            read_offset(stored)  # complain now about one that makes no sense
        self._connection: psycopg.Connection[Any] | None = None
        self._replication: ReplicationConnection | None = None
        self._stream: Stream | None = None
        self._started_snapshot = False
        self._failures = 0
        self._silence_s = config.silence_timeout_ms / 1000
        self._stream_meter = StreamMeter(context.metrics, config)
        self._channels: SignalChannels | None = None
        self._batches = self._run()
        self._started = True

    # --- the calls of the runtime

    def poll(self) -> Sequence[SourceRecord]:
        try:
            batch = next(self._batches, [])
        except (psycopg.OperationalError, psycopg.InterfaceError, EOFError) as exc:
            raise self._begin_again(self._lost_connection(exc)) from exc
        except RetriableError as exc:
            self._begin_again(exc)
            raise
        except psycopg.Error as exc:
            raise ConnectError(f"PostgreSQL refused: {str(exc).strip()}") from exc
        if batch:
            self._failures = 0
            self._last_offset = batch[-1].source_offset
        else:
            self._advance_when_idle()
        return batch

    def _begin_again(self, error: ConnectError) -> ConnectError:
        self._disconnect()
        self._batches = self._run_again()
        return error

    def _lost_connection(self, exc: Exception) -> ConnectError:
        self._failures += 1
        if isinstance(exc, SilentServerError):  # a server that was only busy must get ready some time
            self._silence_s = min(self._silence_s * 2, _SILENCE_LONGEST_S)
        message = f"connection to {self._config.hostname} lost or refused: {str(exc).strip()}"
        if isinstance(exc, psycopg.OperationalError) and is_hopeless(exc):
            return ConnectError(message)
        if 0 <= self._config.errors_max_retries < self._failures:
            return ConnectError(f"{message}; errors.max.retries={self._config.errors_max_retries} is used up")
        return RetriableError(message)

    def commit(self, offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        self._silence_s = self._config.silence_timeout_ms / 1000
        for _, offset in offsets:
            position = read_offset(offset)
            if self._stream is not None and not position.in_snapshot:
                self._stream.confirm(position.start)
        if self._channels is not None:
            self._channels.stored()

    def stop(self) -> None:
        if not self._started:  # the stored offset was refused, and nothing is open
            return
        self._batches = iter(())
        self._disconnect()
        if self._channels is not None:
            self._channels.close()
        if self._config.slot_drop_on_stop:
            with connect(self._config) as connection:
                drop_slot(connection, self._config.slot_name)

    # --- what happens when

    def _run_again(self) -> Iterator[Sequence[SourceRecord]]:
        """Once more, the later the more often it failed; the runtime waits a little, too."""
        if self._failures > 1:
            longest_s = self._config.retriable_wait_ms / 1000
            yield from self._pause(min(_FIRST_RETRY_S * 2 ** min(self._failures, _DOUBLINGS), longest_s))
        yield from self._run()

    def _run(self) -> Iterator[Sequence[SourceRecord]]:
        config = self._config
        self._connection = connect(config)
        catalog = Catalog(self._connection)
        position = read_offset(self._last_offset) if self._last_offset is not None else None
        publication = Publication(self._connection, config, self._filters, catalog)
        slot = self._slot(position)
        if self._streams():
            set_identities(self._connection, config, self._filters, catalog)
            gap = publication.prepare(goes_on=position is not None)
            if gap and slot is not None and self._mode.when_changes_are_lost:
                # An older server cannot decode what it has from the time without publication.
                drop_slot(self._connection, config.slot_name)
                slot = None
            self._replication = ReplicationConnection(config)
        if self._wants_snapshot(position, slot):
            scope = Scope(self._override, progress=self._progress(position, slot))
            point = yield from self._snapshot_point(slot)
            yield from self._pause(config.snapshot_delay_ms / 1000)
            yield from self._read_snapshot(point, scope)
            start, position = point.lsn, None
        elif position is not None:
            yield from self._tell_skipped()
            start = position.start
            if self._streams():
                start = resume_at(self._connection, config, position, slot)
        elif slot is not None or not self._streams():
            start = slot.confirmed_lsn if slot else Lsn(0)
        else:
            start = (yield from create_slot(self._replication_connection(), config)).lsn
        if not self._streams():
            log.info("this snapshot.mode streams nothing", mode=config.snapshot_mode)
            while True:
                yield from self._pause(_PAUSE_S)
        yield from self._pause(config.streaming_delay_ms / 1000)
        yield from self._read_stream(start, position, catalog, publication)

    def _slot(self, position: Position | None) -> Slot | None:
        connection = self._ordinary_connection()
        try:
            return find_slot(connection, self._config, position)
        except LostWalError:
            if not self._mode.when_changes_are_lost:
                raise
            log.warning("the slot has lost WAL and is made anew", slot=self._config.slot_name)
            drop_slot(connection, self._config.slot_name)
            return None

    def _streams(self) -> bool:
        return self._mode.streams

    def _wants_snapshot(self, position: Position | None, slot: Slot | None) -> bool:
        mode = self._mode
        if mode.without_offset and (position is None or position.in_snapshot):
            return True
        if mode.at_each_start and not self._started_snapshot:
            return True
        if position is None or not mode.streams:
            return False
        if slot is None:
            return mode.when_changes_are_lost or (mode.without_offset and self._config.slot_drop_on_stop)
        return mode.when_changes_are_lost and is_behind(self._config, position, slot)

    def _tell_skipped(self) -> Iterator[Sequence[SourceRecord]]:
        """Once after the start: what is stored makes a snapshot needless."""
        if not self._started_snapshot and self._last_offset is not None:
            self._started_snapshot = True
            if told := SnapshotNotifications(self._notifications).skipped(self._last_offset):
                yield told

    def _override(self, table: str) -> str | None:
        return self._config.override(table) if table in self._config.snapshot_overrides else None

    def _progress(self, position: Position | None, slot: Slot | None) -> Progress:
        """What an interrupted snapshot has read already, as far as it still counts.

        The exported snapshot that it read is gone, and the rest is read as of now. That is right only if the
        stream tells afterwards what has changed since the first rows were read: the same slot must be there.
        """
        if position is None or not position.in_snapshot or slot is None or not self._streams():
            return Progress()
        if self._last_offset is None or slot.confirmed_lsn > position.lsn:
            return Progress()
        shown = self._last_offset.get(PROGRESS)
        if not isinstance(shown, str):
            return Progress()
        progress = Progress.from_json(shown)
        log.info("the snapshot goes on where it was", done=len(progress.done), table=progress.table)
        return progress

    def _snapshot_point(self, slot: Slot | None) -> Generator[Sequence[SourceRecord], None, SnapshotPoint]:
        """Where the snapshot stands.

        With a slot that exists already, the stream afterwards goes on at the slot's own position, not at
        the snapshot's: rows that an earlier, interrupted snapshot or stream has written may have been
        deleted since, and only the stream tells so.
        """
        if not self._streams():
            return SnapshotPoint(parse_lsn(current_lsn(self._ordinary_connection())), None)
        if slot is not None:
            return SnapshotPoint(slot.confirmed_lsn, None)
        made = yield from create_slot(self._replication_connection(), self._config)
        return SnapshotPoint(made.lsn, made.snapshot_name)

    def _read_snapshot(self, point: SnapshotPoint, scope: Scope) -> Iterator[Sequence[SourceRecord]]:
        self._started_snapshot = True
        log.info("snapshot", lsn=show_lsn(point.lsn), kind=point.kind)
        snapshot = Snapshot(
            self._config, self._filters, self._maker, self._batch_bytes,
            SnapshotNotifications(self._notifications), self._meter,
        )  # fmt: skip
        try:
            yield from snapshot.read(point, scope)
        finally:
            self._meter.interrupt()
        # Where no row carried it. On its own, as it must not come after the stream's first records.
        self._last_offset = snapshot.completed_offset
        self._context.advance(self._maker.source_partition, snapshot.completed_offset)
        yield []

    def _read_stream(
        self, start: Lsn, resume: Position | None, catalog: Catalog, publication: Publication
    ) -> Iterator[Sequence[SourceRecord]]:
        config = self._config
        reader = self._whole_transactions((yield from self._start_streaming(start)))
        log.info("streaming", slot=config.slot_name, lsn=show_lsn(start))
        records = self._records()
        base = self._last_offset or start_offset(start)
        on_demand = self._on_demand(base)
        stream = self._stream = Stream(
            self._replication_connection(), reader, start, resume,
            _Plans(config, self._filters, catalog).plan, records, self._unavailable(), config,
            self._silence_s, on_demand.watch,
        )  # fmt: skip
        xmin = SlotXmin(config, self._ordinary_connection(), records.sources)
        heartbeats = Heartbeats(config, self._maker.source_partition)
        while True:
            xmin.refresh()
            publication.follow()
            try:
                batch = stream.read(config.max_batch_size, self._batch_bytes, config.poll_interval_ms / 1000)
            except errors.UndefinedObject as exc:  # before PostgreSQL 18 it stays so when it is made again
                raise publication.missing(str(exc).splitlines()[0]) from exc
            self._failures = 0
            self._stream_meter.batch(stream, reader, self._ordinary_connection(), len(batch))
            if heartbeats.due():
                if config.heartbeat_action_query:
                    self._ordinary_connection().execute(config.heartbeat_action_query.encode())
                offset = stream.idle_offset() or (batch[-1].source_offset if batch else self._last_offset)
                if offset is not None:
                    batch.append(heartbeats.record(offset))
            yield batch
            yield from on_demand.steps(stream, lambda: self._last_offset or base)
            changed = on_demand.changed_offset(stream, self._last_offset or base)
            if changed is not None:
                self._last_offset = changed
                self._context.advance(self._maker.source_partition, changed)

    def _on_demand(self, offset: Mapping[str, Any]) -> OnDemand:
        return OnDemand(
            self._config, self._filters, self._ordinary_connection(), self._notifications, self._maker,
            self._signals(), self._read_snapshot, self._override, offset,
        )  # fmt: skip

    def _signals(self) -> SignalChannels:
        """The channels of signals, which stay open when the connection to the server is lost."""
        if self._channels is None:
            self._channels = SignalChannels(self._config)
        return self._channels

    def _records(self) -> Records:
        """Who makes the records of the stream."""
        config, partition = self._config, self._maker.source_partition
        return Records(
            self._maker,
            MessageRecords(config, self._filters, partition),
            SourceBlocks(config),
            TransactionRecords(config, partition, self._last_offset or {})
            if config.provide_transactions
            else None,
            self._schema_changes,
        )

    def _unavailable(self) -> UnavailableValues | None:
        config = self._config
        if not config.marks_unavailable:
            return None
        settings = config.reselect
        reselect = Reselect(settings, self._ordinary_connection(), self._filters) if settings else None
        return UnavailableValues(config.unavailable_mode == "omit", reselect)

    def _whole_transactions(self, reader: CopyReader) -> MessageReader:
        config = self._config
        if config.streamed_transactions == "off":
            return reader
        return StreamedTransactions(
            reader, self._filters.keeps_table, config.streamed_memory_bytes, config.streamed_directory
        )

    def _start_streaming(self, start: Lsn) -> Generator[Sequence[SourceRecord], None, CopyReader]:
        """Take the slot.

        After a crash the server may not have noticed yet that the old connection is gone, which takes it
        some milliseconds, so the first tries follow quickly.
        """
        config = self._config
        options = stream_options(config)
        delay_s, longest_s = _FIRST_RETRY_S, config.slot_retry_delay_ms / 1000
        deadline = time.monotonic() + config.slot_max_retries * longest_s
        while True:
            try:
                return self._replication_connection().start(config.slot_name, show_lsn(start), options)
            except errors.ObjectInUse as exc:
                if time.monotonic() >= deadline:
                    raise ConnectError(
                        f"{str(exc).strip()}: another connector or tool reads from the slot "
                        f"{config.slot_name}. Stop it, or give this connector a slot.name and "
                        "publication.name of its own"
                    ) from exc
            yield from self._pause(delay_s)
            delay_s = min(delay_s * 2, longest_s)

    def _pause(self, seconds: float) -> Iterator[Sequence[SourceRecord]]:
        """Let the time pass in polls that return nothing, each soon enough for the runtime."""
        while seconds > 0:
            self._context.wait(min(seconds, _PAUSE_S))
            seconds -= _PAUSE_S
            yield []

    def _advance_when_idle(self) -> None:
        """Let the server forget WAL without captured changes: once the position is stored, never before, so
        that a slot which is ahead of the stored offset is always one that has lost changes."""
        stream = self._stream
        if stream is None or stream.idle_offset() is None:
            return
        if self._last_offset is None:  # nothing is stored: the slot alone says where to go on
            stream.confirm(stream.received)
        elif stream.received > read_offset(self._last_offset).start:
            self._last_offset = moved(self._last_offset, stream.received)
            self._context.advance(self._maker.source_partition, self._last_offset)

    def _replication_connection(self) -> ReplicationConnection:
        assert self._replication is not None
        return self._replication

    def _ordinary_connection(self) -> psycopg.Connection[Any]:
        assert self._connection is not None
        return self._connection

    def _disconnect(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self._stream_meter.disconnected()
        if self._replication is not None:
            self._replication.close()
            self._replication = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Plans:
    """Makes the plan of a relation from the stream's description and the catalog's."""

    def __init__(self, config: PostgresSourceConfig, filters: Filters, catalog: Catalog) -> None:
        self._config = config
        self._filters = filters
        self._catalog = catalog
        self._types = TypeMap(config, asks=True)

    def plan(self, relation: pgoutput.Relation) -> TablePlan | None:
        """The relation's plan, None for one that is not captured."""
        if not self._filters.keeps_table(relation.schema, relation.name):
            return None
        self._catalog.forget_enums()
        incoming = [(c.name, self._catalog.type(c.type_oid), c.typmod) for c in relation.columns]
        identity = [c.name for c in relation.columns if c.identity]
        table = self._catalog.table(relation.oid, relation.schema, relation.name)
        if table is None:  # dropped since: only the stream knows it
            key = tuple(identity) if relation.replica_identity == "d" else ()
            columns = tuple(
                Column(name, pg_type, typmod, name in key, None, None) for name, pg_type, typmod in incoming
            )
            table = Table(relation.oid, relation.schema, relation.name, columns, key)
        elif relation.replica_identity in _KEYED and identity and set(identity) != set(table.key):
            # The key has changed since: the catalog knows the new one, the stream the one of these rows.
            table = replace(table, key=tuple(identity))
        return TablePlan(table, incoming, identity, self._config, self._types, self._filters)
