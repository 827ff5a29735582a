"""An object that grows: bytes wait in memory, or on disk, until there is a part's worth or the file ends."""

from collections.abc import Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Final

from connect.api import ConnectError
from connectors.s3.staging import Buffer, Staging
from connectors.s3.store import Bucket

PART_BYTES_MIN: Final = 5 << 20  # S3's own limit
PARTS_MAX: Final = 10_000  # S3's own limit
# How long an abandoned object waits for parts that are under way.
_ABANDON_S: Final = 10.0


@dataclass(slots=True)
class _Part:
    """One that S3 is not known to have. `sending` None: it is to be sent (again)."""

    number: int
    data: bytes
    sending: "Future[str] | None" = None


class GrowingObject:
    """One object on its way into the bucket.

    `append` does not speak to S3. The methods that do raise its errors, perhaps those of an earlier call, and
    may then be called again: what was done is not done twice. One thread at a time.
    """

    def __init__(
        self, bucket: Bucket, key: str, part_bytes: int, staging: Staging, *, if_absent: bool
    ) -> None:
        self.key = key
        self._bucket = bucket
        self._part_bytes = part_bytes
        self._if_absent = if_absent
        self._staging = staging
        self._buffer = Buffer(staging)
        self._upload_id: str | None = None
        self._etags: list[str] = []  # of all parts that were begun, empty until S3 has them
        self._under_way: list[_Part] = []
        self._is_complete = False

    @property
    def memory_bytes(self) -> int:
        return self._buffer.memory_bytes + sum(len(part.data) for part in self._under_way)

    def append(self, data: bytes) -> None:
        self._buffer.append(data)

    def send_full_parts(self) -> None:
        """Begin to upload what is more than a part: an object of one part needs no multipart upload."""
        self._look_at_parts()
        while self._buffer.size > self._part_bytes:
            self._send_part()

    def shrink(self) -> None:
        """Free memory: send what S3 takes as a part, else keep it on disk."""
        if self._buffer.size >= PART_BYTES_MIN:
            self._send_part()
        else:
            self._buffer.spill()
        self._await_parts()

    def complete(self, metadata: Mapping[str, str]) -> None:
        """Make the object visible. `metadata` stays with it if it is small enough for one request."""
        if self._is_complete:
            return
        self.send_full_parts()
        if self._upload_id is None:
            self._put(metadata)
        else:
            if self._buffer.size:
                self._send_part()
            self._await_parts()
            self._bucket.complete_upload(self.key, self._upload_id, self._etags, if_absent=self._if_absent)
        self._is_complete = True
        self._upload_id = None
        self._buffer.close()

    def abandon(self) -> None:
        """Leave nothing behind of an object that is not complete."""
        for part in self._under_way:
            if part.sending is not None and part.sending.cancel():
                self._staging.release(len(part.data))
        wait([part.sending for part in self._under_way if part.sending is not None], timeout=_ABANDON_S)
        for part in self._under_way:
            self._staging.gauge.add(-len(part.data))
        self._under_way.clear()
        self._buffer.close()
        if self._upload_id is not None:
            self._bucket.abort_upload(self.key, self._upload_id)
            self._upload_id = None

    def _put(self, metadata: Mapping[str, str]) -> None:
        with self._staging.room(self._buffer.size):
            data = self._buffer.take(self._buffer.size)
            try:
                self._bucket.put(self.key, data, metadata, if_absent=self._if_absent)
            except BaseException:
                self._buffer.append(data)
                raise

    def _send_part(self) -> None:
        """The next one."""
        if len(self._etags) == PARTS_MAX:
            raise ConnectError(
                f"cannot write {self._bucket.url(self.key)}: it would have more than {PARTS_MAX} "
                "parts; make parts larger or files smaller"
            )
        if self._upload_id is None:
            self._upload_id = self._bucket.start_upload(self.key, if_absent=self._if_absent)
        self._etags.append("")
        part = _Part(len(self._etags), self._buffer.take(self._part_bytes))
        self._staging.gauge.add(len(part.data))
        self._under_way.append(part)
        self._look_at_parts()

    def _start(self, part: _Part) -> "Future[str]":
        upload_id, data = self._upload_id, part.data
        assert upload_id is not None, "parts belong to an upload"

        def send() -> str:
            try:
                return self._bucket.put_part(self.key, upload_id, part.number, data)
            finally:
                self._staging.release(len(data))

        self._staging.reserve(len(data))
        return self._staging.start(send)

    def _look_at_parts(self) -> None:
        """Send those that are not being sent; raise what kept one from it. Such a one is sent again by the
        next call."""
        for part in self._under_way:
            part.sending = part.sending or self._start(part)
        for part in [part for part in self._under_way if part.sending and part.sending.done()]:
            assert part.sending is not None
            done, part.sending = part.sending, None
            self._etags[part.number - 1] = done.result()
            self._staging.gauge.add(-len(part.data))
            self._under_way.remove(part)

    def _await_parts(self) -> None:
        while self._under_way:
            self._look_at_parts()
            wait([part.sending for part in self._under_way if part.sending is not None])
