"""What a sink wrote to S3 comes back through a source, in a whole Millstream."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from connect.testing.deployments import Deployments
from connect.testing.millstream import Millstream
from connect.testing.topics import TopicRecord, Topics

DEADLINE_S = 60
PARTITIONS = 3
RECORDS = 60
STRING = "org.apache.kafka.connect.storage.StringConverter"
JSON = "org.apache.kafka.connect.json.JsonConverter"
BYTES = "org.apache.kafka.connect.converters.ByteArrayConverter"
SCHEMALESS = {"value.converter": JSON, "value.converter.schemas.enable": "false"}
WITH_SCHEMA = {"value.converter": JSON, "value.converter.schemas.enable": "true"}
SINK = "io.confluent.connect.s3.S3SinkConnector"
SOURCE = "io.confluent.connect.s3.source.S3SourceConnector"
AIVEN_SINK = "io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector"
AIVEN_SOURCE = "io.aiven.kafka.connect.s3.source.S3SourceConnector"

HEAD = (
    b'{"schema":{"type":"struct","fields":[{"type":"int32","optional":false,"field":"n"},'
    b'{"type":"string","optional":true,"field":"t"},{"type":"int16","optional":false,"field":"s"},'
    b'{"type":"array","items":{"type":"double","optional":false},"optional":false,"field":"a"},'
    b'{"type":"int64","optional":false,"name":"org.apache.kafka.connect.data.Timestamp","version":1,"field":"at"},'
    b'{"type":"int32","optional":true,"name":"org.apache.kafka.connect.data.Date","version":1,"field":"d"}],'
    b'"optional":false,"name":"shop.Order","version":3},"payload":'
)


def schemaless(n: int) -> bytes:
    return b'{"n":%d,"big":12345678901234567890,"f":0.1,"u":"\xc3\xa9","x":[1,{"y":null}]}' % n


def with_schema(n: int) -> bytes:
    text = b"null" if n % 3 == 0 else b'"t%d"' % n
    return HEAD + b'{"n":%d,"t":%b,"s":%d,"a":[0.5,%d.25],"at":%d,"d":%d}}' % (
        n, text, n, n, 1_700_000_000_000 + n, 19_000 + n
    )  # fmt: skip


class World:
    """A topic, a bucket, and what goes from one to the other and back."""

    def __init__(self, millstream: Millstream, topic: str, s3: Any) -> None:
        self.s3, self.topic, self.copy = s3, topic, f"copy-{topic}"
        self.topics = Topics(millstream.bootstrap)
        self.bucket = s3.create_bucket()
        self.connectors = Deployments(millstream)
        self.store = {
            "store.url": s3.endpoint, "s3.bucket.name": self.bucket, "aws.access.key.id": s3.access_key,
            "aws.secret.access.key": s3.secret_key,
        }  # fmt: skip
        self.aiven_store = {
            "aws.s3.endpoint": s3.endpoint, "aws.s3.bucket.name": self.bucket, "aws.s3.region": s3.region,
            "aws.access.key.id": s3.access_key, "aws.secret.access.key": s3.secret_key,
        }  # fmt: skip
        self.to_copy = {
            "transforms": "copy", "transforms.copy.type": "org.apache.kafka.connect.transforms.RegexRouter",
            "transforms.copy.regex": ".*", "transforms.copy.replacement": "copy-$0",
        }  # fmt: skip

    def fill(self, value: Callable[[int], bytes | None]) -> list[TopicRecord]:
        for name in (self.topic, self.copy):
            self.topics.create(name, PARTITIONS)
        producer = confluent_kafka.Producer({"bootstrap.servers": self.topics.bootstrap})
        for n in range(RECORDS):
            headers: list[tuple[str, bytes]] = [("n", b"%d" % n), ("who", b"me")] if n % 2 else []
            producer.produce(
                self.topic, value(n), f"k{n % 7}" if n % 5 else None, n % PARTITIONS, headers=headers,
                timestamp=1_700_000_000_000 + n,
            )  # fmt: skip
        assert producer.flush(DEADLINE_S) == 0
        return self.topics.read(self.topic, RECORDS)

    def keys(self) -> list[str]:
        found = self.s3.client().list_objects_v2(Bucket=self.bucket)
        return [each["Key"] for each in found.get("Contents", ())]

    def until_keys(self, count: int, suffix: str = "") -> list[str]:
        deadline = time.monotonic() + DEADLINE_S
        while len(found := [key for key in self.keys() if key.endswith(suffix)]) < count:
            assert time.monotonic() < deadline, f"only {found} are in the bucket"
            time.sleep(0.05)
        return found

    def put(self, key: str, data: bytes) -> None:
        self.s3.client().put_object(Bucket=self.bucket, Key=key, Body=data)


@pytest.fixture
def world(millstream: Millstream, kafka_topic: str, s3: Any) -> Iterator[World]:
    made = World(millstream, kafka_topic, s3)
    with made.connectors:
        yield made


def told(records: Sequence[TopicRecord], *, keys: bool = True, headers: bool = True) -> dict[int, list[Any]]:
    """What must come back, by partition, in order."""
    found: dict[int, list[Any]] = {}
    for record in records:
        parts = (record.value, record.key if keys else None, record.headers if headers else ())
        found.setdefault(record.partition, []).append(parts)
    return found


@pytest.mark.parametrize(
    ("settings", "value", "converter"),
    [
        ({"format.class": "json"}, schemaless, SCHEMALESS),
        ({"format.class": "json", "s3.compression.type": "gzip", "keys.format.class": "json",
          "headers.format.class": "json"}, schemaless, SCHEMALESS),
        ({"format.class": "avro"}, with_schema, WITH_SCHEMA),
        ({"format.class": "avro", "avro.codec": "snappy"}, with_schema, WITH_SCHEMA),
        ({"format.class": "parquet"}, with_schema, WITH_SCHEMA),
        ({"format.class": "bytearray"}, lambda n: b"\x00%d\xff" % n, {"value.converter": BYTES}),
        ({"format.class": "avro"}, lambda n: b"text %d" % n, {"value.converter": STRING}),
    ],
    ids=["json", "json gzip", "avro", "avro snappy", "parquet", "bytes", "strings in avro"],
)  # fmt: skip
def test_a_topic_comes_back(
    world: World, settings: dict[str, str], value: Callable[[int], bytes], converter: dict[str, str]
) -> None:
    original = world.fill(value)
    shared = {
        **world.store, **converter, **settings, "key.converter": STRING, "store.kafka.keys": "true",
        "store.kafka.headers": "true",
    }  # fmt: skip
    world.connectors.deploy(
        {"connector.class": SINK, "tasks.max": "2", "topics": world.topic, "flush.size": "5", **shared}
    )
    world.until_keys(3 * RECORDS // 5)
    world.connectors.deploy({"connector.class": SOURCE, "tasks.max": "2", **shared, **world.to_copy})
    assert told(world.topics.read(world.copy, RECORDS)) == told(original)


NAME = "{{topic}}-{{partition}}-{{start_offset}}"
AS_BYTES = {"value.converter": BYTES, "header.converter": BYTES}


def exact_json(n: int) -> bytes:
    """Of which nothing may be read and written anew."""
    return b'{"big":123456789012345678901234567890,"n":%d,"d":1.10,"z":-0.0,"e":1E2,"u":"\\u00e9","s":{}}' % n


@pytest.mark.parametrize(
    ("settings", "value", "converter"),
    [
        ({"format.output.type": "csv"}, lambda n: b"\x00%d,\xff" % n, AS_BYTES),
        ({"format.output.type": "csv", "format.output.fields.value.encoding": "none",
          "file.compression.type": "zstd"}, lambda n: b"%d,%d" % (n, n), AS_BYTES),
        ({"format.output.type": "jsonl", "file.compression.type": "gzip"}, exact_json, SCHEMALESS),
        ({"format.output.type": "json", "file.compression.type": "none"}, schemaless, SCHEMALESS),
        ({"format.output.type": "jsonl"}, lambda n: b"text %d" % n, {"value.converter": STRING}),
        ({"format.output.type": "avro", "file.compression.type": "snappy"}, with_schema, WITH_SCHEMA),
        ({"format.output.type": "parquet"}, with_schema, WITH_SCHEMA),
    ],
    ids=["csv", "csv plain", "jsonl", "json", "strings in jsonl", "avro", "parquet"],
)  # fmt: skip
def test_a_topic_comes_back_from_aivens_sink(
    world: World, settings: dict[str, str], value: Callable[[int], bytes], converter: dict[str, str]
) -> None:
    """Timestamps, too."""
    original = world.fill(value)
    shared = {
        **world.aiven_store, **converter, **settings, "key.converter": STRING, "file.name.template": NAME,
        "format.output.fields": "key,value,offset,timestamp,headers",
    }  # fmt: skip
    world.connectors.deploy(
        {"connector.class": AIVEN_SINK, "tasks.max": "1", "topics": world.topic, **shared}
    )
    world.until_keys(PARTITIONS)
    world.connectors.deploy(
        {"connector.class": AIVEN_SOURCE, "tasks.max": "2", "distribution.type": "partition", **shared,
         "key.converter": BYTES if settings["format.output.type"] == "csv" else STRING,
         "input.format": settings["format.output.type"], "poll.interval.ms": "200", **world.to_copy}
    )  # fmt: skip
    restored = world.topics.read(world.copy, RECORDS)
    assert told(restored) == told(original)
    assert times(restored) == times(original)


def times(records: Sequence[TopicRecord]) -> list[tuple[int, int]]:
    return sorted((record.partition, record.timestamp_ms) for record in records)


def test_a_topic_comes_back_from_a_folder(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    folder.mkdir()
    original = world.fill(schemaless)
    shared = {
        **SCHEMALESS, "store.url": f"file://{tmp_path}", "s3.bucket.name": folder.name,
        "format.class": "json", "key.converter": STRING, "store.kafka.keys": "true",
        "store.kafka.headers": "true",
    }  # fmt: skip
    world.connectors.deploy({"connector.class": SINK, "topics": world.topic, "flush.size": "5", **shared})
    world.connectors.deploy({"connector.class": SOURCE, "tasks.max": "2", **shared, **world.to_copy})
    assert told(world.topics.read(world.copy, RECORDS)) == told(original)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 3 * RECORDS // 5
    assert {path.relative_to(folder).parts[:2] for path in files} == {("topics", world.topic)}
