"""Transactions while the broker is killed at operations on its disk, and at any time: all or nothing, once.

What was answered as committed is there in full, what was aborted never shows, and a transaction whose end
nobody heard of is there in full or not at all. A kill between the decision and its markers is among them.
"""

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from support.faulty_broker import BrokerWithFaults
from support.raw_kafka import RawKafka, create_topic

from connect.testing.millstream import Broker

KILLS = 6
SEED = 7
PARTITIONS = 3
DEADLINE_S = 90
QUIET = {"log_level": 0}


class Transactions(threading.Thread):
    """One transactional producer after the other under one id; every third transaction is aborted."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        self.committed: set[int] = set()
        self.aborted: set[int] = set()
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self._servers = bootstrap
        self._number = 0

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                with suppress(KafkaException):  # fenced or fatal: another producer goes on under the same id
                    self._one_life()
        except BaseException as exc:  # noqa: BLE001 finish() raises it in the test
            self.error = exc

    def finish(self) -> None:
        self.stopping.set()
        self.join(DEADLINE_S)
        assert not self.is_alive(), "the producer does not end"
        if self.error is not None:
            raise self.error

    def _one_life(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self._servers, "transactional.id": "faults", "linger.ms": 0,
             "transaction.timeout.ms": 30_000, "reconnect.backoff.max.ms": 200} | QUIET
        )  # fmt: skip
        producer.init_transactions(DEADLINE_S)
        while not self.stopping.is_set():
            self._number += 1
            producer.begin_transaction()
            for partition in range(PARTITIONS):
                producer.produce("t", b"%d" % self._number, partition=partition)
            try:
                if self._number % 3 == 0:
                    producer.abort_transaction(DEADLINE_S)
                    self.aborted.add(self._number)
                else:
                    self._commit(producer)
                    self.committed.add(self._number)
            except KafkaException as exc:
                error = exc.args[0]
                assert isinstance(error, KafkaError)
                if not error.txn_requires_abort():
                    raise
                producer.abort_transaction(DEADLINE_S)
                self.aborted.add(self._number)

    @staticmethod
    def _commit(producer: Producer) -> None:
        while True:
            try:
                return producer.commit_transaction(DEADLINE_S)
            except KafkaException as exc:
                if not exc.args[0].retriable():
                    raise


def read_committed(bootstrap: str) -> Counter[int]:
    """How often each number is there."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "check", "isolation.level": "read_committed"}
    consumer = Consumer(settings | {"enable.partition.eof": True} | QUIET)
    consumer.assign([TopicPartition("t", partition, 0) for partition in range(PARTITIONS)])
    found: Counter[int] = Counter()
    ends: set[int] = set()
    deadline = time.monotonic() + DEADLINE_S
    while len(ends) < PARTITIONS:
        assert time.monotonic() < deadline, f"only {sum(found.values())} records could be read"
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is not None:
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            partition = message.partition()
            assert partition is not None
            ends.add(partition)
            continue
        value = message.value()
        assert isinstance(value, bytes)
        found[int(value)] += 1
    consumer.close()
    return found


def check(broker: Broker, transactions: Transactions) -> None:
    found = read_committed(broker.bootstrap)
    assert set(found.values()) <= {PARTITIONS}, "some transaction is there in part, or twice"
    assert not transactions.committed - set(found), "committed transactions are lost"
    assert not transactions.aborted & set(found), "aborted transactions show"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_kills_at_operations_on_the_disk(tmp_path: Path, *, after: bool) -> None:
    chance = random.Random(SEED + after)
    settings = {"log.flush.offset.checkpoint.interval.ms": "300"}
    with BrokerWithFaults(tmp_path / "d", settings) as broker:
        with RawKafka(broker.bootstrap) as client:
            create_topic(client, "t", PARTITIONS)
        transactions = Transactions(broker.bootstrap)
        transactions.start()
        for _ in range(KILLS):
            done = int(broker.faults.counted.read_text() or 0)
            broker.faults.set(kill_at=done + chance.randint(1, 60), kill_after=after)
            assert broker.child.process.wait(DEADLINE_S) != 0
            broker.faults.set()
            broker.start()
        time.sleep(chance.random() / 10)
        broker.kill()  # at a time that no operation on a log says
        broker.start()
        transactions.finish()
        check(broker, transactions)
        assert len(transactions.committed) > 1
        broker.kill()
        broker.start()
        check(broker, transactions)
