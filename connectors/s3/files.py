"""One open file: what is written of its records, and the objects that it becomes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from connect.api import ConnectError
from connectors.s3.formats import FileWriter
from connectors.s3.objects import GrowingObject
from connectors.s3.staging import Buffer, Staging
from connectors.s3.store import Bucket
from connectors.s3.views import Views

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tagging:
    """What objects are tagged with: `startOffset`, `endOffset` and `recordCount`, and `more`."""

    more: Mapping[str, str]
    may_fail: bool

    def tag(self, bucket: Bucket, key: str, start_offset: int, end_offset: int, records: int) -> None:
        """Raises an error of S3 only if it may not fail."""
        facts = {"startOffset": start_offset, "endOffset": end_offset, "recordCount": records}
        tags = {**{name: str(fact) for name, fact in facts.items()}, **self.more}
        try:
            bucket.tag(key, tags)
        except ConnectError as exc:
            if not self.may_fail:
                raise
            log.warning("an object stays without tags", key=key, error=str(exc))


class FilePart:
    """A format's writer, and the object that it fills."""

    def __init__(self, writer: FileWriter, target: GrowingObject, staging: Staging) -> None:
        self.target = target
        self._writer: FileWriter | None = writer
        self._staging = staging
        self._buffers: list[Buffer] = []
        self._waiting_bytes = 0
        self._rest: Iterator[bytes] = iter(())
        writer.keep_in(self._new_buffer)

    @property
    def memory_bytes(self) -> int:
        buffered = sum([buffer.memory_bytes for buffer in self._buffers])
        return self.target.memory_bytes + buffered + self._waiting_bytes

    def write(self, items: Sequence[Any]) -> None:
        assert self._writer is not None, "written to after its end"
        self.target.append(self._writer.write(items))
        self._weigh(self._writer.waiting_bytes)

    def shrink(self) -> None:
        """Free memory."""
        if self._writer is not None:
            self.target.append(self._writer.flush())
            self._weigh(self._writer.waiting_bytes)
        for buffer in self._buffers:
            buffer.spill()
        self.target.shrink()

    def complete(self, metadata: Mapping[str, str]) -> None:
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
        for buffer in self._buffers:
            buffer.close()
        self.target.abandon()

    def _new_buffer(self) -> Buffer:
        self._buffers.append(Buffer(self._staging))
        return self._buffers[-1]

    def _weigh(self, waiting_bytes: int) -> None:
        if waiting_bytes != self._waiting_bytes:
            self._staging.gauge.add(waiting_bytes - self._waiting_bytes)
            self._waiting_bytes = waiting_bytes


class OpenFile:
    """One part for each view, the value's first."""

    def __init__(
        self,
        parts: Sequence[FilePart],
        views: Views,
        start_offset: int,
        bucket: Bucket,
        tagging: Tagging | None,
        *,
        only_new: bool,
    ) -> None:
        self.start_offset = start_offset
        self._parts = parts
        self._views = views
        self._bucket = bucket
        self._tagging = tagging
        self._must_be_new = only_new and len(parts) > 1
        self._end_offset = start_offset
        self._records = 0

    @property
    def key(self) -> str:
        """That of the value's object."""
        return self._parts[0].target.key

    @property
    def memory_bytes(self) -> int:
        return sum(part.memory_bytes for part in self._parts)

    def write(self, items: list[Any], last_offset: int) -> None:
        for part, column in zip(self._parts, self._views.columns(items), strict=True):
            part.write(column)
        self._records += len(items)
        self._end_offset = last_offset

    def send_full_parts(self) -> None:
        for part in self._parts:
            part.target.send_full_parts()

    def shrink(self) -> None:
        """Free memory."""
        for part in self._parts:
            part.shrink()

    def complete(self, metadata: Mapping[str, str]) -> None:
        """Make its objects visible, the value's last. May be called again after an error. Raises
        `ObjectExistsError`, with none of them written, if there is one for the value already."""
        if self._must_be_new:
            self._bucket.check_absent(self.key)
            self._must_be_new = False
        for part in reversed(self._parts):
            part.complete(metadata)
            if self._tagging is not None:
                key = part.target.key
                self._tagging.tag(self._bucket, key, self.start_offset, self._end_offset, self._records)

    def abandon(self) -> None:
        """Nothing of it stays in the bucket."""
        for part in self._parts:
            part.abandon()
