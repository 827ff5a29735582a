"""A copy in transactions while the broker is killed: every record arrives exactly once, in order.

librdkafka reads numbers, and writes them with its offsets in transactions.
"""

import random
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from support.kafka_wire import Wire

from connect.testing.millstream import Broker

KILLS = 6
RECORDS = 3000
PER_TRANSACTION = 25
SEED = 20261124
PAUSE_S = 0.03
"""Between transactions, so that there is time to be killed in."""

KILLS_MIN = 3
DEADLINE_S = 120
QUIET = {"log_level": 0}  # librdkafka tells of every broken connection


class Copier(threading.Thread):
    """Copies topic `in` to topic `out`; begins anew with a new producer after a fatal error."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        self.bootstrap = bootstrap
        self.stopping = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._copy()
        except BaseException as exc:  # noqa: BLE001  # the test raises it
            self.error = exc

    def _copy(self) -> None:
        # librdkafka issue 5511: after a new bootstrap it waits for the old group coordinator for ever.
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": "copier", "linger.ms": 0,
             "metadata.recovery.strategy": "none", "transaction.timeout.ms": 10_000,
             "reconnect.backoff.max.ms": 200} | QUIET
        )  # fmt: skip
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "copier", "enable.auto.commit": False,
             "isolation.level": "read_committed", "reconnect.backoff.max.ms": 200} | QUIET
        )  # fmt: skip
        try:
            producer.init_transactions(60)
            # What the transactions before have committed is known now: none of them is open.
            (position,) = consumer.committed([TopicPartition("in", 0)], timeout=60)
            consumer.assign([TopicPartition("in", 0, max(0, position.offset))])
            while not self.stopping.is_set():
                messages = [m for m in consumer.consume(PER_TRANSACTION, 0.2) if m.error() is None]
                if messages and not self._transaction(producer, consumer, messages):
                    return
                self.stopping.wait(PAUSE_S)
        except KafkaException as exc:
            if not exc.args[0].fatal() and not exc.args[0].retriable():
                raise
        finally:
            consumer.close()

    def _transaction(self, producer: Producer, consumer: Consumer, messages: list[Message]) -> bool:
        """Whether it was committed. If not, the next copier reads the messages again."""
        try:
            producer.begin_transaction()
            for message in messages:
                producer.produce("out", message.value())
            offsets = [TopicPartition("in", 0, (messages[-1].offset() or 0) + 1)]
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 30)
            producer.commit_transaction(30)
        except KafkaException as exc:
            if exc.args[0].txn_requires_abort():
                producer.abort_transaction(30)
            return False
        return True


def read_committed(bootstrap: str) -> list[int]:
    """All that a read_committed consumer sees of `out`."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "isolation.level": "read_committed",
         "enable.partition.eof": True} | QUIET
    )  # fmt: skip
    consumer.assign([TopicPartition("out", 0, 0)])
    values: list[int] = []
    while True:
        message = consumer.poll(30)
        assert message is not None
        if message.error():
            consumer.close()
            return values
        values.append(int(message.value() or b""))


def copied(bootstrap: str) -> int:
    """How many records the group has committed."""
    with Wire(bootstrap) as wire:
        topics = [{"name": "in", "partition_indexes": [0]}]
        asked = {"group_id": "copier", "member_epoch": -1, "topics": topics}
        (group,) = wire.ask(9, 9, groups=[asked]).groups
    return max(0, int(group.topics[0].partitions[0].committed_offset))


def test_a_copy_is_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with Broker(tmp_path) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5} | QUIET)
        for number in range(RECORDS):
            producer.produce("in", b"%d" % number)
        assert producer.flush(DEADLINE_S) == 0
        copier = Copier(broker.bootstrap)
        copier.start()
        deadline = time.monotonic() + DEADLINE_S
        kills = 0
        while (done := copied(broker.bootstrap)) < RECORDS:
            assert copier.error is None
            assert time.monotonic() < deadline, f"{done} of {RECORDS} after {kills} kills"
            if kills < KILLS and done > (kills + 1) * RECORDS // (KILLS + 2):
                time.sleep(chance.random() / 20)
                broker.kill()
                broker.start()
                kills += 1
            time.sleep(0.01)
        copier.stopping.set()
        copier.join(DEADLINE_S)
        assert copier.error is None
        assert kills >= KILLS_MIN
        assert read_committed(broker.bootstrap) == list(range(RECORDS))
