"""Each format from bytes to rows, going on behind any row, and what is said of what cannot be read."""

import bz2
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from connect.api import DataError, Schema, SchemaType
from connect.api.schemas import (
    BOOLEAN,
    DATE,
    INT32,
    INT64,
    OPTIONAL_INT32,
    OPTIONAL_STRING,
    STRING,
    TIMESTAMP,
    array,
    decimal,
    struct,
)
from connectors.readers import (
    DAMAGE,
    AvroReader,
    CsvDialect,
    CsvReader,
    JsonReader,
    LineReader,
    NullIndicator,
    ParquetReader,
    Reader,
    Row,
    TextParser,
    TextSettings,
    WholeReader,
    decompressed,
    fitted,
)
from connectors.readers.csv_rows import Cells, Columns


def rows(reader: Reader, content: str | bytes, after: int = 0) -> list[Row]:
    return list(reader.rows(io.BytesIO(content.encode() if isinstance(content, str) else content), after))


def values(reader: Reader, content: str | bytes, after: int = 0) -> list[Any]:
    return [row.value for row in rows(reader, content, after)]


def strings(names: Sequence[str], sample: Iterator[Cells]) -> Columns:
    return Columns(names, struct([(name, OPTIONAL_STRING) for name in names]), [str] * len(names))


def csv(dialect: CsvDialect | None = None, *, header: bool = True, skip: int = 0) -> CsvReader:
    return CsvReader(TextSettings(header=skip), dialect or CsvDialect(), strings, header=header)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b\n1,2\n", [{"a": "1", "b": "2"}]),
        ("a,b\r\n1,2", [{"a": "1", "b": "2"}]),
        ("\ufeffa,b\n1,2\n", [{"a": "1", "b": "2"}]),
        ('a,b\n"x, ""y""",\n', [{"a": 'x, "y"', "b": ""}]),
        ('a,b\n"two\nlines",2\n\n3,4\n', [{"a": "two\nlines", "b": "2"}, {"a": "3", "b": "4"}]),
        ('a,b\n"say \\"hi\\"",C:\\temp\n', [{"a": 'say "hi"', "b": "C:\\temp"}]),
        ('a,b\n  "x",  y\n', [{"a": "x", "b": "  y"}]),
        ("a,b\n5\" disk,it's\n", [{"a": '5" disk', "b": "it's"}]),
        ("a,b\n,\n", [{"a": "", "b": ""}]),
        ("a,b\n", []),
        ("", []),
    ],
)
def test_csv(content: str, expected: list[dict[str, str]]) -> None:
    assert values(csv(), content) == expected


@pytest.mark.parametrize(
    ("null", "expected"),
    [
        ("NEITHER", ["", ""]),
        ("EMPTY_SEPARATORS", [None, ""]),
        ("EMPTY_QUOTES", ["", None]),
        ("BOTH", [None, None]),
    ],
)
def test_which_empty_csv_fields_are_null(null: str, expected: list[str | None]) -> None:
    reader = csv(CsvDialect(null=NullIndicator(null)))
    assert [list(value.values()) for value in values(reader, 'a,b\n,""\n')] == [expected]


def test_csv_without_header_other_characters_and_lines_to_skip() -> None:
    reader = csv(CsvDialect(separator=";", quote="'", escape=None), header=False, skip=2)
    content = "made by\nsomebody\n'a;b';c\\\n1;2\n"
    found = [{"column01": "a;b", "column02": "c\\"}, {"column01": "1", "column02": "2"}]
    assert values(reader, content) == found


def test_csv_goes_on_behind_a_line() -> None:
    content = 'a\n1\n"2\n2"\n3\n'
    assert [(row.position, row.value["a"]) for row in rows(csv(), content)] == [
        (2, "1"),
        (4, "2\n2"),
        (5, "3"),
    ]
    assert values(csv(), content, after=4) == [{"a": "3"}]


def test_a_csv_row_that_does_not_fit_is_one_row_with_its_line() -> None:
    schema = struct({"n": INT32, "s": OPTIONAL_STRING, "o": OPTIONAL_INT32})
    parser = TextParser()

    def shape(names: Sequence[str], sample: Iterator[Cells]) -> Columns:
        return Columns(names, schema, [parser.parser(schema.by_name[name].schema) for name in names])

    reader = CsvReader(TextSettings(), CsvDialect(), shape, header=True)
    found = rows(reader, "n,s,o\n1,x,\nmany,x,1\n2\n,x,1\n3,,5\n")
    assert [row.error for row in found] == [
        None,
        "line 3: column n: 'many' is no int32",
        "line 4: 1 fields where there are 3 columns",
        "line 5: column n is empty, which its schema does not allow",
        None,
    ]
    assert found[0].value == {"n": 1, "s": "x", "o": None}
    assert found[1].value == "many,x,1"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('a\n"no end\n', "line 2: a quoted field that begins here has no end"),
        ("a,a\n", "more than one column a"),
        ("a,,b\n", "column 2 of the header has no name"),
    ],
)
def test_csv_files_that_cannot_be_read(content: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        rows(csv(), content)


JSON = JsonReader(TextSettings(), parsed=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a":1}\n{"a":2}\n', [{"a": 1}, {"a": 2}]),
        ('{"a":1}{"a":2} {"a":3}', [{"a": 1}, {"a": 2}, {"a": 3}]),
        ('{\n "a": {"b": "}{"}\n}\n{\n "a": 2\n}\n', [{"a": {"b": "}{"}}, {"a": 2}]),
        ('[{"a":1},\n {"a":[2]}\n]\n', [{"a": 1}, {"a": [2]}]),
        ("[1, 2,\n3]", [1, 2, 3]),
        ('["a,b", null]', ["a,b", None]),
        ('{"a":"\\"{"}\n\n{"b":1}', [{"a": '"{'}, {"b": 1}]),
        ('{"a":1}\n{\n"a":2\n}\n', [{"a": 1}, {"a": 2}]),
        ("[]", []),
        ("", []),
    ],
)
def test_json(content: str, expected: list[Any]) -> None:
    assert values(JSON, content) == expected
    assert values(JSON, content, after=1) == expected[1:]


def test_a_broken_json_line_costs_only_itself() -> None:
    found = rows(JSON, '{"a":1}\n{"a":\n{"a":3}\nnonsense\n{"a":5}\n')
    assert [row.value for row in found if row.error is None] == [{"a": 1}, {"a": 3}, {"a": 5}]
    assert [(row.position, (row.error or "")[:6]) for row in found if row.error] == [
        (2, "line 2"),
        (4, "line 4"),
    ]


def test_json_as_text_is_what_stands_in_the_file() -> None:
    reader = JsonReader(TextSettings(), parsed=False)
    assert values(reader, '{"n": 1.10, "big": 123456789012345678901234567890}\n') == [
        '{"n": 1.10, "big": 123456789012345678901234567890}'
    ]


def test_lines_charsets_headers_and_footers() -> None:
    assert values(LineReader(TextSettings()), "a\r\nb\rc\n\nd") == ["a", "b", "c", "", "d"]
    assert values(LineReader(TextSettings("ISO-8859-1")), "caf\xe9\n".encode("latin-1")) == ["café"]
    assert values(LineReader(TextSettings("UTF-16")), "é\nx\n".encode("utf-16")) == ["é", "x"]
    assert values(LineReader(TextSettings()), b"caf\xe9\n") == ["caf\\xe9"]
    assert values(LineReader(TextSettings(header=1, footer=1)), "h\na\nb\nf\n") == ["a", "b"]
    assert [row.position for row in rows(LineReader(TextSettings()), "a\nb\n", after=1)] == [2]


def test_a_whole_file() -> None:
    assert rows(WholeReader(), b"\x00\xff") == [Row(1, b"\x00\xff", Schema(SchemaType.BYTES))]
    assert rows(WholeReader(), b"\x00\xff", after=1) == []


def avro_file(schema: Any, records: list[Any]) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(schema), records)
    return out.getvalue()


AVRO = {
    "type": "record", "name": "Order", "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "items", "type": {"type": "array", "items": {
            "type": "record", "name": "Item", "fields": [{"name": "on", "type": {
                "type": "int", "logicalType": "date"}}]}}},
        {"name": "first", "type": ["null", "Item"]},
    ],
}  # fmt: skip
ORDER = {
    "id": 7, "note": None, "day": date(2024, 2, 29), "at": datetime(2024, 1, 1, tzinfo=UTC),
    "price": Decimal("1.25"), "items": [{"on": date(1970, 1, 2)}], "first": {"on": date(1970, 1, 3)},
}  # fmt: skip


def test_avro_with_logical_types_and_named_types() -> None:
    (row,) = rows(AvroReader(), avro_file(AVRO, [ORDER]))
    day = Schema(SchemaType.INT32, name=DATE, version=1)
    item = struct({"on": day}, name="shop.Item")
    expected = {
        "id": INT64, "note": OPTIONAL_STRING, "day": day,
        "at": Schema(SchemaType.INT64, name=TIMESTAMP, version=1, optional=True),
        "price": decimal(2, precision=9), "items": array(item), "first": item.as_optional(),
    }  # fmt: skip
    assert row.schema == struct(expected, name="shop.Order")
    assert row.value == {
        "id": 7, "note": None, "day": 19782, "at": 1704067200000, "price": Decimal("1.25"),
        "items": [{"on": 1}], "first": {"on": 2},
    }  # fmt: skip


def test_avro_goes_on_and_names_what_is_damaged() -> None:
    content = avro_file(AVRO, [{**ORDER, "id": number} for number in range(5)])
    assert [(row.position, row.value["id"]) for row in rows(AvroReader(), content, after=3)] == [
        (4, 3),
        (5, 4),
    ]
    with pytest.raises(DataError, match="behind record 0: no valid Avro container"):
        rows(AvroReader(), b"nonsense")
    with pytest.raises(DataError, match="behind record"):
        rows(AvroReader(), content[:-20])
    union = {"type": "record", "name": "R", "fields": [{"name": "u", "type": ["int", "string"]}]}
    with pytest.raises(DataError, match=r"a union of .* has no type in Kafka Connect"):
        rows(AvroReader(), avro_file(union, [{"u": 1}]))


def test_parquet() -> None:
    table = pa.table({
        "id": pa.array([1, 2, 3], pa.int32()),
        "name": ["a", None, "c"],
        "at": pa.array([datetime(2024, 1, 1)] * 3, pa.timestamp("ms")),
        "fine": pa.array([datetime(2024, 1, 1)] * 3, pa.timestamp("us")),
        "day": pa.array([date(1970, 1, 2)] * 3),
        "price": pa.array([Decimal("1.50")] * 3, pa.decimal128(9, 2)),
        "tags": pa.array([["x"], [], None], pa.list_(pa.string())),
        "inner": pa.array([{"d": date(1970, 1, 3)}] * 3),
    })  # fmt: skip
    out = io.BytesIO()
    parquet.write_table(table, out, row_group_size=1)
    found = rows(ParquetReader(), out.getvalue(), after=1)
    assert [(row.position, row.value["name"], row.value["tags"]) for row in found] == [
        (2, None, []),
        (3, "c", None),
    ]
    schema, value = found[0].schema, found[0].value
    assert schema is not None
    assert schema.by_name["at"].schema.name == TIMESTAMP
    assert (value["at"], value["fine"], value["day"]) == (1704067200000, 1704067200000000, 1)
    assert (value["price"], value["inner"]) == (Decimal("1.50"), {"d": 2})
    assert schema.by_name["id"].schema == OPTIONAL_INT32
    with pytest.raises(DataError, match="no valid Parquet file"):
        rows(ParquetReader(), b"PAR1 nonsense")


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "a.gz": gzip.compress, "a.BZ2": bz2.compress, "a.zst": zstandard.compress, "a.txt": bytes,
}  # fmt: skip


@pytest.mark.parametrize("name", COMPRESSORS)
def test_decompression_by_suffix(name: str) -> None:
    content = b"line\n" * 100_000
    raw = io.BytesIO(
        COMPRESSORS[name](content[: len(content) // 2]) + COMPRESSORS[name](content[len(content) // 2 :])
    )
    with decompressed(raw, name) as stream:
        assert stream.read() == content


@pytest.mark.parametrize("name", [name for name in COMPRESSORS if name != "a.txt"])
def test_damaged_compression_is_told_from_a_file_that_cannot_be_read(name: str) -> None:
    whole = COMPRESSORS[name](bytes(range(256)) * 1000)
    for damaged in (whole[: len(whole) // 2], b"nonsense" * 10):
        with pytest.raises(DAMAGE) as caught, decompressed(io.BytesIO(damaged), name) as stream:
            stream.read()
        assert getattr(caught.value, "errno", None) is None


def test_json_values_are_fitted_to_a_schema() -> None:
    schema = struct({
        "n": INT32, "on": BOOLEAN, "price": decimal(2),
        "at": Schema(SchemaType.INT64, name=TIMESTAMP, version=1),
        "tags": array(STRING), "gone": OPTIONAL_STRING,
    })  # fmt: skip
    value = {"n": 1, "on": True, "price": "1.5", "at": "2024-01-01T00:00:00", "tags": ["x"], "more": 1}
    assert fitted(schema, value, TextParser()) == {
        "n": 1, "on": True, "price": Decimal("1.50"), "at": 1704067200000, "tags": ["x"], "gone": None,
    }  # fmt: skip
    for change, why in [
        ({"n": None}, "field n is missing"),
        ({"n": 1 << 40}, "field n is 1099511627776, not int32"),
        ({"tags": [1]}, r"field tags\[0\] is 1, not string"),
        ({"at": "soon"}, "field at: 'soon' is like none of"),
        ({"on": "maybe"}, "field on: 'maybe' is neither true nor false"),
    ]:
        with pytest.raises(DataError, match=why):
            fitted(schema, {**value, **change}, TextParser())
