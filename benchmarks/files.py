"""File source beside Kafka Connect's FileStream, and the S3 sink (which has no peer in Maven)."""

import tempfile
import uuid
from pathlib import Path

from benchmarks.broker import Load, produce
from benchmarks.measure import cpu_seconds
from benchmarks.platforms import JSON_WITHOUT_SCHEMAS, Platform, filled, platforms, wait_for
from benchmarks.report import Row, print_rows
from connect.testing.s3 import S3Server

LINES = 1_000_000
RECORDS = 400_000
SINK_JOBS = {
    ".json.gz": {
        "format.class": "io.confluent.connect.s3.format.json.JsonFormat", "s3.compression.type": "gzip",
    },
    "Parquet": {"format.class": "io.confluent.connect.s3.format.parquet.ParquetFormat"},
}  # fmt: skip
STRINGS = {
    "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    "value.converter": "org.apache.kafka.connect.storage.StringConverter",
}


def file_source(platform: Platform, folder: Path) -> Row:
    """Lines of 100 bytes from a file that is there."""
    name = f"lines-{uuid.uuid4().hex[:8]}"
    source = folder / f"{name}.txt"
    source.write_bytes(b"".join(b"%099d\n" % number for number in range(LINES)))
    connector = {
        "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
        "file": str(source),
        "topic": name,
    }
    platform.deploy(name, connector | STRINGS)
    usage = filled(platform, name, LINES)
    memory = platform.memory()
    platform.remove(name)
    return Row(
        "file source, 100 B", platform.name, LINES / usage.wall, "lines/s", usage.cpu / LINES * 1e6, memory
    )


def s3_sink(platform: Platform, s3: S3Server, job: str) -> Row:
    """JSON records of 200 bytes to objects of 50,000, as one of `SINK_JOBS`."""
    import time

    name = f"s3-{uuid.uuid4().hex[:8]}"
    fill_with_json(platform.bootstrap, name)
    bucket = s3.create_bucket()
    connector = {
        "connector.class": "io.confluent.connect.s3.S3SinkConnector",
        "topics": name,
        "store.url": s3.endpoint,
        "s3.bucket.name": bucket,
        "aws.access.key.id": s3.access_key,
        "aws.secret.access.key": s3.secret_key,
        "storage.class": "io.confluent.connect.s3.storage.S3Storage",
        "flush.size": "50000",
    }
    client = s3.client()
    platform.deploy(name, connector | JSON_WITHOUT_SCHEMAS | SINK_JOBS[job])
    platform.wait_running(name)
    begin, cpu = time.perf_counter(), cpu_seconds(platform.processes())
    wait_for(
        lambda: client.list_objects_v2(Bucket=bucket).get("KeyCount", 0) >= RECORDS // 50_000,
        120,
        "the objects",
    )
    wall, spent = time.perf_counter() - begin, cpu_seconds(platform.processes()) - cpu
    memory = platform.memory()
    platform.remove(name)
    return Row(
        f"S3 sink, 200 B JSON to {job}",
        platform.name,
        RECORDS / wall,
        "records/s",
        spent / RECORDS * 1e6,
        memory,
    )


def fill_with_json(bootstrap: str, topic: str) -> None:
    """RECORDS JSON objects of 200 bytes in one partition."""
    values = [
        (b'{"id":%d,"name":"customer %d","city":"city %d","note":"' % (n, n * 7, n % 300)).ljust(198, b"x")
        + b'"}'
        for n in range(RECORDS)
    ]
    produce(bootstrap, topic, Load("fill", 200, 1_000_000, RECORDS), values)


def main() -> list[Row]:
    """Measure, print, and return the rows."""
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="millstream-lines-") as folder,
        S3Server() as s3,
        platforms() as both,
    ):
        rows += [file_source(platform, Path(folder)) for platform in both]
        rows += [s3_sink(both[0], s3, job) for job in SINK_JOBS]
    print_rows("Files and objects (CPU of broker and worker together)", rows)
    return rows


if __name__ == "__main__":
    main()
