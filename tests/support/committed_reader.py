"""What a trial writes, and what it reads back as read_committed."""

import time
from collections.abc import Iterator, Sequence

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from .trials import TRANSACTION_TIMEOUT_MS, Wrong

QUIET = {"log_level": 0}  # librdkafka tells of every broken connection


def create_topics(bootstrap: str, topics: Sequence[str], partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap} | QUIET)
    for future in admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics]).values():
        future.result(30)


def write(bootstrap: str, topic: str, records: Iterator[tuple[int, str]]) -> None:
    """Write (partition, value) pairs, in order and once."""
    failed: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5} | QUIET)
    for partition, value in records:
        producer.produce(
            topic,
            value,
            partition=partition,
            on_delivery=lambda error, _: failed.append(str(error)) if error else None,
        )
        producer.poll(0)
    if producer.flush(60) or failed:
        raise RuntimeError(f"could not feed {topic}: {failed[:1]}")


def first_offset(bootstrap: str, topic: str) -> int:
    """Of partition 0: what came before was deleted."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "nobody"} | QUIET)
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=60)[0]
    finally:
        consumer.close()


class CommittedReader:
    """Reads a topic as read_committed, each record once."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._positions = dict.fromkeys(range(partitions), 0)
        self._topic = topic
        settings = {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False} | QUIET
        self._committed = Consumer(
            settings | {"isolation.level": "read_committed", "enable.partition.eof": True}
        )
        self._all = Consumer(settings | {"isolation.level": "read_uncommitted"})

    def read_all(self) -> list[Message]:
        """What was committed since the last time, up to the end of the topic.

        Waits for transactions that are still open: a program that died leaves one until its time is over.
        """
        deadline = time.monotonic() + 3 * TRANSACTION_TIMEOUT_MS / 1000
        while True:
            stable, ends = self._ends(self._committed), self._ends(self._all)
            if stable == ends:
                return self._read_to(ends)
            if time.monotonic() > deadline:
                raise Wrong(f"{self._topic}: last stable offsets {stable} never reach the ends {ends}")
            time.sleep(0.2)

    def read_stable(self) -> list[Message]:
        """What was committed since the last time, up to the transactions that are open now."""
        return self._read_to(self._ends(self._committed))

    def _read_to(self, ends: dict[int, int]) -> list[Message]:
        missing = {partition for partition, end in ends.items() if end > self._positions[partition]}
        if not missing:
            return []
        self._committed.assign([TopicPartition(self._topic, p, self._positions[p]) for p in missing])
        found: list[Message] = []
        deadline = time.monotonic() + 60
        while missing:
            messages = self._committed.consume(1000, timeout=0.1)
            if messages:
                deadline = time.monotonic() + 60
            elif time.monotonic() > deadline:
                raise Wrong(
                    f"{self._topic}: nothing more to read, but {missing} have not been read to {ends}"
                )
            found += [message for message in messages if not message.error()]
            # Control records are no messages: what has been read is what the client says.
            positions = self._committed.position([TopicPartition(self._topic, p) for p in missing])
            missing -= {each.partition for each in positions if each.offset >= ends[each.partition]}
        self._positions |= {
            each.partition: each.offset for each in self._committed.position(self._committed.assignment())
        }
        return found

    def close(self) -> None:
        self._committed.close()
        self._all.close()

    def _ends(self, consumer: Consumer) -> dict[int, int]:
        deadline = time.monotonic() + 60
        while True:
            try:
                return {
                    partition: consumer.get_watermark_offsets(TopicPartition(self._topic, partition))[1]
                    for partition in self._positions
                }
            except KafkaException:  # a broker that has just been started is unknown to librdkafka for a while
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
