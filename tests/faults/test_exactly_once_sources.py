"""Exactly-once sources while broker, worker and tasks are killed with SIGKILL: a read_committed consumer sees
each line of a file, and each change of a table, once and in order.
"""

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from support.eventually import eventually

from connect.testing.millstream import Broker, Worker, kill_quietly
from connect.testing.postgres import PostgresServer
from connect.testing.topics import Topics

KILLS = 8
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
