"""Reads one object: its records, and those beside it that hold their keys and headers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from connect.api import DataError, SourceRecord
from connectors.readers import DAMAGE
from connectors.s3.access import Access
from connectors.s3.source.envelopes import Envelope, headers_of, key_of
from connectors.s3.source.formats import Format, Item, KeyOrHeaderLines, SeparatedBytes, avro, parquet
from connectors.s3.source.listing import Candidate
from connectors.s3.source.objects import Content
from connectors.s3.source.places import HEADERS, KEYS, Layout
from connectors.s3.source.progress import ETAG, POSITION, RECORD_COUNT, Mark, Progress
from connectors.s3.source.queue import QueueSettings
from connectors.s3.store import Bucket, Entry


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What the settings of either connector come down to. `compression` None: what an object begins with
    shows it. Objects from before `since_ms` are left alone. `tolerates`: what cannot be
    read is left out, whatever `errors.tolerance` says."""

    access: Access
    layout: Layout
    format: Format
    envelope: Envelope
    compression: str | None
    separator: bytes
    records_max: int
    interval_ms: int
    changes: str
    since_ms: int = 0
    tolerates: bool = False
    needs_keys: bool = False
    needs_headers: bool = False
    queue: QueueSettings | None = None


class Errant(DataError):
    """A record that cannot be read, with what is there. `rest`: and neither can what is behind it."""

    def __init__(self, message: str, record: SourceRecord, *, rest: bool) -> None:
        super().__init__(message)
        self.record = record
        self.rest = rest


class Reading:
    """One object, from a mark on. `mark` is behind what has been taken."""

    def __init__(
        self, bucket: Bucket, plan: SourcePlan, progress: Progress, candidate: Candidate, mark: Mark
    ) -> None:
        self.candidate = candidate
        self.mark = mark
        self._bucket = bucket
        self._plan = plan
        self._progress = progress
        self._partition: Mapping[str, Any] = progress.source_partition(candidate.entry.key)
        self._contents: list[Content] = []
        self.errant: Errant | None = None
        self._records = self._read(mark)

    @property
    def source_partition(self) -> Mapping[str, Any]:
        return self._partition

    def take(self, count: int) -> list[SourceRecord]:
        """The next records, fewer than `count` at the end only, or before what cannot be read, which is
        `errant` then. Raises `RetriableError`, `ObjectGoneError`, `ObjectChangedError`."""
        taken: list[SourceRecord] = []
        if self.errant is not None:
            return taken
        for record in islice(self._records, count):
            if type(record) is Errant:
                self.errant = record
                break
            assert isinstance(record, SourceRecord)
            taken.append(record)
        return taken

    def _read(self, mark: Mark) -> Iterator[SourceRecord | Errant]:
        candidate, plan = self.candidate, self._plan
        rows = self._items(candidate.entry, plan.format, plan.compression, mark)
        keys = self._beside(candidate.keys, KEYS, mark)
        headers = self._beside(candidate.headers, HEADERS, mark)
        etag = candidate.entry.etag
        number, position = mark.records, mark.position
        while True:
            try:
                item = next(rows, None)
                key_item = next(keys, None) if keys is not None else None
                header_item = next(headers, None) if headers is not None else None
            except DAMAGE as exc:
                yield self._damage(exc, number)
                return
            if item is None:
                return
            number += 1
            position = item.position
            self.mark = Mark(number, position)
            offset: dict[str, Any] = {RECORD_COUNT: number, ETAG: etag}
            if position:
                offset[POSITION] = position
            try:
                yield self._record(item, key_item, header_item, offset)
            except DataError as exc:
                value = item.value if isinstance(item.value, bytes | str) else None
                what = f"cannot read record {number} of {self._bucket.url(candidate.entry.key)}: {exc}"
                yield Errant(what, self._empty(value), rest=False)

    def _record(
        self, item: Item, key: Item | None, headers: Item | None, offset: Mapping[str, Any]
    ) -> SourceRecord:
        candidate, place = self.candidate, self.candidate.place
        if item.error is not None:
            raise DataError(item.error)
        parts = self._plan.envelope.open(item, candidate.entry.key)
        key_value, key_schema, found = parts.key, parts.key_schema, parts.headers
        if candidate.keys is not None:
            key_value, key_schema = key_of(_there(key, candidate.keys))
        if candidate.headers is not None:
            found = headers_of(_there(headers, candidate.headers))
        return SourceRecord(
            self._partition, offset, place.topic, parts.value, value_schema=parts.value_schema, key=key_value,
            key_schema=key_schema, partition=place.partition, timestamp_ms=parts.timestamp_ms, headers=found,
        )  # fmt: skip

    def _items(self, entry: Entry, format: Format, compression: str | None, mark: Mark) -> Iterator[Item]:
        content = Content(self._bucket, entry, compression)
        self._contents.append(content)
        after = 0 if mark.position else mark.records
        return format.items(content, mark.position, after)

    def _beside(self, entry: Entry | None, part: str, mark: Mark) -> Iterator[Item] | None:
        if entry is None:
            return None
        format = _format_beside(entry.key.rpartition(part)[2], self._plan.separator)
        return self._items(entry, format, None, Mark(mark.records))

    def _damage(self, exc: Exception, number: int) -> Errant:
        """Raises instead what kept a library from reading the object."""
        for content in self._contents:
            if content.failure is not None:
                raise content.failure from exc
        why = str(exc) or type(exc).__name__
        what = f"cannot read {self._bucket.url(self.candidate.entry.key)} behind record {number}: {why}"
        return Errant(what, self._empty(None), rest=True)

    def _empty(self, value: bytes | str | None) -> SourceRecord:
        """Stands for a record that is none."""
        place = self.candidate.place
        offset = self._progress.source_offset(self.candidate.entry, self.mark)
        return SourceRecord(self._partition, offset, place.topic, value, partition=place.partition)


def _there(item: Item | None, entry: Entry) -> Item:
    if item is None:
        raise DataError(f"{entry.key} has fewer records than there are values")
    if item.error is not None:
        raise DataError(f"{entry.key}: {item.error}")
    return item


_AVRO: Final = ".avro"
_PARQUET: Final = ".parquet"
_JSON: Final = ".json"


def _format_beside(extension: str, separator: bytes) -> Format:
    """The format of keys or headers, by the end of their object's name."""
    if _AVRO in extension:
        return avro()
    if _PARQUET in extension:
        return parquet()
    return KeyOrHeaderLines() if _JSON in extension else SeparatedBytes(separator)
