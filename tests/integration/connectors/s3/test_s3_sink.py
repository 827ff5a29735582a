"""What the S3 sink leaves in a bucket, over HTTP: layout, content, rotation, multipart uploads."""

import gzip
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cramjam
import fastavro
import pytest
from pyarrow import parquet
from support.s3_sink import SinkDriver, json_record, objects

from connect.api import DataError, SinkRecord, TopicPartition
from connect.api.schemas import INT64, STRING, struct
from connectors.s3 import sink

HOUR_MS = 3_600_000
DAY_2024 = 1_709_164_800_000  # 2024-02-29T00:00:00Z
TP = TopicPartition("t", 0)


@pytest.fixture
def bucket(s3: Any) -> str:
    name: str = s3.create_bucket()
    return name


def driver(s3: Any, bucket: str, records: Sequence[SinkRecord], **settings: str) -> SinkDriver:
    given = {name.replace("_", "."): value for name, value in settings.items()}
    return SinkDriver({"store.url": s3.endpoint, "s3.bucket.name": bucket, **given}, {TP: records})


def test_json_lines_by_kafka_partition(s3: Any, bucket: str) -> None:
    run = driver(s3, bucket, [json_record(offset) for offset in range(7)])
    run.run()
    assert objects(s3, bucket) == {
        "topics/t/partition=0/t+0+0000000000.json": b'{"o":0}\n{"o":1}\n{"o":2}\n',
        "topics/t/partition=0/t+0+0000000003.json": b'{"o":3}\n{"o":4}\n{"o":5}\n',
    }
    assert run.committed == {TP: 6}
    assert run.context.commits_requested == 2


@pytest.mark.parametrize("format", ["json", "avro", "parquet"])
def test_rotation_by_bytes(s3: Any, bucket: str, format: str) -> None:
    schema = struct({"o": INT64, "x": STRING})
    records = [SinkRecord("t", 0, n, {"o": n, "x": "y" * 90}, value_schema=schema) for n in range(7)]
    run = driver(s3, bucket, records, format_class=format, flush_size="100", rotate_bytes="250")
    run.run()
    assert [int(key.rpartition("+")[2][:10]) for key in objects(s3, bucket)] == [0, 3]
    assert run.committed == {TP: 6}


def test_gzip(s3: Any, bucket: str) -> None:
    driver(s3, bucket, [json_record(n) for n in range(3)], s3_compression_type="gzip").run()
    key = "topics/t/partition=0/t+0+0000000000.json.gz"
    data = s3.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    assert gzip.decompress(data) == b'{"o":0}\n{"o":1}\n{"o":2}\n'


def test_zstd_is_one_frame_whoever_compresses_it(s3: Any, bucket: str) -> None:
    """Many readers look at the first frame only. Of many files, some are compressed as they grow."""
    records = [json_record(n, {"f": n % 12, "x": "y" * 50_000}) for n in range(48)]
    settings = {"partitioner.class": "FieldPartitioner", "partition.field.name": "f", "flush.size": "48"}
    driver(s3, bucket, records, **settings, s3_compression_type="zstd").run()
    found = objects(s3, bucket)
    assert [key.rpartition("+")[2] for key in found] == [
        f"{n:010}.json.zst" for n in sorted(range(12), key=str)
    ]
    for data in found.values():
        assert len(bytes(cramjam.zstd.decompress(data)).splitlines()) == 4
        assert data.count(b"\x28\xb5\x2f\xfd") == 1


def test_bytes(s3: Any, bucket: str) -> None:
    records = [SinkRecord("t", 0, n, b"\x00%d" % n) for n in range(3)]
    settings = {"format.class": "bytearray", "format.bytearray.separator": " | "}
    driver(s3, bucket, records, **settings).run()
    key = "topics/t/partition=0/t+0+0000000000.bin"
    assert objects(s3, bucket) == {key: b"\x000 | \x001 | \x002 | "}


@pytest.mark.parametrize("format", ["avro", "parquet"])
def test_files_of_interleaved_schemas_are_not_split(s3: Any, bucket: str, format: str) -> None:
    small, large = struct({"o": INT64}), struct({"o": INT64, "x": STRING.as_optional()})
    records = [SinkRecord("t", 0, n, {"o": n}, value_schema=[small, large][n % 2]) for n in range(7)]
    records += [json_record(7)]
    run = driver(s3, bucket, records, format_class=format, flush_size="8")
    run.run()
    found = {key.rpartition("+")[2]: rows(format, data) for key, data in objects(s3, bucket).items()}
    extension = {"avro": ".avro", "parquet": ".snappy.parquet"}[format]
    assert found == {
        f"0000000000{extension}": [{"o": n} for n in (0, 2, 4, 6)],
        f"0000000001{extension}": [{"o": n, "x": None} for n in (1, 3, 5)],
        f"0000000007{extension}": [{"o": 7}],
    }
    assert run.committed == {TP: 8}


@pytest.mark.parametrize(
    ("mode", "first", "expected"),
    [
        ("BACKWARD", 1, {0: [{"o": 0}], 1: [{"o": 1, "x": "d"}, {"o": 2, "x": "d"}, {"o": 3, "x": "d"}]}),
        ("FULL", 2, {0: [{"o": 0, "x": "d"}, {"o": 1, "x": "d"}, {"o": 2, "x": "d"}, {"o": 3, "x": "d"}]}),
        ("FORWARD", 1, {0: [{"o": 0}, {"o": 1}, {"o": 2}, {"o": 3}]}),
        ("NONE", 1, {0: [{"o": 0}, {"o": 2}], 1: [{"o": 1, "x": "d"}, {"o": 3, "x": "d"}]}),
    ],
)
def test_schema_compatibility(s3: Any, bucket: str, mode: str, first: int, expected: dict[int, Any]) -> None:
    old = replace(struct({"o": INT64}), name="N", version=1)
    new = replace(struct({"o": INT64, "x": STRING.with_default("d")}), name="N", version=2)
    records = []
    for n in range(4):
        schema = [old, new][(n + first - 1) % 2]
        value = {"o": n} if schema is old else {"o": n, "x": "d"}
        records.append(SinkRecord("t", 0, n, value, value_schema=schema))
    driver(s3, bucket, records, format_class="avro", flush_size="4", schema_compatibility=mode).run()
    found = {
        int(key.rpartition("+")[2][:10]): rows("avro", data) for key, data in objects(s3, bucket).items()
    }
    assert found == expected


def rows(format: str, data: bytes) -> list[Any]:
    if format == "avro":
        return list(fastavro.reader(io.BytesIO(data)))
    found: list[Any] = parquet.read_table(io.BytesIO(data)).to_pylist()
    return found


def test_names_follow_the_settings(s3: Any, bucket: str) -> None:
    settings = {
        "topics.dir": "", "directory.delim": "_", "file.delim": "-", "filename.offset.zero.pad.width": "3",
    }  # fmt: skip
    driver(s3, bucket, [json_record(n) for n in range(3)], **settings).run()
    assert list(objects(s3, bucket)) == ["t_partition=0_t-0-000.json"]


def test_a_routed_record_goes_to_its_topics_folder_under_its_own_name(s3: Any, bucket: str) -> None:
    records = [json_record(n).replace(topic=f"routed-{n % 2}") for n in range(3)]
    driver(s3, bucket, records).run()
    assert objects(s3, bucket) == {
        "topics/routed-0/partition=0/t+0+0000000000.json": b'{"o":0}\n{"o":2}\n',
        "topics/routed-1/partition=0/t+0+0000000001.json": b'{"o":1}\n',
    }


@pytest.mark.parametrize(
    ("settings", "folders"),
    [
        ({"partitioner.class": "HourlyPartitioner", "timezone": "UTC"},
         ["year=2024/month=02/day=28/hour=23", "year=2024/month=02/day=29/hour=00"]),
        ({"partitioner.class": "DailyPartitioner", "timezone": "Europe/Berlin"},
         ["year=2024/month=02/day=29"]),
        ({"partitioner.class": "TimeBasedPartitioner", "timezone": "UTC", "path.format": "YYYY-MM/'h'HH/",
          "partition.duration.ms": str(2 * HOUR_MS)}, ["2024-02/h22", "2024-02/h00"]),
    ],
    ids=["hourly", "daily", "time-based"],
)  # fmt: skip
def test_by_time(s3: Any, bucket: str, settings: dict[str, str], folders: list[str]) -> None:
    records = [json_record(n, timestamp_ms=DAY_2024 + (n - 1) * 60_000) for n in range(2)]
    driver(s3, bucket, records, flush_size="2", **settings, timestamp_extractor="Record").run()
    found = [key.removeprefix("topics/t/").rsplit("/", 1)[0] for key in objects(s3, bucket)]
    assert sorted(found) == sorted(folders)


def test_by_fields(s3: Any, bucket: str) -> None:
    values = [{"a": "x", "b": {"c": 1}}, {"a": "y", "b": {"c": True}}, {"a": "x", "b": {"c": 1}}]
    records = [json_record(offset, value) for offset, value in enumerate(values)]
    settings = {"partitioner.class": "FieldPartitioner", "partition.field.name": "a,b.c"}
    driver(s3, bucket, records, **settings).run()
    assert objects(s3, bucket) == {
        "topics/t/a=x/b.c=1/t+0+0000000000.json":
            b'{"o":0,"a":"x","b":{"c":1}}\n{"o":2,"a":"x","b":{"c":1}}\n',
        "topics/t/a=y/b.c=true/t+0+0000000001.json": b'{"o":1,"a":"y","b":{"c":true}}\n',
    }  # fmt: skip


def test_a_time_in_a_field(s3: Any, bucket: str) -> None:
    records = [
        json_record(0, {"at": {"ms": DAY_2024}}),
        json_record(1, {"at": {"ms": "2024-02-28T23:30:00Z"}}),
    ]
    settings = {
        "partitioner.class": "DailyPartitioner", "timezone": "UTC", "flush.size": "2",
        "timestamp.extractor": "RecordField", "timestamp.field": "at.ms",
    }  # fmt: skip
    driver(s3, bucket, records, **settings).run()
    assert sorted(key.split("/")[4] for key in objects(s3, bucket)) == ["day=28", "day=29"]


def test_rotation_by_record_time_starts_the_next_file_with_the_record_that_is_late(
    s3: Any, bucket: str
) -> None:
    minutes = [0, 4, 10, 11, 20]
    records = [json_record(n, timestamp_ms=DAY_2024 + m * 60_000) for n, m in enumerate(minutes)]
    settings = {
        "partitioner.class": "DailyPartitioner", "timezone": "UTC", "timestamp.extractor": "Record",
        "rotate.interval.ms": "600000", "flush.size": "100",
    }  # fmt: skip
    run = driver(s3, bucket, records, **settings)
    run.run()
    folder = "topics/t/year=2024/month=02/day=29/"
    assert objects(s3, bucket) == {
        folder + "t+0+0000000000.json": b'{"o":0}\n{"o":1}\n',
        folder + "t+0+0000000002.json": b'{"o":2}\n{"o":3}\n',
    }
    assert run.committed == {TP: 4}


def test_rotation_on_change_of_the_encoded_partition(s3: Any, bucket: str) -> None:
    records = [json_record(n, timestamp_ms=DAY_2024 + (n % 2) * HOUR_MS) for n in range(3)]
    settings = {
        "partitioner.class": "HourlyPartitioner", "timezone": "UTC", "timestamp.extractor": "Record",
        "rotate.interval.ms": str(100 * HOUR_MS), "flush.size": "100",
    }  # fmt: skip
    driver(s3, bucket, records, **settings).run()
    assert [key.rsplit("+", 1)[1] for key in objects(s3, bucket)] == ["0000000000.json", "0000000001.json"]
    other = driver(
        s3, s3.create_bucket(), records, **settings, **{"rotate.file.on.partition.change": "false"}
    )
    other.run()
    assert objects(s3, other.config.bucket) == {}


def test_scheduled_rotation_fires_when_idle(s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = DAY_2024 + 59_000
    monkeypatch.setattr(sink, "_now_ms", lambda: now_ms)
    settings = {"rotate.schedule.interval.ms": "60000", "timezone": "UTC", "flush.size": "100"}
    run = driver(s3, bucket, [json_record(0)], **settings)
    run.run()
    now_ms = DAY_2024 + 59_999
    run.put([])
    assert objects(s3, bucket) == {}
    now_ms = DAY_2024 + 60_000
    run.put([])
    assert objects(s3, bucket) == {"topics/t/partition=0/t+0+0000000000.json": b'{"o":0}\n'}
    run.commit()
    assert run.committed == {TP: 1}


def test_null_values(s3: Any, bucket: str) -> None:
    records = [json_record(0), SinkRecord("t", 0, 1, None), json_record(2), json_record(3)]
    failing = driver(s3, bucket, records)
    failing.run()
    [(record, error)] = failing.context.errant
    assert (record.offset, type(error)) == (1, DataError)
    assert "t-0@1 has no value; set behavior.on.null.values" in str(error)
    assert objects(s3, bucket) == {"topics/t/partition=0/t+0+0000000000.json": b'{"o":0}\n{"o":2}\n{"o":3}\n'}
    written = driver(s3, s3.create_bucket(), records, **{"behavior.on.null.values": "write"})
    written.run()
    assert objects(s3, written.config.bucket) == {
        "topics/t/partition=0/t+0+0000000000.json": b'{"o":0}\n{"o":2}\n',
        "topics/t/tombstone/t+0+0000000001.json": b"null\n",
    }


def test_offsets_of_ignored_records_are_committed(s3: Any, bucket: str) -> None:
    records = [SinkRecord("t", 0, n, None) for n in range(5)]
    run = driver(s3, bucket, records, **{"behavior.on.null.values": "ignore"})
    run.run()
    assert run.committed == {TP: 5}
    assert objects(s3, bucket) == {}


def test_large_objects_are_uploaded_in_parts(s3: Any, bucket: str) -> None:
    part_bytes = 5 << 20
    big = [json_record(n, {"x": "y" * (1 << 20)}) for n in range(12)]
    run = driver(s3, bucket, big, flush_size="12", s3_part_size=str(part_bytes))
    run.run(batch=1)
    [key] = objects(s3, bucket)
    data = objects(s3, bucket)[key]
    assert data == b"".join(record.raw_value.json + b"\n" for record in big)
    assert s3.client().head_object(Bucket=bucket, Key=key)["ETag"].endswith('-3"')


def test_memory_is_bounded_over_all_open_files(s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "WAITING_BYTES_MAX", 7 << 20)
    # One file of 6 MiB, which can be sent as a part, and many small ones, which cannot.
    sizes = [(n % 2 * (n + 1), (1 << 20) if n % 2 == 0 else (300 << 10)) for n in range(60)]
    records = [json_record(n, {"f": field, "x": "y" * size}) for n, (field, size) in enumerate(sizes)]
    settings = {"partitioner.class": "FieldPartitioner", "partition.field.name": "f", "flush.size": "60"}
    run = driver(s3, bucket, records, **settings)
    for _ in records[:-1]:
        run.deliver(1)
        assert run.task.task._plan.staging.gauge.bytes <= 7 << 20
    run.run()
    found = objects(s3, bucket)
    assert len(found) == 31
    assert b"".join(sorted(b"".join(found.values()).splitlines(keepends=True))) == b"".join(
        sorted(record.raw_value.json + b"\n" for record in records)
    )


def test_open_uploads_are_aborted_when_partitions_are_taken_away(s3: Any, bucket: str) -> None:
    big = [json_record(n, {"x": "y" * (6 << 20)}) for n in range(2)]
    run = driver(s3, bucket, big, flush_size="100", s3_part_size=str(5 << 20))
    run.run()
    assert uploads(s3, bucket) == ["topics/t/partition=0/t+0+0000000000.json"]
    run.task.close([TP])
    assert uploads(s3, bucket) == []
    run.task.stop()
    assert objects(s3, bucket) == {}


def uploads(s3: Any, bucket: str) -> list[str]:
    return [u["Key"] for u in s3.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])]
