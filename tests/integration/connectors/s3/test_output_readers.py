"""What the sink writes is what other readers read: pyarrow, DuckDB, fastavro and pyiceberg."""

import datetime
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pytest
from pyarrow import parquet
from support.iceberg import Warehouse
from support.s3_sink import objects

from connect.api import Schema, SchemaType, SinkRecord, TopicPartition
from connect.api.schemas import BOOLEAN, BYTES, DATE, INT64, STRING, TIMESTAMP, array, decimal, map_of, struct
from connect.testing.s3 import S3Server

T0 = TopicPartition("t", 0)
DAY = datetime.date(2024, 2, 29)
NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 250_000, tzinfo=datetime.UTC)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
SCHEMA = struct(
    {
        "id": INT64, "name": STRING.as_optional(), "ok": BOOLEAN, "raw": BYTES,
        "price": decimal(2, precision=12),
        "day": Schema(SchemaType.INT32, name=DATE), "at": Schema(SchemaType.INT64, name=TIMESTAMP),
        "tags": array(STRING), "by": map_of(STRING, INT64), "in": struct({"x": INT64}, optional=True),
    },
    name="Row",
)  # fmt: skip
MS = (NOON - EPOCH) // datetime.timedelta(milliseconds=1)


def given(n: int) -> dict[str, Any]:
    """As a record has it."""
    return {
        "id": n, "name": [None, "ä"][n % 2], "ok": n > 1, "raw": b"\x00%d" % n, "price": Decimal("-12.50"),
        "day": (DAY - EPOCH.date()).days, "at": MS + n, "tags": ["a", str(n)], "by": {"k": n},
        "in": [None, {"x": n}][n % 2],
    }  # fmt: skip


def expected(n: int) -> dict[str, Any]:
    """As readers have it; a map as a dict."""
    return {**given(n), "day": DAY, "at": NOON + datetime.timedelta(milliseconds=n)}


COUNT = 4
ROWS = [expected(n) for n in range(COUNT)]


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In order, with maps as dicts and times in UTC."""
    found = [
        {**row, "by": dict(row["by"]), "at": row["at"].astimezone(datetime.UTC), "raw": bytes(row["raw"])}
        for row in rows
    ]
    return sorted(found, key=lambda row: row["id"])


def read_by_duckdb(query: str, **tables: Any) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        answer = connection.execute(query)
        names = [column[0] for column in answer.description]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


@pytest.fixture
def warehouse(s3: S3Server, tmp_path: Path) -> Warehouse:
    return Warehouse(s3, tmp_path)


def write(warehouse: Warehouse, **settings: str) -> None:
    records = [SinkRecord("t", 0, n, given(n), value_schema=SCHEMA) for n in range(COUNT)]
    named = {name.replace("_", "."): value for name, value in settings.items()}
    warehouse.sink({T0: records}, {"flush.size": str(COUNT), **named}).run()


@pytest.mark.parametrize("codec", ["snappy", "zstd"])
def test_parquet(warehouse: Warehouse, tmp_path: Path, codec: str) -> None:
    write(warehouse, format_class="parquet", parquet_codec=codec)
    [data] = objects(warehouse.s3, warehouse.bucket).values()
    assert plain(parquet.read_table(io.BytesIO(data)).to_pylist()) == ROWS
    file = tmp_path / "file.parquet"
    file.write_bytes(data)
    assert plain(read_by_duckdb(f"SELECT * FROM read_parquet('{file}')")) == ROWS


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy"])
def test_avro(warehouse: Warehouse, codec: str) -> None:
    write(warehouse, format_class="avro", avro_codec=codec)
    [data] = objects(warehouse.s3, warehouse.bucket).values()
    assert plain([dict(row) for row in fastavro.reader(io.BytesIO(data))]) == ROWS  # type: ignore[arg-type]


def test_iceberg(warehouse: Warehouse, tmp_path: Path) -> None:
    write(warehouse, iceberg_tables="shop.orders")
    scan = warehouse.catalog.load_table("shop.orders").scan()
    assert plain(scan.to_arrow().to_pylist()) == ROWS
    filtered = warehouse.catalog.load_table("shop.orders").scan(row_filter="id >= 2 and name = 'ä'")
    assert [row["id"] for row in filtered.to_arrow().to_pylist()] == [3]
    assert plain(read_by_duckdb("SELECT * FROM orders", orders=scan.to_arrow())) == ROWS
    [key] = warehouse.data_files()
    data = warehouse.s3.client().get_object(Bucket=warehouse.bucket, Key=key)["Body"].read()
    assert plain(parquet.read_table(io.BytesIO(data)).to_pylist()) == ROWS
    file = tmp_path / "file.parquet"
    file.write_bytes(data)
    assert plain(read_by_duckdb(f"SELECT * FROM read_parquet('{file}')")) == ROWS
