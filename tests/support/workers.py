"""A worker inside a test's own event loop, with internal topics of its own."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import confluent_kafka

from connect.herder.states import State
from connect.runtime.service import NotFound
from connect.runtime.worker import Worker

SUPPORT = Path(__file__).parent
_DEADLINE_S = 60


def worker_settings(bootstrap: str, **more: str) -> dict[str, str]:
    """Settings for a worker that shares nothing with others on the same broker."""
    own = f"w-{uuid.uuid4().hex[:10]}"
    return {
        "bootstrap.servers": bootstrap,
        "group.id": own,
        "config.storage.topic": f"{own}-configs",
        "offset.storage.topic": f"{own}-offsets",
        "offset.storage.partitions": "3",
        "status.storage.topic": f"{own}-status",
        "offset.flush.interval.ms": "200",
        "key.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "plugin.path": str(SUPPORT),
        "millstream.task.restart.backoff.ms": "200",
        **{name.replace("_", "."): value for name, value in more.items()},
    }


@asynccontextmanager
async def running(settings: dict[str, str]) -> AsyncIterator[Worker]:
    """A started worker, stopped at the end."""
    worker = Worker(settings)
    try:
        await worker.start()
        yield worker
    finally:
        await worker.stop()


async def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Wait until it holds; a missing connector or task, or a missing file, counts as not yet."""
    deadline = asyncio.get_running_loop().time() + _DEADLINE_S
    while not _holds(condition):
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come in {_DEADLINE_S} s"
        await asyncio.sleep(0.02)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (NotFound, KeyError, FileNotFoundError):
        return False


async def until_state(worker: Worker, name: str, state: State, task: int = 0) -> None:
    await until(lambda: worker.status(name).tasks[task].state is state, f"{state} of {name}")


def trace_of(worker: Worker, name: str, task: int = 0) -> str:
    return worker.status(name).tasks[task].trace or ""


def produce(
    bootstrap: str, topic: str, values: list[bytes | None], headers: list[tuple[str, bytes]] | None = None
) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    for value in values:
        producer.produce(topic, value, headers=headers)
    assert producer.flush(_DEADLINE_S) == 0


def read_topic(bootstrap: str, topic: str) -> list[confluent_kafka.Message]:
    """Everything in a topic now, each partition in its order."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"read-{uuid.uuid4().hex}", "enable.auto.commit": False}
    )
    try:
        found = []
        for number in consumer.list_topics(topic, timeout=_DEADLINE_S).topics[topic].partitions:
            partition = confluent_kafka.TopicPartition(topic, number, 0)
            _, end = consumer.get_watermark_offsets(partition, timeout=_DEADLINE_S)
            consumer.assign([partition])
            while end and (not found or _place(found[-1]) != (number, end - 1)):
                message = consumer.poll(_DEADLINE_S)
                assert message is not None
                assert message.error() is None
                found.append(message)
        return found
    finally:
        consumer.close()


def _place(message: confluent_kafka.Message) -> tuple[int | None, int | None]:
    return message.partition(), message.offset()
