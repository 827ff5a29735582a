"""A sink's task among the members of its group: partitions that come, go and rest."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from support.workers import running, until, until_state, worker_settings

from connect.herder.states import State, TargetState
from connect.runtime.worker import Worker
from connect.testing.millstream import Broker

PARTITIONS, RECORDS = 4, 40


def make(bootstrap: str, topic: str) -> None:
    """A topic of four partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)


def fill(bootstrap: str, topic: str) -> None:
    """Numbers in all partitions."""
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for number in range(RECORDS):
        producer.produce(topic, str(number), partition=number % PARTITIONS)
    assert producer.flush(30) == 0


def sink(topic: str, file: Path, fault: str) -> dict[str, str]:
    return {
        "connector.class": "fault_connectors:CollectingSink", "topics": topic, "file": str(file),
        "fault": fault, "consumer.override.heartbeat.interval.ms": "200",
    }  # fmt: skip


def numbers(file: Path) -> list[int]:
    return sorted(int(line.split()[-1]) for line in file.read_text().splitlines())


def calls(file: Path) -> Sequence[str]:
    return Path(f"{file}.calls").read_text().splitlines()


def lag(worker: Worker, name: str) -> float:
    """`KeyError` before the task has told."""
    metrics = worker.status(name).tasks[0].metrics or {}
    return metrics["lag"]


def test_a_rebalance_while_put_is_tried_again_loses_nothing(
    broker: Broker, kafka_topic: str, tmp_path: Path
) -> None:
    name, file = f"s-{kafka_topic}", tmp_path / "out"
    make(broker.bootstrap, kafka_topic)
    fill(broker.bootstrap, kafka_topic)
    member = confluent_kafka.Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": f"connect-{name}",
            "enable.auto.commit": False,
            "heartbeat.interval.ms": 200,
        }
    )

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create(name, sink(kafka_topic, file, "put always retries"))
            await until(lambda: len(calls(file)) == 1, "all partitions")
            await until(lambda: lag(worker, name) > 0, "the lag of a task whose put does not work")
            member.subscribe([kafka_topic])

            def joined() -> bool:
                member.poll(0.1)
                return len(member.assignment()) == PARTITIONS // 2

            await until(joined, "a second member of the group")
            await until(lambda: len(calls(file)) == 3, "the other half of the partitions")
            member.close()
            await worker.put_config(name, sink(kafka_topic, file, "none"))
            await until(lambda: numbers(file) == list(range(RECORDS)), "every number once")

    asyncio.run(scenario())
    first, close, half = calls(file)[:3]
    assert first.count("partition=") == close.count("partition=") == PARTITIONS
    assert (close.split()[0], half.split()[0]) == ("close", "open")
    assert half.count("partition=") == PARTITIONS // 2


@pytest.mark.parametrize("assignor", ["RangeAssignor", "CooperativeStickyAssignor"])
def test_partitions_that_a_task_pauses_wait_for_it(
    broker: Broker, kafka_topic: str, tmp_path: Path, assignor: str
) -> None:
    name, file = f"s-{kafka_topic}", tmp_path / "out"
    go = tmp_path / "out.go"
    make(broker.bootstrap, kafka_topic)
    fill(broker.bootstrap, kafka_topic)
    strategy = f"org.apache.kafka.clients.consumer.{assignor}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            config = sink(kafka_topic, file, "pauses")
            config["consumer.override.partition.assignment.strategy"] = strategy
            await worker.create(name, config)
            await until(lambda: numbers(file) == list(range(0, RECORDS, PARTITIONS)), "partition 0 alone")
            await asyncio.to_thread(go.touch)
            await until(lambda: numbers(file) == list(range(RECORDS)), "the others")

    asyncio.run(scenario())


@pytest.mark.parametrize("assignor", ["RangeAssignor", "CooperativeStickyAssignor"])
def test_a_sink_that_starts_paused_takes_nothing_until_it_is_resumed(
    broker: Broker, kafka_topic: str, tmp_path: Path, assignor: str
) -> None:
    name, file = f"s-{kafka_topic}", tmp_path / "out"
    make(broker.bootstrap, kafka_topic)
    strategy = f"org.apache.kafka.clients.consumer.{assignor}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            config = sink(kafka_topic, file, "none")
            config["consumer.override.partition.assignment.strategy"] = strategy
            await worker.create(name, config)
            await until(lambda: calls(file)[-1].startswith("open"), "all partitions")
            await worker.set_target_state(name, TargetState.PAUSED)
            await until_state(worker, name, State.PAUSED)
            await worker.restart_task(name, 0)
            await until(lambda: len(calls(file)) == 4 and calls(file)[-1].startswith("open"), "a new task")
            await asyncio.to_thread(fill, broker.bootstrap, kafka_topic)
            assert not await asyncio.to_thread(file.exists)
            await worker.set_target_state(name, TargetState.STARTED)
            await until(lambda: numbers(file) == list(range(RECORDS)), "everything")

    asyncio.run(scenario())
