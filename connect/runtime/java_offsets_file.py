"""The file of a standalone worker's offsets as Kafka Connect has it: a serialised `HashMap<byte[], byte[]>`.

`FileOffsetBackingStore` writes it with an ObjectOutputStream. Java Object Serialization Specification, 6.4:
https://docs.oracle.com/en/java/javase/17/docs/specs/serialization/protocol.html
"""

import struct
from collections.abc import Mapping
from typing import Final

from connect.api import ConnectError

_MAGIC: Final = b"\xac\xed\x00\x05"
_NULL, _REFERENCE, _CLASS, _OBJECT, _ARRAY, _BLOCK, _END = 0x70, 0x71, 0x72, 0x73, 0x75, 0x77, 0x78
_FIRST_HANDLE: Final = 0x7E0000


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


# Name, serialVersionUID, flags (serialisable, with a writeObject method of its own), the two fields.
_HASH_MAP: Final = (
    bytes([_CLASS]) + _text("java.util.HashMap") + bytes.fromhex("0507dac1c31660d1") + b"\x03\x00\x02"
    + b"F" + _text("loadFactor") + b"I" + _text("threshold") + bytes([_END, _NULL])
)  # fmt: skip
_BYTES: Final = (
    bytes([_CLASS]) + _text("[B") + bytes.fromhex("acf317f8060854e0") + b"\x02\x00\x00" + bytes([_END, _NULL])
)
# The stream numbers what it has written: the map's class, the map, the class of byte arrays.
_BYTES_AGAIN: Final = struct.pack(">BI", _REFERENCE, _FIRST_HANDLE + 2)
_LOAD_FACTOR: Final = 0.75
_BUCKETS_MIN: Final = 16

Entries = Mapping[bytes | None, bytes | None]


def dump(entries: Entries) -> bytes:
    """The file's content."""
    buckets = _BUCKETS_MIN
    while len(entries) > buckets * _LOAD_FACTOR:
        buckets *= 2
    parts = [
        _MAGIC, bytes([_OBJECT]), _HASH_MAP,
        struct.pack(">fi", _LOAD_FACTOR, int(buckets * _LOAD_FACTOR)),
        struct.pack(">BBii", _BLOCK, 8, buckets, len(entries)),
    ]  # fmt: skip
    described = False
    for value in (each for entry in entries.items() for each in entry):
        if value is None:
            parts.append(bytes([_NULL]))
            continue
        parts += [
            bytes([_ARRAY]),
            _BYTES_AGAIN if described else _BYTES,
            struct.pack(">i", len(value)),
            value,
        ]
        described = True
    parts.append(bytes([_END]))
    return b"".join(parts)


def load(data: bytes) -> dict[bytes | None, bytes | None]:
    """The entries of a file's content; none of an empty one. Raises `ConnectError` for anything else."""
    if not data:
        return {}
    reader = _Reader(data)
    try:
        return reader.entries()
    except (struct.error, IndexError):
        raise _Malformed(f"it ends in the middle, after {len(data)} bytes") from None


class _Malformed(ConnectError):
    pass


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._handles: list[bytes | None] = []  # arrays by their number; None for what is none

    def entries(self) -> dict[bytes | None, bytes | None]:
        self._expect(_MAGIC + bytes([_OBJECT]) + _HASH_MAP, "it is not a serialised java.util.HashMap")
        self._handles += [None, None]
        self._take(">fi")
        block, size, _, count = self._take(">BBii")
        if (block, size) != (_BLOCK, 8) or count < 0:
            raise _Malformed("it is not a serialised java.util.HashMap")
        found = {}
        for _ in range(count):
            key = self._value()
            found[key] = self._value()
        return found

    def _value(self) -> bytes | None:
        (kind,) = self._take(">B")
        if kind == _NULL:
            return None
        if kind == _REFERENCE:
            return self._handles[self._handle()]
        if kind != _ARRAY:
            raise _Malformed("it holds something else than byte arrays")
        (described,) = self._take(">B")
        if described == _CLASS:
            self._at -= 1
            self._expect(_BYTES, "it holds something else than byte arrays")
            self._handles.append(None)
        elif described == _REFERENCE:
            self._handle()
        else:
            raise _Malformed("it holds something else than byte arrays")
        (length,) = self._take(">i")
        if not 0 <= length <= len(self._data) - self._at:
            raise _Malformed(f"it ends in the middle, after {len(self._data)} bytes")
        value = self._data[self._at : self._at + length]
        self._at += length
        self._handles.append(value)
        return value

    def _handle(self) -> int:
        (handle,) = self._take(">I")
        number = int(handle) - _FIRST_HANDLE
        if not 0 <= number < len(self._handles):
            raise _Malformed("it refers to what it does not hold")
        return number

    def _expect(self, wanted: bytes, otherwise: str) -> None:
        found = self._data[self._at : self._at + len(wanted)]
        if found != wanted:
            raise _Malformed(otherwise)
        self._at += len(wanted)

    def _take(self, layout: str) -> tuple[int, ...]:
        found: tuple[int, ...] = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return found
