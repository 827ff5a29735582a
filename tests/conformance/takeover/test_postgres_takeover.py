"""Debezium killed half-way in snapshot and stream: Millstream goes on from its offsets, and back."""

import json
import uuid
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from psycopg.conninfo import conninfo_to_dict
from support.eventually import eventually
from support.java import needs_java

from connect.testing.java_connect import JavaConnect
from connect.testing.millstream import Broker, Worker
from connect.testing.postgres import PostgresServer
from connect.testing.topics import Topics

ROWS = 10_000
JAVA = {
    "offset.flush.interval.ms": "200", "session.timeout.ms": "6000", "heartbeat.interval.ms": "1000",
    "scheduled.rebalance.max.delay.ms": "0",
}  # fmt: skip


def end_of(bootstrap: str, topic: str) -> int:
    """The number of records in the one partition of a topic, 0 where it does not exist."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if topic not in admin.list_topics().topics:
        return 0
    place = TopicPartition(topic, 0)
    return int(admin.list_offsets({place: OffsetSpec.latest()})[place].result(30).offset)


@needs_java()
@pytest.mark.timeout(400)
def test_each_goes_on_where_the_other_was_killed(tmp_path: Path, postgres: PostgresServer) -> None:
    database = postgres.create_database(f"takeover_{uuid.uuid4().hex[:8]}")
    prefix = f"dz{uuid.uuid4().hex[:8]}"
    topic = f"{prefix}.public.t"
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "plugin.name": "pgoutput",
        "database.hostname": postgres.host, "database.port": str(postgres.port),
        "database.user": postgres.user, "database.password": postgres.password,
        "database.dbname": str(conninfo_to_dict(database)["dbname"]), "topic.prefix": prefix,
        "slot.name": prefix, "publication.name": prefix, "table.include.list": "public.t",
        "slot.max.retries": "100", "slot.retry.delay.ms": "200", "max.batch.size": "500",
        "max.queue.size": "1000",
    }  # fmt: skip

    def transaction(number: int) -> None:
        first = number * ROWS
        connection.execute("INSERT INTO t SELECT generate_series(%s::int, %s)", (first, first + ROWS - 1))

    with psycopg.connect(database, autocommit=True) as connection, Broker(tmp_path / "broker") as broker:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
        transaction(0)

        def wrote(count: int) -> bool:
            return end_of(broker.bootstrap, topic) >= count

        java = JavaConnect(tmp_path / "java", broker.bootstrap, JAVA)
        try:
            assert java.request("PUT", "/connectors/dz/config", config).status_code == 201
            eventually(lambda: wrote(500), "Java is in its snapshot")
            java.kill()
            settings = dict(line.split("=", 1) for line in java.properties.read_text().splitlines())
            settings = {k: v for k, v in settings.items() if k not in ("listeners", "bootstrap.servers")}
            with Worker(tmp_path / "worker", broker.bootstrap, settings) as worker:
                eventually(lambda: len(ids(broker, topic)) >= ROWS, "ours read the table")
                eventually(lambda: '"snapshot_completed":true' in stored(worker), "ours has finished it")
                before = end_of(broker.bootstrap, topic)
                transaction(1)
                eventually(lambda: wrote(before + 500), "ours is in the middle of a transaction")
                worker.kill()
                java.start()
                eventually(lambda: len(ids(broker, topic)) >= 2 * ROWS, "Java wrote the rest")
                before = end_of(broker.bootstrap, topic)
                transaction(2)
                eventually(lambda: wrote(before + 500), "Java is in the middle of a transaction")
                java.kill()
                worker.start()
                eventually(lambda: len(ids(broker, topic)) >= 3 * ROWS, "ours wrote the rest")
        finally:
            java.kill()
        assert ids(broker, topic) == list(range(3 * ROWS))


def stored(worker: Worker) -> str:
    return worker.request("GET", "/connectors/dz/offsets").text


def ids(broker: Broker, topic: str) -> list[int]:
    """What came, each once, in the order in which it came first."""
    records = Topics(broker.bootstrap).read(topic, end_of(broker.bootstrap, topic), seconds=60)
    return list(dict.fromkeys(json.loads(record.key or b"")["payload"]["id"] for record in records))
