"""Batches that are not stored as they came: other codecs, and the keys of compacted topics."""

import random
from itertools import product
from pathlib import Path

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from support.batches import make_batch, patch
from support.compaction import batches_of, committed_records, keyed_batch, open_log

from broker.log.config import LogConfig, TimestampType
from broker.log.partition_log import PartitionLog
from broker.wire.compression import CODECS, RECORDS_BYTES_MAX, compress
from broker.wire.errors import ErrorCode, KafkaError

NOW = 10_000
PAIRS = [(b"key-%d" % number, b"value " * number) for number in range(1, 40)]


def new_log(tmp_path: Path, config: LogConfig) -> PartitionLog:
    return open_log(tmp_path / "data", config)[1]


def refusal(log: PartitionLog, batch: bytearray | memoryview) -> KafkaError:
    with pytest.raises(KafkaError) as caught:
        log.append(memoryview(batch), NOW)
    assert log.log_end_offset == 0
    return caught.value


@pytest.mark.parametrize(("came", "stored"), list(product(CODECS.values(), CODECS)))
def test_a_batch_is_stored_with_the_topics_codec(tmp_path: Path, came: int, stored: str) -> None:
    log = new_log(tmp_path, LogConfig(compression_type=stored))
    fields = {"producer_id": 3, "producer_epoch": 2, "sequence": 7, "transactional": True}
    stamps = list(range(9000, 9000 + len(PAIRS)))
    batch = keyed_batch(PAIRS, compression=came, timestamps=stamps, **fields)
    original = bytes(batch)
    log.append(batch, NOW)
    [(header, content)] = batches_of(log)
    assert header.compression == CODECS[stored]
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (3, 2, 7)
    assert header.is_transactional
    if CODECS[stored] == came:
        assert bytes(content)[21:] == original[21:]
    # Another implementation has to be able to read it.
    records = list(DefaultRecordBatch(bytes(content)))
    assert [(r.key, r.value, r.timestamp, r.offset) for r in records] == [
        (key, value, stamp, offset)
        for offset, ((key, value), stamp) in enumerate(zip(PAIRS, stamps, strict=True))
    ]


@pytest.mark.parametrize(
    ("codec", "level"), [("gzip", 1), ("gzip", 9), ("lz4", 1), ("lz4", 17), ("zstd", -5), ("zstd", 19)]
)
def test_the_level_is_obeyed(codec: str, level: int) -> None:
    dice = random.Random(7)
    content = b" ".join(b"%x" % dice.getrandbits(12) for _ in range(20_000))
    assert compress(content, CODECS[codec], level) != compress(content, CODECS[codec], 5)


def test_the_stored_batch_gets_the_time_of_the_log(tmp_path: Path) -> None:
    log = new_log(tmp_path, LogConfig(compression_type="zstd", timestamp_type=TimestampType.LOG_APPEND_TIME))
    log.append(keyed_batch(PAIRS), NOW)
    assert {record.timestamp for record in committed_records(log)} == {NOW}


def test_what_is_too_large_in_the_topics_codec_is_refused(tmp_path: Path) -> None:
    log = new_log(tmp_path, LogConfig(compression_type="uncompressed", max_message_bytes=1000))
    batch = keyed_batch([(b"k", bytes(5000))], compression=4)
    assert refusal(log, batch).code == ErrorCode.message_too_large


@pytest.mark.parametrize("codec", range(1, 5))
def test_a_decompression_bomb_is_refused(tmp_path: Path, codec: int) -> None:
    log = new_log(tmp_path, LogConfig(compression_type="uncompressed", max_message_bytes=1 << 30))
    batch = make_batch([bytes(RECORDS_BYTES_MAX + 1)], compression=codec)
    assert refusal(log, batch).code == ErrorCode.invalid_record


@pytest.mark.parametrize("codec", range(5))
@pytest.mark.parametrize("count", [1, 2, 4, 1000])
def test_a_wrong_record_count_is_refused(tmp_path: Path, codec: int, count: int) -> None:
    stored = "lz4" if codec == 4 else "zstd"
    log = new_log(tmp_path, LogConfig(compression_type=stored))
    batch = make_batch(3, compression=codec)
    batch = patch(patch(batch, ">i", 57, count), ">i", 23, count - 1)
    assert refusal(log, batch).code == ErrorCode.invalid_record


@pytest.mark.parametrize("codec", range(5))
def test_a_compacted_topic_takes_no_record_without_a_key(tmp_path: Path, codec: int) -> None:
    log = new_log(tmp_path, LogConfig(compact=True))
    keys: list[bytes | None] = [b"a", None]
    error = refusal(log, make_batch([b"1", b"2"], keys=keys, compression=codec))
    assert error.code == ErrorCode.invalid_record
    assert "record 1 has no key" in error.message
    log.append(keyed_batch([(b"a", b"1"), (b"", b"an empty key is one")], compression=codec), NOW)
    assert len(committed_records(log)) == 2


def test_garbage_that_claims_to_be_compressed_is_refused(tmp_path: Path) -> None:
    log = new_log(tmp_path, LogConfig(compact=True))
    batch = bytearray(keyed_batch(PAIRS))
    assert refusal(log, patch(batch, ">h", 21, 4)).code == ErrorCode.invalid_record
