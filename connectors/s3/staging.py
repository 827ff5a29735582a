"""Where the files of a task wait until they are in the bucket: memory that is counted, one file on disk for
what the memory has no room for, and threads that upload.
"""

import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final, TypeVar

from connect.api import ConnectError

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

UPLOADS_MAX: Final = 8  # at once; the default of the setting
# What requests under way may hold in memory, though one may always go.
SENDING_BYTES_MAX: Final = 56 << 20
_BLOCK_BYTES: Final = 32 << 10


class MemoryGauge:
    """How many bytes all buffers that share it have in memory. May be used from several threads."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """More bytes, or fewer."""
        with self._lock:
            self.bytes += count


class SpillFile:
    """A temporary file in blocks, each of one buffer, so that thousands of buffers need one open file. May be
    used from several threads; raises `ConnectError` when the disk is full."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._free: list[int] = []
        self._blocks = 0
        self._lock = threading.Lock()

    def write(self, data: memoryview) -> int:
        """Keep up to 32 KiB; the block that has them."""
        try:
            with self._lock:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - until the task ends
                if self._free:
                    block = self._free.pop()
                else:
                    block, self._blocks = self._blocks, self._blocks + 1
            position = block * _BLOCK_BYTES
            written = 0
            while written < len(data):
                with data[written:] as rest:
                    written += os.pwrite(self._file.fileno(), rest, position + written)
        except OSError as exc:
            raise ConnectError(
                f"cannot keep waiting files in {tempfile.gettempdir()}: {exc.strerror}; make room there or "
                "set TMPDIR"
            ) from exc
        return block

    def read(self, block: int, start: int, size: int) -> bytes:
        assert self._file is not None, "there is a block"
        return os.pread(self._file.fileno(), size, block * _BLOCK_BYTES + start)

    def free(self, block: int) -> None:
        with self._lock:
            self._free.append(block)


class Staging:
    """What all files of a task share. With `uploads_max` 1 everything happens in the caller's thread."""

    def __init__(self, uploads_max: int = UPLOADS_MAX) -> None:
        self.gauge = MemoryGauge()
        self.spilled = SpillFile()
        self._uploads_max = uploads_max
        # Files wait for their parts, so those have threads of their own.
        self._files: ThreadPoolExecutor | None = None
        self._parts: ThreadPoolExecutor | None = None
        self._sending = 0
        self._room = threading.Condition()

    def all(self, jobs: Sequence[Callable[[], None]]) -> list[Exception | None]:
        """Do all of them, several at once; what each raised. With one at a time, those behind an error are
        left."""
        if self._uploads_max == 1 or len(jobs) == 1:
            return _one_by_one(jobs)
        if self._files is None:
            self._files = ThreadPoolExecutor(self._uploads_max, "s3-file")
        futures = [self._files.submit(job) for job in jobs]
        wait(futures)
        return [_error_of(future) for future in futures]

    def start(self, request: Callable[[], T]) -> "Future[T]":
        """Send a part, in a thread of its own if there is one."""
        if self._uploads_max == 1:
            done: Future[T] = Future()
            try:
                done.set_result(request())
            except Exception as exc:  # noqa: BLE001 - it is raised where the future is looked at
                done.set_exception(exc)
            return done
        if self._parts is None:
            self._parts = ThreadPoolExecutor(self._uploads_max, "s3-part")
        return self._parts.submit(request)

    def reserve(self, count: int) -> None:
        """Wait until a request of so many bytes may be made."""
        with self._room:
            self._room.wait_for(lambda: not self._sending or self._sending + count <= SENDING_BYTES_MAX)
            self._sending += count

    def release(self, count: int) -> None:
        """It has ended, or will not be made."""
        with self._room:
            self._sending -= count
            self._room.notify_all()

    @contextmanager
    def room(self, count: int) -> "Iterator[None]":
        """For a request in the caller's thread."""
        self.reserve(count)
        try:
            yield
        finally:
            self.release(count)

    def close(self) -> None:
        """No more uploads."""
        for pool in (self._files, self._parts):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)


class Buffer:
    """A queue of bytes, in memory until `spill` moves it to the disk. Without `staging`, one for itself."""

    def __init__(self, staging: Staging | None = None) -> None:
        staging = staging or Staging()
        self._gauge = staging.gauge
        self._disk = staging.spilled
        self._memory = bytearray()
        # Blocks and how much is in each; the first one is read from `_start` on. The memory comes behind.
        self._blocks: deque[tuple[int, int]] = deque()
        self._start = 0
        self.size = 0

    @property
    def memory_bytes(self) -> int:
        return len(self._memory)

    def append(self, data: bytes) -> None:
        self._memory += data
        self._gauge.add(len(data))
        self.size += len(data)

    def take(self, size: int) -> bytes:
        """Remove the first bytes, at most `size`."""
        pieces: list[bytes] = []
        while self._blocks and size:
            block, length = self._blocks[0]
            piece = self._disk.read(block, self._start, min(length - self._start, size))
            pieces.append(piece)
            size -= len(piece)
            self._start += len(piece)
            if self._start == length:
                self._blocks.popleft()
                self._disk.free(block)
                self._start = 0
        if size and self._memory:
            with memoryview(self._memory) as view:
                pieces.append(bytes(view[:size]))
            del self._memory[: len(pieces[-1])]
            self._gauge.add(-len(pieces[-1]))
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.size -= len(data)
        return data

    def spill(self) -> None:
        """Free the memory."""
        written: list[tuple[int, int]] = []
        try:
            with memoryview(self._memory) as view:
                for start in range(0, len(view), _BLOCK_BYTES):
                    with view[start : start + _BLOCK_BYTES] as piece:
                        written.append((self._disk.write(piece), len(piece)))
        except ConnectError:
            for block, _ in written:
                self._disk.free(block)
            raise
        self._blocks += written
        self._free_memory()

    def close(self) -> None:
        """Forget all of it."""
        self.size = self._start = 0
        for block, _ in self._blocks:
            self._disk.free(block)
        self._blocks.clear()
        self._free_memory()

    def _free_memory(self) -> None:
        self._gauge.add(-len(self._memory))
        self._memory = bytearray()


def _one_by_one(jobs: Sequence[Callable[[], None]]) -> list[Exception | None]:
    results: list[Exception | None] = []
    for job in jobs:
        try:
            job()
        except Exception as exc:  # noqa: BLE001 - the caller looks at it
            return [*results, exc]
        results.append(None)
    return results


def _error_of(future: "Future[None]") -> Exception | None:
    error = future.exception()
    if error is not None and not isinstance(error, Exception):
        raise error
    return error
