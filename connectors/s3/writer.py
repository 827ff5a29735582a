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

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, Final

import structlog

from connect.api import RetriableError, SinkTaskContext, TopicPartition
from connect.api.records import SinkRecord
from connectors.s3.formats import FileWriter, Format
from connectors.s3.intake import Batch, Intake
from connectors.s3.naming import Naming
from connectors.s3.objects import GrowingObject, MemoryGauge
from connectors.s3.rotation import Rotation, RotationRules, Schedule
from connectors.s3.store import Bucket, ObjectExistsError, UploadLostError
from connectors.s3.timestamps import TimestampExtractor

log = structlog.get_logger(__name__)

NEXT_OFFSET: Final = "next-offset"

# Topic (as a transform left it), encoded partition, and the variant of its items.
Place = tuple[str, str, Hashable]


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What all writers of a task share."""

    bucket: Bucket
    part_bytes: int
    gauge: MemoryGauge
    format: Format
    naming: Naming
    intake: Intake
    rules: RotationRules
    extractor: TimestampExtractor | None
    only_new_objects: bool


class OpenFile:
    """One file: its format's writer and the object that it becomes."""

    def __init__(
        self, writer: FileWriter, target: GrowingObject, start_offset: int, gauge: MemoryGauge
    ) -> None:
        self._writer: FileWriter | None = writer
        self._gauge = gauge
        self._waiting_bytes = 0
        self._rest: Iterator[bytes] = iter(())
        self.target = target
        self.start_offset = start_offset

    @property
    def memory_bytes(self) -> int:
        return self.target.memory_bytes + self._waiting_bytes

    def write(self, items: list[Any]) -> None:
        assert self._writer is not None, "written to after its end"
        self.target.append(self._writer.write(items))
        self._weigh(self._writer.waiting_bytes)

    def shrink(self) -> None:
        """Free memory."""
        if self._writer is not None:
            self.target.append(self._writer.flush())
            self._weigh(self._writer.waiting_bytes)
        self.target.shrink()

    def complete(self, metadata: dict[str, str]) -> None:
        """May be called again after an error."""
        if self._writer is not None:
            self._rest = iter(self._writer.finish())
            self._writer = None
            self._weigh(0)
        for data in self._rest:
            self.target.append(data)
            self.target.send_full_parts()
        self.target.complete(metadata)

    def abandon(self) -> None:
        self._writer, self._rest = None, iter(())
        self._weigh(0)
        self.target.abandon()

    def _weigh(self, waiting_bytes: int) -> None:
        self._gauge.bytes += waiting_bytes - self._waiting_bytes
        self._waiting_bytes = waiting_bytes


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
        self._rotation.reset()
        self._is_rotating = False

    def _is_idle_too_long(self, now_ms: int) -> bool:
        extractor = self._plan.extractor
        idle_ms = extractor.idle_time(now_ms) if extractor is not None else None
        return idle_ms is not None and self._rotation.is_overdue(idle_ms)

    def _write(self, batch: Batch) -> None:
        start, written = 0, list[OpenFile]()
        while start < len(batch):
            end = self._rotation.take(batch.places, batch.times, start)
            if start < end:
                written = self._append(batch, start, end)
            if end < len(batch) or self._rotation.is_full:
                self._rotate()
                written = []
            start = end
        for file in written:
            self._guarded(file.target.send_full_parts)

    def _append(self, batch: Batch, start: int, end: int) -> list[OpenFile]:
        """Put records into their files, in memory: they count as taken, whatever S3 says later."""
        written = []
        variants = self._plan.format.variants(batch.items[start:end])
        for place, (offset, items) in _by_place(batch, start, end, variants).items():
            file = self.files.get(place) or self._open(place, offset, items[0])
            file.write(items)
            written.append(file)
        self.next_offset = batch.records[end - 1].offset + 1
        return written

    def _open(self, place: Place, start_offset: int, first: Any) -> OpenFile:
        plan = self._plan
        topic, encoded_partition, _ = place
        key = plan.naming.key(topic, encoded_partition, self._source, start_offset)
        target = GrowingObject(plan.bucket, key, plan.part_bytes, plan.gauge, if_absent=plan.only_new_objects)
        self.files[place] = file = OpenFile(plan.format.open(first), target, start_offset, plan.gauge)
        return file

    def _rotate(self) -> None:
        """Complete all files; after an error, `tick` goes on."""
        self._is_rotating = True
        metadata = {NEXT_OFFSET: str(self.next_offset)} if self._plan.only_new_objects else {}
        for place, file in self.files.items():
            try:
                self._guarded(partial(file.complete, metadata))
            except ObjectExistsError:
                self._leave_out(place, file)
                self._start_over()
        self.files.clear()
        self._rotation.reset()
        self._is_rotating = False
        self._forget_found()
        self._context.request_commit()

    def _guarded(self, request: Callable[[], None]) -> None:
        try:
            request()
        except UploadLostError as exc:
            log.warning("writing the records again", error=str(exc), **self._source._asdict())
            self._start_over()

    def _start_over(self) -> None:
        """Have the records of all open files delivered again."""
        start = self.safe_offset
        assert start is not None, "there is an open file"
        self.abandon()
        self.next_offset = start
        self.started_over = True
        self._context.rewind({self._source: start})
        raise _StartedOverError

    def _leave_out(self, place: Place, file: OpenFile) -> None:
        metadata = self._plan.bucket.metadata(file.target.key)
        if metadata is None:
            raise RetriableError(f"s3://{self._plan.bucket.name}/{file.target.key} was there and is no more")
        found = int(metadata.get(NEXT_OFFSET, file.start_offset + 1))
        log.info("found an object of an earlier task", key=file.target.key, next_offset=found)
        self._found_from = self.safe_offset
        self._found[place] = found

    def _forget_found(self) -> None:
        if self._found and not self.files and (self.next_offset or 0) >= max(self._found.values()):
            self._found.clear()

    def _without_found(self, batch: Batch) -> Batch:
        found = self._found
        variants = self._plan.format.variants(batch.items)
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


def _by_place(
    batch: Batch, start: int, end: int, variants: Sequence[Hashable] | None
) -> dict[Place, tuple[int, list[Any]]]:
    """The items of a slice by place, each with the offset of its first record."""
    records, places = batch.records[start:end], batch.places[start:end]
    topic, place, variant = records[0].topic, places[0], variants[0] if variants else None
    if (
        places.count(place) == len(places)
        and (variants is None or variants.count(variant) == len(variants))
        and len({record.topic for record in records}) == 1
    ):
        return {(topic, place, variant): (records[0].offset, batch.items[start:end])}
    found: dict[Place, tuple[int, list[Any]]] = {}
    for record, place, variant, item in zip(
        records, places, variants or repeat(None), batch.items[start:end], strict=False
    ):
        group = found.get((record.topic, place, variant))
        if group is None:
            found[record.topic, place, variant] = (record.offset, [item])
        else:
            group[1].append(item)
    return found
