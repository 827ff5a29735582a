"""A real Java Connect worker, stopped; then ours with the same settings goes on where it stopped."""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from psycopg.conninfo import conninfo_to_dict
from support.cli import millstream
from support.java import needs_java

from connect.testing.java_connect import JavaConnect
from connect.testing.kafka import ApacheKafka
from connect.testing.millstream import Broker, Worker
from connect.testing.postgres import PostgresServer
from connect.testing.topics import Topics

SOURCE, SINK = "lines-in", "lines-out"
LINES = 500
DEADLINE_S = 60.0
FLUSH_OFTEN = {"offset.flush.interval.ms": "500"}


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"not after {DEADLINE_S:g} s: {what}"
        time.sleep(0.1)


def connectors(directory: Path, topic: str) -> dict[str, dict[str, str]]:
    converter = "org.apache.kafka.connect.storage.StringConverter"
    own = {"tasks.max": "1", "value.converter": converter, "key.converter": converter}
    package = "org.apache.kafka.connect.file"
    return {
        SOURCE: {**own, "connector.class": f"{package}.FileStreamSourceConnector", "topic": topic,
                 "file": str(directory / "in.txt"), "transforms": "suffix",
                 "transforms.suffix.type": "org.apache.kafka.connect.transforms.InsertHeader",
                 "transforms.suffix.header": "h", "transforms.suffix.value.literal": "v"},
        SINK: {**own, "connector.class": f"{package}.FileStreamSinkConnector", "topics": topic,
               "file": str(directory / "out.txt")},
    }  # fmt: skip


def append(directory: Path, start: int) -> None:
    with (directory / "in.txt").open("a") as file:
        file.writelines(f"line {number}\n" for number in range(start, start + LINES))


def lines_out(directory: Path) -> list[str]:
    file = directory / "out.txt"
    return file.read_text().splitlines() if file.exists() else []


def check(properties: Path) -> Mapping[str, Any]:
    ran = millstream("takeover", "--check", str(properties), "-o", "json")
    assert ran.code == 0, ran.out + ran.err
    found: Mapping[str, Any] = ran.json
    return found


@needs_java()
@pytest.mark.timeout(300)
@pytest.mark.parametrize("make_broker", [Broker, ApacheKafka])
def test_file_connectors_go_on_where_java_stopped(
    make_broker: Callable[[Path], Broker | ApacheKafka], tmp_path: Path, kafka_topic: str
) -> None:
    with make_broker(tmp_path / "broker") as broker:
        append(tmp_path, 0)
        Topics(broker.bootstrap).create(kafka_topic)
        with JavaConnect(tmp_path / "java", broker.bootstrap, FLUSH_OFTEN) as java:
            for name, config in connectors(tmp_path, kafka_topic).items():
                assert java.request("PUT", f"/connectors/{name}/config", config).status_code == 201
            running = check(java.properties)["worker"]["findings"]
            assert [each["where"] for each in running] == ["group.id"]
            until("Java wrote all lines", lambda: len(lines_out(tmp_path)) >= LINES)
        topics_before = set(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics().topics)
        # A worker that did not say goodbye is a member until its session is over.
        until("Java has left its group", lambda: not check(java.properties)["worker"]["findings"])
        stopped = check(java.properties)
        told = {each["name"]: each for each in stopped["connectors"]}
        size = (tmp_path / "in.txt").stat().st_size
        assert told[SOURCE]["offsets"] == [
            {"partition": {"filename": str(tmp_path / "in.txt")}, "offset": {"position": size}}
        ]
        assert [each["offset"] for each in told[SINK]["offsets"]] == [{"kafka_offset": LINES}]
        assert set(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics().topics) == topics_before

        append(tmp_path, LINES)
        with Worker(tmp_path / "worker", broker.bootstrap, _settings(java.properties)) as worker:
            until("ours wrote the rest", lambda: len(lines_out(tmp_path)) >= 2 * LINES)
            for name in (SOURCE, SINK):
                answer = httpx.get(f"{worker.url}/connectors/{name}/status").json()
                assert [task["state"] for task in answer["tasks"]] == ["RUNNING"]
        # Nothing lost, and as both were stopped in order, nothing twice.
        assert lines_out(tmp_path) == [f"line {number}" for number in range(2 * LINES)]


def insert(database: str, start: int) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO t SELECT generate_series(%s::int, %s)", (start, start + LINES - 1))


def end_of(bootstrap: str, topic: str) -> int:
    """The number of records in the one partition of a topic, 0 where it does not exist."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if topic not in admin.list_topics().topics:
        return 0
    place = TopicPartition(topic, 0)
    return int(admin.list_offsets({place: OffsetSpec.latest()})[place].result(30).offset)


@needs_java()
@pytest.mark.timeout(300)
def test_debezium_goes_on_where_java_stopped(tmp_path: Path, postgres: PostgresServer) -> None:
    database = postgres.create_database(f"takeover_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    insert(database, 0)
    prefix = f"dz{uuid.uuid4().hex[:8]}"
    parts = conninfo_to_dict(database)
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "plugin.name": "pgoutput",
        "database.hostname": postgres.host, "database.port": str(postgres.port),
        "database.user": postgres.user, "database.password": postgres.password,
        "database.dbname": str(parts["dbname"]), "topic.prefix": prefix, "slot.name": prefix,
        "publication.name": prefix, "table.include.list": "public.t",
    }  # fmt: skip
    topic = f"{prefix}.public.t"
    with Broker(tmp_path / "broker") as broker:
        with JavaConnect(tmp_path / "java", broker.bootstrap, FLUSH_OFTEN) as java:
            assert java.request("PUT", "/connectors/dz/config", config).status_code == 201
            until("Java took the snapshot", lambda: end_of(broker.bootstrap, topic) >= LINES)
            insert(database, LINES)
            until("Java streamed", lambda: end_of(broker.bootstrap, topic) >= 2 * LINES)
        (told,) = check(java.properties)["connectors"]
        assert told["offsets"][0]["partition"] == {"server": prefix}
        assert told["findings"] == []

        insert(database, 2 * LINES)
        with Worker(tmp_path / "worker", broker.bootstrap, _settings(java.properties)):
            until("ours wrote the rest", lambda: end_of(broker.bootstrap, topic) >= 3 * LINES)
        records = Topics(broker.bootstrap).read(topic, 3 * LINES)
        keys = [json.loads(record.key or b"")["payload"]["id"] for record in records]
        assert keys == list(range(3 * LINES))
        assert end_of(broker.bootstrap, topic) == 3 * LINES


def _settings(file: Path) -> dict[str, str]:
    """Java's settings; the listener alone is of the one who listens."""
    pairs = (line.split("=", 1) for line in file.read_text().splitlines())
    return {name: value for name, value in pairs if name not in ("listeners", "bootstrap.servers")}
