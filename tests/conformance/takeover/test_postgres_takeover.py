"""Debezium killed half-way in snapshot and stream: Millstream goes on from its offsets, and back."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from psycopg.conninfo import conninfo_to_dict
from support.eventually import eventually
from support.java import needs_java

from connect.testing.java_connect import JavaConnect
from connect.testing.millstream import Broker, Worker
from connect.testing.postgres import PostgresServer

ROWS = 5_000
JSON = "org.apache.kafka.connect.json.JsonConverter"
WORKER = {
    "group.id": "connect", "config.storage.topic": "configs", "offset.storage.topic": "offsets",
    "status.storage.topic": "status", "config.storage.replication.factor": "1",
    "offset.storage.replication.factor": "1", "status.storage.replication.factor": "1",
    "key.converter": JSON, "value.converter": JSON, "key.converter.schemas.enable": "false",
    "value.converter.schemas.enable": "false", "offset.flush.interval.ms": "200",
    "session.timeout.ms": "6000", "heartbeat.interval.ms": "1000", "scheduled.rebalance.max.delay.ms": "0",
}  # fmt: skip


class Story:
    """A table that grows by transactions of `ROWS` rows, and its topic."""

    def __init__(self, postgres: PostgresServer, broker: Broker) -> None:
        self._database = postgres.create_database(f"takeover_{uuid.uuid4().hex[:8]}")
        self.bootstrap = broker.bootstrap
        prefix = f"dz{uuid.uuid4().hex[:8]}"
        self.config = {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "plugin.name": "pgoutput",
            "database.hostname": postgres.host, "database.port": str(postgres.port),
            "database.user": postgres.user, "database.password": postgres.password,
            "database.dbname": str(conninfo_to_dict(self._database)["dbname"]), "topic.prefix": prefix,
            "slot.name": prefix, "publication.name": prefix, "table.include.list": "public.t",
            "slot.max.retries": "100", "slot.retry.delay.ms": "200", "max.batch.size": "500",
            "max.queue.size": "1000", "poll.interval.ms": "50",
        }  # fmt: skip
        self._place = TopicPartition(f"{prefix}.public.t", 0, 0)
        self._ids: list[int] = []
        self._transactions = 0
        self._sql("CREATE TABLE t (id int PRIMARY KEY)")

    def transaction(self) -> None:
        first = self._transactions * ROWS
        self._transactions += 1
        self._sql(f"INSERT INTO t SELECT generate_series({first}, {first + ROWS - 1})")

    def _sql(self, statement: str) -> None:
        with psycopg.connect(self._database) as connection:
            connection.execute(statement.encode())

    def some_more_came(self) -> bool:
        """Some records of the last transaction are there."""
        return max(self._read(), default=-1) >= (self._transactions - 1) * ROWS

    def all_came(self) -> bool:
        return len(dict.fromkeys(self._read())) >= self._transactions * ROWS

    def check(self) -> None:
        """Nothing is missing, and what came again came later."""
        assert list(dict.fromkeys(self._read())) == list(range(self._transactions * ROWS))

    def _read(self) -> list[int]:
        """The keys that have come so far."""
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "reader", "enable.auto.commit": False,
            "enable.partition.eof": True, "auto.offset.reset": "earliest",
        })  # fmt: skip
        try:
            consumer.assign([self._place])
            while (message := consumer.poll(10)) is not None and message.error() is None:
                self._ids.append(json.loads(message.key() or b"")["id"])
                self._place.offset = (message.offset() or 0) + 1
        finally:
            consumer.close()
        return self._ids


@pytest.fixture
def story(tmp_path: Path, postgres: PostgresServer) -> Iterator[Story]:
    with Broker(tmp_path / "broker") as broker:
        yield Story(postgres, broker)


@needs_java()
@pytest.mark.timeout(400)
def test_each_goes_on_in_the_stream_of_the_other(tmp_path: Path, story: Story) -> None:
    story.transaction()
    with Worker(tmp_path / "worker", story.bootstrap, WORKER) as worker:
        assert worker.request("PUT", "/connectors/dz/config", story.config).status_code == 201
        eventually(story.all_came, "ours reads the table")
        story.transaction()
        eventually(story.some_more_came, "ours is in the middle of a transaction")
        worker.kill()
        with JavaConnect(tmp_path / "java", story.bootstrap, WORKER, heap="-Xmx512M") as java:
            eventually(story.all_came, "Java wrote the rest")
            story.transaction()
            eventually(story.some_more_came, "Java is in the middle of a transaction")
            java.kill()
        worker.start()
        eventually(story.all_came, "ours wrote the rest")
    story.check()


@needs_java()
@pytest.mark.skipif("MILLSTREAM_TAKEOVER" not in os.environ, reason="long: make takeover")
@pytest.mark.timeout(400)
def test_ours_finishes_a_snapshot_of_java(tmp_path: Path, story: Story) -> None:
    story.transaction()
    with JavaConnect(tmp_path / "java", story.bootstrap, WORKER, heap="-Xmx512M") as java:
        assert java.request("PUT", "/connectors/dz/config", story.config).status_code == 201
        eventually(story.some_more_came, "Java is in its snapshot")
        java.kill()
    with Worker(tmp_path / "worker", story.bootstrap, WORKER) as worker:
        eventually(story.all_came, "ours reads the table")
        finished = '"snapshot_completed":true'
        eventually(
            lambda: finished in worker.request("GET", "/connectors/dz/offsets").text, "ours has finished it"
        )
        story.transaction()
        eventually(story.all_came, "and streams")
    story.check()
