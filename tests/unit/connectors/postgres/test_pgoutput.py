"""pgoutput's messages, built byte by byte as the protocol's documentation has them."""

import struct

import pytest

from connectors.postgres import pgoutput
from connectors.postgres.pgoutput import MalformedMessage

ENCODERS = (None, lambda text: f'"{text}"', None)
UNAVAILABLE = ("null", '"?"', "null")


def values(*columns: str | None) -> bytes:
    """Tuple data: None is NULL, "?" an unchanged TOAST value."""
    parts = [struct.pack(">H", len(columns))]
    for column in columns:
        if column is None or column == "?":
            parts.append(b"n" if column is None else b"u")
        else:
            data = column.encode()
            parts.append(b"t" + struct.pack(">I", len(data)) + data)
    return b"".join(parts)


INSERT = b"I" + struct.pack(">I", 7) + b"N" + values("1", "é☃", None)
UPDATE = b"U" + struct.pack(">I", 7) + b"N" + values("1", "?", "3")
UPDATE_KEY = b"U" + struct.pack(">I", 7) + b"K" + values("0", None, None) + b"N" + values("1", "", "3")
UPDATE_FULL = b"U" + struct.pack(">I", 7) + b"O" + values("1", "a", None) + b"N" + values("1", "b", None)
UPDATE_TOAST = b"U" + struct.pack(">I", 7) + b"O" + values("1", "long", None) + b"N" + values("2", "?", None)
DELETE = b"D" + struct.pack(">I", 7) + b"K" + values("1", None, None)
RELATION = (
    b"R" + struct.pack(">I", 7) + b"public\0t\0d" + struct.pack(">H", 2)
    + b"\x01id\0" + struct.pack(">Ii", 23, -1) + b"\0v\0" + struct.pack(">Ii", 1700, 655366)
)  # fmt: skip
BEGIN = b"B" + struct.pack(">QqI", 100, 5, 42)
COMMIT = b"C\0" + struct.pack(">QQq", 100, 140, 5)
TRUNCATE = b"T" + struct.pack(">IBII", 2, 3, 7, 8)
MESSAGE = b"M\x01" + struct.pack(">Q", 9) + b"pre\0" + struct.pack(">I", 3) + b"\0\xff\x10"
ORIGIN = b"O" + struct.pack(">Q", 9) + b"elsewhere\0"


def row(message: bytes) -> tuple[list[str] | None, bool, list[str] | None]:
    return pgoutput.row(message, ENCODERS, UNAVAILABLE)


def test_rows() -> None:
    assert row(INSERT) == (None, False, ["1", '"é☃"', "null"])
    assert row(UPDATE) == (None, False, ["1", '"?"', "3"])
    assert row(UPDATE_KEY) == (["0", "null", "null"], True, ["1", '""', "3"])
    assert row(UPDATE_FULL) == (["1", '"a"', "null"], False, ["1", '"b"', "null"])
    assert row(UPDATE_TOAST) == (["1", '"long"', "null"], False, ["2", '"long"', "null"])
    assert row(DELETE) == (["1", "null", "null"], True, None)


def test_a_row_in_the_middle_of_a_buffer() -> None:
    assert pgoutput.row(b"head" + INSERT, ENCODERS, UNAVAILABLE, 4) == row(INSERT)


def test_relation() -> None:
    found = pgoutput.relation(RELATION)
    assert (found.oid, found.schema, found.name, found.replica_identity) == (7, "public", "t", "d")
    assert [tuple(column) for column in found.columns] == [(True, "id", 23, -1), (False, "v", 1700, 655366)]


def test_the_schema_left_out_is_pg_catalog() -> None:
    assert pgoutput.relation(b"R" + struct.pack(">I", 7) + b"\0t\0d\0\0").schema == "pg_catalog"


def test_transactions() -> None:
    epoch_us = 946_684_800_000_000
    assert pgoutput.begin(BEGIN) == (100, epoch_us + 5, 42)
    assert pgoutput.commit(COMMIT) == (100, 140, epoch_us + 5)


def test_the_rest() -> None:
    assert pgoutput.truncate(TRUNCATE) == ((7, 8), True, True)
    assert pgoutput.logical_message(MESSAGE) == (True, 9, "pre", b"\0\xff\x10")
    assert pgoutput.origin(ORIGIN) == (9, "elsewhere")


READERS = {
    "insert": (row, INSERT), "update": (row, UPDATE), "update of a key": (row, UPDATE_KEY),
    "update with the old row": (row, UPDATE_FULL), "delete": (row, DELETE),
    "relation": (pgoutput.relation, RELATION),
    "begin": (pgoutput.begin, BEGIN), "commit": (pgoutput.commit, COMMIT),
    "truncate": (pgoutput.truncate, TRUNCATE),
    "message": (pgoutput.logical_message, MESSAGE), "origin": (pgoutput.origin, ORIGIN),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_cut_anywhere_it_is_malformed(name: str) -> None:
    read, message = READERS[name]
    read(message)
    for size in range(1, len(message)):
        with pytest.raises(MalformedMessage, match="malformed pgoutput message"):
            read(message[:size])


@pytest.mark.parametrize("name", READERS)
def test_bytes_too_many_are_malformed(name: str) -> None:
    read, message = READERS[name]
    with pytest.raises(MalformedMessage):
        read(message + b"\0")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"I" + struct.pack(">I", 7) + b"N" + values("1"), "3 columns expected"),
        (b"I" + struct.pack(">I", 7) + b"N\0\x03x\0\0\0\0", "unknown kind of value 0x78"),
        (b"I" + struct.pack(">I", 7) + b"X" + values("1", "2", "3"), "unknown kind of row 0x58"),
        (b"I" + struct.pack(">I", 7) + b"K" + values("1", "2", "3"), "it should have"),
        (b"D" + struct.pack(">I", 7) + b"N" + values("1", "2", "3"), "it should have"),
        (UPDATE_KEY.replace(b"N", b"Z"), "the new row is missing"),
    ],
)
def test_says_what_is_wrong(message: bytes, why: str) -> None:
    with pytest.raises(MalformedMessage, match=why):
        row(message)


def test_text_that_is_no_utf8_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        row(INSERT.replace("é".encode(), b"\xff\xff"))
