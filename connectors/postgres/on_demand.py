"""Snapshots that users ask for while the stream goes on: what is done between two reads of the stream."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg
import structlog

from connect.api import ConnectError, SourceRecord
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import timestamps
from connectors.postgres.filters import Filters
from connectors.postgres.incremental import IncrementalSnapshot
from connectors.postgres.incremental_chunks import Window
from connectors.postgres.incremental_context import IncrementalContext, context_of, without_context
from connectors.postgres.notifications import Notifications
from connectors.postgres.offsets import PROGRESS, REQUESTS, Lsn, without_snapshot
from connectors.postgres.records import READ, RecordMaker
from connectors.postgres.signal_channels import SignalChannels
from connectors.postgres.signal_watch import SignalWatch
from connectors.postgres.signals import SnapshotRequest, matches, read_requests, show_requests
from connectors.postgres.snapshot import Scope
from connectors.postgres.snapshot_chunks import Override, Progress
from connectors.postgres.snapshot_records import SnapshotPoint
from connectors.postgres.stream import Stream

_ASK_EVERY_S: Final = 0.05

Batches = Iterator[Sequence[SourceRecord]]
ReadSnapshot = Callable[[SnapshotPoint, Scope], Batches]

log = structlog.get_logger(__name__)


class OnDemand:
    """Signals, incremental and blocking snapshots of one stream. `offset` is where it begins."""

    def __init__(
        self, config: PostgresSourceConfig, filters: Filters, connection: psycopg.Connection[Any],
        notifications: Notifications, maker: RecordMaker, channels: SignalChannels,
        read_snapshot: ReadSnapshot, override: Override, offset: Mapping[str, Any],
    ) -> None:  # fmt: skip
        context = IncrementalContext()
        context.load(offset)
        self._config = config
        self._maker = maker
        self._channels = channels
        self._read_snapshot = read_snapshot
        self._override = override
        self._incremental = IncrementalSnapshot(config, filters, connection, notifications, context)
        self._watch = SignalWatch(config, self._incremental)
        self._progress = Progress()
        self._go_on(offset)
        self._ask_due = 0.0

    def _go_on(self, offset: Mapping[str, Any]) -> None:
        """With blocking snapshots that an offset tells of."""
        shown = offset.get(REQUESTS)
        if shown is None:
            return
        try:
            self._watch.ask(*read_requests(shown))
        except ValueError as exc:
            raise ConnectError(
                f"{REQUESTS} in the offset cannot be read: {exc}. Set the connector's offsets without this "
                "field, and ask for the snapshots again"
            ) from exc
        if isinstance(progress := offset.get(PROGRESS), str):
            self._progress = Progress.from_json(progress)

    @property
    def watch(self) -> SignalWatch | None:
        """What the stream has to show its changes to, if anybody can ask for a snapshot at all."""
        return self._watch if self._config.takes_signals or self._watch.fields() else None

    def steps(self, stream: Stream, last_offset: Callable[[], Mapping[str, Any]]) -> Batches:
        """What is to be done after a read of the stream. `last_offset` gives the offset after the last record
        handed out."""
        for signal in self._channels.read():
            self._watch.obey(signal)
        while self._watch.blocking and stream.is_between:
            yield from self._read_blocking(stream, last_offset())
        for batch in self._incremental.work(last_offset()):
            stream.keep_alive()
            yield batch
        if (window := self._incremental.passed(stream.received)) is not None:
            if records := self._write(stream, window, last_offset()):
                yield records
        elif self._incremental.waits_for_position and time.monotonic() >= self._ask_due:
            self._ask_due = time.monotonic() + _ASK_EVERY_S
            stream.ask_position()

    def changed_offset(self, stream: Stream, offset: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The offset with what no record has told yet of the snapshots that were asked for; None where there
        is nothing to tell, or records are still to be handed out."""
        if stream.holds:
            return None
        fields = self._watch.fields()
        if fields == context_of(offset) and not self._channels.must_store():
            return None
        return {**without_context(offset), **fields}

    def _write(self, stream: Stream, window: Window, offset: Mapping[str, Any]) -> list[SourceRecord]:
        """The rows of a window that no mark in the stream ends."""
        source = stream.incremental_source(window, stream.received)
        tail = timestamps(time.time_ns())
        records = [
            self._maker.present(READ, window.plan, row, source, tail, offset) for row in window.remaining()
        ]
        self._incremental.written(window)
        if records:
            records[-1].source_offset = {**without_context(offset), **self._watch.fields()}
        return records

    def _read_blocking(self, stream: Stream, offset: Mapping[str, Any]) -> Batches:
        request = self._watch.blocking[0]
        log.info("blocking snapshot", tables=request.tables, signal=request.id)
        point = SnapshotPoint(
            Lsn(offset["lsn"]), None, "BLOCKING", offset.get("lsn_commit") or 0, offset.get("txId"),
            without_snapshot(offset), self._watch.fields(), self._left(),
        )  # fmt: skip
        progress, self._progress = self._progress, Progress()
        for batch in self._read_snapshot(point, self._scope(request, progress)):
            stream.keep_alive()
            yield batch
        self._watch.blocking_done()

    def _left(self) -> dict[str, Any]:
        """What offsets say of the blocking snapshots behind the first."""
        left = list(self._watch.blocking)[1:]
        return {REQUESTS: show_requests(left)} if left else {}

    def _scope(self, request: SnapshotRequest, progress: Progress) -> Scope:
        return Scope(
            lambda table: request.condition(table) or self._override(table),
            lambda table: any(matches(pattern, table) for pattern in request.tables), progress,
        )  # fmt: skip
