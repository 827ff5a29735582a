"""Reads the chunks of a snapshot: over one connection, or over several at once.

Several readers are threads, each with its own connection on the same exported snapshot. They read ahead, and
the rows still come out chunk by chunk in order, so that the result does not depend on the number of threads.
A thread mostly waits for its server process: what it saves is the server's time, not the task's own.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Final, NamedTuple, Self

import psycopg

from connectors.postgres.connection import start_copy
from connectors.postgres.snapshot_chunks import Chunk, ChunkMaker

QUEUE_BYTES_MAX: Final = 8 << 20
"""What readers may have read ahead, all together."""

_WAIT_S: Final = 0.5
_CANCEL_AGAIN_S: Final = 0.2
_PATIENCE_S: Final = 0.02
# So much is made into records at once: it should stay in the processor's cache.
_BLOCK_LINES: Final = 1_000
_BLOCK_BYTES: Final = 256 << 10
_PIECE_BYTES_MAX: Final = 1 << 20

Connect = Callable[[], psycopg.Connection[Any]]


class Piece(NamedTuple):
    """Some rows of a chunk: blocks of lines of COPY, each with its number of lines. `is_end` for the last
    ones, which may be none."""

    chunk: Chunk
    blocks: list[tuple[bytes, int]]
    is_end: bool


def read_chunk(
    connection: psycopg.Connection[Any], chunk: Chunk, lines_max: int, bytes_max: int, patience_s: float = 0
) -> Iterator[tuple[Piece | None, int]]:
    """The chunk's rows with what they take in memory; None when nothing has come for half a second. Fewer
    than `lines_max` are given when no more come within `patience_s`."""
    reader = start_copy(connection, chunk.copy)
    blocks = _Blocks()
    while True:
        try:
            came = blocks.add(reader.take(min(_BLOCK_LINES, lines_max - blocks.lines), _BLOCK_BYTES))
        except EOFError:
            yield Piece(chunk, blocks.taken(), True), blocks.size
            return
        if came:
            if blocks.lines < lines_max and blocks.size < bytes_max:
                continue
        elif not blocks.lines:
            if not reader.wait(_WAIT_S):
                yield None, 0
            continue
        elif patience_s and reader.wait(patience_s):
            continue
        yield Piece(chunk, blocks.taken(), False), blocks.size
        blocks = _Blocks()


class _Blocks:
    """Lines of COPY put together."""

    def __init__(self) -> None:
        self.lines = self.size = 0
        self._blocks: list[tuple[bytes, int]] = []
        self._open: list[bytes] = []
        self._open_bytes = 0

    def add(self, lines: Sequence[bytes]) -> bool:
        """Whether there are any."""
        self._open += lines
        size = sum(map(len, lines))
        self._open_bytes += size
        self.size += size
        self.lines += len(lines)
        if len(self._open) >= _BLOCK_LINES or self._open_bytes >= _BLOCK_BYTES:
            self._close()
        return bool(lines)

    def taken(self) -> list[tuple[bytes, int]]:
        """All of it, each block with its number of lines."""
        self._close()
        return self._blocks

    def _close(self) -> None:
        if self._open:
            self._blocks.append((b"".join(self._open), len(self._open)))
            self._open, self._open_bytes = [], 0


class SerialReader(AbstractContextManager["SerialReader"]):
    """One connection, in the caller's thread."""

    def __init__(
        self, connection: psycopg.Connection[Any], chunks: ChunkMaker, lines_max: int, bytes_max: int
    ) -> None:
        self._connection = connection
        self._chunks = chunks
        self._lines_max, self._bytes_max = lines_max, bytes_max

    def __iter__(self) -> Iterator[Piece | None]:
        """All chunks' rows in order; None now and then while there are none."""
        while (chunk := self._chunks.next(self._connection)) is not None:
            for piece, _ in read_chunk(self._connection, chunk, self._lines_max, self._bytes_max):
                yield piece

    def __exit__(self, *exc: object) -> None:
        """The connection is the caller's."""


class ParallelReader(AbstractContextManager["ParallelReader"]):
    """Several connections, a thread each."""

    def __init__(
        self, connect: Connect, chunks: ChunkMaker, lines_max: int, bytes_max: int, threads: int
    ) -> None:
        self._chunks = chunks
        self._lines_max, self._bytes_max = lines_max, min(bytes_max, _PIECE_BYTES_MAX)
        self._changed = threading.Condition()
        self._making = threading.Lock()
        self._pieces: dict[int, deque[tuple[Piece, int]]] = {}
        self._begun = 0  # chunks that a reader has taken
        self._head = 0  # the chunk whose rows come out now
        self._bytes = 0
        self._running = threads
        self._stopped = False
        self._error: BaseException | None = None
        self._connections: list[psycopg.Connection[Any]] = []
        try:
            for _ in range(threads):
                self._connections.append(connect())
        except BaseException:
            self._close_connections()
            raise
        self._threads = [
            threading.Thread(target=self._run, args=(connection,), name=f"snapshot-{number}", daemon=True)
            for number, connection in enumerate(self._connections)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread, connection in zip(self._threads, self._connections, strict=True):
            while thread.is_alive():  # it may wait for a slow query
                with suppress(psycopg.Error):
                    connection.cancel()
                thread.join(_CANCEL_AGAIN_S)
        self._close_connections()

    def _close_connections(self) -> None:
        for connection in self._connections:
            connection.close()

    def __iter__(self) -> Iterator[Piece | None]:
        """All chunks' rows in order; None now and then while there are none."""
        while True:
            with self._changed:
                if self._error is not None:
                    raise self._error
                queue = self._pieces.get(self._head)
                if queue:
                    piece, size = queue.popleft()
                    self._bytes -= size
                    if piece.is_end:
                        del self._pieces[self._head]
                        self._head += 1
                    self._changed.notify_all()
                elif self._running == 0 and self._head == self._begun:
                    return
                else:
                    self._changed.wait(_WAIT_S)
                    piece = None
            yield piece

    # --- in the threads

    def _run(self, connection: psycopg.Connection[Any]) -> None:
        try:
            while (taken := self._take(connection)) is not None:
                number, chunk = taken
                for piece, size in self._read(connection, chunk):
                    if not self._put(number, piece, size):
                        return
            connection.execute("COMMIT")
        except BaseException as exc:  # noqa: BLE001 - it is raised again in the task's own thread
            with self._changed:
                self._error = self._error or exc
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _take(self, connection: psycopg.Connection[Any]) -> tuple[int, Chunk] | None:
        # One at a time, so that chunks have their numbers in order; who waits for rows needs no such lock.
        with self._making:
            if self._stopped:
                return None
            chunk = self._chunks.next(connection)
            if chunk is None:
                return None
            with self._changed:
                number = self._begun
                self._begun += 1
                self._pieces[number] = deque()
            return number, chunk

    def _read(self, connection: psycopg.Connection[Any], chunk: Chunk) -> Iterator[tuple[Piece | None, int]]:
        return read_chunk(connection, chunk, self._lines_max, self._bytes_max, _PATIENCE_S)

    def _put(self, number: int, piece: Piece | None, size: int) -> bool:
        """Queue a piece once there is room; False when reading should end."""
        with self._changed:
            if piece is not None:
                # The chunk at the head may always go on, or nothing would.
                while self._bytes >= QUEUE_BYTES_MAX and number != self._head and not self._stopped:
                    self._changed.wait()
                self._pieces[number].append((piece, size))
                self._bytes += size
                self._changed.notify_all()
            return not self._stopped
