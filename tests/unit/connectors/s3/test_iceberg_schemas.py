"""Tables of records: types, changes of tables, values that fit them, and settings."""

import datetime
import itertools
import sys
import uuid
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from pyarrow import parquet
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema as IcebergSchema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)
from support.task_contexts import SinkContext

from connect.api import ConnectError, DataError, JsonPayload, Schema, SchemaType, SinkRecord
from connect.api import schemas as connect
from connectors.s3.config import S3SinkConfig
from connectors.s3.iceberg.arrays import conform_rows
from connectors.s3.iceberg.look import problems_of_catalog
from connectors.s3.iceberg.partitions import Partitioning, spec_for
from connectors.s3.iceberg.routes import Routes
from connectors.s3.iceberg.rows import RowMaker
from connectors.s3.iceberg.settings import sqlalchemy_url
from connectors.s3.iceberg.terms import parse_terms
from connectors.s3.iceberg.types import changes, table_schema
from connectors.s3.task import FormatTask

DAY = datetime.date(2024, 2, 29)
DAYS = (DAY - datetime.date(1970, 1, 1)).days
INSTANT = datetime.datetime(2024, 2, 29, 12, 30, 15, 250_000)
ZONED = INSTANT.replace(tzinfo=datetime.UTC)
MS = DAYS * 86_400_000 + 45_015_250
SOME_UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def named(type_: SchemaType, name: str) -> Schema:
    return Schema(type_, name=name)


@pytest.mark.parametrize(
    ("schema", "type_", "given", "read"),
    [
        (connect.INT8, "int", -3, -3),
        (connect.FLOAT32, "float", 0.5, 0.5),
        (connect.BYTES, "binary", b"\x00", b"\x00"),
        (named(SchemaType.INT32, connect.DATE), "date", DAYS, DAY),
        (named(SchemaType.INT32, connect.TIME), "time", 45_015_250, INSTANT.time()),
        (named(SchemaType.INT64, connect.TIMESTAMP), "timestamptz", MS, ZONED),
        (connect.decimal(2, precision=9), "decimal(9, 2)", Decimal("-1.25"), Decimal("-1.25")),
        (connect.decimal(2), "decimal(38, 2)", Decimal("1E+3"), Decimal(1000)),
        (named(SchemaType.INT64, "io.debezium.time.MicroTimestamp"), "timestamp", MS * 1000, INSTANT),
        (named(SchemaType.STRING, "io.debezium.time.ZonedTimestamp"), "timestamptz",
         "2024-02-29T13:30:15.25+01:00", ZONED),
        (named(SchemaType.STRING, "io.debezium.data.Uuid"), "uuid", str(SOME_UUID), SOME_UUID),
        (connect.array(connect.OPTIONAL_INT32), "list<int>", [1, None], [1, None]),
        (connect.map_of(connect.STRING, connect.INT64), "map<string, long>", {"a": 1}, [("a", 1)]),
    ],
)  # fmt: skip
def test_types_and_values(schema: Schema, type_: str, given: Any, read: Any) -> None:
    row = connect.struct({"x": schema, "none": schema.as_optional()})
    table = table_schema(row)
    assert str(table.find_type("x")) == type_
    assert [field.required for field in table.fields] == [True, False]
    rows = RowMaker(all_optional=False).rows([record({"x": given, "none": None}, row)], None)
    assert rows.fit(schema_to_pyarrow(table)).to_pylist() == [{"x": read, "none": None}]


def record(value: Any, schema: Schema | None = None) -> SinkRecord:
    return SinkRecord("t", 0, 7, value, value_schema=schema)


def as_text(value: Any) -> SinkRecord:
    """As it comes from a topic."""
    return record(JsonPayload(orjson.dumps(value, option=orjson.OPT_INDENT_2), orjson.loads))


def test_structs_inside() -> None:
    inner = connect.struct({"a": connect.INT32, "b": connect.OPTIONAL_STRING}, optional=True)
    row = connect.struct({"s": inner, "l": connect.array(inner, optional=True)})
    values = [{"s": None, "l": [{"a": 1, "b": "x"}, None]}, {"s": {"a": 2, "b": None}, "l": None}]
    rows = RowMaker(all_optional=False).rows([record(value, row) for value in values], None)
    assert rows.fit(schema_to_pyarrow(table_schema(row))).to_pylist() == values


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (connect.STRING, "a table holds structs, and this is a value of type string"),
        (connect.struct({"x": connect.struct({})}), "has no fields"),
        (connect.struct({"x": connect.decimal(2, precision=64)}), "decimal of precision 64"),
    ],
)
def test_what_no_table_can_hold(schema: Schema, why: str) -> None:
    with pytest.raises(DataError, match=why):
        table_schema(schema)


def columns(**types: Any) -> IcebergSchema:
    fields = [NestedField(n, name, type_) for n, (name, type_) in enumerate(types.items(), 1)]
    return IcebergSchema(*fields)


def test_what_a_table_lacks() -> None:
    has = StructType(
        NestedField(1, "i", IntegerType(), required=True), NestedField(2, "d", DecimalType(9, 2)),
        NestedField(3, "l", ListType(4, StructType(NestedField(5, "a", IntegerType())), False)),
        NestedField(6, "m", MapType(7, StringType(), 8, IntegerType(), False)),
        NestedField(9, "s", StringType()),
    )  # fmt: skip
    wanted = StructType(
        NestedField(1, "i", LongType()), NestedField(2, "d", DecimalType(12, 2)),
        NestedField(3, "l", ListType(4, StructType(NestedField(5, "b", StringType())), False)),
        NestedField(6, "m", MapType(7, StringType(), 8, LongType(), False)), NestedField(9, "s", LongType()),
    )  # fmt: skip
    assert [str(change) for change in changes(has, wanted)] == [
        "nulls in i", "the type long for i", "the type decimal(12, 2) for d",
        "the column l.element.b of type string", "the type long for m.value",
    ]  # fmt: skip
    assert list(changes(wanted, wanted)) == []


@pytest.mark.parametrize(
    ("type_", "json", "read"),
    [
        (LongType(), "12", 12),
        (LongType(), 2.0, 2),
        (DoubleType(), 2, 2.0),
        (StringType(), {"a": [1]}, '{"a":[1]}'),
        (DateType(), "2024-02-29", DAY),
        (DateType(), DAYS, DAY),
        (TimeType(), "12:30:15.25", INSTANT.time()),
        (TimestampType(), "2024-02-29T12:30:15.25", INSTANT),
        (TimestampType(), "2024-02-29T12:30:15.25Z", INSTANT),
        (TimestamptzType(), "2024-02-29T12:30:15.25", ZONED),
        (TimestamptzType(), "2024-02-29T14:30:15.25+02:00", ZONED),
        (TimestamptzType(), MS, ZONED),
        (DecimalType(9, 2), "1.25", Decimal("1.25")),
        (UUIDType(), str(SOME_UUID), SOME_UUID),
        (BinaryType(), "AAE=", b"\x00\x01"),
        (ListType(2, LongType(), False), [], []),
        (MapType(2, StringType(), 3, LongType(), False), {"a": 1, "b": None}, [("a", 1)]),
    ],
)
def test_json_for_the_columns_of_a_table(type_: Any, json: Any, read: Any) -> None:
    table = columns(x=type_)
    for values, make in itertools.product(([{"x": json}], [{"x": None}, {"x": json}, {}]), (record, as_text)):
        rows = RowMaker(all_optional=False).rows([make(value) for value in values], table.as_struct())
        assert rows.changes(table.as_struct()) == []
        found = rows.fit(schema_to_pyarrow(table)).column("x").to_pylist()
        assert found == [read if "x" in value and value["x"] is not None else None for value in values]


@pytest.mark.parametrize(
    ("type_", "json"),
    [(LongType(), "a"), (LongType(), 1.5), (IntegerType(), 1 << 40), (DateType(), "soon"), (UUIDType(), "1"),
     (DecimalType(4, 2), "1.255"), (BinaryType(), "?"),
     (StructType(NestedField(2, "a", LongType())), "text")],
)  # fmt: skip
def test_json_that_does_not_fit_is_an_error_of_its_record(type_: Any, json: Any) -> None:
    table = columns(x=type_)
    for make in (record, as_text):
        with pytest.raises(DataError, match="the record at t-0@7 does not fit the table"):
            RowMaker(all_optional=False).rows([make({"x": json})], table.as_struct()).fit(
                schema_to_pyarrow(table)
            )


def test_columns_of_which_nothing_is_known_are_not_made() -> None:
    values = [{"a": None, "b": [], "c": {"d": None}, "e": 1, "f": [{"g": None, "h": 1}]}, {"i": {"j": "x"}}]
    rows = RowMaker(all_optional=False).rows([record(value) for value in values], None)
    assert rows.columns is not None
    assert [field.name for field in rows.columns.fields] == ["e", "f", "i"]
    assert rows.fit(schema_to_pyarrow(rows.columns)).to_pylist() == [
        {"e": 1, "f": [{"h": 1}], "i": None}, {"e": None, "f": None, "i": {"j": "x"}},
    ]  # fmt: skip


def required(*types: Any) -> StructType:
    fields = (NestedField(10 + n, f"c{n}", type_, required=True) for n, type_ in enumerate(types))
    return StructType(*fields)


INNER = required(DateType(), UUIDType(), ListType(20, LongType(), True), required(LongType()))


def test_a_struct_that_is_null_whose_fields_may_not_be() -> None:
    """Parquet's writer wants values in such fields, of whatever type."""
    types = (
        BooleanType(), LongType(), FloatType(), DecimalType(4, 2), TimeType(), TimestamptzType(),
        StringType(), FixedType(4), BinaryType(), MapType(30, StringType(), 31, LongType(), True),
        *(field.field_type for field in INNER.fields),
    )  # fmt: skip
    whole = {"c0": DAYS, "c1": str(SOME_UUID), "c2": [1], "c3": {"c0": 1}}
    arrow = pa.struct([("c0", pa.int32()), ("c1", pa.string()), ("c2", pa.list_(pa.int32())),
                       ("c3", pa.struct([("c0", pa.int64())]))])  # fmt: skip
    given = pa.array([{"x": None}, {"x": whole}], pa.struct([("x", arrow)]))
    rows = conform_rows(given, schema_to_pyarrow(columns(x=INNER, y=required(*types))))
    out = pa.BufferOutputStream()
    parquet.write_table(rows, out)
    read = {"c0": DAY, "c1": SOME_UUID, "c2": [1], "c3": {"c0": 1}}
    assert parquet.read_table(pa.BufferReader(out.getvalue())).to_pylist() == [
        {"x": None, "y": None}, {"x": read, "y": None},
    ]  # fmt: skip
    for change, where in (({"c0": None}, "x.c0"), ({"c2": [None]}, r"x.c2\[\]"), ({"c3": None}, "x.c3")):
        wrong = pa.array([{"x": None}, {"x": {**whole, **change}}], given.type)
        with pytest.raises(ValueError, match=f"the value.{where} is null"):
            conform_rows(wrong, schema_to_pyarrow(columns(x=INNER)))


def test_rows_by_partition() -> None:
    table = columns(id=LongType(), at=TimestamptzType(), s=StringType(), u=UUIDType())
    spec = spec_for(parse_terms("day(at), bucket(id, 4), truncate(s, 2), u"), table)
    assert [field.name for field in spec.fields] == ["at_day", "id_bucket", "s_trunc", "u"]
    values = [
        {"id": 1, "at": ZONED, "s": "abc", "u": SOME_UUID.bytes},
        {"id": 1, "at": ZONED, "s": "abd", "u": None},
        {"id": None, "at": None, "s": None, "u": None},
        {"id": 1, "at": ZONED, "s": "abe", "u": SOME_UUID.bytes},
    ]  # fmt: skip
    target = schema_to_pyarrow(table)
    rows = pa.Table.from_pylist(values, schema=target)
    partitioning = Partitioning(spec, table)
    found = partitioning.split(rows)
    assert [part.column("s").to_pylist() for part in found.values()] == [["abc", "abe"], ["abd"], [None]]
    assert [key[0] for key in found] == [DAYS, DAYS, None]
    assert next(iter(found))[2:] == ("ab", SOME_UUID)
    assert partitioning.path(next(iter(found))).startswith("at_day=2024-02-29/id_bucket=")


SETTINGS = {
    "format.class": "iceberg", "s3.bucket.name": "b", "flush.size": "1", "iceberg.catalog.uri": "sqlite://",
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "name", "why"),
    [
        ({"iceberg.catalog.uri": ""}, "iceberg.catalog.uri", "needs its URI"),
        ({"iceberg.catalog.type": "paper"}, "iceberg.catalog.type", "must be one of: sql, rest"),
        ({"iceberg.catalog.catalog-impl": "x.Y"}, "iceberg.catalog.catalog-impl", "must be one of"),
        ({"iceberg.tables": "orders"}, "iceberg.tables", "namespace.table"),
        ({"iceberg.tables.default-partition-by": "day(a"}, "iceberg.tables.default-partition-by", "no tran"),
        ({"iceberg.table.a.b.partition-by": "bucket(x)"}, "iceberg.table.a.b.partition-by", "column, N"),
        ({"iceberg.table.a.b.route-regex": "("}, "iceberg.table.a.b.route-regex", "no regular expression"),
        ({"iceberg.table.a.b.id-columns": "x"}, "iceberg.table.a.b.id-columns", "supported"),
        ({"iceberg.tables.upsert-mode-enabled": "true"}, "iceberg.tables.upsert-mode-enabled", "appended"),
        ({"iceberg.tables.dynamic-enabled": "true"}, "iceberg.tables.route-field", "needs it"),
        ({"store.kafka.keys": "true"}, "store.kafka.keys", "rows of values only"),
        ({"behavior.on.null.values": "write"}, "behavior.on.null.values", "Only JsonFormat"),
        ({"s3.ssea.name": "AES256"}, "s3.ssea.name", "for the bucket"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(settings: dict[str, str], name: str, why: str) -> None:
    _, errors = S3SinkConfig.examine({**SETTINGS, **settings})
    assert [error.name for error in errors] == [name]
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(errors[0].message)


def test_settings_of_iceberg_are_known_and_need_no_table_format() -> None:
    given = {
        **SETTINGS, "iceberg.catalog.s3.endpoint": "http://x", "iceberg.tables.auto-create-props.a": "b",
        "iceberg.tables.upsert-mode-enabled": "false", "iceberg.table.a.b.partition-by": "x, day(y)",
    }  # fmt: skip
    config = S3SinkConfig.parse(given)
    assert S3SinkConfig.unknown([name for name in given if "upsert" not in name]) == []
    assert config.catalog_properties == {"type": "sql", "uri": "sqlite://", "s3.endpoint": "http://x"}
    assert config.new_table_properties == {"a": "b"}
    assert config.partition_by("a.b") == "x, day(y)"
    S3SinkConfig.parse({"format.class": "json", "s3.bucket.name": "b", "flush.size": "1"})


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("sqlite:////data/c.db", "sqlite:////data/c.db"),
        ("jdbc:sqlite:file:/data/c.db", "sqlite:////data/c.db"),
        ("jdbc:postgresql://h:1/d", "postgresql+psycopg://u:p%2F@h:1/d"),
        ("postgresql://x@h/d", "postgresql+psycopg://x@h/d"),
    ],
)
def test_urls_of_sql_catalogs(uri: str, url: str) -> None:
    assert sqlalchemy_url(uri, "u", "p/") == url


def test_without_pyiceberg_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg", None)
    config = S3SinkConfig.parse(SETTINGS)
    [problem] = problems_of_catalog(config)
    assert problem.name == "format.class"
    assert "pip install 'millstream[iceberg]'" in problem.message
    with pytest.raises(ConnectError, match="pip install"):
        FormatTask().start(SinkContext(), config)


def test_routes() -> None:
    def tables(value: Any, **settings: str) -> dict[str, list[SinkRecord]]:
        config = S3SinkConfig.parse({**SETTINGS, **settings})
        one = record(value).replace(topic="shop.public-orders")
        return Routes(config).split([one], lambda _, error: pytest.fail(str(error)))

    assert list(tables({})) == ["default.shop_public_orders"]
    assert list(tables({}, **{"iceberg.tables": "a.b,a.c,a.b"})) == ["a.b", "a.c"]
    by_field = {
        "iceberg.tables": "a.b,a.c", "iceberg.tables.route-field": "k.i",
        "iceberg.table.a.b.route-regex": "x|y", "iceberg.table.a.c.route-regex": "x.*",
    }  # fmt: skip
    assert list(tables({"k": {"i": "x"}}, **by_field)) == ["a.b", "a.c"]
    assert list(tables({"k": {"i": "y"}}, **by_field)) == ["a.b"]
    assert list(tables({"k": {}}, **by_field)) == []
