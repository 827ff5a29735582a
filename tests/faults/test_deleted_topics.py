"""A topic is deleted and made again while transactions write to it and to another one."""

import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kio.schema.errors import ErrorCode
from support.eventually import eventually
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, fetch
from support.raw_transactions import TransactionalProducer, TransactionalProducerV2
from support.read_committed import read_committed_over

from connect.testing.millstream import Broker

DEADLINE_S = 60
QUIET = {"log_level": 0}
ROUNDS = 6


class Writer(threading.Thread):
    """Each transaction writes its number to both topics. A producer that fails is followed by another one."""

    def __init__(self, bootstrap: str, steady: str, changing: str) -> None:
        super().__init__(daemon=True)
        self.committed: list[int] = []
        self.unsure: list[int] = []
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self._settings = {
            "bootstrap.servers": bootstrap, "transactional.id": steady, "linger.ms": 0,
            "message.timeout.ms": 2000, "transaction.timeout.ms": 30_000,
            "topic.metadata.propagation.max.ms": 500,
        } | QUIET  # fmt: skip
        self._topics = (steady, changing)

    def run(self) -> None:
        number = 0
        try:
            while not self.stopping.is_set():
                producer = Producer(self._settings)
                producer.init_transactions(DEADLINE_S)
                is_usable = True
                while is_usable and not self.stopping.is_set():
                    number += 1
                    is_usable = self._transaction(producer, number)
        except BaseException as exc:  # noqa: BLE001 the test raises it
            self.error = exc

    def _transaction(self, producer: Producer, number: int) -> bool:
        """Whether the producer can go on."""
        producer.begin_transaction()
        try:
            for topic in self._topics:
                producer.produce(topic, b"%d" % number, partition=0)
            producer.commit_transaction(DEADLINE_S)
        except KafkaException as exc:
            if not exc.args[0].txn_requires_abort():
                self.unsure.append(number)
                return False
            with suppress(KafkaException):  # nothing had begun: only a new producer can go on
                producer.abort_transaction(DEADLINE_S)
                return True
            return False
        self.committed.append(number)
        return True


def read_committed(bootstrap: str, topic: str) -> list[int]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "check", "isolation.level": "read_committed",
         "enable.partition.eof": True} | QUIET
    )  # fmt: skip
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[int] = []
    while True:
        message = consumer.poll(DEADLINE_S)
        assert message is not None
        if message.error():
            consumer.close()
            return values
        values.append(int(message.value() or b""))


def test_transactions_while_a_topic_comes_and_goes(broker: Broker, kafka_topic: str) -> None:
    """In the other topic all that was committed is there, once; in the last topic of the name, all since it
    is there; nothing stays open."""
    changing = f"{kafka_topic}-changing"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})

    def create(topic: str) -> None:
        error = admin.create_topics([NewTopic(topic, 1)])[topic].exception(DEADLINE_S)
        if error is not None:  # the producer's question about it may have made it
            assert error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, error

    create(kafka_topic)
    create(changing)
    writer = Writer(broker.bootstrap, kafka_topic, changing)
    writer.start()

    def wait_for_commits(count: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        wanted = len(writer.committed) + count
        while len(writer.committed) < wanted:
            if writer.error is not None:
                raise writer.error
            assert time.monotonic() < deadline, f"only {len(writer.committed)} of {wanted} commits"
            time.sleep(0.01)

    for _ in range(ROUNDS):
        wait_for_commits(5)
        admin.delete_topics([changing])[changing].result(DEADLINE_S)
        create(changing)
    wait_for_commits(2)
    since = len(writer.committed)
    wait_for_commits(5)
    writer.stopping.set()
    writer.join(DEADLINE_S)
    assert writer.error is None
    # A successor ends what a producer that failed has left.
    Producer(writer._settings).init_transactions(DEADLINE_S)
    found = read_committed(broker.bootstrap, kafka_topic)
    assert max(Counter(found).values()) == 1
    assert set(writer.committed) <= set(found) <= {*writer.committed, *writer.unsure}
    last = read_committed(broker.bootstrap, changing)
    assert last == found[-len(last) :]
    assert set(writer.committed[since:]) <= set(last)
    with Wire(broker.bootstrap) as wire:
        for topic in (kafka_topic, changing):
            (partition,) = fetch(wire, topic, {0: 0}, committed=True).responses[0].partitions
            assert partition.last_stable_offset == partition.high_watermark


@pytest.mark.parametrize("version", [TransactionalProducer, TransactionalProducerV2], ids=["v1", "v2"])
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
def test_an_open_transaction_of_a_topic_that_was_made_again(
    broker: Broker, kafka_topic: str, version: type[TransactionalProducer], *, commit: bool
) -> None:
    """It ends, and the new topic has nothing of it but what was written to it."""
    with Wire(broker.bootstrap) as wire:
        create_topic(wire, kafka_topic)
        producer = version(wire, kafka_topic, kafka_topic)
        producer.write()
        deleted = wire.ask(20, 4, topic_names=[kafka_topic], timeout=10_000).responses
        assert deleted[0].error_code is ErrorCode.none
        create_topic(wire, kafka_topic)
        producer.end(commit=commit)
        done = "CompleteCommit" if commit else "CompleteAbort"

        def is_done() -> bool:
            (found,) = wire.ask(65, 0, transactional_ids=[kafka_topic]).transaction_states
            return bool(found.transaction_state == done)

        eventually(is_done, "it does not end")
        (partition,) = fetch(wire, kafka_topic, {0: 0}, committed=True).responses[0].partitions
        assert partition.last_stable_offset == partition.high_watermark
        assert read_committed_over(wire, kafka_topic) == []
        producer._sequences.clear()
        written = producer.write()
        producer.end(commit=True)
        eventually(lambda: read_committed_over(wire, kafka_topic) == [written], "it is not committed")
