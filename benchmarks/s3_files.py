"""The S3 sink's task with many open files: `python -m benchmarks.s3_files`.

Each format runs in a process of its own: records of about 230 bytes go by turns into files of 1,000 values
of a field (FieldPartitioner), which are completed together, against moto over HTTP. Printed are the peak of
the process's memory, the CPU of a record, and the objects.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import orjson

from connect.api import JsonPayload, SinkRecord, TopicPartition
from connect.testing.s3 import S3Server
from connect.testing.tasks import SinkRunContext
from connectors.s3.plugin import S3SinkConnector

RECORDS: Final = 600_000
FILES: Final = 1_000
BATCH: Final = 500
SOURCE: Final = TopicPartition("many", 0)
JOBS: Final = {
    "json.gz": {"format.class": "json", "s3.compression.type": "gzip"},
    "json.zst": {"format.class": "json", "s3.compression.type": "zstd"},
    "avro": {"format.class": "avro"},
    "parquet": {"format.class": "parquet"},
}


def run(job: str, s3: S3Server) -> str:
    """What one task needs, on a line."""
    bucket = s3.create_bucket()
    config = S3SinkConnector.config_class.parse(
        {
            "s3.bucket.name": bucket, "store.url": s3.endpoint, "aws.access.key.id": s3.access_key,
            "aws.secret.access.key": s3.secret_key, "flush.size": str(RECORDS // 2),
            "partitioner.class": "FieldPartitioner", "partition.field.name": "k", **JOBS[job],
        }
    )  # fmt: skip
    task: Any = S3SinkConnector.task_class()
    task.start(SinkRunContext(), config)
    task.open([SOURCE])
    cpu, wall = 0.0, 0.0
    for start in range(0, RECORDS, BATCH):
        records = [_record(offset) for offset in range(start, start + BATCH)]
        cpu_before, wall_before = time.process_time(), time.perf_counter()
        task.put(records)
        cpu += time.process_time() - cpu_before
        wall += time.perf_counter() - wall_before
    task.stop()
    pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    objects = sum(page["KeyCount"] for page in pages)
    spent = f"{cpu / RECORDS * 1e6:.1f} us of CPU a record, {wall:.1f} s, {objects:,} objects"
    return f"{job:8} {RECORDS:,} records, {FILES:,} open files: peak {_peak_mb()} MB, {spent}"


def _record(offset: int) -> SinkRecord:
    noise = os.urandom(48).hex().encode()
    text = b'{"k":%d,"id":%d,"x":"%s","y":"%s"}' % (offset % FILES, offset, noise, b"lorem ipsum dolor " * 5)
    return SinkRecord(*SOURCE, offset, JsonPayload(text, orjson.loads), timestamp_ms=0)


def _peak_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


def main() -> None:
    if len(sys.argv) > 1:
        with S3Server() as s3:
            print(run(sys.argv[1], s3))
        return
    for job in JOBS:
        subprocess.run([sys.executable, "-m", "benchmarks.s3_files", job], check=True)


if __name__ == "__main__":
    main()
