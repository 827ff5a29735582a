"""Random tables, random transactions by several writers, kills of everything; and what topics must say then.

The state rebuilt from the topics has to be that of the tables, as a snapshot shows it in the end, and the
changes of each key have to come in the order in which they were made, with `exactly_once` each once. (A
snapshot that was killed is taken later than the slot, from which the stream then goes on.)
"""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaError, TopicPartition

from connect.testing.millstream import Millstream, Worker, kill_quietly
from connect.testing.postgres import PostgresServer
from connect.testing.tasks import SourceRun
from connectors.postgres.plugin import PostgresConnector

from .eventually import DEADLINE_S, eventually

TYPES = {
    "int": "floor(random() * 1000)::int", "text": "md5(random()::text)", "numeric(12,3)": "random() * 1000",
    "boolean": "random() < 0.5", "timestamptz": "now()", "jsonb": "jsonb_build_object('a', random())",
    "int[]": "ARRAY[1, NULL, 3]", "bytea": "decode(md5(random()::text), 'hex')", "float8": "random()",
}  # fmt: skip
VICTIMS = {"broker": "broker.app", "worker": "connect.cli.worker_process", "task": "capture-source"}
KINDS = (*VICTIMS, "all", "walsender", "backend")


class CaptureWorld:
    """`rounds` of work and kills; everything follows from `seed` but the timing.

    With a `Worker` the Kafka cluster is another's, and is not killed. `exactly_once` needs a platform whose
    worker has exactly.once.source.support=enabled.
    """

    def __init__(
        self,
        platform: Millstream | Worker,
        postgres: PostgresServer,
        seed: int,
        *,
        exactly_once: bool = False,
        **properties: str,
    ) -> None:
        self.platform = platform
        self.exactly_once = exactly_once
        self.victims = [kind for kind in KINDS if kind != "broker" or isinstance(platform, Millstream)]
        self.postgres = postgres
        self.random = random.Random(seed)
        self.name = f"world{seed}"
        self.kills: list[str] = []
        self._stopping = threading.Event()
        postgres.create_database(self.name)
        self.tables = [f"t{number}" for number in range(self.random.randint(2, 4))]
        with postgres.connect(self.name) as connection:
            for table in self.tables:
                self._make(connection, table)
        self.properties = {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": postgres.host, "database.port": str(postgres.port),
            "database.user": postgres.user, "database.password": postgres.password,
            "database.dbname": self.name, "topic.prefix": self.name, "slot.name": self.name,
            "publication.name": self.name, "poll.interval.ms": "50",
            "retriable.restart.connector.wait.ms": "200", "slot.retry.delay.ms": "200",
            "slot.max.retries": "100", **properties,
        }  # fmt: skip

    def _make(self, connection: psycopg.Connection[Any], table: str) -> None:
        chosen = self.random.choices(list(TYPES), k=self.random.randint(1, 6))
        columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(chosen))
        connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, {columns})".encode())
        if self.random.random() < 0.5:
            connection.execute(f"ALTER TABLE {table} REPLICA IDENTITY FULL".encode())
        values = ", ".join(TYPES[kind] for kind in chosen)
        connection.execute(
            f"CREATE FUNCTION new_{table}(id int) RETURNS {table} LANGUAGE sql AS "
            f"$$ SELECT ROW($1, {values})::{table} $$".encode()
        )

    # --- work

    def run(self, rounds: int, kills: int) -> None:
        """Writers at work while something is killed again and again; then look."""
        converter = "org.apache.kafka.connect.json.JsonConverter"
        config = {
            **self.properties, "key.converter": converter, "value.converter": converter,
            "key.converter.schemas.enable": "false", "value.converter.schemas.enable": "false",
            "millstream.task.restart.backoff.ms": "200",
            "exactly.once.support": "required" if self.exactly_once else "requested",
        }  # fmt: skip
        answer = self.platform.request("PUT", "/connectors/capture-source/config", config)
        assert answer.status_code == 201, answer.text
        for _ in range(rounds):
            self._stopping.clear()
            writers = [
                threading.Thread(target=self._write, args=(random.Random(self.random.random()),), daemon=True)
                for _ in range(3)
            ]
            for writer in writers:
                writer.start()
            for _ in range(kills):
                self._stopping.wait(self.random.uniform(0.2, 1.5))
                self._kill(self.random.choice(self.victims))
            self._stopping.set()
            for writer in writers:
                writer.join(60)
                assert not writer.is_alive()
            self.check()

    def _write(self, rng: random.Random) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(psycopg.Error), self.postgres.connect(self.name) as connection:
                while not self._stopping.is_set():
                    self._transaction(connection, rng)

    def _transaction(self, connection: psycopg.Connection[Any], rng: random.Random) -> None:
        connection.execute("BEGIN")
        for _ in range(rng.randint(1, 6)):
            table, key = rng.choice(self.tables), rng.randint(1, 60)
            saved = rng.random() < 0.2
            if saved:
                connection.execute("SAVEPOINT s")
            for statement in self._change(rng, table, key):
                connection.execute(statement.encode())
            if saved and rng.random() < 0.5:
                connection.execute("ROLLBACK TO s")
        connection.execute(b"ROLLBACK" if rng.random() < 0.15 else b"COMMIT")

    def _change(self, rng: random.Random, table: str, key: int) -> Iterator[str]:
        match rng.choice(["insert", "insert", "update", "update", "delete", "move", "bulk"]):
            case "insert":
                yield f"INSERT INTO {table} SELECT (new_{table}({key})).* ON CONFLICT DO NOTHING"
            case "update":
                yield f"DELETE FROM {table} WHERE id = {key}"
                yield f"INSERT INTO {table} SELECT (new_{table}({key})).* ON CONFLICT DO NOTHING"
                yield f"UPDATE {table} SET c0 = (new_{table}(id)).c0 WHERE id = {key}"
            case "delete":
                yield f"DELETE FROM {table} WHERE id = {key}"
            case "move":
                yield (
                    f"UPDATE {table} SET id = {key + 100} WHERE id = {key}"
                    f" AND NOT EXISTS (SELECT FROM {table} WHERE id = {key + 100})"
                )
            case "bulk":
                keys = f"generate_series({1000 + key * 10}, {1200 + key * 10}) g"
                yield f"INSERT INTO {table} SELECT (new_{table}(g)).* FROM {keys} ON CONFLICT DO NOTHING"

    def _kill(self, victim: str) -> None:
        self.kills.append(victim)
        if victim == "all":
            self.platform.kill()
            self.platform.start()
        elif victim in VICTIMS:
            for pid, title in self.platform.processes():
                if VICTIMS[victim] in title:
                    kill_quietly(pid)
        else:
            self._kill_backend(hard=victim == "backend")

    def _kill_backend(self, *, hard: bool) -> None:
        """The server takes a backend that is killed for a crash, and starts all anew."""
        with contextlib.suppress(psycopg.Error), self.postgres.connect() as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = %s AND application_name LIKE 'Millstream%%'",
                (self.name,),
            ).fetchall()
            for (pid,) in rows[:1]:
                if hard:
                    os.kill(pid, signal.SIGKILL)
                else:
                    connection.execute("SELECT pg_terminate_backend(%s)", (pid,))

    # --- looking

    def check(self) -> None:
        """Once a last change has come: state and order."""
        eventually(self._server_is_there, "PostgreSQL comes back")
        with self.postgres.connect(self.name) as connection:
            for table in self.tables:
                connection.execute(f"DELETE FROM {table} WHERE id = 2000000000".encode())
                connection.execute(f"INSERT INTO {table} SELECT (new_{table}(2000000000)).*".encode())
        for table, wanted in self._snapshot().items():
            eventually(lambda t=table, w=wanted: self._rebuilt(t) == w, f"{table} after {self.kills}")
        with self.postgres.connect(self.name) as connection:
            for table in self.tables:
                connection.execute(f"DELETE FROM {table} WHERE id = 2000000000".encode())

    def _server_is_there(self) -> bool:
        with contextlib.suppress(psycopg.Error), self.postgres.connect(self.name):
            return True
        return False

    def _snapshot(self) -> dict[str, dict[int, Any]]:
        """The tables as another connector reads them."""
        run = SourceRun(PostgresConnector, {**self.properties, "snapshot.mode": "initial_only"})
        run.start()
        tables: dict[str, dict[int, Any]] = {table: {} for table in self.tables}
        while True:
            for record in run.poll():
                event = record.value
                if record.raw_value is not None and record.topic.startswith(f"{self.name}.public."):
                    tables[record.topic.rpartition(".")[2]][record.key["id"]] = json.loads(
                        record.raw_value.json if hasattr(record.raw_value, "json") else json.dumps(event)
                    )["after"]
                if record.source_offset.get("snapshot_completed"):
                    run.stop()
                    return tables

    def _rebuilt(self, table: str) -> dict[int, Any]:
        state: dict[int, Any] = {}
        changes = _Changes(once=self.exactly_once)
        for key, value in self._records(f"{self.name}.public.{table}"):
            event = json.loads(value) if value is not None else None
            number = json.loads(key)["id"]
            if event is None or event["after"] is None:
                state.pop(number, None)
            else:
                state[number] = event["after"]
            if event is not None and event["op"] != "r":
                changes.see(number, event)
        return state

    def _records(self, topic: str) -> Iterator[tuple[bytes, bytes | None]]:
        consumer = Consumer({
            "bootstrap.servers": self.platform.bootstrap, "group.id": "none", "enable.auto.commit": False,
            "log_level": 0, "enable.partition.eof": True,
            "isolation.level": "read_committed" if self.exactly_once else "read_uncommitted",
        })  # fmt: skip
        try:
            if topic not in consumer.list_topics(timeout=30).topics:
                return
            consumer.assign([TopicPartition(topic, 0, 0)])
            deadline = time.monotonic() + DEADLINE_S
            while True:
                assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
                for message in consumer.consume(5000, timeout=0.2):  # it waits for all of them
                    if (error := message.error()) is None:
                        yield message.key() or b"", message.value()
                    elif error.code() == KafkaError._PARTITION_EOF:
                        return
                    else:
                        assert error.retriable(), f"{topic}: {error.str()}"
        finally:
            consumer.close()


class _Changes:
    """The changes of one table as they come: those of a key in order, with `once` none again."""

    def __init__(self, *, once: bool) -> None:
        self._once = once
        self._last: dict[int, tuple[int, ...]] = {}
        self._seen: set[tuple[int, int, str]] = set()

    def see(self, key: int, event: dict[str, Any]) -> None:
        change = key, event["source"]["lsn"], event["op"]
        if change in self._seen:
            assert not self._once, f"{event} came twice"
            return
        # Not by position alone: a row is written before its key is found to be free, so the transaction that
        # commits later may have been there first.
        place = tuple(int(part or 0) for part in json.loads(event["source"]["sequence"]))
        assert place >= self._last.get(key, (0, 0)), f"{event} after {self._last[key]}"
        self._seen.add(change)
        self._last[key] = place
