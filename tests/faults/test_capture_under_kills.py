"""Random tables and transactions; SIGKILL for task, worker, broker, PostgreSQL's backends meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capture_world import CaptureWorld
from support.java import needs_java

from connect.testing.kafka import ApacheKafka
from connect.testing.millstream import Millstream, Worker
from connect.testing.postgres import PostgresServer

WORKER = {"offset.flush.interval.ms": "300"}
ONCE = {**WORKER, "exactly.once.source.support": "enabled"}
NO_DELAY = {"group.initial.rebalance.delay.ms": "0"}
STREAMED = {"streaming.transactions": "on", "streaming.transactions.memory.bytes": "1000"}


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Of its own, as it is killed, too."""
    with PostgresServer({"logical_decoding_work_mem": "64kB"}) as server:
        yield server


@pytest.mark.timeout(300)
def test_the_topics_say_what_the_tables_say(tmp_path: Path, server: PostgresServer) -> None:
    with Millstream(tmp_path / "platform", worker=WORKER) as platform:
        CaptureWorld(platform, server, 20261124).run(rounds=1, kills=6)


@pytest.mark.timeout(300)
def test_exactly_once_says_nothing_twice(tmp_path: Path, server: PostgresServer) -> None:
    with Millstream(tmp_path / "platform", worker=ONCE) as platform:
        world = CaptureWorld(platform, server, 20261125, exactly_once=True, **STREAMED)
        world.run(rounds=1, kills=6)


@needs_java()
@pytest.mark.timeout(300)
def test_the_same_with_apache_kafka(tmp_path: Path, server: PostgresServer) -> None:
    """Snapshot, stream and restarts; the worker's topics, transactions and fencing are Kafka's own."""
    with (
        ApacheKafka(tmp_path / "kafka", NO_DELAY, heap="-Xmx384M") as kafka,
        Worker(tmp_path / "worker", kafka.bootstrap, ONCE) as worker,
    ):
        CaptureWorld(worker, server, 20261126, exactly_once=True).run(rounds=1, kills=3)
