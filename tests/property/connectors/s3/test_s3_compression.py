"""Gzip: whatever the pieces in which the bytes come, the file is the same one, and holds them all."""

import gzip
import itertools
import zlib
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from connectors.s3 import compression
from connectors.s3.compression import Gzip


def compressed(level: int, pieces: list[bytes]) -> bytes:
    compressor = Gzip(level)
    return b"".join([*(compressor.add(piece) for piece in pieces), *compressor.finish()])


@given(st.integers(-1, 9), st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_the_pieces_leave_no_trace(level: int, data: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(bounds)]
    with patch.object(compression, "BLOCK_BYTES", 32):
        out = compressed(level, pieces)
        assert out == compressed(level, [data])
    assert gzip.decompress(out) == data
    decompressor = zlib.decompressobj(31)
    assert decompressor.decompress(out) == data
    assert decompressor.eof
    assert decompressor.unused_data == b"", "there is one member"
