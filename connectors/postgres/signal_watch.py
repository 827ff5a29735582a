"""Obeys signals, and shows the stream's changes to the incremental snapshot."""

from collections import deque
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring as quote
from typing import Any

import structlog

from connectors.postgres import pgoutput
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.incremental import IncrementalSnapshot
from connectors.postgres.incremental_chunks import Window
from connectors.postgres.offsets import REQUESTS
from connectors.postgres.plan import TablePlan
from connectors.postgres.signals import (
    BLOCKING,
    CLOSE,
    OPEN,
    Signal,
    SnapshotRequest,
    parse_row,
    show_requests,
    snapshot_kind,
    snapshot_request,
    table_list,
)

Row = Sequence[str]

log = structlog.get_logger(__name__)


class SignalWatch:
    """What the stream calls for each change.

    `interrupts` says that the stream should hand out what it has, as a chunk is to be read; `blocking` are
    the blocking snapshots asked for, which begin between two transactions.
    """

    def __init__(self, config: PostgresSourceConfig, incremental: IncrementalSnapshot) -> None:
        self._takes_rows = "source" in config.signal_channels
        schema, _, table = (config.signal_data_collection or "").partition(".")
        self._signal_table = f'"schema":{quote(schema)},"table":{quote(table)},'  # TablePlan.source_table
        self._incremental = incremental
        self.blocking: deque[SnapshotRequest] = deque()
        self._blocking_fields: dict[str, Any] = {}

    @property
    def interrupts(self) -> bool:
        return self._incremental.wants_chunk

    @property
    def wants_pause(self) -> bool:
        return bool(self.blocking)

    def fields(self) -> Mapping[str, Any]:
        """What an offset has to say of the snapshots that were asked for. Not to be changed."""
        incremental = self._incremental.fields()
        return {**incremental, **self._blocking_fields} if self.blocking else incremental

    def ask(self, *requests: SnapshotRequest) -> None:
        """Blocking snapshots are wanted."""
        self.blocking.extend(requests)
        self._blocking_fields = {REQUESTS: show_requests(self.blocking)}

    def blocking_done(self) -> None:
        """The first of them has been read."""
        self.blocking.popleft()
        self._blocking_fields = {REQUESTS: show_requests(self.blocking)}

    def is_passed(self, lsn: int) -> bool:
        """A window can be written now that everything before `lsn` has come."""
        return self._incremental.passed(lsn) is not None

    def transaction(self, xid: int) -> None:
        self._incremental.transaction(xid)

    def truncated(self, plan: TablePlan) -> None:
        self._incremental.truncated(plan)

    def described(self, plan: TablePlan) -> None:
        self._incremental.described(plan)

    def written(self, window: Window) -> None:
        self._incremental.written(window)

    def ignores(self, plan: TablePlan) -> bool:
        """Whether changes of a table need not be shown to `row`, and offsets have nothing to tell."""
        return plan.source_table != self._signal_table and self._incremental.is_idle and not self.fields()

    def row(
        self, kind: int, plan: TablePlan, old: Row | None, new: Row | None, xid: int, is_skipped: bool
    ) -> Window | None:
        """A change; the window that is to be written behind it, if it is the second mark of one."""
        if plan.source_table == self._signal_table:
            if kind == pgoutput.INSERT and new is not None:
                return self._inserted(new)
            if kind == pgoutput.DELETE and old is not None:
                return self._deleted(plan, old)
            return None
        if not is_skipped and not self._incremental.is_idle:
            self._incremental.changed(plan, (old, new), xid)
        return None

    def _inserted(self, row: Row) -> Window | None:
        try:
            signal = parse_row(row)
        except ValueError as exc:
            log.warning("a row of the signal table is no signal and passed over", row=list(row), why=str(exc))
            return None
        if signal.type in (OPEN, CLOSE):
            return self._incremental.mark(signal.type, signal.id)
        if self._takes_rows:
            self.obey(signal)
        return None

    def _deleted(self, plan: TablePlan, row: Row) -> Window | None:
        """incremental.snapshot.watermarking.strategy=insert_delete: the first mark is taken away."""
        try:
            signal = parse_row([*row[:1], '"deleted"', "null"])
        except ValueError:
            return None
        return self._incremental.mark(CLOSE, signal.id)

    def obey(self, signal: Signal) -> None:
        """Do what a signal says; one that makes no sense is told of in the log."""
        try:
            self._obey(signal)
        except ValueError as exc:
            log.warning("a signal makes no sense and is passed over", id=signal.id, type=signal.type,
                        why=str(exc))  # fmt: skip

    def _obey(self, signal: Signal) -> None:
        match signal.type:
            case "execute-snapshot":
                request = snapshot_request(signal)
                if request.kind == BLOCKING:
                    self.ask(request)
                else:
                    self._incremental.execute(request)
            case "stop-snapshot":
                if snapshot_kind(signal) == BLOCKING:
                    raise ValueError("a blocking snapshot cannot be stopped")
                self._incremental.stop(table_list(signal))
            case "pause-snapshot":
                self._incremental.pause()
            case "resume-snapshot":
                self._incremental.resume()
            case "log":
                log.info(str(signal.data.get("message", "")).replace("{}", str(dict(self.fields()))))
            case _:
                raise ValueError("there is no such type of signal")
