"""Pieces of the hand-written codecs: names, lengths and topic ids in both encodings of the protocol."""

import struct
import uuid

from broker.wire.decoder import read_uvarint

_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")

UUID_BYTES = 16
UUID_ZERO = uuid.UUID(int=0)


def uvarint(value: int) -> bytes:
    """An unsigned varint."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def text(value: str | None, *, flexible: bool) -> bytes:
    """A nullable string, compact in flexible versions."""
    if value is None:
        return b"\x00" if flexible else b"\xff\xff"
    data = value.encode()
    return (uvarint(len(data) + 1) if flexible else _INT16.pack(len(data))) + data


def array_length(count: int, *, flexible: bool) -> bytes:
    return uvarint(count + 1) if flexible else _INT32.pack(count)


class Cursor:
    """Reads a frame from `position` on; beyond its end: IndexError, struct.error or ValueError."""

    __slots__ = ("flexible", "frame", "position")

    def __init__(self, frame: memoryview, position: int, *, flexible: bool) -> None:
        self.frame = frame
        self.position = position
        self.flexible = flexible

    def take(self, layout: struct.Struct) -> tuple[int, ...]:
        values = layout.unpack_from(self.frame, self.position)
        self.position += layout.size
        return values

    def text(self) -> str | None:
        if self.flexible:
            length, self.position = read_uvarint(self.frame, self.position)
            length -= 1
        else:
            (length,) = _INT16.unpack_from(self.frame, self.position)
            self.position += 2
        return None if length < 0 else str(self._bytes(length), "utf-8", "replace")

    def data(self) -> memoryview | None:
        """Nullable bytes, not copied."""
        length = self._length()
        return None if length < 0 else self._bytes(length)

    def array(self) -> int:
        """The count of an array's items, each of which has at least one byte."""
        count = self._length()
        if count > len(self.frame) - self.position:
            raise ValueError(f"{count} array items announced, {len(self.frame) - self.position} bytes there")
        return max(count, 0)

    def topic_id(self) -> uuid.UUID:
        return uuid.UUID(bytes=bytes(self._bytes(UUID_BYTES)))

    def tags(self) -> None:
        """Skip tagged fields; a flexible structure ends with them."""
        if not self.flexible:
            return
        if self.frame[self.position] == 0:
            self.position += 1
            return
        count, self.position = read_uvarint(self.frame, self.position)
        for _ in range(count):
            _, self.position = read_uvarint(self.frame, self.position)
            size, self.position = read_uvarint(self.frame, self.position)
            self._bytes(size)

    def _length(self) -> int:
        if self.flexible:
            length, self.position = read_uvarint(self.frame, self.position)
            return length - 1
        (length,) = _INT32.unpack_from(self.frame, self.position)
        self.position += 4
        return int(length)

    def _bytes(self, length: int) -> memoryview:
        end = self.position + length
        if end > len(self.frame):
            raise ValueError(f"{length} bytes announced, {len(self.frame) - self.position} there")
        data = self.frame[self.position : end]
        self.position = end
        return data
