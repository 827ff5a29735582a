"""Frames, however the bytes are cut."""

import struct

import pytest

from broker.wire.errors import ProtocolViolation
from broker.wire.frames import FrameBuffers, FrameReader, RequestHeader, skip_tags

SCRATCH_BYTES = 256
LIMIT = 100_000


def new_reader() -> FrameReader:
    return FrameReader(memoryview(bytearray(SCRATCH_BYTES)), FrameBuffers(), LIMIT)


def frame(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


def feed(reader: FrameReader, data: bytes, piece_bytes: int) -> list[bytes]:
    """Receive `data` in pieces of at most that size; all frames that came out."""
    frames = []
    while data:
        target = reader.target()
        count = min(len(target), piece_bytes, len(data))
        assert count > 0
        target[:count] = data[:count]
        data = data[count:]
        reader.received(count)
        while (found := reader.next_frame()) is not None:
            frames.append(bytes(found))
    return frames


CONTENTS = [b"0123456789", b"x" * 50, b"a" * 251, b"b" * 252, b"c" * 3000, b"0123456789", b"d" * 20_000]


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 5, 7, 100, 255, 256, 5000, 100_000])
def test_frames_come_out_whole_however_they_come_in(piece_bytes: int) -> None:
    data = b"".join(map(frame, CONTENTS))
    assert feed(new_reader(), data, piece_bytes) == CONTENTS


@pytest.mark.parametrize("size", [-1, 0, 9, LIMIT + 1, 2**31 - 1, -(2**31)])
def test_a_size_that_cannot_be_is_refused_at_once(size: int) -> None:
    with pytest.raises(ProtocolViolation):
        feed(new_reader(), struct.pack(">i", size), 4)


def test_only_a_produce_may_be_large() -> None:
    reader = FrameReader(memoryview(bytearray(SCRATCH_BYTES)), FrameBuffers(), 1 << 30)
    assert feed(reader, struct.pack(">ih", 64 << 20, 0), 100) == []
    reader = FrameReader(memoryview(bytearray(SCRATCH_BYTES)), FrameBuffers(), 1 << 30)
    with pytest.raises(ProtocolViolation):
        feed(reader, struct.pack(">ih", 64 << 20, 3), 100)


def test_what_was_received_but_not_taken_survives_the_shared_memory() -> None:
    scratch = memoryview(bytearray(SCRATCH_BYTES))
    buffers = FrameBuffers()
    slow, other = FrameReader(scratch, buffers, LIMIT), FrameReader(scratch, buffers, LIMIT)
    data = frame(b"first-----") + frame(b"second----") + frame(b"third-----")[:6]
    slow.target()[: len(data)] = data
    slow.received(len(data))
    assert bytes(slow.next_frame() or b"") == b"first-----"
    slow.save()
    feed(other, frame(b"z" * 200), 100)
    assert slow.has_saved
    assert bytes(slow.next_frame() or b"") == b"second----"
    assert slow.next_frame() is None
    assert feed(slow, frame(b"third-----")[6:], 100) == [b"third-----"]


def test_a_header_is_read_with_its_client_id() -> None:
    header = RequestHeader(memoryview(struct.pack(">hhih", 3, 12, 99, 3) + b"abcrest"))
    assert (header.api_key, header.api_version, header.correlation_id) == (3, 12, 99)
    assert (header.client_id, header.position) == (b"abc", 13)


def test_a_null_client_id_is_an_empty_one() -> None:
    assert RequestHeader(memoryview(struct.pack(">hhih", 3, 12, 99, -1))).client_id == b""


@pytest.mark.parametrize("data", [b"", b"123456789", struct.pack(">hhih", 3, 12, 99, 5) + b"1234"])
def test_a_short_header_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        RequestHeader(memoryview(data))


def test_tags_of_the_header_are_skipped() -> None:
    assert skip_tags(memoryview(b"\0rest"), 0) == 1
    assert skip_tags(memoryview(b"\1\5\2xyrest"), 0) == 5
    for data in (b"", b"\1", b"\1\5\2x", b"\xff\xff\xff\xff\xff\xff"):
        with pytest.raises(ProtocolViolation):
            skip_tags(memoryview(data), 0)
