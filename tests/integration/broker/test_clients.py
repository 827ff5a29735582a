"""Real clients, unchanged: kcat, librdkafka through confluent-kafka, aiokafka."""

import asyncio
import subprocess

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer

from connect.testing.millstream import Broker

DEADLINE_S = 60
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def kcat(broker: Broker, *arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(
        ["kcat", "-b", broker.bootstrap, "-q", *arguments],
        input=data, capture_output=True, timeout=DEADLINE_S, check=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("codec", CODECS)
def test_kcat_writes_and_reads(broker: Broker, kafka_topic: str, codec: str) -> None:
    lines = b"".join(b"k%d:v%d\n" % (number, number) for number in range(1000))
    kcat(broker, "-P", "-t", kafka_topic, "-K:", "-X", f"compression.codec={codec}", data=lines)
    assert kcat(broker, "-C", "-t", kafka_topic, "-K:", "-e") == lines
    assert kcat(broker, "-C", "-t", kafka_topic, "-o", "990", "-e", "-f", "%o ") == b"".join(
        b"%d " % number for number in range(990, 1000)
    )
    assert (
        kcat(broker, "-Q", "-t", f"{kafka_topic}:0:-1").strip() == f"{kafka_topic} [0] offset 1000".encode()
    )


@pytest.mark.parametrize("idempotent", [False, True])
def test_librdkafka_produces_and_a_group_consumes_and_resumes(
    broker: Broker, kafka_topic: str, *, idempotent: bool
) -> None:
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap, "enable.idempotence": idempotent, "compression.type": "lz4"}
    )
    for number in range(5000):
        producer.produce(
            kafka_topic, b"%d" % number, key=b"k%d" % (number % 7), headers={"n": b"%d" % number}
        )
    assert producer.flush(DEADLINE_S) == 0
    first = consume(broker, kafka_topic, 3000)
    second = consume(broker, kafka_topic, 2000)
    assert first + second == [b"%d" % number for number in range(5000)]


def consume(broker: Broker, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": f"g-{topic}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    values: list[bytes] = []
    while len(values) < count:
        messages = consumer.consume(count - len(values), DEADLINE_S)
        assert messages, f"{len(values)} of {count}"
        assert [message.error() for message in messages if message.error()] == []
        values += [message.value() for message in messages]
    consumer.commit(asynchronous=False)
    consumer.close()
    return values


@pytest.mark.parametrize("idempotent", [False, True])
def test_aiokafka_produces_and_a_group_consumes(
    broker: Broker, kafka_topic: str, *, idempotent: bool
) -> None:
    async def exchange() -> list[bytes | None]:
        async with AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap, enable_idempotence=idempotent, acks="all"
        ) as producer:
            sent = [await producer.send(kafka_topic, b"%d" % number) for number in range(500)]
            offsets = [(await one).offset for one in sent]
            assert offsets == list(range(500))
        async with AIOKafkaConsumer(
            kafka_topic,
            bootstrap_servers=broker.bootstrap,
            group_id=kafka_topic,
            auto_offset_reset="earliest",
        ) as consumer:
            values = []
            while len(values) < 500:
                values.append((await asyncio.wait_for(consumer.getone(), DEADLINE_S)).value)
            await consumer.commit()
            return values

    assert asyncio.run(exchange()) == [b"%d" % number for number in range(500)]
