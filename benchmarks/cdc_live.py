"""Latency of PostgreSQL capture, default settings, commit to consumer: python -m benchmarks.cdc_live."""

import tempfile
import threading
import time
import uuid
from pathlib import Path

from confluent_kafka import Consumer

from benchmarks import cdc
from benchmarks.platforms import WORKER, Platform, wait_for
from connect.testing.millstream import Millstream
from connect.testing.postgres import PostgresServer

COMMITS_PER_S = 200
SECONDS = 8


class Arrivals:
    """When each row, by its id, came to a consumer that polls one message at a time.

    `consume` would wait for a full batch.
    """

    def __init__(self, bootstrap: str, topic: str, last: int) -> None:
        settings = {"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
        self._consumer = Consumer(
            {**settings, "fetch.wait.max.ms": 5, "topic.metadata.refresh.interval.ms": 200}
        )
        self._consumer.subscribe([topic])
        self._last = last
        self.at: dict[int, float] = {}
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def _collect(self) -> None:
        while self._last not in self.at:
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None:
                key = message.key() or b""
                self.at[int(key.removeprefix(b'{"id":').removesuffix(b"}"))] = time.perf_counter()
        self._consumer.close()

    def join(self) -> None:
        self._thread.join()


def latencies_ms(postgres: PostgresServer, platform: Platform, rate: int) -> list[float]:
    """Of `rate` rows a second in 200 commits a second, each from before its INSERT; sorted."""
    database = f"live_{uuid.uuid4().hex[:8]}"
    postgres.create_database(database)
    step, last = rate // COMMITS_PER_S, rate * SECONDS
    begun: dict[int, float] = {}
    with postgres.connect(database) as connection:
        connection.execute(cdc.TABLE)
        platform.deploy(database, cdc.config(postgres, database, {"snapshot.mode": "no_data"}))
        wait_for(lambda: cdc.slot_active(connection, database), 60, "the slot")
        connection.execute(cdc.INSERT.format(0, 0))
        arrivals = Arrivals(platform.bootstrap, f"{database}.public.wide", last)
        wait_for(lambda: 0 in arrivals.at, 60, "the first row")
        start = time.perf_counter()
        for number, first in enumerate(range(1, last + 1, step)):
            time.sleep(max(start + number / COMMITS_PER_S - time.perf_counter(), 0))
            now = time.perf_counter()
            begun |= dict.fromkeys(range(first, first + step), now)
            connection.execute(cdc.INSERT.format(first, first + step - 1))
        arrivals.join()
    platform.remove(database)
    return sorted((arrivals.at[row] - at) * 1000 for row, at in begun.items())


def main() -> None:
    """Measure at 1,000 and 5,000 rows a second, and print."""
    with (
        tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder,
        PostgresServer({"max_wal_size": "8GB"}) as postgres,
        Millstream(Path(folder), worker=WORKER) as ours,
    ):
        platform = Platform("Millstream", ours.bootstrap, ours, (ours.pid,))
        for rate in (1_000, 5_000):
            found = latencies_ms(postgres, platform, rate)
            p50, p99 = found[len(found) // 2], found[len(found) * 99 // 100]
            print(f"{rate:,} rows/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
