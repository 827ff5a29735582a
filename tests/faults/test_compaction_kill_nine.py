"""SIGKILL of the broker, or of its cleaner, at random moments while a topic is written to and compacted."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from support.eventually import eventually

from connect.testing.millstream import Broker

T = TypeVar("T")

KILLS = 6
SEED = 20261124
KEYS = 60
TOPIC = "compacted-under-kills"
TOPIC_CONFIG = {
    "cleanup.policy": "compact",
    "segment.ms": "50",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "1",
    "file.delete.delay.ms": "0",
}
SETTINGS = {"log.cleaner.backoff.ms": "50"}
QUIET = {"log_level": 0}


class Writer(threading.Thread):
    """Writes values and tombstones; `acked` is offset → key and value of what the broker confirmed."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.acked: dict[int, tuple[bytes, bytes | None]] = {}
        self.refused: list[str] = []
        self.producer = Producer(
            {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 1,
             "message.timeout.ms": 300_000} | QUIET
        )  # fmt: skip

    def delivered(self, error: object, message: Message) -> None:
        key, value, offset = message.key(), message.value(), message.offset()
        if error is not None:
            self.refused.append(str(error))
            return
        assert isinstance(key, bytes)
        assert value is None or isinstance(value, bytes)
        assert offset is not None
        self.acked[offset] = key, value

    def run(self) -> None:
        dice, number = random.Random(SEED), 0
        while not self.stopping.is_set():
            for _ in range(10):
                key, value = b"%d" % dice.randrange(KEYS), b"%d" % number * 20
                self.producer.produce(
                    TOPIC, None if dice.random() < 0.1 else value, key, on_delivery=self.delivered
                )
                number += 1
            self.producer.poll(0.003)
        self.producer.flush(60)


def read_all(bootstrap: str) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=60)
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        found: list[Message] = []
        deadline = time.monotonic() + 60
        while not found or (found[-1].offset() or 0) + 1 < end:
            batch = consumer.consume(5000, timeout=0.1)  # it waits for all of them
            assert batch or time.monotonic() < deadline, f"nothing after {len(found)} records, before {end}"
            assert not any(message.error() for message in batch)
            found += batch
        return found
    finally:
        consumer.close()


def table(pairs: list[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    result: dict[bytes, bytes] = {}
    for key, value in pairs:
        if value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


def cleaners(broker_pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(broker_pid).children()]
    except psutil.NoSuchProcess:
        return []


def wait_for(found: Callable[[], T]) -> T:
    deadline = time.monotonic() + 60
    while not (result := found()):
        assert time.monotonic() < deadline, "nothing was compacted"
        time.sleep(0.01)
    return result


def test_the_newest_value_of_each_key_survives(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    data_dir = tmp_path / "data"
    with Broker(data_dir, SETTINGS) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap} | QUIET)
        admin.create_topics([NewTopic(TOPIC, 1, 1, config=TOPIC_CONFIG)])[TOPIC].result(30)
        writer = Writer(broker.bootstrap)
        writer.start()
        for _ in range(KILLS):
            found = wait_for(lambda: cleaners(broker.pid))
            time.sleep(dice.uniform(0, 0.4))  # the moment of the kill is what the test is about
            if dice.random() < 0.4:
                with suppress(ProcessLookupError):
                    os.kill(found[0], signal.SIGKILL)
            else:
                os.kill(broker.pid, signal.SIGKILL)  # the kernel ends its cleaner
                broker.child.process.wait()
                broker.start()
        eventually(lambda: any(data_dir.glob(f"{TOPIC}-0/*.compacted")), "nothing is compacted")
        writer.stopping.set()
        writer.join(90)
        assert not writer.refused, writer.refused[:3]
        wait_for(lambda: len(read_all(broker.bootstrap)) < len(writer.acked))
        records = read_all(broker.bootstrap)
        seen = {m.offset(): (m.key(), m.value()) for m in records}
        assert seen.items() <= writer.acked.items(), "a record that was never written, or at another offset"
        assert table([(m.key(), m.value()) for m in records]) == table(  # type: ignore[misc]
            [writer.acked[offset] for offset in sorted(writer.acked)]
        )
        assert max(writer.acked) == (records[-1].offset() or 0)
