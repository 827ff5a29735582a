"""An object that grows: bytes wait in memory, or on disk, until there is a part's worth or the file ends."""

import os
import tempfile
from collections.abc import Mapping
from typing import IO, Final

from connect.api import ConnectError
from connectors.s3.store import Bucket

PART_BYTES_MIN: Final = 5 << 20  # S3's own limit
PARTS_MAX: Final = 10_000  # S3's own limit


class MemoryGauge:
    """How many bytes all buffers that share it have in memory."""

    def __init__(self) -> None:
        self.bytes = 0


class Buffer:
    """A queue of bytes, in memory until `spill` moves it to a temporary file."""

    def __init__(self, gauge: MemoryGauge) -> None:
        self._gauge = gauge
        self._memory = bytearray()
        self._disk: IO[bytes] | None = None
        self._disk_start = 0
        self.size = 0

    @property
    def memory_bytes(self) -> int:
        return len(self._memory)

    def append(self, data: bytes) -> None:
        if self._disk is None:
            self._memory += data
            self._gauge.bytes += len(data)
        else:
            self._write(data)
        self.size += len(data)

    def peek(self, size: int) -> bytes:
        """The first bytes, at most `size`."""
        if self._disk is None:
            with memoryview(self._memory) as view:
                return bytes(view[:size])
        return os.pread(self._disk.fileno(), min(size, self.size), self._disk_start)

    def drop(self, size: int) -> None:
        """Forget the first bytes."""
        self.size -= size
        if self._disk is None:
            del self._memory[:size]
            self._gauge.bytes -= size
        elif self.size == 0:
            self.close()
        else:
            self._disk_start += size

    def spill(self) -> None:
        """Free the memory."""
        if self._memory:
            self._disk, self._disk_start = tempfile.TemporaryFile(buffering=0), 0  # noqa: SIM115
            self._write(self._memory)
            self._free()

    def close(self) -> None:
        self.size = 0
        self._free()
        if self._disk is not None:
            self._disk.close()
            self._disk = None

    def _free(self) -> None:
        self._gauge.bytes -= len(self._memory)
        self._memory = bytearray()

    def _write(self, data: bytes | bytearray) -> None:
        assert self._disk is not None
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._disk.write(rest) :]
        except OSError as exc:
            raise ConnectError(
                f"cannot keep waiting files in {tempfile.gettempdir()}: {exc.strerror}; make room there or "
                "set TMPDIR"
            ) from exc


class GrowingObject:
    """One object on its way into the bucket.

    `append` does not speak to S3. The methods that do raise its errors and may then be called again: what
    was done is not done twice.
    """

    def __init__(
        self, bucket: Bucket, key: str, part_bytes: int, gauge: MemoryGauge, *, if_absent: bool
    ) -> None:
        self.key = key
        self._bucket = bucket
        self._part_bytes = part_bytes
        self._if_absent = if_absent
        self._buffer = Buffer(gauge)
        self._upload_id: str | None = None
        self._etags: list[str] = []
        self._is_complete = False

    @property
    def memory_bytes(self) -> int:
        return self._buffer.memory_bytes

    def append(self, data: bytes) -> None:
        self._buffer.append(data)

    def send_full_parts(self) -> None:
        """Upload what is more than a part: an object of one part needs no multipart upload."""
        while self._buffer.size > self._part_bytes:
            self._send_part(self._part_bytes)

    def shrink(self) -> None:
        """Free memory: send what S3 takes as a part, else keep it on disk."""
        if self._buffer.size >= PART_BYTES_MIN:
            self._send_part(self._part_bytes)
        else:
            self._buffer.spill()

    def complete(self, metadata: Mapping[str, str]) -> None:
        """Make the object visible. `metadata` stays with it if it is small enough for one request."""
        if self._is_complete:
            return
        self.send_full_parts()
        if self._upload_id is None:
            data = self._buffer.peek(self._buffer.size)
            self._bucket.put(self.key, data, metadata, if_absent=self._if_absent)
        else:
            if self._buffer.size:
                self._send_part(self._part_bytes)
            self._bucket.complete_upload(self.key, self._upload_id, self._etags, if_absent=self._if_absent)
        self._is_complete = True
        self._upload_id = None
        self._buffer.close()

    def abandon(self) -> None:
        """Leave nothing behind of an object that is not complete."""
        self._buffer.close()
        if self._upload_id is not None:
            self._bucket.abort_upload(self.key, self._upload_id)
            self._upload_id = None

    def _send_part(self, size: int) -> None:
        if len(self._etags) == PARTS_MAX:
            raise ConnectError(
                f"cannot write s3://{self._bucket.name}/{self.key}: it would have more than {PARTS_MAX} "
                "parts; make parts larger or files smaller"
            )
        if self._upload_id is None:
            self._upload_id = self._bucket.start_upload(self.key)
        data = self._buffer.peek(size)
        self._etags.append(self._bucket.put_part(self.key, self._upload_id, len(self._etags) + 1, data))
        self._buffer.drop(len(data))
