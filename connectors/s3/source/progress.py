"""How far each object has been read.

Offsets are Aiven's, `{"bucket", "objectKey"}` → `{"recordCount"}`, with more beside it: the `etag` of what
was read, the byte `position` behind the last record where reading may go on there, and `complete` once
all of it has been read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from connect.api import ConnectError, SourceTaskContext
from connectors.s3.store import Entry

BUCKET, OBJECT_KEY, RECORD_COUNT = "bucket", "objectKey", "recordCount"
ETAG, POSITION, COMPLETE = "etag", "position", "complete"

# What to do with an object whose content has changed since it was read.
IGNORE, READ, CONTINUE = "ignore", "read", "continue"
CHANGES: Final = (IGNORE, READ, CONTINUE)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where to go on: behind so many records, at this byte where that is known (else 0)."""

    records: int = 0
    position: int = 0


class Progress:
    """That of all objects of a bucket. `changes` is what happens to objects that change."""

    def __init__(self, context: SourceTaskContext, bucket: str, changes: str) -> None:
        self._context = context
        self._bucket = bucket
        self._changes = changes
        # What this task has read: a number for the key → a number for the content, and how many records.
        # Numbers are less to keep than text, and two of 64 bits are the same by chance in none of 10^9 cases.
        self._read: dict[int, tuple[int, int]] = {}
        self._interrupted: dict[str, int] = {}

    def source_partition(self, key: str) -> Mapping[str, Any]:
        return {BUCKET: self._bucket, OBJECT_KEY: key}

    def source_offset(self, entry: Entry, mark: Mark, *, complete: bool = False) -> dict[str, Any]:
        offset: dict[str, Any] = {RECORD_COUNT: mark.records, ETAG: entry.etag}
        if mark.position and not complete:
            offset[POSITION] = mark.position
        if complete:
            offset[COMPLETE] = True
        return offset

    def completed(self, entry: Entry, records: int) -> None:
        self._interrupted.pop(entry.key, None)
        self._read[hash(entry.key)] = (hash(entry.etag), records)

    def interrupted(self, entry: Entry, mark: Mark) -> None:
        """It changed, or was deleted, when so much of it had been read."""
        self._interrupted[entry.key] = mark.records

    def start(self, entry: Entry) -> Mark | None:
        """Where to begin in an object; None: it has been read."""
        if (records := self._interrupted.get(entry.key)) is not None:
            return self._changed_under_way(records)
        if (known := self._read.get(hash(entry.key))) is not None:
            etag, records = known
            return self._again(records) if etag != hash(entry.etag) else None
        stored = self._context.offset(self.source_partition(entry.key))
        if not stored:
            return Mark()
        count, position = stored.get(RECORD_COUNT, 0), stored.get(POSITION, 0)
        if not _is_count(count) or not _is_count(position):
            raise ConnectError(f"the stored offset {dict(stored)} of {entry.key} has no whole numbers")
        if stored.get(ETAG, entry.etag) == entry.etag:
            return None if stored.get(COMPLETE) else Mark(count, position)
        if stored.get(COMPLETE):
            return self._again(count)
        return self._changed_under_way(count)

    def _changed_under_way(self, records: int) -> Mark:
        """What has been read of it counts, unless all is to be read."""
        return Mark() if self._changes == READ else Mark(records)

    def _again(self, records: int) -> Mark | None:
        if self._changes == IGNORE:
            return None
        return Mark() if self._changes == READ else Mark(records)


def check_offset(partition: Mapping[str, Any] | None, offset: Mapping[str, Any]) -> None:
    """Raises `ConnectError` for what cannot be an offset of an S3 source."""
    if not partition or not partition.get(BUCKET) or not partition.get(OBJECT_KEY):
        raise ConnectError(f"A partition needs the keys '{BUCKET}' and '{OBJECT_KEY}', unlike {partition}")
    count = offset.get(RECORD_COUNT)
    if not _is_count(count) or not _is_count(offset.get(POSITION, 0)):
        raise ConnectError(
            f"An offset needs '{RECORD_COUNT}', and may have '{POSITION}', numbers that are not negative, "
            f"unlike {dict(offset)}"
        )


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
