"""Topics of a test: records in, records out, each with a deadline and a message that says what came."""

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

DEADLINE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """A record as it stands in its topic, key and value as bytes."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Topics:
    """The topics of the Kafka cluster at `bootstrap`."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def create(self, topic: str, partitions: int = 1, **settings: str) -> str:
        """Create a topic; `settings` are topic configs with underscores for dots. Its name."""
        config = {name.replace("_", "."): value for name, value in settings.items()}
        new = NewTopic(topic, num_partitions=partitions, config=config)
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([new])[topic].result(DEADLINE_S)
        return topic

    def produce(
        self, topic: str, values: Iterable[str | bytes | None], *, key: str | bytes | None = None
    ) -> None:
        """Write records, in order within each partition; None is a tombstone. Returns once they are there."""
        failed: list[confluent_kafka.KafkaError] = []

        def note(error: confluent_kafka.KafkaError | None, _: Any) -> None:
            if error is not None:
                failed.append(error)

        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap})
        for value in values:
            producer.produce(topic, value, key, on_delivery=note)
        left = producer.flush(DEADLINE_S)
        assert not failed, f"{topic}: {failed[0].str()}"
        assert not left, f"{topic}: {left} records were not acknowledged in {DEADLINE_S:g} s"

    def read(self, topic: str, count: int, seconds: float = DEADLINE_S) -> list[TopicRecord]:
        """All records from the beginning once there are `count`, in order within each partition.

        Raises `AssertionError` if there are fewer after so many seconds. The topic need not exist yet.
        """
        deadline = time.monotonic() + seconds
        settings = {"bootstrap.servers": self.bootstrap, "group.id": f"millstream-test-{uuid.uuid4().hex}"}
        consumer = confluent_kafka.Consumer({**settings, "enable.auto.commit": False})
        try:
            consumer.assign(self._partitions(consumer, topic, deadline))
            found: list[TopicRecord] = []
            while len(found) < count:
                left = deadline - time.monotonic()
                message = consumer.poll(min(max(left, 0), 0.5))
                if message is not None and message.error() is None:
                    found.append(_record(message))
                assert left > 0, f"{topic}: {len(found)} of {count} records came in {seconds:g} s"
            return found
        finally:
            consumer.close()

    @staticmethod
    def _partitions(consumer: Any, topic: str, deadline: float) -> list[Any]:
        # All topics are asked for: to ask for one by name might create it.
        while (told := consumer.list_topics(timeout=DEADLINE_S).topics.get(topic)) is None:
            assert time.monotonic() < deadline, f"{topic}: nobody has made the topic"
            time.sleep(0.05)
        return [confluent_kafka.TopicPartition(topic, number, 0) for number in told.partitions]


def _record(message: Any) -> TopicRecord:
    headers = tuple(message.headers() or ())
    return TopicRecord(
        message.topic(), message.partition(), message.offset(), message.key(), message.value(),
        message.timestamp()[1], headers,
    )  # fmt: skip
