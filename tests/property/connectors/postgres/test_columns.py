"""Rows that are read by column become the records that they become one by one."""

import contextlib
import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connect.api import RecordBatch, SourceRecord
from connectors.postgres import pgoutput
from connectors.postgres.catalog import Column, PgType, Table, TypeKind
from connectors.postgres.columns import copied, row_of
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import XLOG_HEAD_BYTES
from connectors.postgres.envelope import SourceBlocks, timestamps
from connectors.postgres.filters import Filters
from connectors.postgres.joiner import as_template
from connectors.postgres.plan import TablePlan
from connectors.postgres.records import CREATE, READ, UPDATE, RecordMaker
from connectors.postgres.stream_runs import ROW_HEAD, Place, Run, is_plain
from connectors.postgres.type_map import TypeMap

CONFIG = PostgresSourceConfig.parse(
    {
        "topic.prefix": "100%s", "database.hostname": "h", "database.user": "u", "database.dbname": "d%",
        "column.mask.hash.SHA-256.with.salt.x": "public.t%.hashed", "column.mask.with.3.chars": "public.t%.m",
        "column.exclude.list": "public.t%.hidden",
    }
)  # fmt: skip
TYPES = {
    "id": ("int8", -1), "num": ("numeric", (12 << 16 | 2) + 4), "at": ("timestamp", -1),
    "zoned": ("timestamptz", -1), "per%cent": ("text", -1), "hashed": ("text", -1), "m": ("text", -1),
    "hidden": ("text", -1), "bytes": ("bytea", -1), "defaulted": ("int4", -1),
}  # fmt: skip
COLUMNS = tuple(
    Column(name, PgType(number, kind, TypeKind.BASE), typmod, name == "id", None,
           "7" if name == "defaulted" else None)
    for number, (name, (kind, typmod)) in enumerate(TYPES.items())
)  # fmt: skip
TABLE = Table(7, "public", "t%", COLUMNS, ("id",))
PLAN = TablePlan(
    TABLE, [(c.name, c.type, c.typmod) for c in COLUMNS], ("id",), CONFIG, TypeMap(CONFIG), Filters(CONFIG)
)
MAKER = RecordMaker(CONFIG, 0)
TAIL = timestamps(1_700_000_000_123_456_789)
SOURCES = SourceBlocks(CONFIG)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
long = st.sampled_from(["", "x" * 200, "é" * 127, "y" * 255, "y" * 256, "z\\" * 200])
anything = st.one_of(texts, long, st.none())
rows = st.tuples(
    st.integers(-5, 10**12).map(str), st.decimals(-10**9, 10**9, places=2).map(str) | st.just("NaN"),
    st.datetimes().map(lambda at: f"{at:%Y-%m-%d %H:%M:%S}".zfill(19)) | st.just("infinity"),
    st.just("2024-02-29 13:51:30.5+00") | st.none(), anything, anything,
    anything, anything,
    st.binary(max_size=4).map(lambda data: "\\x" + data.hex()) | st.none(),
    st.sampled_from([*map(str, range(30)), None]),
)  # fmt: skip
complete = rows.filter(lambda row: row[-1] is not None)
PARTS = [b"t\0\0\0", b"n", b"u", b"\x02ab", b"\0", b"\xff", b"\xc3\xa9"]
rarely = st.integers(0, 9).map(lambda number: not number)
Row = Sequence[str | None]


def shown(record: SourceRecord) -> Any:
    # As JsonConverter sees it: JSON, or a struct where null would become a default.
    raw = getattr(record.raw_value, "json", record.raw_value)
    return (record.topic, raw, record.value, record.raw_key.json, record.key, record.value_schema,
            record.key_schema, record.source_partition, record.source_offset, record.headers)  # fmt: skip


def line(row: Row) -> bytes:
    """COPY's text."""
    escapes = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
    fields = ["\\N" if v is None else "".join(escapes.get(c, c) for c in v) for v in row]
    return "\t".join(fields).encode() + b"\n"


def fragments(row: Row) -> list[str]:
    return [
        "null" if value is None else encode(value) if encode else value
        for value, encode in zip(row, PLAN.encoders, strict=True)
    ]


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=6))
def test_lines_of_copy(table: list[Row]) -> None:
    columns = copied(PLAN, b"".join(map(line, table)), len(table))
    assert [row_of(columns, place) for place in range(len(table))] == [fragments(row) for row in table]

    source = SOURCES.transaction(5, 6, 7, "true").block(PLAN.source_table, 8)
    offset = {"lsn": 8}
    expected = [shown(MAKER.present(READ, PLAN, fragments(row), source, TAIL, offset)) for row in table]
    made = MAKER.many(READ, PLAN, columns, len(table), as_template(source), TAIL, lambda _: offset)
    if any(row[-1] is None for row in table):  # JsonConverter writes the default
        assert made is None
    else:
        assert made is not None
        assert list(map(shown, made)) == expected


def message(kind: int, lsn: int, row: Sequence[str | None]) -> bytes:
    head = b"w" + struct.pack(">QQQ", lsn, lsn + 0x7400, 0) + bytes([kind]) + struct.pack(">I", 7)
    cells = [
        b"n" if v is None else b"u" if v == "?" else b"t" + struct.pack(">I", len(v.encode())) + v.encode()
        for v in row
    ]
    return head + b"N" + struct.pack(">H", len(row)) + b"".join(cells)


@settings(deadline=None)
@given(
    st.sampled_from([pgoutput.INSERT, pgoutput.UPDATE]),
    st.lists(
        st.tuples(complete, st.integers(0, 2), st.booleans(), rarely),
        min_size=4,
        max_size=10,
    ),
    st.booleans(),
    st.booleans(),
)
def test_rows_of_the_stream(
    kind: int, steps: list[tuple[Row, int, bool, bool]], is_halved: bool, is_begun: bool
) -> None:
    def place(xid: int, commit_lsn: int) -> Place:
        begin = pgoutput.Begin(1 << 40, 1_700_000_000_000_000, xid)
        source = SOURCES.transaction(begin.commit_us, xid, commit_lsn)
        return Place(begin, source, commit_lsn, 0x74_0000, {"xmin": 3})

    run, batch = Run(MAKER), RecordBatch()
    where, lsn, expected, last_lsn = place(1, 0), 0x73_FFF8, [], 0
    for row, step, is_new, is_unsent in steps:
        lsn += step * 8
        if is_new:
            where, lsn = place(where.begin.xid + 1, lsn), lsn + 8
        cells = [*row[:8], "?" if is_unsent else row[8], row[9]]
        data = message(kind, lsn, cells)
        assert is_plain(data, len(COLUMNS))
        _, _, new = pgoutput.row(data, PLAN.encoders, PLAN.unavailable, XLOG_HEAD_BYTES)
        assert new is not None
        if lsn == last_lsn:
            expected[-1].source_offset = {**expected[-1].source_offset, "lsn_proc": lsn - 1}
        op, operation = (CREATE, "INSERT") if kind == pgoutput.INSERT else (UPDATE, "UPDATE")
        source = where.source.block(PLAN.source_table, lsn)
        expected.append(MAKER.present(op, PLAN, new, source, TAIL, where.offset(lsn, operation)))
        if not run.is_open:
            run.begin(data[ROW_HEAD], PLAN, where, -1)
        elif is_new:
            run.part(where)
        run.rows.append(data)
        last_lsn = lsn
        if is_halved and len(expected) == 4 and len(steps) >= 8:
            assert run.write(TAIL, batch)
            run.written()
    if is_begun:
        run.part(place(99, lsn))
    assert run.write(TAIL, batch)
    assert list(map(shown, batch)) == list(map(shown, expected))


@settings(deadline=None)
@given(st.lists(st.lists(texts, min_size=3, max_size=3), min_size=1, max_size=5), st.data())
def test_no_cut_of_a_row_goes_unnoticed(table: list[list[str]], data: st.DataObject) -> None:
    messages = [message(pgoutput.INSERT, 0x7400, row) for row in table]
    columns, has_gaps = pgoutput.texts(messages, 3, XLOG_HEAD_BYTES)
    assert [list(row) for row in zip(*columns, strict=True)] == table
    assert not has_gaps

    place = data.draw(st.integers(0, len(table) - 1))
    messages[place] = messages[place][: data.draw(st.integers(ROW_HEAD.stop, len(messages[place]) - 1))]
    try:
        pgoutput.texts(messages, 3, XLOG_HEAD_BYTES)
    except pgoutput.MalformedMessage:
        return
    raise AssertionError(messages)


@settings(deadline=None)
@given(
    st.integers(0, 3),
    st.lists(st.lists(st.sampled_from(PARTS)).map(b"".join), min_size=1, max_size=3),
)
def test_any_bytes_are_texts_or_malformed(width: int, tails: list[bytes]) -> None:
    messages = [b"I\0\0\0\x01N" + width.to_bytes(2, "big") + tail for tail in tails]
    with contextlib.suppress(pgoutput.MalformedMessage):
        columns, _ = pgoutput.texts(messages, width)
        assert all(len(column) == len(messages) for column in columns)
