"""A source runner with a task that hands out what a test gives it, and Kafka made up."""

import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from connect.api import Converter, SourceRecord, SourceTask
from connect.converters.header import SimpleHeaderConverter
from connect.converters.string import StringConverter
from connect.runtime.connector_config import SourceConnectorConfig
from connect.runtime.errors import ErrorHandler
from connect.runtime.source_delivery import AtLeastOnce, Delivery, DeliverySettings, ExactlyOnce
from connect.runtime.source_runner import SourceContext, SourceRunner
from connect.runtime.task_channel import TaskChannel
from connect.runtime.transaction_boundaries import Boundaries
from connect.transforms.chain import TransformChain

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

    @property
    def queued(self) -> int:
        return 0

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


class FakeTransactions(FakeKafka):
    """The same with transactions."""

    def __init__(self, fails: Callable[[str, Any], None] = lambda step, what: None) -> None:
        super().__init__(fails)
        self.open = False

    def begin(self) -> None:
        if not self.open:
            self._end("begin")
            self.open = True

    def commit(self, gives_up: Callable[[], bool]) -> None:
        self._end("commit")

    def abort(self, gives_up: Callable[[], bool]) -> None:
        if self.open:
            self._end("abort")

    def _end(self, step: str) -> None:
        self._fails(step, None)
        self.steps.append(step)
        self.open = False


class Bench:
    """A runner around a task; `run` runs it to its end. With `boundaries`, exactly once."""

    def __init__(self, *polls: Sequence[SourceRecord] | Exception, kafka: FakeKafka | None = None,
                 flush_interval_s: float = 3600, boundaries: Boundaries | None = None,
                 copied: bool = False, converter: type[Converter] = StringConverter,
                 transforms: TransformChain | None = None, **properties: str) -> None:  # fmt: skip
        self._sockets = socket.socketpair()
        channel = TaskChannel(self._sockets[0])
        self.channel = channel
        settings = DeliverySettings("n", OFFSETS, flush_interval_s, 1, 1, copied)
        self.delivery: Delivery
        if boundaries is None:
            self.kafka = kafka or FakeKafka()
            self.delivery = AtLeastOnce(settings, channel, self.kafka)
        else:
            self.kafka = transactions = FakeTransactions() if kafka is None else kafka
            assert isinstance(transactions, FakeTransactions)
            self.delivery = ExactlyOnce(settings, channel, transactions, boundaries)
        self.task = ListTask(polls, channel)
        named = {name.replace("_", "."): value for name, value in properties.items()}
        config = SourceConnectorConfig.parse({"name": "n", "connector.class": "c", **named})
        converters = converter(), converter()
        for made, is_key in zip(converters, (True, False), strict=True):
            made.configure({}, is_key)
        header_converter = SimpleHeaderConverter()
        header_converter.configure({})
        self.context = SourceContext("n", 0, channel, [])
        self._runner = SourceRunner(
            self.task, self.context, channel, self.kafka,
            self.delivery,
            key_converter=converters[0], value_converter=converters[1], header_converter=header_converter,
            transforms=transforms, errors=ErrorHandler(config, channel.wait, time.monotonic),
            topic_creator=None,
        )  # fmt: skip

    def run(self) -> list[Any]:
        try:
            self._runner.run(lambda: None)
        finally:
            self._sockets[1].setblocking(False)
            with suppress(BlockingIOError):
                self.told = [json.loads(line) for line in self._sockets[1].recv(1 << 16).splitlines()]
            for end in self._sockets:
                end.close()
        return self.kafka.steps


def record(value: Any, position: int, source: Mapping[str, Any] = HERE, **more: Any) -> SourceRecord:
    return SourceRecord(source, {"position": position}, "t", value, **more)


def offset(partition: str) -> tuple[str, bytes]:
    return OFFSETS, f'["n",{partition}]'.encode()
