"""Walking the records of a batch by their bytes, and the codecs."""

import random

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import example, given
from hypothesis import strategies as st
from support.batches import make_batch

from broker.wire.batch import HEADER_BYTES, BatchHeader, InvalidBatch
from broker.wire.compression import CODECS, compress, decompress
from broker.wire.raw_records import raw_records, with_timestamp_delta

records = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=300), st.none() | st.binary(max_size=300), st.integers(0, 1 << 45)
    ),
    min_size=1,
    max_size=20,
)


def batch_of(content: list[tuple[bytes | None, bytes | None, int]]) -> bytes:
    keys, values, stamps = ([record[field] for record in content] for field in range(3))
    return bytes(make_batch(values, keys=keys, timestamps=stamps))  # type: ignore[arg-type]


@given(records)
@example([(b"", b"", 0)])
@example([(None, None, 5), (b"k" * 64, None, 1 << 45)])
def test_every_record_is_found_as_another_reader_finds_it(
    content: list[tuple[bytes | None, bytes | None, int]],
) -> None:
    batch = batch_of(content)
    header = BatchHeader(batch)
    found = list(raw_records(batch, HEADER_BYTES, header.records_count))
    assert [
        (key, is_null, header.base_timestamp + delta, offset)
        for _, _, _, delta, offset, key, is_null in found
    ] == [(key, value is None, stamp, offset) for offset, (key, value, stamp) in enumerate(content)]
    assert found[0][0] == HEADER_BYTES
    assert [record[1] for record in found] == [*[record[0] for record in found[1:]], len(batch)]


@given(records, st.integers(0, 1 << 50))
def test_another_base_timestamp_leaves_the_records_as_they_are(
    content: list[tuple[bytes | None, bytes | None, int]], base_timestamp: int
) -> None:
    batch = batch_of(content)
    header = BatchHeader(batch)
    shift = header.base_timestamp - base_timestamp
    found = raw_records(batch, HEADER_BYTES, header.records_count)
    moved = b"".join(with_timestamp_delta(batch, record, record[3] + shift) for record in found)
    header.base_timestamp = base_timestamp
    read = list(DefaultRecordBatch(header.pack(moved)))
    assert [(r.key, r.value, r.timestamp) for r in read] == content
    assert DefaultRecordBatch(header.pack(moved)).validate_crc()


@given(st.binary(max_size=200), st.integers(0, 1000))
@example(b"\xff" * 30, 1)
@example(b"\x02\x00\x00\x00\x03\x00", 1)
def test_garbage_raises_the_one_error(data: bytes, count: int) -> None:
    try:
        found = list(raw_records(data, 0, count))
    except InvalidBatch:
        return
    assert len(found) == count
    assert (found[-1][1] if found else 0) == len(data)


def test_cut_anywhere_it_is_noticed() -> None:
    batch = batch_of([(b"key", b"value" * 30, 7), (None, b"x" * 200, 1 << 40)])
    for end in range(HEADER_BYTES, len(batch)):
        with pytest.raises(InvalidBatch):
            list(raw_records(batch[:end], HEADER_BYTES, 2))


@pytest.mark.parametrize("codec", CODECS.values())
@pytest.mark.parametrize("size", [0, 1, 1000, 200_000])
def test_what_was_compressed_comes_back(codec: int, size: int) -> None:
    content = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    assert decompress(memoryview(compress(content, codec)), codec) == content


def test_lz4_blocks_are_independent() -> None:
    """Java refuses others. Bit 5 of the frame's flags says so, and bit 4 that blocks have checksums."""
    frame = bytes(compress(b"value " * 100_000, CODECS["lz4"]))
    assert frame[:4] == b"\x04\x22\x4d\x18"
    assert frame[4] & 0x20
