"""The files since the last flush: which records share one, and what it is called.

Records of one topic, partition, key and time, as far as the template shows them, share a file. A new one
begins after `file.max.records` and where the schema changes. It is named by its first record; files that
differ in their time alone by the first record since the flush. Where the template has no start offset, an
object has the last record of its key alone.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from connect.api import ConnectError, DataError, SinkRecord
from connect.api.java_text import java_text
from connectors.s3.aiven.template import Clock, Name, Template
from connectors.s3.fields import where
from connectors.s3.files import FilePart
from connectors.s3.formats import Format
from connectors.s3.objects import GrowingObject
from connectors.s3.staging import Staging
from connectors.s3.store import Bucket

KEY_BYTES_MAX: Final = 1_024  # of an object; S3's own limit
_LEFT: Final = 0.75  # of the memory that files may have, where they had too much


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What all files of a task share. `report` is told of records that cannot be written."""

    bucket: Bucket
    staging: Staging
    part_bytes: int
    format: Format
    template: Template
    clock: Clock
    uses_event_time: bool
    records_max: int | None
    report: Callable[[SinkRecord, Exception], None]

    @property
    def last_of_each_key(self) -> bool:
        return not self.template.has("start_offset")


class _Group(NamedTuple):
    """Whose first record since the flush names files."""

    topic: str
    partition: int
    key: str


class _Place(NamedTuple):
    """What the names of a file's records have in common."""

    group: _Group
    times: tuple[str, ...]


@dataclass(slots=True)
class _File:
    name: str
    part: FilePart
    variant: Hashable
    records: int = 0


@dataclass(slots=True)
class _Run:
    """Records of one place."""

    records: list[SinkRecord]
    items: list[Any]
    variants: list[Hashable]

    def split(self, file: _File | None, records_max: int | None) -> Iterator[tuple[bool, "_Run"]]:
        """Neighbours that share a file, and whether they begin a new one, if `file` is the one before."""
        whole = len(self.items) if records_max is None else records_max
        variant = None if file is None else file.variant
        room = 0 if file is None else whole - (0 if records_max is None else file.records)
        are_alike = self.variants.count(self.variants[0]) == len(self.variants)
        start = 0
        while start < len(self.items):
            begins = room == 0 or self.variants[start] != variant
            if begins:
                variant, room = self.variants[start], whole
            end = min(start + room, len(self.items))
            if not are_alike:
                end = next((n for n in range(start, end) if self.variants[n] != variant), end)
            yield begins, _Run(self.records[start:end], self.items[start:end], [])
            room, start = room - (end - start), end


class FilesSinceFlush:
    """What does not say so does not speak to S3. After an error of what does, it may be called again."""

    def __init__(self, plan: FilePlan) -> None:
        self._plan = plan
        self._has_key = plan.template.has("key")
        self._names_topic = plan.template.has("topic")
        self._names_partition = plan.template.has("partition")
        self._files: dict[str, _File] = {}
        self._current: dict[_Place, _File] = {}
        self._first_offsets: dict[_Group, int] = {}

    def __len__(self) -> int:
        return len(self._files)

    def take(self, records: Sequence[SinkRecord], items: Sequence[Any], now_ms: int) -> None:
        """Put records into their files, in their order."""
        for place, run in self._by_place(records, items, now_ms).items():
            if self._plan.last_of_each_key:
                run = _Run(run.records[-1:], run.items[-1:], run.variants[-1:])
                file = self._current.pop(place, None)
                if file is not None:
                    del self._files[file.name]
                    file.part.abandon()
            self._write(place, run)

    def send_full_parts(self) -> None:
        """Upload what is more than a part."""
        for file in self._files.values():
            file.part.target.send_full_parts()

    def shrink(self, bytes_max: int) -> None:
        """Where more than this waits in memory, upload or spill the largest files."""
        gauge = self._plan.staging.gauge
        if gauge.bytes <= bytes_max:
            return
        for file in sorted(self._files.values(), key=lambda file: file.part.memory_bytes, reverse=True):
            file.part.shrink()
            if gauge.bytes <= bytes_max * _LEFT:
                return

    def complete(self) -> None:
        """Make all files visible in the bucket."""
        self._current.clear()
        files = list(self._files.items())
        results = self._plan.staging.all([partial(file.part.complete, {}) for _, file in files])
        for (name, _), error in zip(files, results, strict=False):  # it may have stopped at an error
            if error is None:
                del self._files[name]
        for error in results:
            if error is not None:
                raise error
        self._first_offsets.clear()

    def abandon(self) -> None:
        """Nothing stays in the bucket of what is not complete."""
        for file in self._files.values():
            file.part.abandon()
        self._files.clear()
        self._current.clear()
        self._first_offsets.clear()

    def _by_place(
        self, records: Sequence[SinkRecord], items: Sequence[Any], now_ms: int
    ) -> dict[_Place, _Run]:
        variants = self._plan.format.variants(items) or [None] * len(items)
        found: dict[_Place, _Run] = {}
        clock = self._plan.clock
        event_time = self._plan.uses_event_time and len(clock.variables) > 0
        times = clock.texts(now_ms)
        first = records[0]
        if not (self._has_key or event_time) and all(
            record.topic == first.topic and record.partition == first.partition for record in records
        ):
            place = _Place(_Group(first.topic, first.partition, ""), times)
            return {place: _Run(list(records), list(items), list(variants))}
        has_topic, has_partition = self._names_topic, self._names_partition
        last: tuple[object, ...] = ()
        run = _Run([], [], [])
        for record, item, variant in zip(records, items, variants, strict=True):
            key = java_text(record.key_schema, record.key) if self._has_key else ""
            if event_time:
                times = clock.texts(now_ms if record.timestamp_ms is None else record.timestamp_ms)
            topic = record.topic if has_topic else ""
            partition = record.partition if has_partition else 0
            if (topic, partition, key, times) != last:
                last = topic, partition, key, times
                place = _Place(_Group(topic, partition, key), times)
                run = found.setdefault(place, _Run([], [], []))
            run.records.append(record)
            run.items.append(item)
            run.variants.append(variant)
        return found

    def _write(self, place: _Place, run: _Run) -> None:
        file = self._current.get(place)
        for begins, part in run.split(file, self._plan.records_max):
            if begins or file is None:
                first = part.records[0]
                name = self._name(place, first, is_first=file is None)
                if len(name.encode()) > KEY_BYTES_MAX:
                    self._refuse(part.records, name)
                    continue
                file = self._current[place] = self._open(name, part.items[0])
            file.part.write(part.items)
            file.records += len(part.items)

    def _name(self, place: _Place, record: SinkRecord, *, is_first: bool) -> str:
        start_offset = record.offset
        if is_first and self._plan.records_max is None:
            start_offset = self._first_offsets.setdefault(place.group, start_offset)
        times = dict(zip(self._plan.clock.variables, place.times, strict=True))
        return self._plan.template.render(Name(*place.group[:2], start_offset, place.group.key, times))

    def _open(self, name: str, first: Any) -> _File:
        plan = self._plan
        if name in self._files:
            raise ConnectError(
                f"two files would be {plan.bucket.url(name)}, and one of them would be lost: put "
                "something between the variables of the template"
            )
        target = GrowingObject(plan.bucket, name, plan.part_bytes, plan.staging, if_absent=False)
        [variant] = plan.format.variants([first]) or [None]
        part = FilePart(plan.format.open(first), target, plan.staging)
        self._files[name] = file = _File(name, part, variant)
        return file

    def _refuse(self, records: Sequence[SinkRecord], name: str) -> None:
        for record in records:
            why = f"an object's key may have {KEY_BYTES_MAX} bytes, and {name[:60]}… has more"
            self._plan.report(record, DataError(f"{where(record)} cannot be written: {why}"))
