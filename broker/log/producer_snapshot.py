"""`.snapshot`: the producers of a partition at an offset, and what the aborted indexes had in them then.

A snapshot is only a shortcut: without one, or with a damaged or older one, the log says the same, and
reading it costs time, nothing else.

    version i16, CRC-32C of the rest u32, number of producers i32, number of indexes i32
    producer: id i64, epoch i16, coordinator epoch i32, transaction's first offset i64 (-1: none open),
              last timestamp i64, seen_ms i64, number of batches u8
    batch:    first and last sequence i32, first and last offset i64, timestamp i64
    index:    base offset of the segment i64, number of entries i32, their CRC-32C u32
"""

import struct
from collections.abc import Mapping
from pathlib import Path

from crc32c import crc32c

from broker.log.producers import Producer, ProducerStates, SequencedBatch
from broker.log.transactions import IndexChecksum

VERSION = 2

_HEAD = struct.Struct(">hI")
_COUNTS = struct.Struct(">ii")
_PRODUCER = struct.Struct(">qhiqqqB")
_BATCH = struct.Struct(">iiqqq")
_INDEX = struct.Struct(">qiI")

NOT_OPEN = -1

Checksums = Mapping[int, IndexChecksum]
"""Of the aborted indexes that are not empty, by the segment's base offset."""


def write_snapshot(path: Path, producers: ProducerStates, checksums: Checksums) -> None:
    """The file appears whole or not at all. Raises OSError."""
    body = bytearray(_COUNTS.pack(len(producers), len(checksums)))
    for producer_id, producer in producers:
        transaction_start = producers.open_transaction(producer_id)
        body += _PRODUCER.pack(
            producer_id,
            producer.producer_epoch,
            producer.coordinator_epoch,
            NOT_OPEN if transaction_start is None else transaction_start,
            producer.last_timestamp,
            producer.seen_ms,
            len(producer.batches),
        )
        for batch in producer.batches:
            body += _BATCH.pack(
                batch.first_sequence,
                batch.last_sequence,
                batch.base_offset,
                batch.last_offset,
                batch.timestamp,
            )
    for base_offset, checksum in checksums.items():
        body += _INDEX.pack(base_offset, checksum.count, checksum.crc)
    partial = path.with_suffix(".snapshot.tmp")
    partial.write_bytes(_HEAD.pack(VERSION, crc32c(bytes(body))) + body)
    partial.replace(path)


def read_snapshot(path: Path, producers: ProducerStates) -> Checksums | None:
    """Replace `producers` by the file's; None, and no producers, when the file is no good."""
    producers.clear()
    try:
        data = memoryview(path.read_bytes())
        version, crc = _HEAD.unpack_from(data)
        body = data[_HEAD.size :]
        if version != VERSION or crc != crc32c(body):
            return None
        return _read_body(body, producers)
    except (OSError, struct.error):
        producers.clear()
        return None


def _read_body(body: memoryview, producers: ProducerStates) -> Checksums:
    producers_count, indexes_count = _COUNTS.unpack_from(body)
    position = _COUNTS.size
    found: list[tuple[int, int, Producer]] = []
    for _ in range(producers_count):
        producer_id, producer_epoch, coordinator_epoch, start, last_timestamp, seen_ms, batches_count = (
            _PRODUCER.unpack_from(body, position)
        )
        position += _PRODUCER.size
        producer = Producer(producer_epoch, seen_ms, last_timestamp, coordinator_epoch)
        for _ in range(batches_count):
            producer.batches.append(SequencedBatch(*_BATCH.unpack_from(body, position)))
            position += _BATCH.size
        found.append((start, producer_id, producer))
    for start, producer_id, producer in sorted(found, key=lambda entry: entry[0]):
        producers.restore(producer_id, producer, None if start == NOT_OPEN else start)
    checksums = {}
    for _ in range(indexes_count):
        base_offset, count, crc = _INDEX.unpack_from(body, position)
        position += _INDEX.size
        checksums[base_offset] = IndexChecksum(count, crc)
    return checksums
