"""The buffer, in memory or on disk, is a queue of bytes; blocks on disk are used again."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.s3 import staging
from connectors.s3.staging import Buffer, Staging

STEPS = st.lists(
    st.one_of(st.binary(max_size=20).map(lambda data: ("append", data)),
              st.integers(0, 30).map(lambda size: ("take", size)),
              st.just(("spill", None)))
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    with patch.object(staging, "_BLOCK_BYTES", 7):
        yield


@given(STEPS)
def test_what_goes_in_comes_out(steps: list[tuple[str, bytes | int | None]]) -> None:
    shared = Staging()
    gauge, expected = shared.gauge, b""
    buffer = Buffer(shared)
    for action, argument in steps:
        if isinstance(argument, bytes):
            buffer.append(argument)
            expected += argument
        elif isinstance(argument, int):
            data = buffer.take(argument)
            assert data == expected[:argument]
            expected = expected[len(data) :]
        else:
            buffer.spill()
            assert buffer.memory_bytes == 0
        assert buffer.size == len(expected), action
        assert gauge.bytes == buffer.memory_bytes
    buffer.close()
    assert gauge.bytes == 0
    shared.spilled._free.sort()
    assert shared.spilled._free == list(range(shared.spilled._blocks))
