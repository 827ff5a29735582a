"""What a standalone worker has instead of topics: maps in memory, and one in a file."""

import asyncio
import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import orjson

from connect.api import ConnectError
from connect.runtime import java_offsets_file
from connect.runtime.topic_map import OnRecord


class MemoryMap:
    """Like a `TopicMap` whose topic nobody else writes; gone with the worker."""

    def __init__(self, on_record: OnRecord) -> None:
        self.failure: Exception | None = None
        self._on_record = on_record
        self._count = 0
        self.record_offset = -1

    @property
    def position(self) -> int:
        return self._count

    async def barrier(self) -> None:
        """Nothing is ever on its way."""

    async def reach(self, position: int) -> None:
        """Nothing is ever on its way."""

    async def stop(self) -> None:
        """Nothing is open."""

    async def put(self, key: str, value: Any) -> None:
        await self.put_all({key: value})

    async def put_all(self, records: Mapping[str, Any]) -> None:
        for key, value in records.items():
            self._take(key, value)

    def post(self, key: str, value: Any, still_true: Callable[[], bool] = lambda: True) -> None:
        if still_true():
            self._take(key, value)

    def forget_post(self, key: str) -> None:
        """It is written already."""

    def _take(self, key: str, value: Any) -> None:
        self.record_offset, self._count = self._count, self._count + 1
        # A copy, as of what comes from a topic.
        self._on_record(key, orjson.loads(orjson.dumps(value)))


class FileMap(MemoryMap):
    """The source offsets, in Kafka Connect's own file format; written whole, and synced, at each change.

    A key that stands there in another spelling of the same JSON, or is none, stays as it is. One worker at a
    time has the file.
    """

    def __init__(self, file: Path, on_record: OnRecord) -> None:
        super().__init__(on_record)
        self._file = Path(os.path.realpath(file))
        self._entries: dict[bytes | None, bytes | None] = {}
        self._turn = asyncio.Lock()
        self._lock: TextIO | None = None

    def open(self) -> None:
        """Take up what is in the file; raises `ConnectError` if it cannot be used."""
        try:
            self._lock = self._file.with_name(f".{self._file.name}.lock").open("a")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._entries = java_offsets_file.load(self._file.read_bytes())
        except FileNotFoundError as exc:
            if not self._file.parent.is_dir():
                raise self._unusable(exc.strerror) from None
        except BlockingIOError:
            raise self._unusable("another worker has it") from None
        except OSError as exc:
            raise self._unusable(exc.strerror) from None
        except ConnectError as exc:
            raise self._unusable(f"this is no file of Kafka Connect's: {exc}") from None
        for key, value in self._entries.items():
            if key is not None and value is not None:
                self._read(key, value)

    def _read(self, key: bytes, value: bytes) -> None:
        try:
            self._on_record(key.decode(), orjson.loads(value))
        except (ValueError, TypeError) as exc:
            raise self._unusable(f"the offset of {key!r} is not JSON: {exc}") from None

    async def put_all(self, records: Mapping[str, Any]) -> None:
        # Whoever asked may be cancelled; a write that has begun is finished before the next one.
        await asyncio.shield(asyncio.ensure_future(self._put(records)))

    async def _put(self, records: Mapping[str, Any]) -> None:
        async with self._turn:
            entries = dict(self._entries)
            for key, value in records.items():
                if value is None:
                    entries.pop(key.encode(), None)
                else:
                    entries[key.encode()] = orjson.dumps(value)
            try:
                await asyncio.to_thread(self._write, java_offsets_file.dump(entries))
            except OSError as exc:
                raise ConnectError(f"offsets could not be written to {self._file}: {exc.strerror}") from exc
            self._entries = entries
            await super().put_all(records)

    def post(self, key: str, value: Any, still_true: Callable[[], bool] = lambda: True) -> None:
        raise AssertionError("an offset has to be durable, which a post does not wait for")

    async def stop(self) -> None:
        async with self._turn:
            if self._lock is not None:
                self._lock.close()

    def _write(self, data: bytes) -> None:
        """All or nothing, whatever happens in between."""
        draft = self._file.with_name(f".{self._file.name}.new")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)
        directory = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _unusable(self, why: str | None) -> ConnectError:
        return ConnectError(f"offset.storage.file.filename={self._file} cannot be used: {why}")
