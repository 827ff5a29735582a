"""S3 sinks of all kinds: their settings, the records that they are fed with, and how their objects are read.

A record says which one it is: `p` and `n` are its partition and offset.
"""

import gzip
import io
import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

import cramjam
import fastavro
from pyarrow import parquet

from connect.testing.s3 import S3Endpoint

FLUSH_SIZE: Final = 7
LARGE_BYTES: Final = 900_000
DAY_2024: Final = 1_709_164_800_000
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_STRING: Final = "org.apache.kafka.connect.storage.StringConverter"
_BYTES: Final = "org.apache.kafka.connect.converters.ByteArrayConverter"
_JSON: Final = {
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "true",
}  # fmt: skip


class Promise(Enum):
    """What a kill may change."""

    SAME_OBJECTS = auto()  # nothing
    ONCE = auto()  # which records share an object
    AT_LEAST_ONCE = auto()


@dataclass(frozen=True, slots=True)
class Scenario:
    """`left_open` records of each partition stay in a file that nothing completes."""

    name: str
    settings: Mapping[str, str]
    promise: Promise = Promise.SAME_OBJECTS
    is_aiven: bool = False
    is_large: bool = False
    left_open: int = 0
    converter: Mapping[str, str] = field(default_factory=lambda: _JSON)

    def config(self, bucket: str, endpoint: str, s3: S3Endpoint) -> dict[str, str]:
        """All of a connector's settings but the topics."""
        keys = {"aws.access.key.id": s3.access_key, "aws.secret.access.key": s3.secret_key}
        shared = {"tasks.max": "1", "key.converter": _STRING, **self.converter, **keys}
        if self.is_aiven:
            return {
                **shared, "connector.class": "io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector",
                "aws.s3.endpoint": endpoint, "aws.s3.bucket.name": bucket, "aws.s3.region": s3.region,
                **self.settings,
            }  # fmt: skip
        return {
            **shared, "connector.class": "io.confluent.connect.s3.S3SinkConnector", "store.url": endpoint,
            "s3.bucket.name": bucket, "s3.region": s3.region, "flush.size": str(FLUSH_SIZE),
            "retry.backoff.ms": "100", **self.settings,
        }  # fmt: skip

    def read_all(self, objects: Mapping[str, bytes]) -> Iterator[tuple[int, int]]:
        """(partition, offset) of every record; those of keys and headers are left out."""
        for key, data in objects.items():
            yield from self.read(key, data)

    def read(self, key: str, data: bytes) -> list[tuple[int, int]]:
        """Of one object."""
        if ".keys." in key or ".headers." in key:
            return []
        rows = [row.get("value", row) for row in _rows(key, data)]
        return [(row["p"], row["n"]) for row in rows]


def _rows(key: str, data: bytes) -> list[Any]:
    if key.endswith(".parquet"):
        found: list[Any] = parquet.ParquetFile(io.BytesIO(data)).read().to_pylist()
        return found
    if key.endswith(".avro"):
        return list(fastavro.reader(io.BytesIO(data)))
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        data = bytes(cramjam.zstd.decompress(data))
    lines = data.splitlines()
    if not lines[0].startswith(b"{"):
        lines = [b64decode(line) for line in lines]
    texts = [json.loads(line) for line in lines]
    return [text.get("payload", text) for text in texts]


def records(partition: int, first: int, count: int, *, is_large: bool) -> Iterator[dict[str, Any]]:
    """Arguments of `produce`. A record is a quarter of an hour after the one before it; some have a schema
    with one more field."""
    for n in range(first, first + count):
        yield _record(partition, n, DAY_2024 + n * _HOUR_MS // 4, LARGE_BYTES if is_large else 10 * (n % 9))


def closing_records(partition: int, first: int) -> Iterator[dict[str, Any]]:
    """A file's worth, of which the last but one is larger than any file, and the last much later."""
    for n in range(first, first + FLUSH_SIZE):
        late = 30 * 24 * _HOUR_MS if n == first + FLUSH_SIZE - 1 else 0
        size = 20_000 if n == first + FLUSH_SIZE - 2 else 10
        yield _record(partition, n, DAY_2024 + n * _HOUR_MS // 4 + late, size)


def _record(partition: int, n: int, time_ms: int, size: int) -> dict[str, Any]:
    fields = [("p", "int32"), ("n", "int64"), ("f", "string"), ("x", "string")]
    value = {"p": partition, "n": n, "f": "abc"[n % 3], "x": "y" * size}
    if n % 10 == 9:
        fields.append(("more", "boolean"))
        value["more"] = True
    schema = {
        "type": "struct", "name": "Row", "optional": False,
        "fields": [{"field": name, "type": kind, "optional": False} for name, kind in fields],
    }  # fmt: skip
    return {
        "value": json.dumps({"schema": schema, "payload": value}), "key": f"k{n % 4}", "partition": partition,
        "timestamp": time_ms, "headers": [("n", str(n).encode())],
    }  # fmt: skip


def _aiven(name: str, promise: Promise = Promise.ONCE, **settings: str) -> Scenario:
    given = {key.replace("_", "."): value for key, value in settings.items()}
    is_large = name.endswith("multipart")
    converter = {"value.converter": _BYTES} if given.get("format.output.type", "csv") == "csv" else _JSON
    return Scenario(f"aiven-{name}", given, promise, is_aiven=True, is_large=is_large, converter=converter)


_NAME: Final = "{{topic}}/{{partition:padding=true}}/{{start_offset:padding=true}}"
SCENARIOS: Final = (
    Scenario("json", {"format.class": "json", "s3.compression.type": "gzip"}),
    Scenario("zstd", {
        "format.class": "json", "s3.compression.type": "zstd", "partitioner.class": "FieldPartitioner",
        "partition.field.name": "f",
    }),
    Scenario("avro", {
        "format.class": "avro", "avro.codec": "snappy", "partitioner.class": "FieldPartitioner",
        "partition.field.name": "f", "store.kafka.keys": "true", "store.kafka.headers": "true",
    }),
    Scenario("parquet", {
        "format.class": "parquet", "flush.size": "100", "partitioner.class": "HourlyPartitioner",
        "timezone": "UTC", "locale": "en-US", "timestamp.extractor": "Record",
        "rotate.interval.ms": str(2 * _HOUR_MS),
    }, left_open=1),
    Scenario("by-bytes", {
        "format.class": "json", "flush.size": "1000", "rotate.bytes": "700",
    }, left_open=1),
    Scenario("schedule", {
        "format.class": "json", "rotate.schedule.interval.ms": "1500", "timezone": "UTC",
    }, Promise.ONCE),
    Scenario("multipart", {"format.class": "json", "s3.part.size": str(5 << 20)}, is_large=True),
    _aiven("csv"),
    _aiven("jsonl", format_output_type="jsonl", format_output_fields="key,value,offset,timestamp,headers",
           file_compression_type="zstd", file_name_template=f"{_NAME}.jsonl.zst"),
    _aiven("parquet", format_output_type="parquet", file_name_template=f"{_NAME}.parquet"),
    _aiven("avro", format_output_type="avro", file_compression_type="none"),
    _aiven("several", Promise.AT_LEAST_ONCE, format_output_type="jsonl", format_output_envelope="false",
           format_output_fields="value", file_max_records="3"),
    _aiven("multipart", format_output_type="jsonl", format_output_fields="value",
           file_compression_type="none"),
)  # fmt: skip
