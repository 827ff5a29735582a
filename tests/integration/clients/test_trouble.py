"""The broker is killed and started again while a client of each kind works."""

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client_agent import Agent, ClientError
from support.kafka_clients import QUICK_BROKER, KafkaClient, clients_with
from support.kafka_wire import Wire

from connect.testing.millstream import Broker


@pytest.fixture
def doomed_broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", QUICK_BROKER) as server:
        yield server


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path, doomed_broker: Broker) -> Iterator[Agent]:
    under_test: KafkaClient = request.param
    command = under_test.build()
    agent = Agent(under_test.name, command, tmp_path / "agent.log", doomed_broker.bootstrap)
    agent.codecs, agent.features = under_test.codecs, under_test.features
    yield agent
    agent.stop()


def killed_meanwhile(broker: Broker, client: Agent, op: str, **arguments: object) -> object:
    """The answer of an operation during which the broker dies and comes back."""
    client.send(op, **arguments)
    time.sleep(random.random() * 0.02)  # anywhere from before the request came to after it was answered
    broker.kill()
    broker.start()
    return client.receive(op)


def read_everything(client: Agent, topic: str, count: int, *, read_committed: bool = False) -> list[str]:
    client.call("consumer", handle="reader", positions=[[topic, 0, -2]], read_committed=read_committed)
    records = client.read("reader", count)
    return [record["value"] for record in records + client.read_for("reader", 1)]


@clients_with("idempotent")
def test_idempotent_producers_lose_and_repeat_nothing(
    client: Agent, doomed_broker: Broker, kafka_topic: str
) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer", idempotent=True)
    for turn in range(8):
        records = [{"value": str(turn * 100 + n), "partition": 0} for n in range(100)]
        produce = {"handle": "writer", "topic": kafka_topic, "records": records}
        if turn % 4 == 2:
            killed_meanwhile(doomed_broker, client, "produce", **produce)
        else:
            client.call("produce", **produce)
    assert read_everything(client, kafka_topic, 800) == [str(n) for n in range(800)]


@clients_with("produce", "consume")
def test_plain_producers_lose_nothing(client: Agent, doomed_broker: Broker, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer")
    sent = []
    for turn in range(4):
        records = [{"value": str(turn * 100 + n), "partition": 0} for n in range(100)]
        produce = {"handle": "writer", "topic": kafka_topic, "records": records}
        if turn % 4 == 2:
            killed_meanwhile(doomed_broker, client, "produce", **produce)
        else:
            client.call("produce", **produce)
        sent += [record["value"] for record in records]
    read = read_everything(client, kafka_topic, len(sent))
    assert list(dict.fromkeys(read)) == sent  # a batch may be there twice


def goes_on_where_it_committed(client: Agent, broker: Broker, topic: str, **member: object) -> None:
    client.create_topic(topic, 2)
    client.call("producer", handle="filler")
    records = [{"value": f"{p}-{n}", "partition": p} for p in range(2) for n in range(500)]
    client.call("produce", handle="filler", topic=topic, records=records)
    group = {"topics": [topic], "group": f"g-{topic}", **member}
    client.call("consumer", handle="a", **group)
    tried, committed = {0: 0, 1: 0}, {0: 0, 1: 0}  # a commit without an answer may have come through
    deadline = time.monotonic() + 90
    commits = 0
    while sum(committed.values()) < 1000:
        assert time.monotonic() < deadline, f"{client.name}: {committed} of 500 each"
        with contextlib.suppress(ClientError):  # no broker, or no member of the group any more
            read = client.call("poll", handle="a", limit=100)["records"]
            if not read:
                told = client.call("committed", handle="a", partitions=[[topic, 0], [topic, 1]])
                committed |= {p: max(offset, 0) for _, p, offset, _ in told}
                # A member that stayed one does not read again what it could not commit.
                behind = [[topic, p, offset, ""] for p, offset in tried.items() if offset > committed[p]]
                if behind:
                    client.call("commit", handle="a", offsets=behind)
                continue
            for partition in {record["partition"] for record in read}:
                first = next(record["offset"] for record in read if record["partition"] == partition)
                assert first <= tried[partition], "records were skipped"
            after = {record["partition"]: record["offset"] + 1 for record in read}
            tried |= after
            commit = {"handle": "a", "offsets": [[topic, p, offset, ""] for p, offset in after.items()]}
            commits += 1
            if commits in (2, 5):
                killed_meanwhile(broker, client, "commit", **commit)
            else:
                client.call("commit", **commit)
            committed |= after
    client.call("close_consumer", handle="a")
    client.restart()  # kafkajs may keep a second member alive that it forgot when it started again
    known = committed_offsets(broker, group["group"], topic)
    if "commits_or_says" in client.features:
        assert known == committed
    client.call("consumer", handle="b", **group)
    rest = [(p, offset) for p in range(2) for offset in range(known[p], 500)]
    if not rest:
        client.settle(["b"], lambda assignments: len(assignments[0]) == 2)
    read = client.read("b", len(rest)) + client.read_for("b", 0.5)
    assert sorted({(record["partition"], record["offset"]) for record in read}) == rest


def committed_offsets(broker: Broker, group_id: object, topic: str) -> dict[int, int]:
    """By partition, as the broker has them; 0 where nothing is committed."""
    with Wire(broker.bootstrap) as wire:
        asked = {"group_id": group_id, "topics": [{"name": topic, "partition_indexes": [0, 1]}]}
        (group,) = wire.ask(9, 8, groups=[asked]).groups
    return {p.partition_index: max(p.committed_offset, 0) for t in group.topics for p in t.partitions}


@clients_with("groups")
def test_a_group_goes_on_where_it_committed(client: Agent, doomed_broker: Broker, kafka_topic: str) -> None:
    goes_on_where_it_committed(client, doomed_broker, kafka_topic)


@clients_with("kip848")
def test_a_kip_848_group_goes_on_where_it_committed(
    client: Agent, doomed_broker: Broker, kafka_topic: str
) -> None:
    goes_on_where_it_committed(client, doomed_broker, kafka_topic, protocol="consumer", assignor="uniform")


@clients_with("transactions")
def test_transactions_are_whole_or_not_at_all(client: Agent, doomed_broker: Broker, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    opening = {"handle": "writer", "transactional_id": f"x-{kafka_topic}"}
    client.call("producer", **opening)
    certain: dict[int, bool] = {}  # turn → is it there; what is not certain is missing
    for turn in range(12):
        records = [{"value": f"{turn}-{n}", "partition": 0} for n in range(5)]
        steps: list[tuple[str, dict[str, object]]] = [
            ("begin", {}),
            ("produce", {"topic": kafka_topic, "records": records}),
            ("commit_transaction" if turn % 3 else "abort_transaction", {}),
        ]
        fatal_step = {2: "produce", 4: "commit_transaction", 6: "abort_transaction"}
        try:
            for op, arguments in steps:
                if fatal_step.get(turn) == op:
                    killed_meanwhile(doomed_broker, client, op, handle="writer", **arguments)
                else:
                    client.call(op, handle="writer", **arguments)
            certain[turn] = turn % 3 != 0
        except ClientError as error:
            print(f"{client.name}, turn {turn}: {error}")
            with contextlib.suppress(ClientError):
                client.call("close_producer", handle="writer")
            client.call("producer", **opening)
    assert len(certain) >= 8
    whole = [f"{turn}-{n}" for turn, is_there in sorted(certain.items()) if is_there for n in range(5)]
    read = read_everything(client, kafka_topic, len(whole), read_committed=True)
    turns = list(dict.fromkeys(int(value.split("-")[0]) for value in read))
    assert read == [f"{turn}-{n}" for turn in turns for n in range(5)]
    assert {turn for turn, is_there in certain.items() if is_there} <= set(turns)
    assert not {turn for turn, is_there in certain.items() if not is_there} & set(turns)
