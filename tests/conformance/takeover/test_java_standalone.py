"""Our standalone worker, a Java one with the same files, and ours again: each goes on at the offsets that the
other left in the file."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.java import needs_java
from support.standalone import Standalone

from connect.runtime import java_offsets_file
from connect.testing.java_connect import JavaStandalone
from connect.testing.millstream import Broker
from connect.testing.topics import Topics

LINES = 200
DEADLINE_S = 60.0
SETTINGS = {"offset.flush.interval.ms": "300"}


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"not after {DEADLINE_S:g} s: {what}"
        time.sleep(0.05)


@needs_java()
@pytest.mark.timeout(300)
def test_there_and_back(tmp_path: Path, kafka_topic: str) -> None:
    converter = "org.apache.kafka.connect.storage.StringConverter"
    own = {"value.converter": converter, "key.converter": converter}
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    connectors = {
        "lines-in": {**own, "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
                     "file": str(source), "topic": kafka_topic},
        "lines-out": {**own, "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
                      "file": str(out), "topics": kafka_topic},
    }  # fmt: skip

    def written() -> list[str]:
        return out.read_text().splitlines() if out.exists() else []

    def go_on(round_: int, offsets: Path) -> None:
        """Write some lines, see them come out and the offset of their end in the file."""
        with source.open("a") as file:
            file.writelines(f"line {number}\n" for number in range(round_ * LINES, (round_ + 1) * LINES))
        until(f"round {round_} came out", lambda: len(written()) >= (round_ + 1) * LINES)
        end = f'{{"position":{source.stat().st_size}}}'.encode()
        until("the offset is stored", lambda: offsets.exists() and end in offsets.read_bytes())

    with Broker(tmp_path / "broker") as broker:
        Topics(broker.bootstrap).create(kafka_topic)
        offsets = tmp_path / "java" / "connect.offsets"
        settings = {"bootstrap.servers": broker.bootstrap, "offset.storage.file.filename": str(offsets)}
        own_files = [properties(tmp_path, name, {"name": name, **of}) for name, of in connectors.items()]
        offsets.parent.mkdir()
        with Standalone(tmp_path, properties(tmp_path, "worker", {**settings, **SETTINGS}), own_files):
            go_on(0, offsets)
        with JavaStandalone(offsets.parent, broker.bootstrap, connectors, SETTINGS) as java:
            assert java.offsets == offsets
            go_on(1, offsets)
            java.stop()
            stored = java_offsets_file.load(offsets.read_bytes())
            assert list(stored) == [f'["lines-in",{{"filename":"{source}"}}]'.encode()]
            assert java_offsets_file.dump(stored) == offsets.read_bytes()
            java_files = [java.directory / f"{name}.properties" for name in connectors]
            with Standalone(tmp_path, java.properties, java_files):
                go_on(2, offsets)
        # Nothing lost, and as all were stopped in order, nothing twice.
        assert written() == [f"line {number}" for number in range(3 * LINES)]


def properties(directory: Path, name: str, values: Mapping[str, str]) -> Path:
    path = directory / f"{name}.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return path
