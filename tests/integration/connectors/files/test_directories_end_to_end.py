"""Directories of files through a whole Millstream: deployed over REST, read, moved, refused, and killed."""

import gzip
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from connect.testing.millstream import Millstream

DEADLINE_S = 60
CSV = "com.github.jcustenborder.kafka.connect.spooldir.SpoolDirCsvSourceConnector"
LINES = "SpoolDirLineDelimitedSource"  # the alias of the class


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Folders:
    """The directories of one connector, and the connector."""

    def __init__(self, millstream: Millstream, topic: str, root: Path) -> None:
        self.millstream, self.topic, self.root = millstream, topic, root
        self.name = f"{topic}-dir"
        for name in ("in", "done", "bad", "new"):
            (root / name).mkdir()

    def config(self, class_name: str, **more: str) -> dict[str, str]:
        return {
            "connector.class": class_name, "tasks.max": "2", "topic": self.topic,
            "input.path": str(self.root / "in"), "finished.path": str(self.root / "done"),
            "error.path": str(self.root / "bad"), "input.file.pattern": ".*", "empty.poll.wait.ms": "50",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            **{name.replace("_", "."): value for name, value in more.items()},
        }  # fmt: skip

    def deploy(self, config: Mapping[str, str]) -> Any:
        return self.millstream.request("PUT", f"/connectors/{self.name}/config", config)

    def drop(self, name: str, content: bytes) -> None:
        """A file that appears under its name when it is whole."""
        path = self.root / "new" / name
        path.write_bytes(content)
        path.rename(self.root / "in" / name)

    def files(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.root / folder).iterdir())

    def stop(self) -> None:
        """The connector is stopped, and so are its tasks."""
        self.millstream.request("PUT", f"/connectors/{self.name}/stop")
        until(lambda: not self.status()["tasks"], "the tasks do not stop")

    def status(self) -> Any:
        return self.millstream.request("GET", f"/connectors/{self.name}/status").json()

    def values(self) -> list[Any]:
        """What is in the topic now."""
        consumer = Consumer({"bootstrap.servers": self.millstream.bootstrap, "group.id": self.name})
        try:
            place = TopicPartition(self.topic, 0)
            low, high = consumer.get_watermark_offsets(place, timeout=30)
            consumer.assign([TopicPartition(self.topic, 0, low)])
            found: list[Any] = []
            while len(found) < high - low:
                for message in consumer.consume(1000, timeout=1):
                    assert message.error() is None
                    found.append(json.loads(message.value() or b"null"))
            return found
        finally:
            consumer.close()


@pytest.fixture
def folders(millstream: Millstream, kafka_topic: str, tmp_path: Path) -> Any:
    made = Folders(millstream, kafka_topic, tmp_path)
    yield made
    millstream.request("DELETE", f"/connectors/{made.name}")


def test_csv_files_become_records_and_are_moved(folders: Folders) -> None:
    config = folders.config(CSV, **{
        "schema.generation.enabled": "true", "csv.first.row.as.header": "true", "key.fields": "id",
    })  # fmt: skip
    assert folders.deploy(config).status_code == 201
    folders.drop("a.csv", b'id,name\n1,"x, y"\n2,z\n')
    folders.drop("b.csv.gz", gzip.compress(b"id,name\n3,w\n"))
    until(lambda: folders.files("done") == ["a.csv", "b.csv.gz"], "the files are not moved")
    assert sorted(folders.values(), key=str) == [
        {"id": "1", "name": "x, y"}, {"id": "2", "name": "z"}, {"id": "3", "name": "w"},
    ]  # fmt: skip
    found = folders.millstream.request("GET", f"/connectors/{folders.name}/offsets").json()["offsets"]
    assert {o["partition"]["fileName"]: o["offset"]["offset"] for o in found} == {"a.csv": 3, "b.csv.gz": 2}


def test_errors_go_where_the_config_says(folders: Folders) -> None:
    settings = {"schema.generation.enabled": "true", "csv.first.row.as.header": "true"}
    folders.drop("1-bad.csv", b"id\n1\n2,2\n3\n")
    folders.drop("2-good.csv", b"id\n4\n")
    assert folders.deploy(folders.config(CSV, **settings)).status_code == 201
    trace = ""

    def failed() -> bool:
        nonlocal trace
        traces = [task.get("trace", "") for task in folders.status()["tasks"]]
        trace = next((text for text in traces if "1-bad.csv" in text), "")
        return "line 3: 2 fields where there are 1 columns" in trace

    until(failed, "no task fails")
    assert "TASK_POLL" in trace and "stays where it is" in trace  # noqa: PT018 - one text
    assert folders.files("in")[0] == "1-bad.csv"
    tolerant = folders.config(CSV, **settings, **{"errors.tolerance": "all"})
    assert folders.deploy(tolerant).status_code == 200
    until(lambda: folders.files("done") == ["1-bad.csv", "2-good.csv"], "the files are not moved")
    assert {value["id"] for value in folders.values()} == {"1", "3", "4"}
    folders.stop()  # else the tolerant task might still take them
    folders.drop("3-bad.csv", b"id\n5\n6,6\n")
    folders.drop("4-good.csv", b"id\n7\n")
    aside = folders.config(CSV, **settings, **{"halt.on.error": "false"})
    assert folders.deploy(aside).status_code == 200
    assert folders.millstream.request("PUT", f"/connectors/{folders.name}/resume").status_code == 202
    until(lambda: folders.files("bad") == ["3-bad.csv"], "the bad file is not set aside")
    until(lambda: "4-good.csv" in folders.files("done"), "the good file is not moved")
    assert {"5", "7"} <= {value["id"] for value in folders.values()}


def test_validate_names_what_is_wrong(folders: Folders) -> None:
    config = folders.config(LINES, **{"input.path": "/nowhere/at/all", "batch.sise": "5"})
    answer = folders.deploy(config)
    assert answer.status_code == 400
    assert "input.path: /nowhere/at/all is not a directory" in answer.text
    assert "batch.size" in answer.text


def test_kills_lose_nothing_and_move_nothing_early(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    millstream = Millstream(tmp_path_factory.mktemp("killed"), worker={"offset.flush.interval.ms": "50"})
    try:
        folders = Folders(millstream, "killed-lines", tmp_path)
        assert folders.deploy(folders.config(LINES, **{"batch.size": "10"})).status_code == 201
        expected: set[str] = set()
        for round_number in range(3):
            for number in range(6):
                name = f"{round_number}-{number}"
                lines = [f"{name}-{line}" for line in range(500)]
                expected.update(lines)
                folders.drop(name, "".join(f"{line}\n" for line in lines).encode())
            before = len(folders.files("done"))
            until(lambda before=before: len(folders.files("done")) > before, "no file is moved")
            millstream.kill()
            moved = folders.files("done")
            millstream.start()
            safe = {value.rpartition("-")[0] for value in folders.values()}
            whole = set(folders.values())
            for name in moved:
                assert name in safe
                assert {f"{name}-{line}" for line in range(500)} <= whole, f"{name} was moved early"
        until(lambda: len(folders.files("done")) == 18, "files are left")
        assert set(folders.values()) == expected
    finally:
        millstream.stop()
