"""Exactly-once sources in a worker: transactions, own offset topics, fencing, offsets that users change."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import Message
from support.committed_reader import CommittedReader
from support.workers import running, until_state, worker_settings

from connect.api import ConnectError
from connect.herder.states import State, TargetState
from connect.runtime.config import WorkerConfig
from connect.runtime.leader_producer import LeaderProducer
from connect.runtime.service import BadRequest
from connect.runtime.transactional_producer import ProducerFenced, TransactionalProducer
from connect.runtime.worker import Worker
from connect.testing.millstream import Broker

SOURCE = "fault_connectors:CountingSource"


def source(topic: str, **more: str) -> dict[str, str]:
    named = {name.replace("_", "."): value for name, value in more.items()}
    return {"connector.class": SOURCE, "topic": topic, "limit": "100", "tasks.max": "3", **named}


def exactly_once(broker: Broker, **more: str) -> dict[str, str]:
    return worker_settings(broker.bootstrap, exactly_once_source_support="enabled", **more)


async def until_offset(worker: Worker, name: str, following: int, task: int = 0) -> None:
    async with asyncio.timeout(60):
        while True:
            if ({"counter": task}, {"next": following}) in await worker.offsets(name):
                return
            await asyncio.sleep(0.02)


def committed(broker: Broker, topic: str) -> list[int]:
    return [int(message.value() or b"") for message in read_committed(broker, topic, 1)]


def read_committed(broker: Broker, topic: str, partitions: int) -> list[Message]:
    reader = CommittedReader(broker.bootstrap, topic, partitions)
    try:
        return reader.read_all()
    finally:
        reader.close()


async def offsets_in(broker: Broker, topic: str) -> list[Any]:
    """The values in an offsets topic; all of its records are about one source partition."""
    messages = await asyncio.to_thread(read_committed, broker, topic, 3)
    return [message.value() and json.loads(message.value() or b"") for message in messages]


def test_records_and_offsets_are_in_one_transaction(broker: Broker, kafka_topic: str) -> None:
    settings = exactly_once(broker)

    async def run() -> None:
        async with running(settings) as worker:
            await worker.create("numbers", source(kafka_topic))
            await until_offset(worker, "numbers", 100)
            await worker.put_config("numbers", source(kafka_topic, limit="150"))
            await until_offset(worker, "numbers", 150)
            await worker.set_target_state("numbers", TargetState.PAUSED)
            await until_state(worker, "numbers", State.PAUSED)
            await worker.set_target_state("numbers", TargetState.STOPPED)
            await worker.alter_offsets("numbers", [({"counter": 0}, {"next": 140})])
            await worker.set_target_state("numbers", TargetState.STARTED)
            await until_offset(worker, "numbers", 150)
            await worker.set_target_state("numbers", TargetState.STOPPED)
            await worker.reset_offsets("numbers")
            assert await worker.offsets("numbers") == []

    asyncio.run(run())
    assert committed(broker, kafka_topic) == [*range(150), *range(140, 150)]
    configs = read_committed(broker, settings["config.storage.topic"], 1)
    fencings = [message.value() for message in configs if message.key() == b"tasks-fencing-numbers"]
    # Once for the first config, once for the changed one, once after STOPPED.
    assert fencings == [b'{"task-count":1}'] * 3


def zombie(broker: Broker, group: str, task: int, topic: str) -> TransactionalProducer:
    """A producer of a task that somebody else runs, in the middle of a transaction."""
    producer = TransactionalProducer(
        {"bootstrap.servers": broker.bootstrap, "transactional.id": f"{group}-numbers-{task}"}
    )
    producer.initialize(lambda: False)
    producer.begin()
    producer.produce(topic, b"-1", None, 0)
    return producer


def test_zombies_of_a_former_set_of_tasks_are_fenced(broker: Broker, kafka_topic: str) -> None:
    settings = exactly_once(broker)
    group = settings["group.id"]

    async def run() -> None:
        async with running(settings) as worker:
            await worker.create("numbers", source(kafka_topic, tasks="3"))
            for task in range(3):
                await until_offset(worker, "numbers", 100, task)
            await worker.set_target_state("numbers", TargetState.STOPPED)
            zombies = [zombie(broker, group, task, kafka_topic) for task in (0, 2)]
            await worker.set_target_state("numbers", TargetState.STARTED)
            await worker.put_config("numbers", source(kafka_topic, tasks="2", limit="110"))
            for task in range(2):
                await until_offset(worker, "numbers", 110, task)
            for each in zombies:
                with pytest.raises(ProducerFenced, match="another one took its place"):
                    each.commit(lambda: False)

    asyncio.run(run())
    assert sorted(committed(broker, kafka_topic)) == sorted([*range(110)] * 2 + [*range(100)])


def test_a_task_that_is_fenced_fails_and_goes_on_where_it_was(broker: Broker, kafka_topic: str) -> None:
    settings = exactly_once(broker)

    async def run() -> None:
        async with running(settings) as worker:
            await worker.create("numbers", source(kafka_topic))
            await until_offset(worker, "numbers", 100)
            intruder = zombie(broker, settings["group.id"], 0, kafka_topic)
            await worker.put_config("numbers", source(kafka_topic, limit="200"))
            await until_offset(worker, "numbers", 200)
            with pytest.raises(ProducerFenced):
                intruder.commit(lambda: False)

    asyncio.run(run())
    assert committed(broker, kafka_topic) == list(range(200))


def test_a_connectors_own_offsets_topic(broker: Broker, kafka_topic: str) -> None:
    settings = exactly_once(broker)
    own, workers = f"{kafka_topic}-offsets", settings["offset.storage.topic"]

    async def run() -> None:
        async with running(settings) as worker:
            await worker.create("numbers", source(kafka_topic))
            await until_offset(worker, "numbers", 100)
            # The new topic is empty: what the worker's topic says counts.
            config = source(kafka_topic, limit="120", offsets_storage_topic=own)
            await worker.put_config("numbers", config)
            await until_offset(worker, "numbers", 120)
            await worker.set_target_state("numbers", TargetState.STOPPED)
            async with asyncio.timeout(60):
                while True:
                    if (await offsets_in(broker, workers))[-1] == {"next": 120}:
                        break
                    await asyncio.sleep(0.1)
            await worker.alter_offsets("numbers", [({"counter": 0}, {"next": 130})])
            for topic in (own, workers):
                assert (await offsets_in(broker, topic))[-1] == {"next": 130}
            await worker.reset_offsets("numbers")
            for topic in (own, workers):
                assert (await offsets_in(broker, topic))[-1] is None
            assert await worker.offsets("numbers") == []

    asyncio.run(run())
    assert committed(broker, kafka_topic) == list(range(120))


@pytest.mark.parametrize("support", ["disabled", "preparing"])
def test_own_offsets_topics_need_no_exactly_once(broker: Broker, kafka_topic: str, support: str) -> None:
    settings = worker_settings(broker.bootstrap, exactly_once_source_support=support)
    own = f"{kafka_topic}-offsets"

    async def run() -> None:
        async with running(settings) as worker:
            await worker.create("numbers", source(kafka_topic, offsets_storage_topic=own))
            await until_offset(worker, "numbers", 100)
            await worker.restart("numbers", include_tasks=True, only_failed=False)
            await until_state(worker, "numbers", State.RUNNING)
            await worker.set_target_state("numbers", TargetState.STOPPED)
            await worker.alter_offsets("numbers", [({"counter": 0}, {"next": 90})])
            await worker.set_target_state("numbers", TargetState.STARTED)
            await until_offset(worker, "numbers", 100)

    asyncio.run(run())
    assert committed(broker, kafka_topic) == [*range(100), *range(90, 100)]
    assert {"next": 100} in asyncio.run(offsets_in(broker, settings["offset.storage.topic"]))


def test_a_connector_that_ends_its_transactions_itself(broker: Broker, kafka_topic: str) -> None:
    async def run() -> None:
        async with running(exactly_once(broker)) as worker:
            config = source(kafka_topic, transaction_boundary="connector", fault="aborts odd batches")
            await worker.create("numbers", config)
            await until_offset(worker, "numbers", 100)

    asyncio.run(run())
    # Batches of 10: those that begin with 10, 30, … were aborted, and never seen.
    assert committed(broker, kafka_topic) == [n for n in range(100) if n // 10 % 2 == 0]


def test_transactions_by_time(broker: Broker, kafka_topic: str) -> None:
    async def run() -> None:
        async with running(exactly_once(broker)) as worker:
            config = source(
                kafka_topic, transaction_boundary="interval", transaction_boundary_interval_ms="200"
            )
            await worker.create("numbers", config)
            await until_offset(worker, "numbers", 100)

    asyncio.run(run())
    assert committed(broker, kafka_topic) == list(range(100))


@pytest.mark.parametrize(
    ("support", "more", "message"),
    [
        ("disabled", {"exactly_once_support": "required"},
         "This worker does not have exactly-once source support enabled."),
        ("enabled", {"exactly_once_support": "required"},
         "The connector does not support exactly-once semantics with the provided configuration."),
        ("enabled", {"exactly_once_support": "required", "fault": "does not say"},
         "The connector does not implement the API required for preflight validation of exactly-once source"),
        ("enabled", {"transaction_boundary": "connector"},
         "The connector does not support connector-defined transaction boundaries with the given"),
        ("enabled", {"exactly_once_support": "required", "fault": "exactly once?"},
         "An unexpected error occurred during validation: I do not know"),
    ],
)  # fmt: skip
def test_what_a_connector_must_be_able_to_do(
    broker: Broker, kafka_topic: str, support: str, more: Mapping[str, str], message: str
) -> None:
    settings = worker_settings(broker.bootstrap, exactly_once_source_support=support)

    async def run() -> None:
        async with running(settings) as worker:
            with pytest.raises(BadRequest, match=message):
                await worker.create("numbers", source(kafka_topic, **more))

    asyncio.run(run())


def test_client_settings_that_cannot_be_overridden(broker: Broker, kafka_topic: str) -> None:
    async def run() -> None:
        async with running(exactly_once(broker)) as worker:
            config = {**source(kafka_topic), "producer.override.transactional.id": "mine",
                      "producer.override.delivery.timeout.ms": "2147483647"}  # fmt: skip
            info = await worker.create("numbers", config)
            assert any(
                "'mine' for the 'transactional.id' property will be ignored" in w for w in info.warnings
            )
            await until_offset(worker, "numbers", 100)

    asyncio.run(run())


def test_only_one_leader_writes(broker: Broker, kafka_topic: str) -> None:
    """A worker that still takes itself for the leader is fenced by the next one."""

    async def run() -> None:
        client = {"bootstrap_servers": [broker.bootstrap]}
        worker = WorkerConfig.parse({"group.id": kafka_topic, "config.storage.topic": kafka_topic})
        former, present = (LeaderProducer(client, worker, lambda: True) for _ in range(2))
        told: list[str] = []
        former.on_fenced = lambda: told.append("fenced")
        try:
            await former.claim()
            assert await former.write([("1", 1), ("2", 2)]) == 2
            await present.claim()
            with pytest.raises(ConnectError, match="as the leader"):
                await former.write([("3", 3)])
            assert told == ["fenced"]
            await present.write([("4", 4)])
            with pytest.raises(ConnectError, match="does not lead its group any more"):
                await former.write([("5", 5)])
        finally:
            await former.stop()
            await present.stop()

    asyncio.run(run())
    assert committed(broker, kafka_topic) == [1, 2, 4]
