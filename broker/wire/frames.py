"""Frames: a size of four bytes, then a request whose header says which API and version it is.

A frame that arrives in one piece is handed out where it was received. A larger one gets a buffer of
its own, made of anonymous memory: pages that no byte has arrived for do not exist, so a client that
announces 100 MB and sends ten bytes costs nothing. A frame is valid until the next one is asked for.
"""

import mmap
import struct

from broker.wire.decoder import read_uvarint
from broker.wire.errors import ProtocolViolation

SIZE_BYTES = 4
HEADER_BYTES_MIN = 10
"""Key, version, correlation id, and the length of a client id."""

SMALL_REQUEST_BYTES_MAX = 16 * 1024 * 1024
"""Nothing but a Produce (key 0) may be larger, whatever `socket.request.max.bytes` says."""

POOLED_BUFFER_BYTES_MAX = 4 * 1024 * 1024
POOL_BYTES_MAX = 16 * 1024 * 1024
PAGE_BYTES = 4096

_SIZE = struct.Struct(">i")
_KEY = struct.Struct(">h")
_HEADER = struct.Struct(">hhih")


class FrameBuffers:
    """Buffers for frames that come in pieces. Used ones are kept: new pages cost more than the copy."""

    def __init__(self) -> None:
        self._free: dict[int, list[memoryview]] = {}
        self._free_bytes = 0

    def take(self, size: int) -> memoryview:
        """A buffer of at least `size` bytes. Raises ProtocolViolation when there is no memory for it."""
        capacity = max(PAGE_BYTES, 1 << (size - 1).bit_length())
        free = self._free.get(capacity)
        if free:
            self._free_bytes -= capacity
            return free.pop()
        try:
            return memoryview(mmap.mmap(-1, capacity))
        except OSError as exc:
            raise ProtocolViolation(f"no memory for a frame of {size} bytes: {exc}") from exc

    def give_back(self, buffer: memoryview) -> None:
        capacity = len(buffer)
        if capacity <= POOLED_BUFFER_BYTES_MAX and self._free_bytes + capacity <= POOL_BYTES_MAX:
            self._free.setdefault(capacity, []).append(buffer)
            self._free_bytes += capacity

    def trim(self) -> None:
        """Let go of all that is not in use."""
        self._free.clear()
        self._free_bytes = 0


class FrameReader:
    """Cuts what one connection receives into frames.

    Receive into `target()`, report the count to `received`, then take frames with `next_frame` until it
    returns None. `scratch` is shared by all connections: whoever stops earlier has to `save` the rest.
    """

    __slots__ = (
        "_buffer",
        "_buffers",
        "_data",
        "_done",
        "_filled",
        "_head",
        "_limit",
        "_position",
        "_scratch",
        "_size",
    )

    def __init__(self, scratch: memoryview, buffers: FrameBuffers, frame_bytes_max: int) -> None:
        self._scratch = scratch
        self._buffers = buffers
        self._limit = frame_bytes_max
        self._data = scratch[:0]
        self._position = 0
        self._head = b""  # fewer than four bytes of a size
        self._buffer: memoryview | None = None
        self._size = self._filled = 0
        self._done: memoryview | None = None  # the buffer of the frame handed out last

    def target(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._buffer is not None:
            return self._buffer[self._filled : self._size]
        held = len(self._head)
        if held:
            self._scratch[:held] = self._head
        return self._scratch[held:]

    def received(self, count: int) -> None:
        if self._buffer is not None:
            self._filled += count
        else:
            self._data = self._scratch[: len(self._head) + count]
            self._position = 0
            self._head = b""

    def next_frame(self) -> memoryview | None:
        """A whole frame without its size. Raises ProtocolViolation for a size that cannot be."""
        if self._done is not None:
            self._buffers.give_back(self._done)
            self._done = None
        if self._buffer is not None:
            if self._filled < self._size:
                return None
            self._done, self._buffer = self._buffer, None
            return self._done[: self._size]
        start = self._position + SIZE_BYTES
        available = len(self._data) - start
        if available < 0:
            self._head = bytes(self._data[self._position :])
            self._forget_data()
            return None
        (size,) = _SIZE.unpack_from(self._data, self._position)
        key = _KEY.unpack_from(self._data, start)[0] if available >= _KEY.size else 0
        limit = self._limit if key == 0 else min(self._limit, SMALL_REQUEST_BYTES_MAX)
        if not HEADER_BYTES_MIN <= size <= limit:
            raise ProtocolViolation(f"frame of {size} bytes, limit {limit}")
        if available >= size:
            self._position = start + size
            return self._data[start : self._position]
        self._size, self._filled = size, available
        self._buffer = self._buffers.take(size)
        self._buffer[:available] = self._data[start:]
        self._forget_data()
        return None

    def save(self) -> None:
        """Keep what was received but not taken yet, and let go of the shared memory."""
        self._data = memoryview(bytearray(self._data[self._position :]))
        self._position = 0

    @property
    def has_saved(self) -> bool:
        return len(self._data) > self._position

    def _forget_data(self) -> None:
        self._data = self._scratch[:0]
        self._position = 0


class RequestHeader:
    """The part of a request's header that all versions share; `position` is where it ends."""

    __slots__ = ("api_key", "api_version", "client_id", "correlation_id", "position")

    def __init__(self, frame: memoryview) -> None:
        """Raises ProtocolViolation when the frame is too short. A null client id is an empty one."""
        if len(frame) < HEADER_BYTES_MIN:
            raise ProtocolViolation(f"request of {len(frame)} bytes")
        self.api_key, self.api_version, self.correlation_id, length = _HEADER.unpack_from(frame)
        self.position = HEADER_BYTES_MIN + max(length, 0)
        if self.position > len(frame):
            raise ProtocolViolation(f"client id of {length} bytes in a request of {len(frame)}")
        self.client_id = bytes(frame[HEADER_BYTES_MIN : self.position])


def skip_tags(frame: memoryview, position: int) -> int:
    """Where the tagged fields that start at `position` end."""
    try:
        if frame[position] == 0:
            return position + 1
        count, position = read_uvarint(frame, position)
        for _ in range(count):
            _, position = read_uvarint(frame, position)
            size, position = read_uvarint(frame, position)
            position += size
    except (IndexError, ValueError) as exc:
        raise ProtocolViolation(f"request header: {exc}") from exc
    if position > len(frame):
        raise ProtocolViolation("request header: tagged fields end after the request")
    return position
