"""Timestamps of single records, in every compression codec."""

import contextlib
import random

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from support.batches import make_batch, patch

from broker.wire.batch import HEADER_BYTES, BatchHeader, InvalidBatch
from broker.wire.compression import RECORDS_BYTES_MAX
from broker.wire.records import read_records, record_timestamps

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

COMPRESS = {
    "none": bytes,
    "gzip": cramjam.gzip.compress,
    "snappy": cramjam.snappy.compress_raw,
    "lz4": cramjam.lz4.compress,
    "zstd": cramjam.zstd.compress,
}


def compressed(codec: str, records: bytes | None = None) -> bytearray:
    plain = make_batch([b"x" * 100] * 5, timestamps=[50, 10, 70, 40, 70])
    content = bytes(COMPRESS[codec](bytes(plain[HEADER_BYTES:]) if records is None else records))
    batch = plain[:HEADER_BYTES] + content
    return patch(patch(batch, ">i", 8, len(batch) - 12), ">h", 21, CODECS[codec])


def timestamps(batch: bytearray) -> list[tuple[int, int]]:
    return list(record_timestamps(memoryview(batch), BatchHeader(batch)))


@pytest.mark.parametrize("codec", CODECS)
def test_offsets_and_timestamps_are_read(codec: str) -> None:
    assert timestamps(compressed(codec)) == [(0, 50), (1, 10), (2, 70), (3, 40), (4, 70)]


def test_snappy_in_the_framing_of_java_clients_is_read() -> None:
    plain = make_batch([b"x" * 100] * 5, timestamps=[50, 10, 70, 40, 70])
    batch = plain[:HEADER_BYTES] + snappy_encode(bytes(plain[HEADER_BYTES:]), xerial_blocksize=128)
    assert timestamps(patch(batch, ">h", 21, 2))[2] == (2, 70)


def test_log_append_time_is_every_records_timestamp() -> None:
    batch = patch(patch(make_batch(3), ">h", 21, 0x08), ">q", 35, 999)
    assert timestamps(batch) == [(0, 999), (1, 999), (2, 999)]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_garbage_is_refused(codec: str) -> None:
    batch = patch(make_batch(), ">h", 21, CODECS[codec])
    with pytest.raises(InvalidBatch):
        timestamps(batch)


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_a_decompression_bomb_is_refused(codec: str) -> None:
    with pytest.raises(InvalidBatch):
        timestamps(compressed(codec, bytes(RECORDS_BYTES_MAX + 1)))


def test_records_that_end_early_are_refused() -> None:
    with pytest.raises(InvalidBatch):
        timestamps(patch(make_batch(3), ">i", 57, 4))
    with pytest.raises(InvalidBatch):
        timestamps(patch(make_batch(3), ">i", 57, 2**31 - 1))


Plain = tuple[int, int, bytes | None, bytes | None, list[tuple[bytes, bytes | None]]]


def whole_records(batch: bytes | bytearray) -> list[Plain]:
    """Offset, timestamp, key, value and headers of each record."""
    return [
        (
            record.offset,
            record.timestamp,
            None if record.key is None else bytes(record.key),
            None if record.value is None else bytes(record.value),
            [(bytes(name), None if value is None else bytes(value)) for name, value in record.headers],
        )
        for record in read_records(memoryview(batch), BatchHeader(batch))
    ]


def batch_with_headers(codec: int) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    builder.append(0, 100, b"k", b"v" * 300, [("a", b"1"), ("b", None), ("a", b"")])
    builder.append(1, 90, None, None, [])
    builder.append(2, 400, b"", b"", [])
    return bytearray(builder.build())


@pytest.mark.parametrize("codec", range(5))
def test_whole_records_are_read(codec: int) -> None:
    assert whole_records(batch_with_headers(codec)) == [
        (0, 100, b"k", b"v" * 300, [(b"a", b"1"), (b"b", None), (b"a", b"")]),
        (1, 90, None, None, []),
        (2, 400, b"", b"", []),
    ]


def test_whole_records_that_are_cut_or_changed_raise_one_error() -> None:
    whole = batch_with_headers(0)
    for end in range(HEADER_BYTES, len(whole)):
        with pytest.raises(InvalidBatch):
            whole_records(whole[:end])
    rng = random.Random(1)
    for _ in range(3000):
        changed = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(HEADER_BYTES, len(changed))] = rng.randrange(256)
        with contextlib.suppress(InvalidBatch):
            whole_records(changed)
