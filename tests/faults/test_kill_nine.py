"""SIGKILL at random, fifty times: broker, worker, task, or all of them at once, under load.

Nothing acked may be lost or doubled, no committed offset forgotten, and the state rebuilt from the captured
topic must be the table's.
"""

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from connect.testing.millstream import Millstream, kill_quietly
from connect.testing.postgres import PostgresServer

KILLS = 50
SEED = 20260729
ACKED, CAPTURED, CONNECTOR = "acked", "faults.public.accounts", "faults-source"
VICTIMS = {"broker": "broker.app", "worker": "connect.cli.worker_process", "task": CONNECTOR}
QUIET = {"log_level": 0}  # librdkafka tells of every broken connection


def wait_for(done: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


class Load(threading.Thread):
    """A thread that works until told to stop, and keeps the exception that ended it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as exc:  # noqa: BLE001 finish() raises it in the test
            self.error = exc

    def work(self) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        self.stopping.set()
        self.join(90)
        assert not self.is_alive(), f"{type(self).__name__} does not end"
        if self.error is not None:
            raise self.error


class AckedProducer(Load):
    """Writes numbers; `acked` is what the broker confirmed: offset → value."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__()
        self.acked: dict[int, bytes] = {}
        self.refused: list[str] = []
        self.producer = Producer(
            {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 2,
             "message.timeout.ms": 300_000} | QUIET
        )  # fmt: skip

    def delivered(self, error: object, message: Message) -> None:
        if error is not None:
            self.refused.append(str(error))
            return
        offset, value = message.offset(), message.value()
        assert offset is not None
        assert isinstance(value, bytes)
        assert offset not in self.acked, f"offset {offset} acknowledged twice"
        self.acked[offset] = value

    def work(self) -> None:
        number = 0
        while not self.stopping.is_set():
            for _ in range(20):
                self.producer.produce(ACKED, str(number).encode(), partition=0, on_delivery=self.delivered)
                number += 1
            self.producer.poll(0.01)
        assert self.producer.flush(60) == 0
        assert not self.refused, self.refused[:3]
        assert len(self.acked) == number


class Committer(Load):
    """Reads in a group and commits; `committed` is the highest offset whose commit was confirmed."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__()
        self.committed = 0
        self.consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "faults-committer", "enable.auto.commit": False,
             "auto.offset.reset": "earliest", "session.timeout.ms": 45_000} | QUIET
        )  # fmt: skip

    def work(self) -> None:
        self.consumer.subscribe([ACKED])
        while not self.stopping.is_set():
            messages = [m for m in self.consumer.consume(500, timeout=0.2) if not m.error()]
            if not messages:
                continue
            following = (messages[-1].offset() or 0) + 1
            try:
                self.consumer.commit(offsets=[TopicPartition(ACKED, 0, following)], asynchronous=False)
            except KafkaException:
                continue  # the broker was away: this commit was not confirmed
            self.committed = following
        self.consumer.close()


class AccountWriter(Load):
    """Inserts, updates and deletes accounts."""

    def __init__(self, conninfo: str) -> None:
        super().__init__()
        self.conninfo = conninfo

    def work(self) -> None:
        dice = random.Random(SEED)
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            while not self.stopping.is_set():
                account, balance = dice.randint(1, 300), dice.randint(0, 10**6)
                if dice.random() < 0.2:
                    connection.execute("DELETE FROM accounts WHERE id = %s", (account,))
                else:
                    connection.execute(
                        "INSERT INTO accounts VALUES (%s, %s) "
                        "ON CONFLICT (id) DO UPDATE SET balance = excluded.balance",
                        (account, balance),
                    )
                time.sleep(0.002)


def read_all(bootstrap: str, topic: str) -> list[Message]:
    """Every record of partition 0, in order."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "faults-read", "enable.auto.commit": False}
    )
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=60)
        consumer.assign([TopicPartition(topic, 0, 0)])
        found: list[Message] = []
        deadline = time.monotonic() + 60
        while not found or (found[-1].offset() or 0) + 1 < end:
            batch = consumer.consume(5000, timeout=0.1)  # it waits for all of them
            assert batch or time.monotonic() < deadline, (
                f"{topic}: nothing after {len(found)} of {end} records"
            )
            assert not any(message.error() for message in batch)
            found += batch
        return found
    finally:
        consumer.close()


def rebuilt(bootstrap: str) -> dict[int, int]:
    """The table as the captured topic says it."""
    state: dict[int, int] = {}
    for message in read_all(bootstrap, CAPTURED):
        value, key = message.value(), message.key()
        assert isinstance(key, bytes)
        after = json.loads(value)["after"] if isinstance(value, bytes) else None
        if after is None:
            state.pop(json.loads(key)["id"], None)
        else:
            state[after["id"]] = after["balance"]
    return state


def kill(platform: Millstream, victim: str) -> None:
    """SIGKILL one of the processes, or all. A victim that is just being started again is waited for."""
    if victim == "all":
        platform.kill()
        platform.start()
        return
    found: list[int] = []

    def appears() -> bool:
        found[:] = [pid for pid, title in platform.processes() if VICTIMS[victim] in title]
        return bool(found)

    wait_for(appears, f"a process of the {victim}")
    for pid in found:
        kill_quietly(pid)


def deploy(platform: Millstream, postgres: PostgresServer) -> None:
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": postgres.host,
        "database.port": str(postgres.port),
        "database.user": postgres.user,
        "database.password": postgres.password,
        "database.dbname": "faults",
        "topic.prefix": "faults",
        "slot.name": "faults",
        "publication.name": "faults",
        "slot.retry.delay.ms": "500",
        "slot.max.retries": "60",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
        "millstream.task.restart.backoff.ms": "200",
    }
    answer = platform.request("PUT", f"/connectors/{CONNECTOR}/config", config)
    assert answer.status_code == 201, answer.text


@pytest.mark.timeout(600)
def test_nothing_acked_is_lost_or_doubled(postgres: PostgresServer, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    conninfo = postgres.create_database("faults")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)")
    with Millstream(tmp_path / "data", worker={"offset.flush.interval.ms": "200"}) as platform:
        deploy(platform, postgres)
        producer, committer = AckedProducer(platform.bootstrap), Committer(platform.bootstrap)
        loads = [producer, committer, AccountWriter(conninfo)]
        for load in loads:
            load.start()
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.1, 0.9))  # the moment of the kill is what the test is about
            kill(platform, dice.choice([*VICTIMS, "all"]))
        for load in reversed(loads):
            load.finish()

        records = read_all(platform.bootstrap, ACKED)
        assert [message.offset() for message in records] == list(range(len(records)))
        assert {m.offset(): m.value() for m in records} == producer.acked
        assert len({m.value() for m in records}) == len(records)

        reader = Consumer({"bootstrap.servers": platform.bootstrap, "group.id": "faults-committer"})
        assert reader.committed([TopicPartition(ACKED, 0)], timeout=60)[0].offset >= committer.committed > 0
        reader.close()

        with psycopg.connect(conninfo) as connection:
            table: dict[int, int] = dict(connection.execute("SELECT id, balance FROM accounts").fetchall())
        wait_for(lambda: rebuilt(platform.bootstrap) == table, "the captured state to equal the table")
