"""Where the records of a batch are in its bytes, for those who look at all of them: compaction, and topics
on which every record needs a key. No object is made of a record but a tuple; its key is a slice.

A record: length varint, attributes i8, timestamp delta varint, offset delta varint, key length varint, key,
value length varint, value, headers. All varints are zigzag.
"""

from collections.abc import Iterator

from broker.wire.batch import InvalidBatch
from broker.wire.packing import uvarint

RawRecord = tuple[int, int, int, int, int, bytes | None, bool]
"""Start and end in the data, where the offset delta starts, timestamp delta, offset delta, key, and whether
the value is null."""

_NULL = 1
"""A length of -1."""


def raw_records(data: bytes, position: int, count: int) -> Iterator[RawRecord]:
    """The `count` records from `position` to the end of `data`. Raises InvalidBatch when it has others."""
    try:
        for _ in range(count):
            start = position
            length = data[position]
            if length < 0x80:
                position += 1
            else:
                length, position = read_varint(data, position)
            end = position + (length >> 1)
            timestamp_delta = data[position + 1]
            if timestamp_delta < 0x80:
                offset_position = position + 2
            else:
                timestamp_delta, offset_position = read_varint(data, position + 1)
            offset_delta = data[offset_position]
            if offset_delta < 0x80:
                position = offset_position + 1
            else:
                offset_delta, position = read_varint(data, offset_position)
            key_length = data[position]
            if key_length < 0x80:
                position += 1
            else:
                key_length, position = read_varint(data, position)
            if key_length == _NULL:
                key = None
            else:
                key_start = position
                position += key_length >> 1
                key = data[key_start:position]
            if length & 1 or offset_delta & 1 or (key_length & 1 and key is not None) or position >= end:
                raise InvalidBatch(f"no record at byte {start}")
            yield (
                start,
                end,
                offset_position,
                (timestamp_delta >> 1) ^ -(timestamp_delta & 1),
                offset_delta >> 1,
                key,
                data[position] == _NULL,
            )
            position = end
    except IndexError as exc:
        raise InvalidBatch("the records end early") from exc
    if position != len(data):
        raise InvalidBatch(f"{count} records end at byte {position} of {len(data)}")


def with_timestamp_delta(data: bytes, record: RawRecord, timestamp_delta: int) -> bytes:
    """The record's bytes with another timestamp delta."""
    _, end, offset_position, _, _, _, _ = record
    body = b"\0" + _zigzag(timestamp_delta) + data[offset_position:end]
    return _zigzag(len(body)) + body


def read_varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """An unsigned varint of up to ten bytes, still zigzag, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise InvalidBatch("varint of more than ten bytes")


def _zigzag(value: int) -> bytes:
    return uvarint(value << 1 if value >= 0 else (-value << 1) - 1)
