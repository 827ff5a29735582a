"""Snapshots while their task is killed with SIGKILL: they go on where they were, and no row is missing."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from psycopg.conninfo import conninfo_to_dict
from support.eventually import eventually

from connect.testing.millstream import Broker, Worker, kill_quietly
from connect.testing.postgres import PostgresServer

ROWS, KILLS = 12_000, 3
# Rows of nearly two kilobytes, kept in place, make a dozen chunks.
SETUP = f"""
CREATE TABLE debezium_signal (id varchar(64) PRIMARY KEY, type varchar(32) NOT NULL, data text);
CREATE TABLE t (id int PRIMARY KEY, v text, fat text);
INSERT INTO t SELECT g, 'v', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 55) n)
  FROM generate_series(1, {ROWS}) g;
"""
CHANGES = """
UPDATE t SET v = 'changed' WHERE id % 1000 = {kill}; DELETE FROM t WHERE id % 1000 = 100 + {kill};
INSERT INTO t VALUES ({rows} + {kill}, 'new', '')
"""


class Reader:
    """Rebuilds the table `t` from its topic, and counts the rows that snapshots wrote."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "log_level": 0})
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        self.table: dict[int, str] = {}
        self.read_rows = 0

    def read(self) -> None:
        for message in self._consumer.consume(1000, timeout=0.1):
            if message.error() is not None or (value := message.value()) is None:
                continue
            event = json.loads(value)
            if event["after"] is None:
                self.table.pop(event["before"]["id"], None)
                continue
            self.table[event["after"]["id"]] = event["after"]["v"]
            self.read_rows += event["op"] == "r"

    def until(self, condition: Callable[[], bool], what: str) -> None:
        def done() -> bool:
            self.read()
            return condition()

        eventually(done, what)


@contextmanager
def capture(
    tmp_path: Path, postgres: PostgresServer, **settings: str
) -> Iterator[tuple[psycopg.Connection[tuple[object, ...]], Reader, Callable[[], None]]]:
    """(a connection to the database, a reader of the topic, the function that kills the task)."""
    database = postgres.create_database(f"kills_{uuid.uuid4().hex[:8]}")
    name = str(conninfo_to_dict(database)["dbname"])
    config = {
        "connector.class": "PostgresConnector", "topic.prefix": name, "slot.name": name,
        "publication.name": name, "database.hostname": postgres.host, "database.port": str(postgres.port),
        "database.user": postgres.user, "database.password": postgres.password, "database.dbname": name,
        "signal.data.collection": "public.debezium_signal", "max.batch.size": "500",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        **{key.replace("_", "."): value for key, value in settings.items()},
    }  # fmt: skip
    worker_settings = {"offset.flush.interval.ms": "50", "millstream.task.restart.backoff.ms": "50"}
    with (
        Broker(tmp_path / "broker") as broker,
        Worker(tmp_path / "worker", broker.bootstrap, worker_settings) as worker,
        psycopg.connect(database, autocommit=True) as connection,
    ):
        connection.execute(SETUP.encode())
        answer = worker.request("PUT", f"/connectors/{name}/config", config)
        assert answer.status_code == 201, answer.text

        def kill() -> None:
            for pid, title in worker.processes():
                if f"task {name}" in title:
                    kill_quietly(pid)

        yield connection, Reader(broker.bootstrap, f"{name}.public.t"), kill


def survive(
    connection: psycopg.Connection[tuple[object, ...]], reader: Reader, kill: Callable[[], None]
) -> None:
    """Kill the task again and again, and change the table meanwhile; the topic tells the table at the end."""
    for number in range(1, KILLS + 1):
        wanted = number * ROWS // (KILLS + 2)
        reader.until(lambda wanted=wanted: len(reader.table) >= wanted, f"{wanted} rows")  # type: ignore[misc]
        kill()
        connection.execute(CHANGES.format(kill=number, rows=ROWS).encode())
    expected = dict(connection.execute("SELECT id, v FROM t").fetchall())
    reader.until(lambda: reader.table == expected, "the rows of the table")
    assert reader.read_rows < ROWS * 1.7, "it started over"


@pytest.mark.timeout(300)
def test_a_snapshot_goes_on_after_kills(tmp_path: Path, postgres: PostgresServer) -> None:
    with capture(tmp_path, postgres, snapshot_max_threads="2") as (connection, reader, kill):
        survive(connection, reader, kill)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("read_only", ["false", "true"])
def test_an_incremental_snapshot_goes_on_after_kills(
    tmp_path: Path, postgres: PostgresServer, read_only: str
) -> None:
    with capture(
        tmp_path,
        postgres,
        snapshot_mode="no_data",
        incremental_snapshot_chunk_size="500",
        read_only=read_only,
    ) as (connection, reader, kill):
        slots = "SELECT FROM pg_replication_slots WHERE active AND database = current_database()"
        eventually(lambda: connection.execute(slots).fetchone() is not None, "the stream")
        connection.execute(
            "INSERT INTO debezium_signal VALUES ('s', 'execute-snapshot', %s)",
            ('{"data-collections": ["public.t"]}',),
        )
        survive(connection, reader, kill)
