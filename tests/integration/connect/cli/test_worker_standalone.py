"""`millstream worker --standalone`: no group, no topics of its own, offsets and connectors in files."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka.admin import AdminClient
from support.cli import COMMAND, millstream
from support.standalone import Standalone

from connect.runtime import java_offsets_file
from connect.testing.millstream import Broker

DEADLINE_S = 60.0


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Place:
    """A directory with a worker's file and those of connectors that copy lines through a topic."""

    def __init__(self, directory: Path, bootstrap: str, topic: str) -> None:
        self.directory = directory
        self.offsets = directory / "connect.offsets"
        self.source, self.out = directory / "in.txt", directory / "out.txt"
        converter = "org.apache.kafka.connect.storage.StringConverter"
        self.worker = self.properties(
            "worker",
            {
                "bootstrap.servers": bootstrap, "offset.storage.file.filename": str(self.offsets),
                "offset.flush.interval.ms": "200", "key.converter": converter, "value.converter": converter,
            },
        )  # fmt: skip
        source = {"connector.class": "FileStreamSource", "file": str(self.source), "topic": topic}
        sink = {"connector.class": "FileStreamSink", "file": str(self.out), "topics": topic}
        self.files = [
            self.properties("source", {"name": f"in-{topic}", **source}),
            self.json("sink", {"name": f"out-{topic}", "config": sink, "initial_state": "RUNNING"}),
            self.json("third", {**sink, "name": f"third-{topic}", "file": str(directory / "third.txt")}),
        ]
        self.source_name = f"in-{topic}"

    def properties(self, name: str, values: Mapping[str, str]) -> Path:
        file = self.directory / f"{name}.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return file

    def json(self, name: str, document: Any) -> Path:
        file = self.directory / f"{name}.json"
        file.write_text(json.dumps(document))
        return file

    def start(self) -> Standalone:
        return Standalone(self.directory, self.worker, self.files)

    def add(self, *lines: str) -> None:
        with self.source.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines() if self.out.exists() else []

    def stored(self) -> list[Any]:
        data = self.offsets.read_bytes() if self.offsets.exists() else b""
        return [json.loads(value) for value in java_offsets_file.load(data).values() if value is not None]


@pytest.fixture
def place(tmp_path: Path, broker: Broker, kafka_topic: str) -> Place:
    return Place(tmp_path, broker.bootstrap, kafka_topic)


def test_connectors_of_files_run_and_their_offsets_outlive_the_worker(place: Place, broker: Broker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    before = set(admin.list_topics().topics)
    place.add("a", "b")
    with place.start() as worker:
        assert len(httpx.get(f"{worker.url}/connectors").json()) == 3
        assert httpx.get(f"{worker.url}/").json()["kafka_cluster_id"]
        eventually(lambda: place.lines() == ["a", "b"] and place.stored() == [{"position": 4}])
        assert (place.directory / "third.txt").exists()
        # Killed, every process at once: what is stored is whole.
        worker.child.stop(signal.SIGKILL)
    place.add("c")
    with place.start():
        eventually(lambda: place.lines()[-1:] == ["c"])
    assert place.stored() == [{"position": 6}]  # stored while stopping, at the latest
    # A sink's offsets are its group's: those of the last moment may not be there.
    assert list(dict.fromkeys(place.lines())) == ["a", "b", "c"]
    new = set(admin.list_topics().topics) - before
    assert not [topic for topic in new if "connect-" in topic]


def test_rest_works_as_in_a_cluster(place: Place) -> None:
    place.add("a", "b")
    with place.start() as worker, httpx.Client(base_url=worker.url, timeout=60) as rest:
        name = place.source_name
        eventually(lambda: place.stored() == [{"position": 4}])
        assert rest.put(f"/connectors/{name}/stop").status_code == 204
        pair = {"partition": {"filename": str(place.source)}, "offset": {"position": 2}}
        assert rest.get(f"/connectors/{name}/offsets").json()["offsets"][0]["offset"] == {"position": 4}
        assert rest.patch(f"/connectors/{name}/offsets", json={"offsets": [pair]}).status_code == 200
        assert place.stored() == [{"position": 2}]
        assert rest.put(f"/connectors/{name}/resume").status_code == 202
        eventually(lambda: place.lines() == ["a", "b", "b"])
        assert rest.put(f"/connectors/{name}/stop").status_code == 204
        assert rest.delete(f"/connectors/{name}/offsets").status_code == 200
        assert place.stored() == []
        config = rest.get(f"/connectors/{name}").json()["config"]
        assert rest.post("/connectors", json={"name": name, "config": config}).status_code == 409
        assert rest.patch(f"/connectors/{name}/config", json={"batch.size": "7"}).status_code == 200
        assert rest.put("/admin/loggers/connect.runtime?scope=cluster", json={"level": "DEBUG"}).is_success
        assert rest.delete(f"/connectors/{name}").status_code == 204
        assert name not in rest.get("/connectors").json()


def test_a_file_source_without_a_file_reads_the_standard_input(place: Place) -> None:
    topic = place.source_name
    source = {"name": f"stdin-{topic}", "connector.class": "FileStreamSource", "topic": topic}
    sink = {"connector.class": "FileStreamSink", "file": str(place.out), "topics": topic}
    files = [place.properties("stdin", source), place.json("sink", {"name": f"copy-{topic}", "config": sink})]
    reading, writing = os.pipe()
    with Standalone(place.directory, place.worker, files, stdin=reading):
        os.close(reading)
        os.write(writing, b"a\nb")
        eventually(lambda: place.lines() == ["a"])
        os.write(writing, b"c\r\nno end")
        eventually(lambda: place.lines() == ["a", "bc"])
        os.close(writing)
        eventually(lambda: place.lines() == ["a", "bc", "no end"])


def run(*arguments: object) -> tuple[int, str]:
    ran = millstream("worker", *map(str, arguments))
    assert "Traceback" not in ran.err
    return ran.code, ran.err


def test_what_is_wrong_is_one_sentence(place: Place) -> None:
    cluster = place.properties("cluster", {"bootstrap.servers": "127.0.0.1:1"})
    assert run("--standalone", cluster)[1].startswith(
        'millstream worker: Missing required configuration "offset.storage.file.filename"'
    )
    assert "connector files are for --standalone" in run(cluster, place.files[0])[1]
    bad = place.directory / "bad.json"
    bad.write_text("{")
    assert run("--standalone", place.worker, bad)[0] == 2
    assert run("--standalone", place.worker, place.directory / "none.properties")[0] == 2


def test_a_connector_that_is_refused_ends_the_worker(place: Place) -> None:
    refused = place.properties("refused", {"name": "refused", "connector.class": "FileStreamSource"})
    code, err = run("--standalone", place.worker, "--rest-port", 0, refused)
    assert code == 1
    assert "connector refused could not be created" in err
    assert 'Missing required configuration \\"topic\\"' in err


def test_a_file_that_cannot_be_used_is_named_and_kept(place: Place) -> None:
    place.offsets.write_text("not Java's")
    code, err = run("--standalone", place.worker, "--rest-port", 0)
    assert code == 1
    assert f"offset.storage.file.filename={place.offsets} cannot be used" in err
    assert place.offsets.read_text() == "not Java's"


def test_two_workers_do_not_share_a_file(place: Place) -> None:
    with place.start():
        code, err = run("--standalone", place.worker, "--rest-port", 0)
    assert code == 1
    assert "another worker has it" in err


def test_the_names_of_kafkas_scripts(place: Place) -> None:
    command = [*COMMAND, "connect-standalone", str(place.directory / "none.properties")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, "cannot read" in ran.stderr) == (2, True)
