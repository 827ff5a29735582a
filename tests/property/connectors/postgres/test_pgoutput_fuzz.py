"""Whatever the bytes, the decoder raises its one documented error or nothing."""

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres import pgoutput
from connectors.postgres.pgoutput import MalformedMessage

READERS: dict[int, Callable[[bytes], Any]] = {
    pgoutput.BEGIN: pgoutput.begin,
    pgoutput.COMMIT: pgoutput.commit,
    pgoutput.ORIGIN: pgoutput.origin,
    pgoutput.RELATION: pgoutput.relation,
    pgoutput.TRUNCATE: pgoutput.truncate,
    pgoutput.MESSAGE: pgoutput.logical_message,
}
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
cells = st.one_of(st.none(), texts)


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=60))
def test_any_bytes(kind: int, rest: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        READERS[kind](bytes([kind]) + rest)


@given(
    st.sampled_from([pgoutput.INSERT, pgoutput.UPDATE, pgoutput.DELETE]),
    st.sampled_from(b"NKO"),
    st.integers(0, 4),
    st.binary(max_size=60),
)
def test_any_bytes_as_a_row(kind: int, tag: int, columns: int, rest: bytes) -> None:
    message = bytes([kind, 0, 0, 0, 1, tag]) + columns.to_bytes(2, "big") + rest
    with contextlib.suppress(MalformedMessage):
        pgoutput.row(message, (None,) * columns, ("?",) * columns)


@given(st.lists(cells, max_size=6), st.data())
def test_rows_come_back_and_no_cut_goes_unnoticed(row: list[str | None], data: st.DataObject) -> None:
    message = b"I\0\0\0\x01N" + len(row).to_bytes(2, "big")
    for cell in row:
        raw = (cell or "").encode()
        message += b"n" if cell is None else b"t" + len(raw).to_bytes(4, "big") + raw
    encoders, unavailable = (lambda text: f"<{text}>",) * len(row), ("?",) * len(row)
    expected = ["null" if cell is None else f"<{cell}>" for cell in row]
    assert pgoutput.row(message, encoders, unavailable) == (None, False, expected)

    cut = data.draw(st.integers(1, len(message) - 1))
    try:
        pgoutput.row(message[:cut], encoders, unavailable)
    except MalformedMessage:
        return
    raise AssertionError(f"cut at {cut}")
