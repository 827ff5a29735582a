"""Exactly once from a Java worker to ours and back to Java, each killed in the middle of its work."""

import threading
from pathlib import Path

import pytest
from support.java import needs_java

from connect.testing.java_connect import JavaConnect
from connect.testing.kafka import ApacheKafka
from connect.testing.millstream import Worker
from connect.testing.topics import Topics

SETTINGS = {
    "exactly.once.source.support": "enabled",
    "offset.flush.interval.ms": "500",
    "offset.storage.partitions": "5",
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "1500",
}
OWN_OFFSETS = {"lines": {}, "own": {"offsets.storage.topic": "own-offsets"}}  # by connector
DEADLINE_S = 90


class GrowingFile:
    """Gets a few lines again and again until `finish`, which says how many."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stopping = threading.Event()
        self._count = 0
        self._thread = threading.Thread(target=self._grow, daemon=True)
        self._thread.start()

    def _grow(self) -> None:
        while not self._stopping.wait(0.05):
            with self._path.open("a") as file:
                file.writelines(f"{number}\n" for number in range(self._count, self._count + 3))
            self._count += 3

    def finish(self) -> int:
        self._stopping.set()
        self._thread.join()
        return self._count


@needs_java()
@pytest.mark.timeout(400)
def test_each_line_comes_once_from_java_to_ours_and_back(tmp_path: Path) -> None:
    with ApacheKafka(tmp_path / "broker") as broker:
        topics = Topics(broker.bootstrap)
        file = GrowingFile(tmp_path / "in.txt")

        seen = dict.fromkeys(OWN_OFFSETS, 0)

        def wait_for_more() -> None:
            """Each connector has gone on, and is in the middle of its work."""
            for topic, count in seen.items():
                seen[topic] = len(topics.read(topic, count + 60, DEADLINE_S))

        with JavaConnect(tmp_path / "java", broker.bootstrap, SETTINGS, heap="-Xmx512M") as java:
            for name, more in OWN_OFFSETS.items():
                config = {
                    "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
                    "tasks.max": "1", "file": str(tmp_path / "in.txt"), "topic": name, "batch.size": "200",
                    "value.converter": "org.apache.kafka.connect.storage.StringConverter",
                    "exactly.once.support": "required", **more,
                }  # fmt: skip
                topics.create(name)
                assert java.request("PUT", f"/connectors/{name}/config", config).status_code == 201
            wait_for_more()
            java.kill()
            with Worker(tmp_path / "worker", broker.bootstrap, _settings(java.properties)) as worker:
                wait_for_more()
                worker.kill()
                worker.start()
                wait_for_more()
                worker.kill()
            java.start()
            wait_for_more()
            count = file.finish()
            for topic in OWN_OFFSETS:
                found = [int(record.value or b"") for record in topics.read(topic, count, DEADLINE_S)]
                assert found == list(range(count)), topic


def _settings(file: Path) -> dict[str, str]:
    """Java's settings; the listener alone is of the one who listens."""
    pairs = (line.split("=", 1) for line in file.read_text().splitlines())
    return {name: value for name, value in pairs if name not in ("listeners", "bootstrap.servers")}
