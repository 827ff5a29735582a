"""The records inside a batch, for the few who must look: searches by timestamp, dumps of a log."""

from collections.abc import Iterator
from dataclasses import dataclass

from broker.wire.batch import HEADER_BYTES, LOG_APPEND_TIME_FLAG, BatchHeader, InvalidBatch
from broker.wire.compression import decompress
from broker.wire.raw_records import read_varint


@dataclass(frozen=True, slots=True)
class Record:
    """Views into the batch; `headers` are keys with their values."""

    offset: int
    timestamp: int
    key: memoryview | None
    value: memoryview | None
    headers: tuple[tuple[memoryview, memoryview | None], ...]


def read_records(batch: memoryview, header: BatchHeader) -> Iterator[Record]:
    """Every record of a batch. Raises InvalidBatch when they cannot be read."""
    records = decompress(batch[HEADER_BYTES:], header.compression)
    stamped = bool(header.attributes & LOG_APPEND_TIME_FLAG)
    position = 0
    try:
        for _ in range(header.records_count):
            length, position = _read_varint(records, position)
            end = position + length
            timestamp_delta, position = _read_varint(records, position + 1)
            offset_delta, position = _read_varint(records, position)
            key, position = _read_bytes(records, position)
            value, position = _read_bytes(records, position)
            count, position = _read_varint(records, position)
            headers = []
            for _ in range(count):
                name, position = _read_bytes(records, position)
                content, position = _read_bytes(records, position)
                if name is None:
                    raise InvalidBatch("a header without a key")
                headers.append((name, content))
            if position != end:
                raise InvalidBatch(f"a record ends at byte {position} instead of {end}")
            yield Record(
                header.base_offset + offset_delta,
                header.max_timestamp if stamped else header.base_timestamp + timestamp_delta,
                key,
                value,
                tuple(headers),
            )
    except IndexError as exc:
        raise InvalidBatch("the records end early") from exc


def _read_bytes(data: memoryview, position: int) -> tuple[memoryview | None, int]:
    """Bytes after their length, None for a length of -1; and where they end."""
    length, position = _read_varint(data, position)
    if length == -1:
        return None, position
    end = position + length
    if not position <= end <= len(data):
        raise InvalidBatch(f"{length} bytes at byte {position} of {len(data)}")
    return data[position:end], end


def record_timestamps(batch: memoryview, header: BatchHeader) -> Iterator[tuple[int, int]]:
    """Offset and timestamp of each record. Raises InvalidBatch when the records cannot be read."""
    records = decompress(batch[HEADER_BYTES:], header.compression)
    log_append_time = header.max_timestamp if header.attributes & LOG_APPEND_TIME_FLAG else None
    position = 0
    try:
        for _ in range(header.records_count):
            length, start = _read_varint(records, position)
            timestamp_delta, after = _read_varint(records, start + 1)
            offset_delta, _ = _read_varint(records, after)
            timestamp = (
                header.base_timestamp + timestamp_delta if log_append_time is None else log_append_time
            )
            yield header.base_offset + offset_delta, timestamp
            if length <= 0:
                raise InvalidBatch(f"record of {length} bytes")
            position = start + length
    except IndexError as exc:
        raise InvalidBatch("the records end early") from exc


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """A zigzag varint of up to ten bytes."""
    value, position = read_varint(data, position)
    return (value >> 1) ^ -(value & 1), position
