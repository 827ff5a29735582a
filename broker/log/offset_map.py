"""Key → newest offset, for compaction: a table of fixed size, whatever the keys look like.

As Kafka's SkimpyOffsetMap it knows a key by 16 bytes: a shorter one by itself, a longer one by its MD5,
of which the last byte is replaced by what no short key has there.
"""

import hashlib
import mmap
import struct

ENTRY_BYTES = 24
LOAD_FACTOR = 0.75
"""Fuller tables make searches long."""

HASH_BYTES = 16
_EMPTY = bytes(HASH_BYTES)
_LONG_KEY = b"\xff"
_SHORT_KEY_MARKS = [bytes([length + 1]) for length in range(HASH_BYTES)]

_put = struct.Struct("16sq").pack_into
_offset = struct.Struct("q").unpack_from


class OffsetMap:
    """Takes up to `capacity` keys; memory only for as many as are expected."""

    def __init__(self, bytes_max: int, keys_expected: int) -> None:
        slots = min(bytes_max // ENTRY_BYTES, int(keys_expected / LOAD_FACTOR) + 1)
        self.capacity = int(slots * LOAD_FACTOR)
        self._slots = max(slots, 1)
        self._table = mmap.mmap(-1, self._slots * ENTRY_BYTES)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def free(self) -> int:
        return self.capacity - self._count

    def put(self, key: bytes, offset: int) -> None:
        """The caller sees to it that there is room, and that offsets ascend."""
        digest = _digest(key)
        position = hash(digest) % self._slots * ENTRY_BYTES
        table, end = self._table, self._slots * ENTRY_BYTES
        while (found := table[position : position + HASH_BYTES]) != digest:
            if found == _EMPTY:
                self._count += 1
                break
            position += ENTRY_BYTES
            if position == end:
                position = 0
        _put(table, position, digest, offset)

    def get(self, key: bytes) -> int:
        """The newest offset of the key, -1 when it has none."""
        digest = _digest(key)
        position = hash(digest) % self._slots * ENTRY_BYTES
        table, end = self._table, self._slots * ENTRY_BYTES
        while (found := table[position : position + HASH_BYTES]) != digest:
            if found == _EMPTY:
                return -1
            position += ENTRY_BYTES
            if position == end:
                position = 0
        offset: int = _offset(table, position + HASH_BYTES)[0]
        return offset


def _digest(key: bytes) -> bytes:
    length = len(key)
    if length < HASH_BYTES:
        return key.ljust(HASH_BYTES - 1, b"\0") + _SHORT_KEY_MARKS[length]
    return hashlib.md5(key, usedforsecurity=False).digest()[:-1] + _LONG_KEY
