"""Consumer groups, by every client: both protocols, rebalances, commits, static members."""

import contextlib
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.client_agent import Agent, ClientError, Partitions, Record
from support.kafka_clients import clients_with

FENCED = {82, -150}  # FENCED_INSTANCE_ID; librdkafka says only that it is fatal


def spread(*sizes: int) -> Callable[[list[Partitions]], bool]:
    """Whether the assignments have these sizes and are each partition once."""

    def is_so(assignments: list[Partitions]) -> bool:
        partitions = [tuple(partition) for assignment in assignments for partition in assignment]
        return sorted(map(len, assignments)) == list(sizes) and len(set(partitions)) == sum(sizes)

    return is_so


def fill(client: Agent, topic: str, partitions: int, each: int) -> list[str]:
    """Make the topic, write `each` records into every partition; all values."""
    client.create_topic(topic, partitions)
    client.call("producer", handle="filler", idempotent=True)
    values = [[f"{p}-{n}" for n in range(each)] for p in range(partitions)]
    records = [{"value": value, "partition": p} for p, mine in enumerate(values) for value in mine]
    client.call("produce", handle="filler", topic=topic, records=records)
    return sorted(itertools.chain(*values))


def next_offsets(records: list[Record]) -> list[list[Any]]:
    """What to commit after these records."""
    after: dict[tuple[str, int], int] = {}
    for record in records:
        after[record["topic"], record["partition"]] = record["offset"] + 1
    return [[topic, partition, offset, f"up to {offset}"] for (topic, partition), offset in after.items()]


def rebalances(client: Agent, topic: str, **member: object) -> None:
    group: dict[str, Any] = {"topics": [topic], "group": f"g-{topic}", **member}
    client.call("consumer", handle="a", **group)
    client.settle(["a"], spread(4))
    client.call("consumer", handle="b", **group)
    client.settle(["a", "b"], spread(2, 2))
    client.call("consumer", handle="c", **group)
    client.settle(["a", "b", "c"], spread(1, 1, 2))
    client.call("close_consumer", handle="b")
    client.settle(["a", "c"], spread(2, 2))
    client.call("close_consumer", handle="a")
    client.settle(["c"], spread(4))


def resumes(client: Agent, topic: str, **member: object) -> None:
    """Two members one after the other read everything once, the second from what the first committed."""
    everything = fill(client, topic, 4, 25)
    group: dict[str, Any] = {"topics": [topic], "group": f"g-{topic}", **member}
    client.call("consumer", handle="first", **group)
    first = client.read("first", 40)
    client.call("commit", handle="first", offsets=next_offsets(first))
    client.call("close_consumer", handle="first")
    client.call("consumer", handle="second", **group)
    second = client.read("second", 100 - len(first)) if len(first) < 100 else []
    assert sorted(record["value"] for record in first + second) == everything
    client.call("close_consumer", handle="second")
    if first:
        offsets = client.call("group_offsets", group=f"g-{topic}")
        assert sorted(offsets) == sorted(next_offsets(first))


@clients_with("groups")
def test_members_come_and_go(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 4)
    rebalances(client, kafka_topic)


@clients_with("groups", "roundrobin")
def test_members_come_and_go_with_round_robin(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 4)
    rebalances(client, kafka_topic, assignor="roundrobin")


@clients_with("kip848")
@pytest.mark.parametrize("assignor", ["uniform", "range"])
def test_members_come_and_go_under_kip_848(client: Agent, kafka_topic: str, assignor: str) -> None:
    client.create_topic(kafka_topic, 4)
    rebalances(client, kafka_topic, protocol="consumer", assignor=assignor)


@clients_with("groups", "group_offsets")
def test_a_second_member_goes_on_where_the_first_committed(client: Agent, kafka_topic: str) -> None:
    resumes(client, kafka_topic)


@clients_with("kip848", "group_offsets")
def test_a_second_member_goes_on_under_kip_848(client: Agent, kafka_topic: str) -> None:
    resumes(client, kafka_topic, protocol="consumer", assignor="uniform")


@clients_with("kip848", "describe_group")
def test_a_kip_848_group_is_described_and_listed(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 4)
    group: dict[str, Any] = {"topics": [kafka_topic], "group": f"g-{kafka_topic}", "protocol": "consumer"}
    for handle in "ab":
        client.call("consumer", handle=handle, assignor="range", **group)
    client.settle(["a", "b"], spread(2, 2))
    described = client.call("describe_group", group=f"g-{kafka_topic}")
    assert (described["state"].upper(), described["assignor"]) == ("STABLE", "range")
    assert described["members"] == [
        [[kafka_topic, 0], [kafka_topic, 1]],
        [[kafka_topic, 2], [kafka_topic, 3]],
    ]
    listed = client.call("list_groups")[f"g-{kafka_topic}"]
    assert {name: value.upper() for name, value in listed.items()} == {"state": "STABLE", "type": "CONSUMER"}


@clients_with("kip848", "regex")
def test_a_pattern_follows_topics_that_come_later(client: Agent, kafka_topic: str) -> None:
    client.create_topic(f"{kafka_topic}-a", 2)
    member: dict[str, Any] = {"topics": [f"^{kafka_topic}-.*"], "group": f"g-{kafka_topic}"}
    client.call("consumer", handle="a", protocol="consumer", assignor="uniform", **member)
    client.settle(["a"], spread(2))
    client.create_topic(f"{kafka_topic}-b", 3)
    client.settle(["a"], spread(5))


@clients_with("kip848")
def test_a_group_moves_from_classic_to_kip_848_and_back(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 4)
    group: dict[str, Any] = {"topics": [kafka_topic], "group": f"g-{kafka_topic}"}
    client.call("consumer", handle="old", **group)
    client.settle(["old"], spread(4))
    client.call("consumer", handle="new", protocol="consumer", assignor="range", **group)
    client.settle(["old", "new"], spread(2, 2))
    client.call("close_consumer", handle="old")
    client.settle(["new"], spread(4))
    client.call("consumer", handle="old again", **group)
    client.settle(["new", "old again"], spread(2, 2))
    client.call("close_consumer", handle="new")
    client.settle(["old again"], spread(4))


def nothing_is_missed(client: Agent, topic: str, **member: object) -> None:
    """Records are written all the time, while members join, leave, and commit what they have read."""
    client.create_topic(topic, 4)
    client.call("producer", handle="filler")
    group: dict[str, Any] = {"topics": [topic], "group": f"g-{topic}", **member}
    members: list[str] = []
    changes = {0: "a", 4: "b", 8: "c", 12: "a", 16: "b"}  # turn → who comes, or goes
    written: set[str] = set()
    read: dict[int, list[int]] = {partition: [] for partition in range(4)}

    def read_and_commit() -> None:
        for handle, polled in zip(members, client.poll(*members), strict=True):
            for record in polled["records"]:
                read[record["partition"]].append(int(record["value"]))
            if polled["records"]:
                with contextlib.suppress(ClientError):  # it lost them meanwhile: they will be read again
                    client.call("commit", handle=handle, offsets=next_offsets(polled["records"]))

    for turn in range(20):
        change = changes.get(turn)
        if change in members:
            members.remove(change)
            client.call("close_consumer", handle=change)
        elif change is not None:
            client.call("consumer", handle=change, **group)
            members.append(change)
        records = [{"value": str(turn * 5 + n), "partition": p} for p in range(4) for n in range(5)]
        client.call("produce", handle="filler", topic=topic, records=records)
        written |= {str(record["value"]) for record in records}
        read_and_commit()
    deadline = time.monotonic() + 60
    while any(set(map(str, values)) != written for values in read.values()):
        read_and_commit()
        assert time.monotonic() < deadline, {p: len(set(values)) for p, values in read.items()}
    for values in read.values():
        assert list(dict.fromkeys(values)) == sorted(set(values)), "out of order"


@clients_with("groups")
def test_nothing_is_missed_while_members_come_and_go(client: Agent, kafka_topic: str) -> None:
    nothing_is_missed(client, kafka_topic)


@clients_with("cooperative")
def test_nothing_is_missed_while_a_cooperative_group_changes(client: Agent, kafka_topic: str) -> None:
    nothing_is_missed(client, kafka_topic, assignor="cooperative-sticky")


@clients_with("kip848")
def test_nothing_is_missed_while_a_kip_848_group_changes(client: Agent, kafka_topic: str) -> None:
    nothing_is_missed(client, kafka_topic, protocol="consumer", assignor="uniform")


@clients_with("groups", "follows_partitions")
def test_partitions_that_come_later_are_read(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 2)
    client.call("consumer", handle="a", topics=[kafka_topic], group=f"g-{kafka_topic}")
    client.settle(["a"], spread(2))
    client.call("create_partitions", topic=kafka_topic, total=4)
    client.settle(["a"], spread(4))
    client.call("producer", handle="writer")
    record = {"value": "new", "partition": 3}
    client.call("produce", handle="writer", topic=kafka_topic, records=[record])
    assert client.read("a", 1)[0]["partition"] == 3


@clients_with("groups", "delete_topic")
def test_offsets_go_with_their_topic(client: Agent, kafka_topic: str) -> None:
    group: dict[str, Any] = {"topics": [kafka_topic], "group": f"g-{kafka_topic}"}
    old = fill(client, kafka_topic, 1, 5)
    client.call("consumer", handle="a", **group)
    assert sorted(record["value"] for record in client.read("a", 5)) == old
    client.call("commit", handle="a", offsets=[[kafka_topic, 0, 5]])
    client.call("close_consumer", handle="a")
    client.call("close_producer", handle="filler")
    client.call("delete_topic", topic=kafka_topic)
    deadline = time.monotonic() + 60
    while kafka_topic in client.call("list_topics"):
        assert time.monotonic() < deadline
    new = fill(client, kafka_topic, 1, 3)
    client.call("consumer", handle="b", **group)
    assert sorted(record["value"] for record in client.read("b", 3)) == new


@clients_with("kip848_static")
def test_a_static_member_of_a_kip_848_group_comes_back(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 4)
    group: dict[str, Any] = {"topics": [kafka_topic], "group": f"g-{kafka_topic}", "protocol": "consumer"}
    group["assignor"] = "uniform"
    client.call("consumer", handle="a", instance_id="i1", **group)
    client.call("consumer", handle="b", instance_id="i2", **group)
    before = client.settle(["a", "b"], spread(2, 2))
    client.revoked.clear()
    client.call("close_consumer", handle="a")
    client.call("consumer", handle="a", instance_id="i1", **group)
    assert client.settle(["a", "b"], spread(2, 2)) == before
    assert client.revoked["b"] == []


@clients_with("static")
def test_a_static_member_that_comes_back_moves_nothing(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 4)
    group: dict[str, Any] = {
        "topics": [kafka_topic],
        "group": f"g-{kafka_topic}",
        "session_timeout_ms": 30_000,
    }
    client.call("consumer", handle="a", instance_id="i1", **group)
    client.call("consumer", handle="b", instance_id="i2", **group)
    before = client.settle(["a", "b"], spread(2, 2))
    client.revoked.clear()
    client.call("close_consumer", handle="a")
    client.call("consumer", handle="a", instance_id="i1", **group)
    assert client.settle(["a", "b"], spread(2, 2)) == before
    assert client.revoked["b"] == []


@clients_with("static", "fenced_instance")
def test_an_instance_id_that_is_taken_fences_the_first(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 2)
    group: dict[str, Any] = {"topics": [kafka_topic], "group": f"g-{kafka_topic}", "instance_id": "i1"}
    client.call("consumer", handle="a", **group)
    client.settle(["a"], spread(2))
    client.call("consumer", handle="b", **group)
    client.settle(["b"], spread(2))
    with pytest.raises(ClientError) as caught:
        client.read_for("a", 30)
    assert caught.value.code in FENCED, caught.value


@clients_with("cooperative")
def test_a_cooperative_rebalance_takes_only_what_moves(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 4)
    group: dict[str, Any] = {
        "topics": [kafka_topic],
        "group": f"g-{kafka_topic}",
        "assignor": "cooperative-sticky",
    }
    client.call("consumer", handle="a", **group)
    client.settle(["a"], spread(4))
    client.call("consumer", handle="b", **group)
    _, moved = client.settle(["a", "b"], spread(2, 2))
    assert sorted(client.revoked["a"]) == moved


@clients_with("groups", "max_poll_interval")
def test_a_member_that_stops_polling_loses_its_partitions(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 2)
    group: dict[str, Any] = {
        "topics": [kafka_topic],
        "group": f"g-{kafka_topic}",
        "session_timeout_ms": 6_000,
    }
    client.call("consumer", handle="slow", max_poll_interval_ms=6_000, **group)
    client.settle(["slow"], spread(2))
    client.call("consumer", handle="quick", **group)
    client.settle(["quick"], spread(2))  # `slow` is not polled any more
    with pytest.raises(ClientError):
        client.call("commit", handle="slow", offsets=[[kafka_topic, 0, 0]])


@clients_with("groups")
def test_offsets_may_be_committed_by_nobody_in_particular(client: Agent, kafka_topic: str) -> None:
    """A consumer that assigns itself partitions commits without being a member."""
    client.create_topic(kafka_topic, 1)
    client.call("consumer", handle="a", group=f"g-{kafka_topic}", positions=[[kafka_topic, 0, -2]])
    client.call("commit", handle="a", offsets=[[kafka_topic, 0, 5, "five"]])
    committed = client.call("committed", handle="a", partitions=[[kafka_topic, 0]])
    assert [row[:3] for row in committed] == [[kafka_topic, 0, 5]]
