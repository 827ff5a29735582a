"""The open files of one Kafka partition, from the first record to the offset that may be committed.

Exactly once: which records share a file follows from the records alone (see `rotation`), a file's key
follows from its first record, and the offset that may be committed moves only when all files that are open
together are in the bucket. A task that is killed leaves nothing or objects that the next one, starting at
the committed offset, writes again with the same key and content.

With scheduled rotation the clock decides too. Then objects are written only where there is none
(`If-None-Match: *`), each tells in its metadata up to which offset it has the records of its place, and a
task that finds one leaves those records out and begins again. (The object of a multipart upload cannot
tell; only its first record is known to be in it, and others may be written a second time.)

With the extractor Wallclock a record that comes again after a crash may belong to another folder, so some
may be there twice: at least once.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, Final, NoReturn

import structlog

from connect.api import ConnectError, DataError, RetriableError, Schema, SinkTaskContext, TopicPartition
from connect.api.records import SinkRecord
from connectors.s3.compatibility import Compatibility
from connectors.s3.files import FilePart, OpenFile, Tagging
from connectors.s3.intake import Batch, Intake
from connectors.s3.naming import Naming
from connectors.s3.objects import GrowingObject
from connectors.s3.rotation import Rotation, RotationRules, Schedule
from connectors.s3.staging import Staging
from connectors.s3.store import Bucket, ObjectExistsError, UploadLostError
from connectors.s3.timestamps import TimestampExtractor
from connectors.s3.views import Views

log = structlog.get_logger(__name__)

NEXT_OFFSET: Final = "next-offset"

# Topic (as a transform left it), encoded partition, and the variant of its items.
Place = tuple[str, str, Hashable]


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What all writers of a task share."""

    bucket: Bucket
    part_bytes: int
    staging: Staging
    views: Views
    naming: Naming
    intake: Intake
    rules: RotationRules
    extractor: TimestampExtractor | None
    tagging: Tagging | None
    compatibility: Compatibility
    only_new_objects: bool


@dataclass(slots=True)
class _Run:
    """Items of one place, with the offsets of the first and the last of their records."""

    first_offset: int
    last_offset: int
    items: list[Any]


class _StartedOverError(Exception):
    """All open files were dropped; their records come again."""


class PartitionWriter:
    """`next_offset` is the first offset that was not taken yet, None before the first record.

    `started_over` says that all open files were dropped and the context was asked to deliver their records
    again: whatever else comes before them must not be written.
    """

    def __init__(
        self, source: TopicPartition, plan: FilePlan, schedule: Schedule | None, context: SinkTaskContext
    ) -> None:
        self.next_offset: int | None = None
        self.started_over = False
        self.files: dict[Place, OpenFile] = {}
        self._source = source
        self._plan = plan
        self._schedule = schedule
        self._context = context
        self._rotation = Rotation(plan.rules)
        self._is_rotating = False
        # That of the records in the open files, by topic and encoded partition.
        self._schemas: dict[tuple[str, str], Schema] = {}
        # Up to which offset objects that were found have the records, and where the first of them begins.
        self._found: dict[Place, int] = {}
        self._found_from: int | None = None

    @property
    def safe_offset(self) -> int | None:
        """The next offset to consume, of which a task that starts there does all that is not done."""
        offset = min((file.start_offset for file in self.files.values()), default=self.next_offset)
        if self._found and offset is not None and offset < max(self._found.values()):
            return self._found_from  # only from there on would another task find the same objects
        return offset

    def write(self, records: list[SinkRecord], now_ms: int) -> None:
        """Take records. After `RetriableError` the same ones may come again: those taken are left out."""
        done = self.next_offset
        if done is not None and records[0].offset < done:
            records = [record for record in records if record.offset >= done]
        if not records:
            return
        batch = self._plan.intake.take(records, now_ms)
        if self._found:
            batch = self._without_found(batch)
        try:
            self._write(batch)
        except _StartedOverError:
            return
        self.next_offset = records[-1].offset + 1
        self._forget_found()

    def tick(self, now_ms: int) -> None:
        """Do what is due without records: an interrupted rotation, one by the clock."""
        try:
            if self._is_rotating:
                self._rotate()
            is_due = self._schedule is not None and self._schedule.is_due(now_ms)
            if self.files and (is_due or self._is_idle_too_long(now_ms)):
                self._rotate()
        except _StartedOverError:
            return

    def shrink(self, file: OpenFile) -> None:
        """Free the memory of one of the open files."""
        try:
            self._guarded(file.shrink)
        except _StartedOverError:
            return

    def abandon(self) -> None:
        """Drop what is open; nothing of it stays in the bucket."""
        for file in self.files.values():
            file.abandon()
        self.files.clear()
        self._schemas.clear()
        self._rotation.reset()
        self._is_rotating = False

    def _is_idle_too_long(self, now_ms: int) -> bool:
        extractor = self._plan.extractor
        idle_ms = extractor.idle_time(now_ms) if extractor is not None else None
        return idle_ms is not None and self._rotation.is_overdue(idle_ms)

    def _write(self, batch: Batch) -> None:
        start, written = 0, list[OpenFile]()
        sizes = None
        if self._plan.rules.bytes_max is not None:
            sizes = self._plan.views.sizes(batch.items, batch.records)
        while start < len(batch):
            end = self._rotation.take(batch.places, batch.times, start, sizes)
            if start < end:
                written = self._append(batch, start, end)
            if end < len(batch) or self._rotation.is_full:
                self._rotate()
                written = []
            start = end
        for file in written:
            self._guarded(file.send_full_parts)

    def _append(self, batch: Batch, start: int, end: int) -> list[OpenFile]:
        """Put records into their files, in memory: they count as taken, whatever S3 says later."""
        self.next_offset = batch.records[end - 1].offset + 1
        batch = batch.slice(start, end)
        if self._plan.compatibility is not Compatibility.NONE:
            batch = self._settled(batch)
        written: list[OpenFile] = []
        if not batch:
            return written
        variants = self._plan.views.variants(batch.items)
        for place, run in _by_place(batch, variants).items():
            file = self.files.get(place) or self._open(place, run)
            file.write(run.items, run.last_offset)
            written.append(file)
        return written

    def _settled(self, batch: Batch) -> Batch:
        """With the schemas that the records of a place are to have; without those that cannot have it."""
        settled = Batch()
        for record, item, place in zip(batch.records, batch.items, batch.places, strict=True):
            where = record.topic, place
            try:
                wanted = self._plan.compatibility.settle(self._schemas.get(where), record)
                settled.items.append(item if wanted is record else self._plan.views.items([wanted])[0])
            except DataError as exc:
                self._plan.intake.report(record, exc)
                continue
            if wanted.value_schema is not None:
                self._schemas[where] = wanted.value_schema
            settled.records.append(record)
            settled.places.append(place)
        return settled

    def _open(self, place: Place, run: _Run) -> OpenFile:
        plan = self._plan
        topic, encoded_partition, _ = place
        parts = []
        for view, writer in zip(plan.views.all, plan.views.open(run.items[0]), strict=True):
            key = plan.naming.key(topic, encoded_partition, self._source, run.first_offset, view.extension)
            # The value's object says whether a file is there; the others go with it.
            if_absent = plan.only_new_objects and not view.suffix
            target = GrowingObject(plan.bucket, key, plan.part_bytes, plan.staging, if_absent=if_absent)
            parts.append(FilePart(writer, target, plan.staging))
        self.files[place] = file = OpenFile(
            parts, plan.views, run.first_offset, plan.bucket, plan.tagging, only_new=plan.only_new_objects
        )
        return file

    def _rotate(self) -> None:
        """Complete all files; after an error, `tick` goes on."""
        self._is_rotating = True
        metadata = {NEXT_OFFSET: str(self.next_offset)} if self._plan.only_new_objects else {}
        files = list(self.files.items())
        results = self._plan.staging.all([partial(file.complete, metadata) for _, file in files])
        errors = [error for error in results if error is not None]
        found = [n for n, error in enumerate(results) if isinstance(error, ObjectExistsError)]
        for n in found:
            self._leave_out(*files[n])
        if found:
            self._start_over()
        if errors:
            self._guard(next((e for e in errors if isinstance(e, UploadLostError)), errors[0]))
        self.files.clear()
        self._schemas.clear()
        self._rotation.reset()
        self._is_rotating = False
        self._forget_found()
        self._context.request_commit()

    def _guarded(self, request: Callable[[], None]) -> None:
        try:
            request()
        except ConnectError as exc:
            self._guard(exc)

    def _guard(self, error: Exception) -> NoReturn:
        """Start over if what was sent is lost."""
        if isinstance(error, UploadLostError):
            log.warning("writing the records again", error=str(error), **self._source._asdict())
            self._start_over()
        raise error

    def _start_over(self) -> NoReturn:
        """Have the records of all open files delivered again."""
        start = self.safe_offset
        assert start is not None, "there is an open file"
        self.abandon()
        self.next_offset = start
        self.started_over = True
        self._context.rewind({self._source: start})
        raise _StartedOverError

    def _leave_out(self, place: Place, file: OpenFile) -> None:
        metadata = self._plan.bucket.metadata(file.key)
        if metadata is None:
            raise RetriableError(f"{self._plan.bucket.url(file.key)} was there and is no more")
        found = int(metadata.get(NEXT_OFFSET, file.start_offset + 1))
        log.info("found an object of an earlier task", key=file.key, next_offset=found)
        self._found_from = self.safe_offset
        self._found[place] = found

    def _forget_found(self) -> None:
        if self._found and not self.files and (self.next_offset or 0) >= max(self._found.values()):
            self._found.clear()

    def _without_found(self, batch: Batch) -> Batch:
        found = self._found
        variants = self._plan.views.variants(batch.items)
        keep = [
            index
            for index, record in enumerate(batch.records)
            if record.offset
            >= found.get((record.topic, batch.places[index], variants[index] if variants else None), 0)
        ]
        return Batch(
            [batch.records[index] for index in keep],
            [batch.items[index] for index in keep],
            [batch.places[index] for index in keep],
            None if batch.times is None else [batch.times[index] for index in keep],
        )


def _by_place(batch: Batch, variants: Sequence[Hashable] | None) -> dict[Place, _Run]:
    """The items by place."""
    records, places = batch.records, batch.places
    topic, place, variant = records[0].topic, places[0], variants[0] if variants else None
    if (
        places.count(place) == len(places)
        and (variants is None or variants.count(variant) == len(variants))
        and len({record.topic for record in records}) == 1
    ):
        run = _Run(records[0].offset, records[-1].offset, batch.items)
        return {(topic, place, variant): run}
    found: dict[Place, _Run] = {}
    for record, place, variant, item in zip(
        records, places, variants or repeat(None), batch.items, strict=False
    ):
        group = found.get((record.topic, place, variant))
        if group is None:
            found[record.topic, place, variant] = _Run(record.offset, record.offset, [item])
        else:
            group.items.append(item)
            group.last_offset = record.offset
    return found
