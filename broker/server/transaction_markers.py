"""Ends transactions where they were: markers into the logs, and the news to the groups.

The logs that can be written get their markers at once, within the call. One that cannot, because it is
offline or the disk is full, is tried again until it can or its topic is deleted; nothing else waits for it
but the transactional id itself.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import structlog

from broker.coordinator.messages import CommitResult, EndTransaction
from broker.coordinator.transaction_effects import Done, WriteMarkers
from broker.handlers.coordination import Groups
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.sync import GroupCommit
from broker.log.transactions import TransactionMarker
from broker.wire.errors import ErrorCode, KafkaError

logger = structlog.get_logger(__name__)

RETRY_S_MIN = 0.1
RETRY_S_MAX = 5.0

COORDINATOR_EPOCH = 0
"""How often the coordinator has changed: with one broker, never."""

ENDED_ALREADY = frozenset({ErrorCode.invalid_producer_epoch, ErrorCode.transaction_coordinator_fenced})
"""What a log says that has seen a later marker of the producer."""


class MarkerWriter:
    """All markers of this broker's transactions."""

    def __init__(self, logs: LogManager, commits: GroupCommit, groups: Groups) -> None:
        self.logs = logs
        self.commits = commits
        self.groups = groups
        self._ends: dict[str, _End] = {}

    def write(self, markers: WriteMarkers, written: Callable[[], None], durable: Done) -> None:
        """See `TransactionPerformer.write_markers`. What a transactional id has written before is dropped."""
        if (before := self._ends.get(markers.transactional_id)) is not None:
            before.stop()
        end = _End(self, markers, written, durable)
        self._ends[markers.transactional_id] = end
        end.attempt()

    def finished(self, end: "_End") -> None:
        if self._ends.get(end.transactional_id) is end:
            del self._ends[end.transactional_id]

    def close(self) -> None:
        """Try nothing again."""
        for end in self._ends.values():
            end.stop()


class _End:
    """The end of one transaction, in every partition and group that it had."""

    def __init__(
        self, writer: MarkerWriter, markers: WriteMarkers, written: Callable[[], None], durable: Done
    ) -> None:
        self.transactional_id = markers.transactional_id
        self._writer = writer
        self._markers = markers
        self._written = written
        self._durable = durable
        self._partitions = set(markers.partitions)
        self._groups = set(markers.groups)
        self._under_way = 0
        """Syncs and questions to groups."""
        self._is_written = False
        self._is_finished = False
        self._retry_s = RETRY_S_MIN
        self._retry: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Do nothing more; what is under way is of no interest."""
        self._is_finished = True
        if self._retry is not None:
            self._retry.cancel()

    def attempt(self) -> None:
        """Write what is missing."""
        self._retry = None
        self._end_partitions()
        self._end_groups()
        self._look()

    def _look(self) -> None:
        """Go on to what comes next, or try again later."""
        if self._is_finished:
            return
        if self._partitions or self._groups:
            if self._retry is None:
                loop = asyncio.get_running_loop()
                self._retry = loop.call_later(self._retry_s, self.attempt)
                self._retry_s = min(2 * self._retry_s, RETRY_S_MAX)
            return
        if not self._is_written:
            self._is_written = True
            self._written()
        if not self._under_way:
            self._finish(ok=True)

    def _finish(self, *, ok: bool) -> None:
        if not self._is_finished:
            self.stop()
            self._writer.finished(self)
            self._durable(ok)

    def _end_partitions(self) -> None:
        marker = TransactionMarker(
            self._markers.producer_id,
            self._markers.producer_epoch,
            COORDINATOR_EPOCH,
            self._markers.is_commit,
            transaction_version=2 if self._markers.is_v2 else 0,
        )
        now_ms = time.time_ns() // 1_000_000
        appended = []
        for partition in tuple(self._partitions):
            log = self._writer.logs.get(*partition)
            if log is not None:  # else the topic was deleted
                try:
                    log.append_marker(marker, now_ms)
                    self._writer.commits.written(log)
                    appended.append(log)
                except KafkaError as error:
                    if error.code not in ENDED_ALREADY:
                        continue
                    logger.warning(
                        "marker refused", log=log.directory.name, marker=marker, error=error.message
                    )
            self._partitions.remove(partition)
        if appended:
            self._under_way += 1
            self._writer.commits.after_sync(appended, lambda: self._synced(appended))

    def _synced(self, logs: list[PartitionLog]) -> None:
        self._under_way -= 1
        if any(_has_failed(log) for log in logs):
            self._finish(ok=False)
        else:
            self._look()

    def _end_groups(self) -> None:
        markers = self._markers
        for group_id in tuple(self._groups):
            self._groups.remove(group_id)
            self._under_way += 1
            answer = self._writer.groups.ask(
                EndTransaction(group_id, markers.producer_id, markers.producer_epoch, markers.is_commit)
            )
            asyncio.ensure_future(answer).add_done_callback(partial(self._group_ended, group_id))

    def _group_ended(self, group_id: str, done: "asyncio.Future[CommitResult]") -> None:
        self._under_way -= 1
        error = done.exception()
        if error is None and done.result().error_code is not ErrorCode.none:
            error = KafkaError(done.result().error_code)
        if error is not None:
            logger.warning("group not told of the end of a transaction", group=group_id, error=str(error))
            self._groups.add(group_id)
        self._look()


def _has_failed(log: PartitionLog) -> bool:
    """Whether a sync of the log failed; one that is closed because its topic was deleted does not count."""
    return log.failure is not None and log.failure.code is not ErrorCode.unknown_topic_or_partition
