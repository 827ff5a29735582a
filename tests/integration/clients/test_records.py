"""Producing and consuming, by every client."""

import time

import pytest
from support.client_agent import Agent, ClientError
from support.kafka_clients import clients_with

MESSAGE_TOO_LARGE, INVALID_RECORD = 10, 87


def values(records: list[dict[str, object]]) -> list[object]:
    return [record["value"] for record in records]


def numbered(count: int, start: int = 0, **more: object) -> list[dict[str, object]]:
    return [{"value": str(n), "partition": 0, **more} for n in range(start, start + count)]


@clients_with("produce", "consume")
def test_keys_values_headers_and_timestamps_survive_every_codec(client: Agent, kafka_topic: str) -> None:
    start_ms = int(time.time() * 1000) - 60_000
    records = [
        {
            "partition": 0,
            "key": None if n == 0 else f"key {n}",
            "value": None if n == 19 else f"value {n} äöü " * 20,
            "headers": [["empty", ""], ["n", str(n)]],
            "timestamp": start_ms + n,
        }
        for n in range(20)
    ]
    for codec in client.codecs:
        topic = f"{kafka_topic}-{codec}"
        client.create_topic(topic, 1)
        client.call("producer", handle=codec, compression=codec)
        sent = client.call("produce", handle=codec, topic=topic, records=records)
        assert sent == [[0, n] for n in range(20)], codec
        client.call("consumer", handle=codec, positions=[[topic, 0, -2]])
        read = client.read(codec, 20)
        assert read == [{**record, "topic": topic, "offset": n} for n, record in enumerate(records)], codec


@clients_with("produce", "consume", "header_lists")
def test_headers_may_repeat_and_be_null(client: Agent, kafka_topic: str) -> None:
    headers = [["z", "1"], ["a", None], ["z", "2"], ["z", "1"]]
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer")
    record = {"value": "v", "partition": 0, "headers": headers}
    client.call("produce", handle="writer", topic=kafka_topic, records=[record])
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]])
    assert client.read("reader", 1)[0]["headers"] == headers


@clients_with("produce", "consume")
def test_every_acks(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    for acks, start in ((1, 0), (-1, 10)):
        client.call("producer", handle=f"acks {acks}", acks=acks)
        client.call("produce", handle=f"acks {acks}", topic=kafka_topic, records=numbered(10, start))
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]])
    assert values(client.read("reader", 20)) == [str(n) for n in range(20)]


@clients_with("acks0", "consume")
def test_acks_0_gets_no_answer_and_arrives(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer", acks=0)
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(10))
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]])
    assert values(client.read("reader", 10)) == [str(n) for n in range(10)]


@clients_with("idempotent")
def test_idempotent_producers_keep_order_over_partitions(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 3)
    client.call("producer", handle="writer", idempotent=True, compression="gzip")
    records = [{"value": str(n), "partition": n % 3} for n in range(3000)]
    client.call("produce", handle="writer", topic=kafka_topic, records=records)
    client.call("consumer", handle="reader", positions=[[kafka_topic, p, -2] for p in range(3)])
    read = client.read("reader", 3000)
    for partition in range(3):
        mine = values([record for record in read if record["partition"] == partition])
        assert mine == [str(n) for n in range(partition, 3000, 3)]


@clients_with("list_offset", "consume")
def test_from_an_offset_and_from_a_timestamp(client: Agent, kafka_topic: str) -> None:
    start_ms = int(time.time() * 1000) - 60_000
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer")
    for n in range(10):  # each in a batch of its own
        record = {"value": str(n), "partition": 0, "timestamp": start_ms + 1000 * n}
        client.call("produce", handle="writer", topic=kafka_topic, records=[record])

    def offset_at(at: int) -> object:
        return client.call("list_offset", topic=kafka_topic, partition=0, at=at)

    assert (offset_at(-2), offset_at(-1)) == (0, 10)
    assert offset_at(start_ms + 4500) == 5
    assert offset_at(start_ms + 5000) == 5
    client.call("consumer", handle="seventh", positions=[[kafka_topic, 0, 7]])
    assert values(client.read("seventh", 3)) == ["7", "8", "9"]


@clients_with("produce", "consume")
def test_an_offset_inside_a_batch(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer", compression="gzip")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(100))
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, 57]])
    assert values(client.read("reader", 43)) == [str(n) for n in range(57, 100)]


@clients_with("produce", "consume")
def test_messages_up_to_the_limit_and_above(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer")
    big = "0123456789abcdef" * 60_000  # 960,000 bytes; max.message.bytes is 1,048,588
    client.call("produce", handle="writer", topic=kafka_topic, records=[{"value": big, "partition": 0}])
    too_big = [{"value": big * 2, "partition": 0}]
    with pytest.raises(ClientError) as caught:
        client.call("produce", handle="writer", topic=kafka_topic, records=too_big)
    assert caught.value.code == MESSAGE_TOO_LARGE, caught.value
    # A batch above what the consumer asked for is sent all the same, if it is the first.
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]], fetch_max_bytes=1000)
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(1))
    first, second = client.read("reader", 2)
    assert first["value"] == big
    assert second["value"] == "0"


@clients_with("create_configs", "consume")
def test_a_topic_may_raise_the_limit(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1, configs={"max.message.bytes": "9000000"})
    client.call("producer", handle="writer")
    big = "0123456789abcdef" * 500_000  # 8 MB, more than a consumer asks for in one fetch
    records = [{"value": big, "partition": 0}, *numbered(1)]
    client.call("produce", handle="writer", topic=kafka_topic, records=records)
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]], fetch_max_bytes=1_000_000)
    assert values(client.read("reader", 2)) == [big, "0"]


@clients_with("produce", "consume")
def test_a_waiting_fetch_is_answered_when_a_record_comes(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(1))
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]], fetch_max_wait_ms=30_000)
    assert values(client.read("reader", 1)) == ["0"]
    assert client.read_for("reader", 0.5) == []  # its fetch waits at the broker now
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(1, 1))
    assert values(client.read("reader", 1, seconds=25)) == ["1"]
    client.restart()  # to close a consumer waits for its next fetch, with some clients


@clients_with("consume", "resets")
def test_an_offset_out_of_range_is_reset(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(5))
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, 1000]])
    assert values(client.read("reader", 5)) == [str(n) for n in range(5)]


@clients_with("create_configs", "consume")
def test_a_topic_with_a_codec_of_its_own(client: Agent, kafka_topic: str) -> None:
    """The broker packs batches anew; no client notices."""
    for codec in client.codecs:
        topic = f"{kafka_topic}-{codec}"
        wanted = "uncompressed" if codec == "none" else codec
        client.create_topic(topic, 1, configs={"compression.type": wanted})
        for start, packed in ((0, "gzip"), (10, "none")):
            client.call("producer", handle=f"{codec} {packed}", compression=packed)
            records = numbered(10, start, headers=[["codec", packed]])
            client.call("produce", handle=f"{codec} {packed}", topic=topic, records=records)
        client.call("consumer", handle=codec, positions=[[topic, 0, -2]])
        assert values(client.read(codec, 20)) == [str(n) for n in range(20)], codec


@clients_with("create_configs", "consume")
def test_log_append_time_is_the_brokers(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1, configs={"message.timestamp.type": "LogAppendTime"})
    client.call("producer", handle="writer", compression="gzip")
    before_ms = time.time() * 1000
    an_hour_ago = int(before_ms) - 3_600_000
    records = numbered(3, timestamp=an_hour_ago)
    client.call("produce", handle="writer", topic=kafka_topic, records=records)
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]])
    read = client.read("reader", 3)
    assert all(before_ms - 1000 <= record["timestamp"] <= time.time() * 1000 + 1000 for record in read)


@clients_with("create_configs", "consume")
def test_a_compacted_topic_takes_no_record_without_a_key(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1, configs={"cleanup.policy": "compact"})
    client.call("producer", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(1, key="k"))
    with pytest.raises(ClientError) as caught:
        client.call("produce", handle="writer", topic=kafka_topic, records=numbered(1, 1))
    assert caught.value.code in (INVALID_RECORD, -1), caught.value  # aiokafka does not know the number
