"""FileStream through a whole Millstream: a file into a topic, the topic into a file and a bucket."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.s3_sink import objects

from connect.testing.millstream import Millstream

STRINGS = {"value.converter": "org.apache.kafka.connect.storage.StringConverter"}
DEADLINE_S = 60


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def deploy(millstream: Millstream, kafka_topic: str) -> Any:
    """Creates connectors, and deletes them afterwards."""
    names = []

    def create(name: str, class_name: str, **settings: str) -> str:
        config = {"connector.class": class_name, "tasks.max": "1", **STRINGS}
        config |= {key.replace("_", "."): value for key, value in settings.items()}
        name = f"{kafka_topic}-{name}"
        answer = millstream.request("POST", "/connectors", {"name": name, "config": config})
        assert answer.status_code == 201, answer.text
        names.append(name)
        return name

    yield create
    for name in names:
        millstream.request("DELETE", f"/connectors/{name}")


def offset_of(millstream: Millstream, name: str) -> list[Any]:
    found: list[Any] = millstream.request("GET", f"/connectors/{name}/offsets").json()["offsets"]
    return found


def test_lines_go_from_file_to_file(
    millstream: Millstream, kafka_topic: str, tmp_path: Path, deploy: Any
) -> None:
    source, copy = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes("first é\n\nthird".encode())
    reader = deploy("in", "FileStreamSource", file=str(source), topic=kafka_topic)
    deploy("out", "FileStreamSink", file=str(copy), topics=kafka_topic)
    until(lambda: copy.exists() and copy.read_text() == "first é\n\n", "the first lines do not arrive")
    with source.open("a") as out:
        out.write(" line\nfourth\n")
    until(lambda: copy.read_text() == "first é\n\nthird line\nfourth\n", "the other lines do not arrive")
    partition, size = {"filename": str(source)}, source.stat().st_size
    until(
        lambda: offset_of(millstream, reader) == [{"partition": partition, "offset": {"position": size}}],
        "the offset is not stored",
    )


def test_lines_go_to_files_that_rotate(
    millstream: Millstream, kafka_topic: str, tmp_path: Path, deploy: Any
) -> None:
    source, folder = tmp_path / "in.txt", tmp_path / "out"
    folder.mkdir()
    source.write_text("".join(f"line {n}\n" for n in range(10)))
    deploy("in", "FileStreamSource", file=str(source), topic=kafka_topic)
    settings = {"output.path": str(folder), "file.max.records": "4", "rotate.interval.ms": "500"}
    writer = deploy("out", "FileSink", topics=kafka_topic, **settings)
    files = [folder / f"{kafka_topic}-0-{start}" for start in (0, 4, 8)]
    until(lambda: all(file.exists() for file in files), "files are missing")
    assert b"".join(file.read_bytes() for file in files) == source.read_bytes()
    until(
        lambda: [o["offset"]["kafka_offset"] for o in offset_of(millstream, writer)] == [10],
        "the offset is not committed",
    )


def test_lines_go_from_file_to_bucket(
    millstream: Millstream, kafka_topic: str, tmp_path: Path, deploy: Any, s3: Any
) -> None:
    source, bucket = tmp_path / "in.txt", s3.create_bucket()
    source.write_text("".join(f'{{"n": {n}}}\n' for n in range(1000)))
    deploy("in", "FileStreamSource", file=str(source), topic=kafka_topic)
    settings = {
        "s3.bucket.name": bucket, "store.url": s3.endpoint, "aws.access.key.id": s3.access_key,
        "aws.secret.access.key": s3.secret_key, "format.class": "json", "s3.compression.type": "gzip",
        "flush.size": "300", "rotate.schedule.interval.ms": "1000", "timezone": "UTC",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
    }  # fmt: skip
    deploy("s3", "S3Sink", topics=kafka_topic, **settings)
    until(lambda: b"".join(objects(s3, bucket).values()).count(b"\n") == 1000, "records are missing")
    lines = b"".join(data for _, data in sorted(objects(s3, bucket).items())).splitlines()
    assert lines == source.read_bytes().splitlines()
