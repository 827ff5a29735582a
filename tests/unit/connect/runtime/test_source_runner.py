"""What the source runner does when Kafka is slow or refuses: an offset is never ahead of its records."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from connect.api import ConnectError, DataError, Header, RetriableError, SourceRecord, SourceTask
from connect.converters.header import SimpleHeaderConverter
from connect.converters.string import StringConverter
from connect.runtime.connector_config import SourceConnectorConfig
from connect.runtime.errors import ErrorHandler
from connect.runtime.source_runner import SourceContext, SourceRunner, SourceSettings
from connect.runtime.task_channel import TaskChannel

OFFSETS = "offsets"
HERE = {"file": "a"}


class FakeKafka:
    """A producer whose every step is written down; `fails` may raise at a step."""

    def __init__(self, fails: Callable[[str, Any], None] = lambda step, what: None) -> None:
        self.steps: list[Any] = []
        self.sent: list[tuple[Any, ...]] = []
        self._fails = fails
        self.acknowledges = True

    def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, *rest: Any) -> None:
        self._fails("produce", value)
        self.steps.append((topic, key if topic == OFFSETS else value))
        self.sent.append((topic, value, key, partition, *rest))

    def make_room(self) -> None:
        self.steps.append("wait")

    def check(self) -> None:
        self._fails("check", None)

    def flush(self, seconds: float) -> bool:
        self._fails("flush", None)
        self.steps.append("flush")
        return self.acknowledges


class ListTask(SourceTask[Any]):
    """Hands out what it was given, one list a poll; an exception in the list is raised."""

    def __init__(self, polls: Sequence[Sequence[SourceRecord] | Exception], channel: TaskChannel) -> None:
        self._polls = list(polls)
        self._channel = channel
        self.committed: list[Any] = []
        self.commit_error: Exception | None = None
        self.stopped = 0

    def start(self, context: Any, config: Any) -> None:
        raise NotImplementedError

    def poll(self) -> Sequence[SourceRecord]:
        if not self._polls:
            self._channel.stop()
            return ()
        result = self._polls.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def commit(self, offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        if self.commit_error is not None:
            raise self.commit_error
        self.committed.append(list(offsets))

    def stop(self) -> None:
        self.stopped += 1


class Bench:
    """A runner around a task; `run` runs it to its end."""

    def __init__(self, *polls: Sequence[SourceRecord] | Exception, kafka: FakeKafka | None = None,
                 flush_interval_s: float = 3600, **properties: str) -> None:  # fmt: skip
        self._sockets = socket.socketpair()
        channel = TaskChannel(self._sockets[0])
        self.channel = channel
        self.kafka = kafka or FakeKafka()
        self.task = ListTask(polls, channel)
        named = {name.replace("_", "."): value for name, value in properties.items()}
        config = SourceConnectorConfig.parse({"name": "n", "connector.class": "c", **named})
        converters = StringConverter(), StringConverter()
        for converter, is_key in zip(converters, (True, False), strict=True):
            converter.configure({}, is_key)
        header_converter = SimpleHeaderConverter()
        header_converter.configure({})
        self.context = SourceContext("n", 0, channel, [])
        self._runner = SourceRunner(
            self.task, self.context, channel, self.kafka,
            SourceSettings(OFFSETS, flush_interval_s, 1, 1),
            key_converter=converters[0], value_converter=converters[1], header_converter=header_converter,
            transforms=None, errors=ErrorHandler(config, channel.wait, time.monotonic), topic_creator=None,
        )  # fmt: skip

    def run(self) -> list[Any]:
        try:
            self._runner.run(lambda: None)
        finally:
            for end in self._sockets:
                end.close()
        return self.kafka.steps


def record(value: Any, position: int, source: Mapping[str, Any] = HERE, **more: Any) -> SourceRecord:
    return SourceRecord(source, {"position": position}, "t", value, **more)


def offset(partition: str) -> tuple[str, bytes]:
    return OFFSETS, f'["n",{partition}]'.encode()


def test_offsets_follow_the_acknowledgements() -> None:
    bench = Bench([record("a", 1), record("b", 2)])
    assert bench.run() == [("t", b"a"), ("t", b"b"), "flush", offset('{"file":"a"}'), "flush"]
    assert bench.kafka.sent[-1][:4] == (OFFSETS, b'{"position":2}', b'["n",{"file":"a"}]', -1)
    assert bench.task.committed == [[(HERE, {"position": 2})]]
    assert bench.task.stopped == 1


def test_an_offset_without_a_record_follows_the_records_before_it() -> None:
    bench = Bench([record("a", 1)], [])
    poll = bench.task.poll

    def advancing() -> Sequence[SourceRecord]:
        records = poll()
        if not records and not bench.channel.stopping:
            bench.context.advance(HERE, {"position": 5})
        return records

    bench.task.poll = advancing  # type: ignore[method-assign]
    assert bench.run() == [("t", b"a"), "flush", offset('{"file":"a"}'), "flush"]
    assert bench.task.committed == [[(HERE, {"position": 5})]]


def test_records_that_are_not_acknowledged_keep_their_offsets_back() -> None:
    bench = Bench([record("a", 1)])
    bench.kafka.acknowledges = False
    assert bench.run() == [("t", b"a"), "flush"]
    assert bench.task.committed == []


def test_a_delivery_that_failed_fails_the_task_before_any_offset() -> None:
    def fails(step: str, _: Any) -> None:
        if step in ("check", "flush"):
            raise ConnectError("not delivered")

    bench = Bench([record("a", 1)], kafka=FakeKafka(fails))
    with pytest.raises(ConnectError, match="not delivered"):
        bench.run()
    assert offset('{"file":"a"}') not in bench.kafka.steps
    assert bench.task.committed == []
    assert bench.task.stopped == 1


def test_the_offset_of_the_last_record_counts_however_the_partitions_are_made() -> None:
    # Equal dicts that are not the same object, in turns.
    first, second = dict(HERE), dict(HERE)
    bench = Bench([record("a", 1, first), record("b", 2, second), record("c", 3, first)])
    bench.run()
    assert bench.task.committed == [[(HERE, {"position": 3})]]


def test_what_was_sent_before_a_failure_is_committed() -> None:
    bench = Bench([record("a", 1)], ConnectError("broken"))
    with pytest.raises(ConnectError, match="broken"):
        bench.run()
    assert bench.task.committed == [[(HERE, {"position": 1})]]


def test_a_batch_that_fails_in_the_middle_is_not_committed() -> None:
    bench = Bench(
        [record("a", 1)], [record("b", 2), record(object(), 3, value_schema=None, headers=[object()])]
    )
    with pytest.raises(ConnectError, match="Tolerance exceeded"):
        bench.run()
    assert bench.task.committed == [[(HERE, {"position": 1})]]


def test_a_full_queue_is_waited_for() -> None:
    full = [True, True]

    def fails(step: str, value: Any) -> None:
        if step == "produce" and value == b"b" and full:
            full.pop()
            raise BufferError

    bench = Bench([record("a", 1), record("b", 2), record("c", 3)], kafka=FakeKafka(fails))
    assert bench.run()[:4] == [("t", b"a"), "wait", ("t", b"b"), ("t", b"c")]


def test_a_record_that_is_too_large_is_skipped_if_tolerated() -> None:
    def fails(step: str, value: Any) -> None:
        if step == "produce" and value == b"b":
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))

    polls = [record("a", 1), record("b", 2)]
    with pytest.raises(ConnectError, match="Tolerance exceeded"):
        Bench(polls, kafka=FakeKafka(fails)).run()
    bench = Bench(polls, kafka=FakeKafka(fails), errors_tolerance="all")
    assert bench.run() == [("t", b"a"), "flush", offset('{"file":"a"}'), "flush"]
    assert bench.task.committed == [[(HERE, {"position": 2})]]  # what is skipped is done with


def test_a_poll_that_may_be_retried_loses_nothing() -> None:
    bench = Bench(RetriableError("later"), [record("a", 1)])
    assert bench.run()[0] == ("t", b"a")


def test_a_commit_that_the_connector_cannot_take_is_no_failure() -> None:
    bench = Bench([record("a", 1)])
    bench.task.commit_error = DataError("no")
    assert bench.run()[-1] == "flush"


def test_key_headers_partition_and_timestamp_are_passed_on() -> None:
    headers = (Header("h", None, "v"), Header("n", None, None))
    bench = Bench([record("a", 1, key="k", partition=3, timestamp_ms=5, headers=headers)])
    bench.run()
    assert bench.kafka.sent[0] == ("t", b"a", b"k", 3, None, None, 5, [("h", b"v"), ("n", None)])


def test_offsets_are_committed_at_the_interval() -> None:
    bench = Bench([record("a", 1)], [record("b", 2)], flush_interval_s=0)
    steps = bench.run()
    assert steps.count("flush") == 4
    assert bench.task.committed == [[(HERE, {"position": 1})], [(HERE, {"position": 2})]]
