"""The wall clock jumps, processes stop for a while, topics go and come, clients come in floods."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.eventually import eventually
from support.faulty_broker import BrokerWithFaults
from support.kafka_wire import Wire
from support.raw_kafka import RawKafka, create_topic, fetch, produce

from connect.testing.millstream import Broker

HOUR_MS = 3_600_000
DEADLINE_S = 60
QUIET = {"log_level": 0}
SUBSCRIPTION = b"\0\1\0\0\0\1\0\1t\xff\xff\xff\xff"
"""Of a consumer of the topic t, version 1."""


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[BrokerWithFaults]:
    settings = {"group.min.session.timeout.ms": "500", "log.retention.check.interval.ms": "200"}
    with BrokerWithFaults(tmp_path / "d", settings) as broker:
        yield broker


@pytest.mark.parametrize("skew_ms", [HOUR_MS, -HOUR_MS])
def test_a_jump_of_the_wall_clock_expires_nothing(faulty: BrokerWithFaults, skew_ms: int) -> None:
    """Sessions, idle connections, fetches and producers go by a clock that does not jump."""
    with Wire(faulty.bootstrap) as client:
        create_topic(client, "t")
        idempotent = {"producer_id": 7, "producer_epoch": 0}
        assert produce(client, "t", bytes(make_batch(sequence=0, **idempotent))).base_offset == 0
        member = join(client, "g")
        faulty.faults.set(clock_skew_ms=skew_ms)
        for _ in range(3):
            beat = client.ask(12, 4, group_id="g", generation_id=member[1], member_id=member[0])
            assert beat.error_code == ErrorCode.none
        commit = client.ask(
            8, 8, group_id="g", generation_id_or_member_epoch=member[1], member_id=member[0],
            topics=[{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 1}]}],
        )  # fmt: skip
        assert commit.topics[0].partitions[0].error_code == ErrorCode.none
        repeated = produce(client, "t", bytes(make_batch(sequence=0, **idempotent)))
        assert (repeated.error_code, repeated.base_offset) == (ErrorCode.none, 0)
        assert produce(client, "t", bytes(make_batch(sequence=1, **idempotent))).base_offset == 1
        start = time.monotonic()
        fetch(client, "t", {0: 2}, max_wait_ms=200)
        assert time.monotonic() - start < DEADLINE_S
        faulty.faults.set()
        beat = client.ask(12, 4, group_id="g", generation_id=member[1], member_id=member[0])
        assert beat.error_code == ErrorCode.none


def join(client: Wire, group_id: str, session_timeout_ms: int = 30_000) -> tuple[str, int]:
    """Become the only member of a group: its member id and generation."""
    asked = {
        "group_id": group_id, "session_timeout": session_timeout_ms, "rebalance_timeout": session_timeout_ms,
        "protocol_type": "consumer", "protocols": [{"name": "range", "metadata": SUBSCRIPTION}],
    }  # fmt: skip
    told = client.ask(11, 7, member_id="", **asked)
    joined = client.ask(11, 7, member_id=told.member_id, **asked)
    assert joined.error_code == ErrorCode.none
    client.ask(
        14, 5, group_id=group_id, generation_id=joined.generation_id, member_id=joined.member_id,
        protocol_type="consumer", protocol_name="range",
        assignments=[{"member_id": joined.member_id, "assignment": b""}],
    )  # fmt: skip
    return joined.member_id, joined.generation_id


def test_a_broker_that_stops_for_longer_than_the_sessions_loses_nothing(faulty: BrokerWithFaults) -> None:
    producer = Producer({"bootstrap.servers": faulty.bootstrap, "enable.idempotence": True} | QUIET)
    acked: dict[int, bytes] = {}

    def delivered(error: object, message: Message) -> None:
        assert error is None, error
        offset, value = message.offset(), message.value()
        assert offset is not None
        assert isinstance(value, bytes)
        assert acked.setdefault(offset, value) == value, "an offset was given twice"

    consumer = Consumer(
        {
            "bootstrap.servers": faulty.bootstrap, "group.id": "g", "session.timeout.ms": 1000,
            "heartbeat.interval.ms": 200, "auto.offset.reset": "earliest", "enable.auto.commit": False,
        } | QUIET
    )  # fmt: skip
    consumer.subscribe(["t"])
    seen: list[int] = []
    with RawKafka(faulty.bootstrap) as client:
        create_topic(client, "t")
    for number in range(300):
        producer.produce("t", b"%d" % number, callback=delivered)
        producer.poll(0.002)
        read(consumer, seen)
        if number in (100, 200):
            os.kill(faulty.pid, signal.SIGSTOP)
            time.sleep(1.5)
            os.kill(faulty.pid, signal.SIGCONT)
    assert producer.flush(DEADLINE_S) == 0
    eventually(lambda: read(consumer, seen) == 300, f"{len(seen)} of 300 read")
    assert sorted(acked) == list(range(300))
    assert sorted(acked.values()) == sorted(b"%d" % n for n in range(300))
    consumer.close()


def read(consumer: Consumer, seen: list[int]) -> int:
    """How many offsets have been seen. A commit that is late is refused, and reading goes on."""
    message = consumer.poll(0.01)
    if message is not None and message.error() is None:
        offset = message.offset()
        assert offset is not None
        seen.append(offset)
        with suppress(KafkaException):
            consumer.commit(message, asynchronous=False)
    return len(set(seen))


def test_a_topic_is_deleted_and_made_again_while_it_is_written_and_read(
    broker: Broker, kafka_topic: str
) -> None:
    """What the last topic of the name acknowledged is there, and nothing of those before."""
    stopping = threading.Event()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap} | QUIET)
    acked: list[tuple[int, bytes]] = []
    errors: list[BaseException] = []

    def write() -> None:
        with RawKafka(broker.bootstrap) as client:
            number = 0
            while not stopping.is_set():
                value = b"value %d" % number
                answer = produce(client, kafka_topic, bytes(make_batch([value])))
                if answer.error_code == ErrorCode.none:
                    acked.append((answer.base_offset, value))
                else:
                    assert answer.error_code == ErrorCode.unknown_topic_or_partition, answer
                number += 1

    def consume() -> None:
        with RawKafka(broker.bootstrap) as client:
            while not stopping.is_set():
                response = fetch(client, kafka_topic, {0: 0}, max_wait_ms=20)
                for topic in response.responses:
                    error = topic.partitions[0].error_code
                    assert error in (ErrorCode.none, ErrorCode.unknown_topic_or_partition), error

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 the test raises it
            errors.append(exc)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (write, consume, consume)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        admin.create_topics([NewTopic(kafka_topic, 1)])[kafka_topic].result()
        count = len(acked)
        eventually(lambda count=count: len(acked) > count + 20 or bool(errors), "nothing is written")  # type: ignore[misc]
        admin.delete_topics([kafka_topic])[kafka_topic].result()
    count = len(acked)
    admin.create_topics([NewTopic(kafka_topic, 1)])[kafka_topic].result()
    eventually(lambda: len(acked) > count + 20 or bool(errors), "nothing is written")
    stopping.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    if errors:
        raise errors[0]
    last_start = max(index for index, (offset, _) in enumerate(acked) if offset == 0)
    assert [offset for offset, _ in acked[last_start:]] == list(range(len(acked) - last_start))
    with RawKafka(broker.bootstrap) as client:
        (topic,) = fetch(client, kafka_topic, {0: 0}).responses
        assert topic.partitions[0].high_watermark == len(acked) - last_start
        assert all(value in topic.partitions[0].records for _, value in acked[last_start:])


def test_a_flood_of_connections_and_reconnects(broker: Broker, kafka_topic: str) -> None:
    """Clients that connect, ask and vanish, by the hundred, while others work."""
    host, port = broker.bootstrap.split(":")
    process = psutil.Process(broker.pid)
    with RawKafka(broker.bootstrap) as client:
        create_topic(client, kafka_topic)
        assert produce(client, kafka_topic, bytes(make_batch())).base_offset == 0  # makes the files
        before = process.memory_info().rss
        connections = len(process.net_connections("tcp"))
        for wave in range(5):
            crowd = [socket.create_connection((host, int(port)), timeout=60) for _ in range(300)]
            for number, one in enumerate(crowd):
                if number % 3 == 0:  # half a request
                    one.sendall(b"\0\0\0\x20\0\x12")
                elif number % 3 == 1:  # a request whose answer nobody reads
                    one.sendall(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff")
            assert produce(client, kafka_topic, bytes(make_batch())).base_offset == wave + 1
            for number, one in enumerate(crowd):
                if number % 2:  # a reset instead of an end
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.close()
        # Of 1,500; some clients of other tests come and go on this broker.
        eventually(
            lambda: len(process.net_connections("tcp")) <= connections + 50, "connections are left over"
        )
        assert process.memory_info().rss - before < 50 * 1024 * 1024
        (topic,) = fetch(client, kafka_topic, {0: 0}).responses
        assert topic.partitions[0].high_watermark == 6


def test_a_zombie_consumer_cannot_commit(faulty: BrokerWithFaults) -> None:
    """A member that slept past its session comes back with what it had read."""
    with Wire(faulty.bootstrap) as client:
        create_topic(client, "t")
    settings = {
        "bootstrap.servers": faulty.bootstrap, "group.id": "g", "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 200, "enable.auto.commit": False,
    } | QUIET  # fmt: skip
    with Wire(faulty.bootstrap) as zombie:
        member_id, generation_id = join(zombie, "g", 600)
        heir = Consumer(settings)
        heir.subscribe(["t"])
        eventually(lambda: heir.poll(0.1) is None and bool(heir.assignment()), "the heir gets no partition")
        heir.commit(offsets=[TopicPartition("t", 0, 42)], asynchronous=False)
        late = zombie.ask(
            8, 8, group_id="g", generation_id_or_member_epoch=generation_id, member_id=member_id,
            topics=[{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 1}]}],
        )  # fmt: skip
        assert late.topics[0].partitions[0].error_code in (
            ErrorCode.unknown_member_id,
            ErrorCode.illegal_generation,
        )
        assert heir.committed([TopicPartition("t", 0)])[0].offset == 42
        heir.close()
