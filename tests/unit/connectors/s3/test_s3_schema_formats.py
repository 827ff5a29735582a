"""Avro and Parquet files, read back by fastavro and pyarrow."""

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from support.s3_sink import SETTINGS

from connect.api import DataError, JsonPayload, Schema, SchemaType, SinkRecord
from connect.api.schemas import (
    BOOLEAN,
    BYTES,
    DATE,
    FLOAT64,
    INT8,
    INT32,
    INT64,
    STRING,
    TIME,
    TIMESTAMP,
    decimal,
    struct,
)
from connectors.readers.avro_files import schema_of_avro
from connectors.s3.avro_schema import avro_schema
from connectors.s3.config import S3SinkConfig
from connectors.s3.formats import FileWriter, Format, format_for

FORMATS = ("avro", "parquet")


def make(name: str, **changes: str) -> Format:
    more = {key.replace("__", "."): value for key, value in changes.items()}
    config = S3SinkConfig.parse({**SETTINGS, "s3.bucket.name": "b", "format.class": name, **more})
    return format_for(config, config.format)


def written(format: Format, values: Sequence[Any], schema: Schema | None, *, pieces: int = 1) -> bytes:
    records = [SinkRecord("t", 0, n, value, value_schema=schema) for n, value in enumerate(values)]
    writer: FileWriter | None = None
    out = []
    for start in range(0, len(records), -(-len(records) // pieces)):
        items = format.items(records[start : start + -(-len(records) // pieces)])
        writer = writer or format.open(items[0])
        out.append(writer.write(items))
    assert writer is not None
    return b"".join([*out, *writer.finish()])


def read(name: str, data: bytes) -> list[Any]:
    if name == "avro":
        return list(fastavro.reader(io.BytesIO(data)))
    rows: list[Any] = parquet.read_table(io.BytesIO(data)).to_pylist()
    return rows


ROW = struct(
    {
        "id": INT64, "small": INT8, "note": STRING.as_optional(), "raw": BYTES, "flag": BOOLEAN,
        "share": FLOAT64.as_optional(), "price": decimal(2),
        "tags": Schema(SchemaType.ARRAY, value_schema=STRING),
        "inner": replace(struct({"zip": INT32.as_optional()}), name="shop.Inner", optional=True),
    }
)  # fmt: skip
VALUES = [
    {"id": -(2**63), "small": -128, "note": "é", "raw": b"\x00\xff", "flag": True, "share": 1e300,
     "price": Decimal("-2.50"), "tags": ["a", ""], "inner": {"zip": 1}},
    {"id": 2**63 - 1, "small": 127, "note": None, "raw": b"", "flag": False, "share": None,
     "price": Decimal("0.00"), "tags": [], "inner": None},
]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("pieces", [1, 2])
def test_values_come_back_as_they_went(name: str, pieces: int) -> None:
    assert read(name, written(make(name), VALUES, ROW, pieces=pieces)) == VALUES


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "bzip2"])
def test_codecs_of_avro(codec: str) -> None:
    data = written(make("avro", avro__codec=codec), VALUES * 2_000, ROW)
    reader = fastavro.reader(io.BytesIO(data))
    assert reader.codec == codec
    assert list(reader) == VALUES * 2_000


@pytest.mark.parametrize(
    ("codec", "extension"),
    [("none", ".parquet"), ("snappy", ".snappy.parquet"), ("gzip", ".gz.parquet"), ("zstd", ".zstd.parquet"),
     ("lz4", ".lz4.parquet")],
)  # fmt: skip
def test_codecs_of_parquet(codec: str, extension: str) -> None:
    format = make("parquet", parquet__codec=codec)
    assert format.extension == extension
    data = written(format, VALUES, ROW)
    column = parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    assert column.compression == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())
    assert read("parquet", data) == VALUES


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_depends_on_its_records_alone(name: str) -> None:
    first = written(make(name), VALUES * 100, ROW, pieces=1)
    assert written(make(name), VALUES * 100, ROW, pieces=7) == first


@pytest.mark.parametrize("name", FORMATS)
def test_dates_and_times(name: str) -> None:
    schema = struct(
        {
            "d": replace(INT32, name=DATE, version=1), "t": replace(INT32, name=TIME, version=1),
            "ts": replace(INT64, name=TIMESTAMP, version=1),
        }
    )  # fmt: skip
    [row] = read(name, written(make(name), [{"d": 20666, "t": 49890123, "ts": 1754007300123}], schema))
    assert row == {
        "d": date(2026, 8, 1), "t": time(13, 51, 30, 123000),
        "ts": datetime(2025, 8, 1, 0, 15, 0, 123000, tzinfo=UTC),
    }  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "change",
    [{"id": None}, {"id": "x"}, {"price": Decimal("1.005")}, {"inner": 5}, {"tags": [None]}],
    ids=str,
)
def test_a_value_that_does_not_fit_is_told(name: str, change: dict[str, object]) -> None:
    good: dict[str, object] = dict(VALUES[0])
    record = SinkRecord("t", 0, 7, good | change, value_schema=ROW)
    with pytest.raises(DataError, match=r"the record at t-0@7 does not fit its schema"):
        make(name).items([record])


def test_defaults_come_back_from_avro() -> None:
    """As they were in Connect: in Avro's JSON bytes and decimals are text."""
    inner = struct({"b": BYTES, "f": FLOAT64})
    fields = {
        "bytes": BYTES.with_default(b"\x00\xff"),
        "amount": decimal(2).with_default(Decimal("-12345678901234567890123456789012.34")),
        "day": Schema(SchemaType.INT32, name=DATE, version=1, default=19_000),
        "whole": FLOAT64.with_default(1.0),
        "text": STRING.as_optional().with_default("x"),
        "list": replace(Schema(SchemaType.ARRAY, value_schema=BYTES), default=[b"a"]),
        "map": replace(Schema(SchemaType.MAP, key_schema=STRING, value_schema=INT64), default={"k": 1}),
        "inner": replace(inner, name="shop.Inner", default={"b": b"\x80", "f": 2.5}),
    }
    found = schema_of_avro(avro_schema(replace(struct(fields), name="shop.Row")))
    for name, schema in fields.items():
        field = found.field(name)
        assert field is not None
        assert field.schema.default == schema.default, name
        assert type(field.schema.default) is type(schema.default)
    with pytest.raises(DataError, match=r"connect\.default is 7, which is no"):
        schema_of_avro({"type": "bytes", "connect.default": 7})


def test_schemas_of_avro_are_those_of_confluents_avro_data() -> None:
    line = replace(struct({"sku": STRING}), name="shop.Line")
    schema = replace(
        struct(
            {
                "i8": INT8, "flag": BOOLEAN.with_default(True),
                "b": STRING.as_optional().with_default("x"),
                "amount": replace(decimal(2).as_optional(), version=1),
                "lines": Schema(SchemaType.ARRAY, value_schema=line), "last": line.as_optional(),
                "by_number": Schema(SchemaType.MAP, key_schema=INT32, value_schema=STRING.as_optional()),
            }
        ),
        name="shop.Big",
    )  # fmt: skip
    assert avro_schema(schema) == {
        "type": "record", "name": "Big", "namespace": "shop", "connect.name": "shop.Big",
        "fields": [
            {"name": "i8", "type": {"type": "int", "connect.type": "int8"}},
            {"name": "flag", "type": {"type": "boolean", "connect.default": True}, "default": True},
            {"name": "b", "type": [{"type": "string", "connect.default": "x"}, "null"], "default": "x"},
            {"name": "amount", "default": None, "type": ["null", {
                "type": "bytes", "scale": 2, "precision": 64, "connect.version": 1,
                "connect.parameters": {"scale": "2"},
                "connect.name": "org.apache.kafka.connect.data.Decimal", "logicalType": "decimal",
            }]},
            {"name": "lines", "type": {"type": "array", "items": {
                "type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}],
                "connect.name": "shop.Line",
            }}},
            {"name": "last", "type": ["null", "Line"], "default": None},
            {"name": "by_number", "type": {"type": "array", "items": {
                "type": "record", "name": "MapEntry", "namespace": "io.confluent.connect.avro", "fields": [
                    {"name": "key", "type": "int"},
                    {"name": "value", "type": ["null", "string"], "default": None},
                ],
            }}},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_two_structs_of_one_name_with_different_fields(name: str) -> None:
    one = replace(struct({"a": INT32}), name="s.N")
    schema = struct({"x": one, "y": replace(struct({"b": STRING}), name="s.N"), "z": one})
    value = {"x": {"a": 1}, "y": {"b": "q"}, "z": {"a": 2}}
    assert read(name, written(make(name), [value], schema)) == [value]


def test_a_name_that_avro_does_not_allow() -> None:
    schema = struct({"a-b": INT32})
    with pytest.raises(DataError, match="Avro does not allow the name 'a-b'"):
        make("avro").items([SinkRecord("t", 0, 0, {"a-b": 1}, value_schema=schema)])
    assert read("parquet", written(make("parquet"), [{"a-b": 1}], schema)) == [{"a-b": 1}]


def text(*values: Any) -> list[JsonPayload]:
    return [JsonPayload(orjson.dumps(value, option=orjson.OPT_INDENT_2), orjson.loads) for value in values]


@pytest.mark.parametrize("name", FORMATS)
def test_schemaless_json_gets_the_schema_of_all_its_records(name: str) -> None:
    values = text(
        {"id": 1, "price": 2, "tags": ["a"], "who": {"name": "x"}, "mixed": 1, "big": 2**63, "none": None},
        {"id": 2, "price": 2.5, "tags": [], "who": {"age": 7}, "mixed": {"a": [1]}, "extra": True},
    )
    first, second = read(name, written(make(name), values, None, pieces=2))
    assert first == {
        "id": 1, "price": 2.0, "tags": ["a"], "who": {"name": "x", "age": None}, "mixed": "1",
        "big": "9223372036854775808", "none": None, "extra": None,
    }  # fmt: skip
    assert second == {
        "id": 2, "price": 2.5, "tags": [], "who": {"name": None, "age": 7}, "mixed": '{"a":[1]}', "big": None,
        "none": None, "extra": True,
    }  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [{}, [], [{"a": 1}], 5, "text", True])
def test_schemaless_values_that_are_no_rows(name: str, value: Any) -> None:
    with pytest.raises(DataError, match="the record at t-0@0 has a value without schema that is no JSON obj"):
        make(name).items([SinkRecord("t", 0, 0, text(value)[0])])


def test_names_in_schemaless_json_that_avro_does_not_allow() -> None:
    values = text({"a-b": 1, "a.b": 2, "1": 3, "": 4, "é": 5})
    assert read("avro", written(make("avro"), values, None)) == [
        {"a_b": 1, "a_b_2": 2, "_1": 3, "_": 4, "__2": 5}
    ]
    assert read("parquet", written(make("parquet"), values, None)) == [orjson.loads(values[0].json)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=4), JSON, min_size=1, max_size=4), min_size=1, max_size=6)
)
def test_any_schemaless_json_becomes_a_file(name: str, rows: list[Any]) -> None:
    assert len(read(name, written(make(name), text(*rows), None))) == len(rows)


def test_records_of_two_schemas_are_told_apart() -> None:
    format = make("avro")
    other = struct({"id": INT64})
    items = format.items(
        [
            SinkRecord("t", 0, 0, VALUES[0], value_schema=ROW),
            SinkRecord("t", 0, 1, {"id": 1}, value_schema=other),
            SinkRecord("t", 0, 2, VALUES[1], value_schema=replace(ROW)),
            *(SinkRecord("t", 0, 3 + n, value) for n, value in enumerate(text({"a": 1}, {"b": 1}))),
        ]
    )
    variants = format.variants(items)
    assert variants is not None
    assert [variants.index(variant) for variant in variants] == [0, 1, 0, 3, 3]
