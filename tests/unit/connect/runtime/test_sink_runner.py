"""What the sink runner does in rebalances and when the task refuses: nothing is lost or committed early."""

import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import confluent_kafka
import pytest

from connect.api import ConnectError, RetriableError, SinkRecord, SinkTask, TopicPartition
from connect.converters.bytes import ByteArrayConverter
from connect.runtime.connector_config import SinkConnectorConfig
from connect.runtime.errant import Originals
from connect.runtime.errors import ErrorHandler
from connect.runtime.sink_runner import SinkContext, SinkRunner, SinkSettings
from connect.runtime.task_channel import TaskChannel

QUIET = [None] * 50  # polls that bring nothing, while put waits
P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class Message:
    """A consumed record."""

    def __init__(self, partition: int, offset: int) -> None:
        self._place = partition, offset

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return str(self._place[1]).encode()

    def timestamp(self) -> tuple[int, int]:
        return 1, 5

    def headers(self) -> None:
        return None


Step = Callable[["FakeConsumer"], Any]


class FakeConsumer:
    """`polls` and `batches` are the scripts of `poll` and `consume`: messages, or what happens inside."""

    def __init__(
        self, polls: Sequence[Message | Step | None], batches: Sequence[Sequence[Message] | Step]
    ) -> None:
        self._polls, self._batches = list(polls), list(batches)
        self.committed: list[dict[TopicPartition, int]] = []
        self.on_empty: Callable[[], None] = lambda: None
        self.calls: list[Any] = []

    def subscribe(self, topics: list[str], *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self._on_assign, self._on_revoke, self._on_lost = on_assign, on_revoke, on_lost

    def assign_(self, *partitions: TopicPartition) -> None:
        self._on_assign(self, [confluent_kafka.TopicPartition(*p) for p in partitions])

    def revoke_(self, *partitions: TopicPartition) -> None:
        self._on_revoke(self, [confluent_kafka.TopicPartition(*p) for p in partitions])

    def lose_(self, *partitions: TopicPartition) -> None:
        self._on_lost(self, [confluent_kafka.TopicPartition(*p) for p in partitions])

    def get_watermark_offsets(
        self, partition: confluent_kafka.TopicPartition, *, cached: bool
    ) -> tuple[int, int]:
        assert cached
        return -1001, -1001  # nothing fetched yet

    def poll(self, timeout: float) -> Any:
        if not self._polls:
            self.on_empty()
            return None
        step = self._polls.pop(0)
        result = step(self) if callable(step) else step
        if result is None:
            time.sleep(timeout)  # as the real one waits
        return result

    def consume(self, count: int, timeout: float) -> Any:
        step = self._batches.pop(0) if self._batches else []
        return step(self) if callable(step) else list(step)

    def commit(self, *, offsets: Sequence[confluent_kafka.TopicPartition], asynchronous: bool) -> None:
        assert not asynchronous
        self.committed.append({TopicPartition(p.topic, p.partition): p.offset for p in offsets})

    def seek(self, partition: confluent_kafka.TopicPartition) -> None:
        self.calls.append(("seek", partition.partition, partition.offset))

    def pause(self, partitions: Sequence[confluent_kafka.TopicPartition]) -> None:
        self.calls.append(("pause", sorted(p.partition for p in partitions)))

    def resume(self, partitions: Sequence[confluent_kafka.TopicPartition]) -> None:
        self.calls.append(("resume", sorted(p.partition for p in partitions)))

    def close(self) -> None:
        """Leaving the group takes the partitions away, as librdkafka tells it."""
        self.revoke_(P0, P1)


class RecordingTask(SinkTask[Any]):
    """Notes what it is given; `refusals` are raised by the next calls of `put`, None lets one pass."""

    def __init__(self, refusals: Iterable[Exception | None] = (), pre_commit: Any = None) -> None:
        self._refusals = list(refusals)
        self._pre_commit = pre_commit or (lambda offsets: offsets)
        self.steps: list[Any] = []

    def start(self, context: Any, config: Any) -> None:
        raise NotImplementedError

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        self.steps.append(("open", sorted(p.partition for p in partitions)))

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        self.steps.append(("close", sorted(p.partition for p in partitions)))

    def put(self, records: Sequence[SinkRecord]) -> None:
        if self._refusals and (refusal := self._refusals.pop(0)) is not None:
            raise refusal
        self.steps.append([(record.partition, record.offset) for record in records])

    def pre_commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        result: Mapping[TopicPartition, int] = self._pre_commit(offsets)
        return result

    def stop(self) -> None:
        self.steps.append("stop")


def run(task: RecordingTask, consumer: FakeConsumer, flush_interval_s: float = 3600) -> SinkContext:
    """Run the task until the consumer's script is over."""
    sockets = socket.socketpair()
    channel, context = TaskChannel(sockets[0]), SinkContext("n", 0)
    consumer.on_empty = channel.stop
    config = SinkConnectorConfig.parse({"name": "n", "connector.class": "c", "topics": "t"})
    converter: Any = ByteArrayConverter()
    runner = SinkRunner(
        task, context, channel, consumer, SinkSettings(["t"], None, 500, flush_interval_s),  # type: ignore[arg-type]
        key_converter=converter, value_converter=converter, header_converter=converter, transforms=None,
        errors=ErrorHandler(config, channel.wait, time.monotonic), before_commit=lambda: None,
        originals=Originals(lambda partition, offset: None),
    )  # fmt: skip
    try:
        runner.run(lambda: None)
    finally:
        for end in sockets:
            end.close()
    return context


def assigned(consumer: FakeConsumer) -> None:
    consumer.assign_(P0, P1)


def then(first: Step, result: Any) -> Step:
    """Something happens inside of a call, which then returns `result`."""

    def step(consumer: FakeConsumer) -> Any:
        first(consumer)
        return result

    return step


def test_records_offsets_and_the_end() -> None:
    consumer = FakeConsumer([assigned, Message(0, 5)], [[Message(1, 0), Message(0, 6), Message(1, 1)]])
    task = RecordingTask()
    run(task, consumer)
    assert task.steps == [
        ("open", [0, 1]), [(0, 5), (1, 0), (0, 6), (1, 1)], ("close", [0, 1]), "stop",
    ]  # fmt: skip
    assert consumer.committed == [{P0: 7, P1: 2}]


def test_messages_after_a_rebalance_inside_of_poll_are_taken() -> None:
    """The partition goes and comes back before the call returns: the message is of the new assignment."""

    def rebalance(consumer: FakeConsumer) -> None:
        consumer.revoke_(P0, P1)
        consumer.assign_(P0)

    consumer = FakeConsumer([assigned, then(rebalance, Message(0, 0))], [[Message(0, 1)]])
    task = RecordingTask()
    run(task, consumer)
    assert [(0, 0), (0, 1)] in task.steps
    assert consumer.committed == [{P0: 2}]


def test_messages_after_a_rebalance_inside_of_consume_are_taken_and_the_one_before_is_not() -> None:
    def rebalance(consumer: FakeConsumer) -> None:
        consumer.revoke_(P0, P1)
        consumer.assign_(P0)

    consumer = FakeConsumer([assigned, Message(0, 0)], [then(rebalance, [Message(0, 0), Message(0, 1)])])
    task = RecordingTask()
    run(task, consumer)
    assert [(0, 0), (0, 1)] in task.steps
    assert consumer.committed == [{P0: 2}]


def test_a_partition_that_is_revoked_is_committed_before_it_is_closed() -> None:
    consumer = FakeConsumer([assigned, Message(0, 0), lambda c: c.revoke_(P0)], [])
    order: list[Any] = []
    task = RecordingTask(pre_commit=lambda offsets: order.append(dict(offsets)) or offsets)
    run(task, consumer)
    assert order == [{P0: 1}]
    assert task.steps == [("open", [0, 1]), [(0, 0)], ("close", [0]), ("close", [1]), "stop"]


def test_a_partition_that_is_lost_is_closed_without_a_commit() -> None:
    consumer = FakeConsumer([assigned, Message(0, 0), lambda c: c.lose_(P0, P1)], [])
    task = RecordingTask()
    run(task, consumer)
    assert consumer.committed == []
    assert task.steps == [("open", [0, 1]), [(0, 0)], ("close", [0, 1]), "stop"]


def test_put_is_tried_again_with_the_partitions_paused() -> None:
    consumer = FakeConsumer([assigned, Message(0, 0), *QUIET], [])
    task = RecordingTask([RetriableError("later")])
    context = run(task, consumer)
    assert task.steps[1] == [(0, 0)]
    assert consumer.calls[0] == ("pause", [0, 1])
    assert ("resume", [0, 1]) in consumer.calls
    assert consumer.committed == [{P0: 1}]
    assert context.retry_in_s is None


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connect.runtime.sink_runner._POLL_S", 0.001)
    monkeypatch.setattr("connect.runtime.sink_runner._PUT_RETRY_S", (0.002, 0.002))


def test_records_of_a_partition_that_goes_while_put_is_tried_are_dropped() -> None:
    consumer = FakeConsumer([assigned, Message(0, 0), lambda c: c.revoke_(P0), *QUIET], [[Message(1, 4)]])
    task = RecordingTask([RetriableError("later")])
    run(task, consumer)
    assert [(1, 4)] in task.steps
    assert consumer.committed == [{P1: 5}]


def test_a_failure_commits_nothing_more_and_stops_once() -> None:
    consumer = FakeConsumer([assigned, Message(0, 0), Message(0, 1)], [])
    task = RecordingTask([None, ConnectError("broken")])
    with pytest.raises(ConnectError, match="broken"):
        run(task, consumer)
    assert consumer.committed == []
    assert task.steps == [("open", [0, 1]), [(0, 0)], "stop"]


def test_a_task_commits_less_than_all_but_never_more() -> None:
    consumer = FakeConsumer([assigned, Message(0, 5), Message(1, 7)], [])
    run(RecordingTask(pre_commit=lambda offsets: {P0: 3, P1: 99}), consumer)
    assert consumer.committed == [{P0: 3}]


def test_a_commit_that_may_be_retried_is_no_failure() -> None:
    def later(offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        raise RetriableError("not yet")

    consumer = FakeConsumer([assigned, Message(0, 5)], [])
    run(RecordingTask(pre_commit=later), consumer, flush_interval_s=0)
    assert consumer.committed == []
