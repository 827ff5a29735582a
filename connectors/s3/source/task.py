"""The task of an S3 source: reads one object after the other."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from connect.api import RetriableError, SourceRecord, SourceTask, SourceTaskContext
from connectors.s3.source.arrivals import Arrivals
from connectors.s3.source.config import SourceConfig
from connectors.s3.source.listing import Candidate, Listing
from connectors.s3.source.places import Place
from connectors.s3.source.progress import COMPLETE, ETAG, OBJECT_KEY, Mark, Progress
from connectors.s3.source.queue import Queue
from connectors.s3.source.reading import Errant, Reading
from connectors.s3.store import Entry, ObjectChangedError, ObjectGoneError, open_bucket

log = structlog.get_logger(__name__)

# Among how many tasks the objects are shared, in the config of each.
TASKS: Final = "s3.source.tasks"
_POLL_S: Final = 0.5
_LONG_POLL_S: Final = 1  # of a queue; SQS counts in seconds


class S3SourceTask(SourceTask[SourceConfig]):
    _reading: Reading | None = None

    def start(self, context: SourceTaskContext, config: SourceConfig) -> None:
        self._context = context
        self._tasks = int(config.originals.get(TASKS, "1"))
        self._plan = plan = config.plan()
        self._bucket = open_bucket(plan.access, "read")
        self._progress = Progress(context, plan.access.scope, plan.changes)
        interval_s = plan.interval_ms / 1000 if plan.queue is None else plan.queue.listing_interval_s
        self.listing = Listing(
            self._bucket, plan.layout, self._is_wanted, interval_s,
            needs_keys=plan.needs_keys, needs_headers=plan.needs_headers,
        )  # fmt: skip
        # Objects that have been read, whose offsets are not stored yet, and the ETag.
        self._unstored: dict[str, str] = {}
        self._arrivals: Arrivals | None = None
        if plan.queue is not None:
            self._arrivals = Arrivals(
                Queue(plan.access, plan.queue), self._bucket, plan.layout, is_mine=self._is_mine,
                is_wanted=self._is_wanted, is_stored=lambda key: key not in self._unstored,
                needs_keys=plan.needs_keys, needs_headers=plan.needs_headers,
            )  # fmt: skip

    def poll(self) -> Sequence[SourceRecord]:
        records: list[SourceRecord] = []
        until = time.monotonic() + _POLL_S
        while not self._context.stopping and time.monotonic() < until:
            if self._reading is None and not self._open_next():
                if not records:
                    self._look_for_more()
                break
            if self._reading is not None and self._reading.errant is not None:
                # Telling of it may end the task: what was read before it is handed out first.
                if records:
                    break
                self._report(self._reading, self._reading.errant)
            elif self._reading is not None:
                records += self._read(self._reading, self._plan.records_max - len(records))
                if len(records) >= self._plan.records_max:
                    break
        return records

    def commit(self, offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        stored = [
            key
            for partition, offset in offsets
            if offset.get(COMPLETE) and self._unstored.get(key := partition[OBJECT_KEY]) == offset.get(ETAG)
        ]
        for key in stored:
            self._unstored.pop(key, None)
        if self._arrivals is not None:
            self._arrivals.stored(stored)

    def _is_mine(self, key: str, place: Place) -> bool:
        return self._plan.layout.task(key, place, self._tasks) == self._context.task_id % self._tasks

    def _is_wanted(self, entry: Entry, place: Place) -> bool:
        return (
            entry.modified_ms >= self._plan.since_ms
            and self._is_mine(entry.key, place)
            and self._progress.start(entry) is not None
        )

    def _next_candidate(self) -> Candidate | None:
        if self._arrivals is None or (arrival := self._arrivals.next_order) is None:
            return self.listing.next()
        listed = self.listing.next_order
        return self._arrivals.next() if listed is None or arrival < listed else self.listing.next()

    def _open_next(self) -> bool:
        while (candidate := self._next_candidate()) is not None:
            mark = self._progress.start(candidate.entry)
            if mark is not None:
                self._open(candidate, mark)
                return True
        return False

    def _open(self, candidate: Candidate, mark: Mark) -> None:
        self._reading = Reading(self._bucket, self._plan, self._progress, candidate, mark)

    def _look_for_more(self) -> None:
        pause_s = self.listing.seconds_to_scan()
        # What was there before the task comes first: objects of a partition are read in their order.
        if self._arrivals is not None and self.listing.scans:
            self._arrivals.receive(_LONG_POLL_S if pause_s else 0)
            if pause_s or self._arrivals.next_order is not None:
                return
        if pause_s:
            self._context.wait(min(pause_s, 2 * _POLL_S))
        else:
            self.listing.scan(_POLL_S)

    def _read(self, reading: Reading, count: int) -> list[SourceRecord]:
        before = reading.mark
        try:
            records = reading.take(count)
        except (ObjectGoneError, ObjectChangedError) as exc:
            log.warning("reading is given up; a new version is found by the next listing", error=str(exc))
            self._progress.interrupted(reading.candidate.entry, before)
            self._reading = None
            return []
        except RetriableError:
            # What was read before it is not handed out, so read it again.
            self._open(reading.candidate, before)
            raise
        if len(records) < count and reading.errant is None:
            self._complete(reading)
        return records

    def _report(self, reading: Reading, errant: Errant) -> None:
        if not self._plan.tolerates:
            self._context.report_errant(errant.record, errant)
        log.warning("left out", error=str(errant))
        reading.errant = None
        if errant.rest:
            self._complete(reading)

    def _complete(self, reading: Reading) -> None:
        entry, mark = reading.candidate.entry, reading.mark
        self._progress.completed(entry, mark.records)
        if self._arrivals is not None:
            self._unstored[entry.key] = entry.etag
        self._context.advance(
            reading.source_partition, self._progress.source_offset(entry, mark, complete=True)
        )
        log.debug("read", object=self._bucket.url(entry.key), records=mark.records)
        self._reading = None
