"""A snapshot of a large table under kills: `python -m tests.soak.snapshot --rows 5000000`.

The task is killed with SIGKILL again and again while it reads the table. At the end every row must be in the
topic; how many came twice, and how much memory the task took, is told.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from connect.testing.millstream import Millstream, kill_quietly
from connect.testing.postgres import PostgresServer

PREFIX = "soak"
TOPIC = f"{PREFIX}.public.t"
TABLE = """
CREATE TABLE t (id bigint PRIMARY KEY, a int, b numeric(10,2), c timestamptz, d text, e text);
INSERT INTO t SELECT g, g % 1000, g / 100.0, now(), md5(g::text), 'text ' || g
  FROM generate_series(1, {rows}) g;
ANALYZE t;
"""
SIGNALS = "CREATE TABLE debezium_signal (id varchar(64) PRIMARY KEY, type varchar(32) NOT NULL, data text);"
REQUEST = """{"data-collections": ["public.t"], "type": "incremental"}"""


def config(server: PostgresServer, options: argparse.Namespace) -> dict[str, str]:
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "topic.prefix": PREFIX,
        "database.hostname": server.host, "database.port": str(server.port), "database.user": server.user,
        "database.password": server.password, "database.dbname": "soak",
        "snapshot.max.threads": str(options.threads), "incremental.snapshot.chunk.size": "10000",
        "snapshot.mode": "no_data" if options.incremental else "initial",
        "signal.data.collection": "public.debezium_signal",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
    }  # fmt: skip


def task_of(millstream: Millstream) -> int | None:
    return next((pid for pid, title in millstream.processes() if f"task {PREFIX}" in title), None)


def memory_mb(pid: int) -> float:
    """The task's highest resident memory so far."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


class Reader:
    """Counts the rows of the topic."""

    def __init__(self, bootstrap: str, rows: int) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "soak", "log_level": 0})
        self._consumer.assign([TopicPartition(TOPIC, 0, 0)])
        self.seen = bytearray(rows + 1)
        self.distinct = self.records = 0

    def read(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in self._consumer.consume(10_000, timeout=0.2):
                if message.error() is None:
                    self.records += 1
                    row = int((message.key() or b"")[6:-1])  # {"id":17}
                    if not self.seen[row]:
                        self.seen[row] = 1
                        self.distinct += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--kill-every", type=float, default=8.0, help="seconds, on average")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--incremental", action="store_true", help="an incremental snapshot instead")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    dice = random.Random(options.seed)
    worker = {"offset.flush.interval.ms": "1000", "millstream.task.restart.backoff.ms": "50"}
    with (
        tempfile.TemporaryDirectory() as directory, PostgresServer() as server,
        Millstream(Path(directory) / "millstream", worker=worker) as millstream,
    ):  # fmt: skip
        server.create_database("soak")
        with server.connect("soak") as connection:
            connection.execute((SIGNALS + TABLE.format(rows=options.rows)).encode())
        answer = millstream.request("PUT", f"/connectors/{PREFIX}/config", config(server, options))
        assert answer.status_code == 201, answer.text
        begun = time.monotonic()
        if options.incremental:
            time.sleep(2)
            with server.connect("soak") as connection:
                connection.execute(
                    "INSERT INTO debezium_signal VALUES ('s', 'execute-snapshot', %s)", (REQUEST,)
                )
        reader = Reader(millstream.bootstrap, options.rows)
        kills, highest_mb, victim, next_kill = 0, 0.0, 0, begun
        while reader.distinct < options.rows:
            if time.monotonic() - begun > options.minutes * 60:
                print(f"only {reader.distinct} of {options.rows} rows; {millstream.log()}")
                return 1
            reader.read(0.5)
            if options.verbose:
                print(f"{time.monotonic() - begun:.0f} s: {reader.distinct} rows, {kills} kills", flush=True)
            if (pid := task_of(millstream)) is not None:
                highest_mb = max(highest_mb, memory_mb(pid))
                if pid != victim:
                    victim = pid
                    next_kill = time.monotonic() + dice.uniform(0.5, 1.5) * options.kill_every
                elif time.monotonic() >= next_kill and reader.distinct < options.rows:
                    kill_quietly(pid)
                    kills += 1
        seconds = time.monotonic() - begun
        print(
            f"{options.rows} rows in {seconds:.0f} s under {kills} kills, {reader.records - reader.distinct} "
            f"repeated, the task's memory at most {highest_mb:.0f} MB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
