"""Timestamps of single records, in every compression codec."""

import cramjam
import pytest
from aiokafka.codec import snappy_encode
from support.batches import make_batch, patch

from broker.wire.batch import HEADER_BYTES, BatchHeader, InvalidBatch
from broker.wire.records import RECORDS_BYTES_MAX, record_timestamps

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
