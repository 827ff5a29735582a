"""Transactions, by every client that has them."""

import time

import pytest
from support.client_agent import Agent, ClientError
from support.kafka_clients import clients_with

INVALID_PRODUCER_EPOCH, INVALID_TRANSACTION_TIMEOUT, PRODUCER_FENCED = 47, 50, 90
# librdkafka has a number of its own, aiokafka none.
FENCED = {INVALID_PRODUCER_EPOCH, PRODUCER_FENCED, -144, None}


def numbered(start: int, end: int) -> list[dict[str, object]]:
    return [{"value": str(n), "partition": 0} for n in range(start, end)]


def texts(*ranges: range) -> list[str]:
    return [str(n) for span in ranges for n in span]


def in_transaction(client: Agent, topic: str, start: int, end: int, how: str) -> None:
    client.call("begin", handle="writer")
    client.call("produce", handle="writer", topic=topic, records=numbered(start, end))
    client.call(how, handle="writer")


def read_values(client: Agent, topic: str, count: int, *, read_committed: bool) -> list[str]:
    handle = f"reader {read_committed} {count}"
    client.call("consumer", handle=handle, positions=[[topic, 0, -2]], read_committed=read_committed)
    return [record["value"] for record in client.read(handle, count)]


@clients_with("transactions")
def test_committed_records_are_read_and_aborted_ones_are_not(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer", transactional_id=f"x-{kafka_topic}")
    in_transaction(client, kafka_topic, 0, 10, "commit_transaction")
    in_transaction(client, kafka_topic, 10, 20, "abort_transaction")
    in_transaction(client, kafka_topic, 20, 30, "commit_transaction")
    committed = texts(range(10), range(20, 30))
    assert read_values(client, kafka_topic, 20, read_committed=True) == committed
    assert read_values(client, kafka_topic, 30, read_committed=False) == texts(range(30))


@clients_with("transactions", "flush_without_commit")
def test_an_open_transaction_is_read_when_it_commits(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="plain")
    client.call("producer", handle="writer", transactional_id=f"x-{kafka_topic}")
    client.call("produce", handle="plain", topic=kafka_topic, records=numbered(0, 5))
    client.call("begin", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(5, 10))
    client.call("produce", handle="plain", topic=kafka_topic, records=numbered(10, 15))
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]], read_committed=True)
    assert [record["value"] for record in client.read("reader", 5)] == texts(range(5))
    assert client.read_for("reader", 1) == []  # neither what is open nor what stands behind it
    client.call("commit_transaction", handle="writer")
    assert [record["value"] for record in client.read("reader", 10)] == texts(range(5, 15))


@clients_with("transactions")
def test_transactions_over_several_partitions(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 3)
    client.call("producer", handle="writer", transactional_id=f"x-{kafka_topic}")
    for turn in range(10):
        client.call("begin", handle="writer")
        records = [{"value": f"{turn}-{n}", "partition": n % 3} for n in range(6)]
        client.call("produce", handle="writer", topic=kafka_topic, records=records)
        client.call("commit_transaction" if turn % 2 else "abort_transaction", handle="writer")
    positions = [[kafka_topic, partition, -2] for partition in range(3)]
    client.call("consumer", handle="reader", positions=positions, read_committed=True)
    read = [record["value"] for record in client.read("reader", 30)]
    assert sorted(read) == sorted(f"{turn}-{n}" for turn in range(1, 10, 2) for n in range(6))


def transforms_exactly_once(client: Agent, kafka_topic: str, **member: object) -> None:
    source, target, group = f"{kafka_topic}-in", f"{kafka_topic}-out", f"g-{kafka_topic}"
    for topic in (source, target):
        client.create_topic(topic, 1)
    client.call("producer", handle="filler")
    client.call("produce", handle="filler", topic=source, records=numbered(0, 20))
    client.call("producer", handle="writer", transactional_id=f"x-{kafka_topic}")

    def transform(count: int, how: str) -> None:
        """One transaction by a member of its own, which begins at what was committed."""
        joining = {"topics": [source], "group": group, "read_committed": True, **member}
        client.call("consumer", handle="member", **joining)
        records = client.read("member", count)[:count]
        outputs = [{"value": f"<{record['value']}>", "partition": 0} for record in records]
        client.call("begin", handle="writer")
        client.call("produce", handle="writer", topic=target, records=outputs)
        offsets = [[source, 0, records[-1]["offset"] + 1]]
        client.call("send_offsets", handle="writer", consumer="member", group=group, offsets=offsets)
        client.call(how, handle="writer")
        client.call("close_consumer", handle="member")

    transform(5, "commit_transaction")
    transform(10, "abort_transaction")
    transform(15, "commit_transaction")
    expected = [f"<{n}>" for n in range(20)]
    assert read_values(client, target, 20, read_committed=True) == expected
    client.call("consumer", handle="asker", group=group, positions=[[source, 0, -1]])
    ((_, _, offset, _),) = client.call("committed", handle="asker", partitions=[[source, 0]])
    assert offset == 20


@clients_with("send_offsets")
def test_consume_transform_produce_is_exactly_once(client: Agent, kafka_topic: str) -> None:
    transforms_exactly_once(client, kafka_topic)


@clients_with("send_offsets", "kip848")
def test_consume_transform_produce_of_a_kip_848_group(client: Agent, kafka_topic: str) -> None:
    transforms_exactly_once(client, kafka_topic, protocol="consumer", assignor="uniform")


@clients_with("session")
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_session_that_consumes_and_produces_is_exactly_once(
    client: Agent, kafka_topic: str, protocol: str
) -> None:
    """franz-go joins the two in one client, which ends its transaction itself when the group rebalances."""
    source, target, group = f"{kafka_topic}-in", f"{kafka_topic}-out", f"g-{kafka_topic}"
    for topic in (source, target):
        client.create_topic(topic, 1)
    client.call("producer", handle="filler")
    client.call("produce", handle="filler", topic=source, records=numbered(0, 20))
    opening = {"topics": [source], "group": group, "transactional_id": f"x-{kafka_topic}"}
    client.call("session", handle="s", protocol=protocol, **opening)

    def transform(count: int, *, commit: bool) -> list[str]:
        values: list[str] = client.call(
            "session_transform", handle="s", target=target, count=count, commit=commit
        )
        return values

    assert transform(5, commit=True) == texts(range(5))
    assert transform(10, commit=False) == texts(range(5, 15))
    assert transform(15, commit=True) == texts(range(5, 20))
    assert read_values(client, target, 20, read_committed=True) == [f"<{n}>" for n in range(20)]
    ((_, _, offset, _),) = client.call("group_offsets", group=group)
    assert offset == 20


@clients_with("transactions", "fencing")
def test_a_second_producer_fences_the_first(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer", transactional_id=f"x-{kafka_topic}")
    in_transaction(client, kafka_topic, 0, 5, "commit_transaction")
    client.call("begin", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(5, 10))
    client.call("producer", handle="second", transactional_id=f"x-{kafka_topic}")
    with pytest.raises(ClientError) as caught:
        client.call("commit_transaction", handle="writer")
    assert caught.value.code in FENCED, caught.value
    assert caught.value.code is not None or "Fenced" in str(caught.value)
    client.call("begin", handle="second")
    client.call("produce", handle="second", topic=kafka_topic, records=numbered(10, 15))
    client.call("commit_transaction", handle="second")
    assert read_values(client, kafka_topic, 10, read_committed=True) == texts(range(5), range(10, 15))


@clients_with("transactions")
def test_a_timeout_above_the_maximum_is_refused(client: Agent, kafka_topic: str) -> None:
    with pytest.raises(ClientError) as caught:
        client.call(
            "producer", handle="writer", transactional_id=f"x-{kafka_topic}", transaction_timeout_ms=900_001
        )
    assert caught.value.code == INVALID_TRANSACTION_TIMEOUT, caught.value


@clients_with("describe_transaction", "describe_producers", "list_transactions")
def test_transactions_and_producers_are_listed_and_described(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    name = f"x-{kafka_topic}"
    client.call("producer", handle="writer", transactional_id=name)
    in_transaction(client, kafka_topic, 0, 5, "commit_transaction")
    client.call("begin", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(5, 10))
    assert client.call("list_transactions")[name] == "Ongoing"
    described = client.call("describe_transaction", transactional_id=name)
    assert described["state"] == "Ongoing"
    assert described["partitions"] == [[kafka_topic, 0]]
    assert described["timeout_ms"] == 60_000
    (producer,) = client.call("describe_producers", topic=kafka_topic, partition=0)
    assert producer["producer_id"] == described["producer_id"]
    assert producer["producer_epoch"] == described["producer_epoch"]
    assert producer["last_sequence"] >= 4
    assert producer["transaction_start"] == 6
    client.call("commit_transaction", handle="writer")
    deadline = time.monotonic() + 60
    while client.call("describe_transaction", transactional_id=name)["state"] != "CompleteCommit":
        assert time.monotonic() < deadline
    (producer,) = client.call("describe_producers", topic=kafka_topic, partition=0)
    assert producer["transaction_start"] == -1


@clients_with("transactions", "flush_without_commit")
def test_a_transaction_that_takes_too_long_is_aborted(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="plain")
    opening = {"transactional_id": f"x-{kafka_topic}", "transaction_timeout_ms": 1_000}
    client.call("producer", handle="writer", **opening)
    client.call("begin", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(0, 5))
    client.call("produce", handle="plain", topic=kafka_topic, records=numbered(5, 10))
    # The broker looks for such transactions every ten seconds, unless it is told otherwise.
    assert read_values(client, kafka_topic, 5, read_committed=True) == texts(range(5, 10))
    with pytest.raises(ClientError):
        client.call("commit_transaction", handle="writer")
    client.call("producer", handle="again", **opening)
    client.call("begin", handle="again")
    client.call("produce", handle="again", topic=kafka_topic, records=numbered(10, 15))
    client.call("commit_transaction", handle="again")
    assert read_values(client, kafka_topic, 10, read_committed=True) == texts(range(5, 15))


@clients_with("send_offsets", "max_poll_interval", "group_metadata")
def test_a_member_that_was_thrown_out_cannot_send_offsets(client: Agent, kafka_topic: str) -> None:
    """KIP-447: the group's generation fences the zombie, whatever its transactional id."""
    group = {"topics": [kafka_topic], "group": f"g-{kafka_topic}", "session_timeout_ms": 6_000}
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer", transactional_id=f"x-{kafka_topic}")
    client.call("consumer", handle="zombie", max_poll_interval_ms=6_000, **group)
    client.settle(["zombie"], lambda assignments: len(assignments[0]) == 1)
    client.call("consumer", handle="heir", **group)
    client.settle(["heir"], lambda assignments: len(assignments[0]) == 1)
    client.call("begin", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(0, 5))
    send = {"handle": "writer", "consumer": "zombie", "group": group["group"]}
    with pytest.raises(ClientError):
        client.call("send_offsets", offsets=[[kafka_topic, 0, 5]], **send)
    client.call("abort_transaction", handle="writer")
    assert client.call("group_offsets", group=group["group"]) == []
