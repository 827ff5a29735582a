"""A bucket in memory that fails when it is told to, in place of `connectors.s3.store.Bucket`."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import TypeVar

from connect.api import RetriableError
from connectors.s3.store import ObjectExistsError, UploadLostError

T = TypeVar("T")


class Fault(Enum):
    """What happens to a request."""

    NONE = auto()
    NOT_DONE = auto()  # an error, and nothing was done
    ANSWER_LOST = auto()  # an error, although it was done
    KILLED_BEFORE = auto()
    KILLED_AFTER = auto()
    UPLOADS_LOST = auto()  # S3 forgets all multipart uploads; the request goes on


class Killed(BaseException):
    """The end of the process, which nobody catches."""


class MemoryBucket:
    """`next_fault` is asked before every request."""

    name = "memory"

    def __init__(self, next_fault: Callable[[], Fault] = lambda: Fault.NONE) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        self._metadata: dict[str, Mapping[str, str]] = {}
        self._next_fault = next_fault
        self._started = 0

    def url(self, key: str) -> str:
        return f"s3://memory/{key}"

    def put(self, key: str, data: bytes, metadata: Mapping[str, str], *, if_absent: bool) -> None:
        def done() -> None:
            self._write(key, data, metadata, if_absent)

        self._perform(done)

    def start_upload(self, key: str, *, if_absent: bool) -> str:
        def done() -> str:
            for other in [name for name, (of, _) in self.uploads.items() if of == key]:
                del self.uploads[other]
            self._started += 1
            self.uploads[str(self._started)] = (key, {})
            return str(self._started)

        return self._perform(done)

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        def done() -> str:
            self._upload(upload_id)[number] = data
            return f"etag-{number}"

        return self._perform(done)

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str], *, if_absent: bool) -> None:
        def done() -> None:
            parts = self._upload(upload_id)
            assert etags == [f"etag-{number}" for number in sorted(parts)]
            self._write(key, b"".join(parts[number] for number in sorted(parts)), {}, if_absent)
            del self.uploads[upload_id]

        self._perform(done)

    def abort_upload(self, key: str, upload_id: str) -> None:
        self.uploads.pop(upload_id, None)

    def metadata(self, key: str) -> Mapping[str, str] | None:
        return self._perform(lambda: self._metadata.get(key))

    def _write(self, key: str, data: bytes, metadata: Mapping[str, str], if_absent: bool) -> None:
        if if_absent and key in self.objects:
            raise ObjectExistsError(key)
        self.objects[key], self._metadata[key] = data, metadata

    def _upload(self, upload_id: str) -> dict[int, bytes]:
        if upload_id not in self.uploads:
            raise UploadLostError(upload_id)
        return self.uploads[upload_id][1]

    def _perform(self, done: Callable[[], T]) -> T:
        fault = self._next_fault()
        if fault is Fault.KILLED_BEFORE:
            raise Killed
        if fault is Fault.NOT_DONE:
            raise RetriableError("not done")
        if fault is Fault.UPLOADS_LOST:
            self.uploads.clear()
        answer = done()
        if fault is Fault.KILLED_AFTER:
            raise Killed
        if fault is Fault.ANSWER_LOST:
            raise RetriableError("answer lost")
        return answer
