"""The buffer, in memory or on disk, is a queue of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.s3.objects import Buffer, MemoryGauge

STEPS = st.lists(
    st.one_of(st.binary(max_size=20).map(lambda data: ("append", data)),
              st.integers(0, 30).map(lambda size: ("take", size)),
              st.just(("spill", None)))
)  # fmt: skip


@given(STEPS)
def test_what_goes_in_comes_out(steps: list[tuple[str, bytes | int | None]]) -> None:
    gauge = MemoryGauge()
    buffer, expected = Buffer(gauge), b""
    for action, argument in steps:
        if isinstance(argument, bytes):
            buffer.append(argument)
            expected += argument
        elif isinstance(argument, int):
            data = buffer.peek(argument)
            assert data == expected[:argument]
            buffer.drop(len(data))
            expected = expected[len(data) :]
        else:
            buffer.spill()
            assert buffer.memory_bytes == 0
        assert buffer.size == len(expected), action
        assert gauge.bytes == buffer.memory_bytes
    buffer.close()
    assert gauge.bytes == 0
