"""Exactly-once sources while broker, worker and tasks are killed with SIGKILL: a read_committed consumer sees
each line of a file, and each change of a table, once and in order.
"""

import json
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Message
from psycopg.conninfo import conninfo_to_dict
from support.committed_reader import CommittedReader
from support.eventually import eventually

from connect.testing.millstream import Broker, Worker, kill_quietly
from connect.testing.postgres import PostgresServer
from connect.testing.topics import Topics

KILLS = 5
SEED = 618
LINES, ROWS = 40, 7  # written at a time
STRING = "org.apache.kafka.connect.storage.StringConverter"


@contextmanager
def writing(write: Callable[[int], None]) -> Iterator[Callable[[], int]]:
    """Call `write(n)` again and again, n counting up; the yielded function ends it and says how often."""
    stopping, count = threading.Event(), 0

    def work() -> None:
        nonlocal count
        while not stopping.wait(0.02):
            write(count)
            count += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def stop() -> int:
        stopping.set()
        thread.join(60)
        return count

    try:
        yield stop
    finally:
        stop()


def pg_config(postgres: PostgresServer, database: str, prefix: str) -> dict[str, str]:
    return {
        "connector.class": "PostgresConnector", "topic.prefix": prefix, "slot.name": prefix,
        "publication.name": prefix, "plugin.name": "pgoutput", "table.include.list": "public.t",
        "database.hostname": postgres.host, "database.port": str(postgres.port),
        "database.user": postgres.user, "database.password": postgres.password,
        "database.dbname": str(conninfo_to_dict(database)["dbname"]), "exactly.once.support": "required",
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
    }  # fmt: skip


def is_streaming(database: str, slot: str) -> bool:
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT active FROM pg_replication_slots WHERE slot_name = %s", [slot]
        ).fetchone()
    return found is not None and bool(found[0])


@pytest.mark.timeout(240)
def test_each_record_is_seen_once(tmp_path: Path, postgres: PostgresServer) -> None:
    database = postgres.create_database(f"once_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    prefix, file, dice = f"once{uuid.uuid4().hex[:8]}", tmp_path / "in.txt", random.Random(SEED)

    def write(number: int) -> None:
        with file.open("a") as lines:
            lines.writelines(f"{n}\n" for n in range(number * LINES, (number + 1) * LINES))
        with psycopg.connect(database) as connection:
            connection.execute(
                "INSERT INTO t SELECT generate_series(%s::int, %s)", (number * ROWS, (number + 1) * ROWS - 1)
            )

    settings = {
        "exactly.once.source.support": "enabled", "value.converter": STRING,
        "offset.flush.interval.ms": "500", "millstream.task.restart.backoff.ms": "50",
    }  # fmt: skip
    lines = {
        "connector.class": "FileStreamSource", "file": str(file), "topic": "lines", "batch.size": "15",
        "exactly.once.support": "required", "offsets.storage.topic": "lines-offsets",
    }  # fmt: skip
    with Broker(tmp_path / "broker") as broker, Worker(tmp_path / "w", broker.bootstrap, settings) as worker:
        assert worker.request("PUT", "/connectors/lines/config", lines).status_code == 201
        created = worker.request("PUT", "/connectors/rows/config", pg_config(postgres, database, prefix))
        assert created.status_code == 201, created.text
        eventually(lambda: is_streaming(database, prefix), "the connector streams")
        topics = Topics(broker.bootstrap)
        with writing(write) as stop:
            for kill in range(KILLS):
                time.sleep(dice.uniform(0.2, 1.5))
                _kill(("task lines", "task rows", "worker", "broker")[kill % 4], broker, worker)
            count = stop()
        found = [int(record.value or b"") for record in topics.read("lines", count * LINES, 90)]
        assert found == list(range(count * LINES))
        rows = topics.read(f"{prefix}.public.t", count * ROWS, 90)
        assert [json.loads(row.key or b"")["id"] for row in rows] == list(range(count * ROWS))


@pytest.mark.timeout(240)
def test_a_worker_that_slept_writes_nothing(tmp_path: Path) -> None:
    """SIGSTOP of a worker and its tasks in the middle of a transaction; another worker takes its place; then
    SIGCONT."""
    file = tmp_path / "in.txt"

    def write(number: int) -> None:
        with file.open("a") as lines:
            lines.writelines(f"{n}\n" for n in range(number * LINES, (number + 1) * LINES))

    settings = {
        "exactly.once.source.support": "enabled", "value.converter": STRING,
        "session.timeout.ms": "6000", "heartbeat.interval.ms": "1500",
        "offset.flush.interval.ms": "500",
    }  # fmt: skip
    config = {
        "connector.class": "FileStreamSource", "file": str(file), "topic": "lines", "batch.size": "15",
        "transaction.boundary": "interval", "transaction.boundary.interval.ms": "400",
    }  # fmt: skip
    with Broker(tmp_path / "broker") as broker:
        topics = Topics(broker.bootstrap)
        with Worker(tmp_path / "a", broker.bootstrap, settings) as sleeper, writing(write) as stop:
            assert sleeper.request("PUT", "/connectors/lines/config", config).status_code == 201
            topics.read("lines", 1, 60)
            with Worker(tmp_path / "b", broker.bootstrap, settings) as successor:
                stopped = [pid for pid, _ in sleeper.processes()]
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
                so_far = len(committed(broker))
                topics.read("lines", so_far + 10 * LINES, 90)  # the other one has it
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
                count = stop() * LINES
                found = [int(record.value or b"") for record in topics.read("lines", count, 90)]
                assert found == list(range(count))
                # Whoever has it now: nothing more comes.
                assert successor.request("GET", "/connectors/lines/status").status_code == 200
                eventually(
                    lambda: sleeper.request("GET", "/connectors/lines/status").status_code == 200,
                    "the worker that slept is back",
                )
                assert len(committed(broker)) == count


def committed(broker: Broker) -> list[Message]:
    """What a read_committed consumer can read now."""
    reader = CommittedReader(broker.bootstrap, "lines", 1)
    try:
        return reader.read_stable()
    finally:
        reader.close()


def _kill(victim: str, broker: Broker, worker: Worker) -> None:
    if victim == "broker":
        broker.kill()
        broker.start()
    elif victim == "worker":
        worker.kill()
        worker.start()
    else:
        for pid, title in worker.processes():
            if victim in title:
                kill_quietly(pid)
