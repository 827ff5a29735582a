"""Where signals come from beside the signal table: a topic and a file, both looked at now and then.

A signal is taken away (its offset committed, its line cut off) only once what it asked for stands in a stored
offset: after a crash in between it is read again.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from connect.api import ConnectError
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.signals import Signal, parse_line

_MESSAGES_MAX: Final = 100
_POSITION_S: Final = 2.0
_LINE_BYTES_MAX: Final = 1 << 20
_JAVA_ONLY: Final = ("key.deserializer", "value.deserializer")

log = structlog.get_logger(__name__)


class KafkaSignals:
    """Partition 0 of the topic of signals; the messages whose key is topic.prefix are ours.

    Where no group is set, each connector has one of its own, as one that passes over another's signals must
    not move the other's position. It begins where Debezium's common one is, whose position it takes over.
    """

    def __init__(self, config: PostgresSourceConfig) -> None:
        self._key = config.topic_prefix.encode()
        self._topic = config.signal_kafka_topic or f"{config.topic_prefix}-signal"
        group = config.signal_kafka_group_id
        self._common_group = None if "signal.kafka.groupId" in config.originals else group
        settings: dict[str, Any] = {
            "bootstrap.servers": config.signal_kafka_bootstrap_servers,
            "group.id": f"{group}-{config.topic_prefix}" if self._common_group else group,
            "auto.offset.reset": "earliest",
            "client.id": f"{config.topic_prefix}-signals",
        }  # fmt: skip
        settings |= {n: v for n, v in config.signal_consumer().items() if n not in _JAVA_ONLY}
        settings["enable.auto.commit"] = False  # done here, and not before the signal has been obeyed
        self._settings = settings
        try:
            self._consumer = Consumer(settings)
        except KafkaException as exc:
            raise ConnectError(f"signal.kafka.* or signal.consumer.* is wrong: {exc}") from exc
        self._assigned = False
        self._next: int | None = None

    def _assign(self) -> None:
        place = TopicPartition(self._topic, 0)
        if self._common_group:
            (place,) = self._consumer.committed([place], _POSITION_S)
            if place.offset < 0:
                common = Consumer({**self._settings, "group.id": self._common_group})
                try:
                    (place,) = common.committed([place], _POSITION_S)
                finally:
                    common.close()
        self._consumer.assign([place])
        self._assigned = True

    def read(self) -> Iterator[Signal]:
        """Those that have come."""
        if not self._assigned:
            try:
                self._assign()
            except KafkaException as exc:
                log.warning("the topic of signals cannot be read now", topic=self._topic, error=str(exc))
                return
        for message in self._consumer.consume(_MESSAGES_MAX, timeout=0):
            if (error := message.error()) is not None:
                log.warning("the topic of signals cannot be read now", topic=self._topic, error=str(error))
                continue
            offset = message.offset()
            assert offset is not None
            self._next = offset + 1
            value = message.value()
            if message.key() != self._key or value is None:
                continue
            if (signal := _parsed(value, f"offset {offset} of {self._topic}")) is not None:
                yield signal

    def obeyed(self) -> None:
        """What was read has been obeyed for good."""
        if self._next is not None:
            place = TopicPartition(self._topic, 0, self._next)
            try:
                self._consumer.commit(offsets=[place], asynchronous=True)
            except KafkaException as exc:
                log.warning("the position in the topic of signals is not stored", error=str(exc))
                return
            self._next = None

    def close(self) -> None:
        self._consumer.close()


class FileSignals:
    """A file with a JSON object per line, cut off at the front as its lines have been obeyed."""

    def __init__(self, config: PostgresSourceConfig) -> None:
        self._path = Path(config.signal_file)
        self._taken = 0  # bytes of the file that have been read

    def read(self) -> Iterator[Signal]:
        """The lines that are complete."""
        try:
            with self._path.open("rb") as file:
                if self._taken > file.seek(0, os.SEEK_END):
                    self._taken = 0  # somebody has cut it off
                file.seek(self._taken)
                data = file.read(_LINE_BYTES_MAX)
        except FileNotFoundError:
            self._taken = 0
            return
        except OSError as exc:
            log.warning("the file of signals cannot be read", file=str(self._path), error=str(exc))
            return
        # The last line may be still being written; Debezium's users write one without a line end, too.
        if not data.endswith(b"\n") and not _is_signal(data.rpartition(b"\n")[2]):
            data = data[: data.rfind(b"\n") + 1]
        self._taken += len(data)
        for line in data.splitlines():
            if line.strip() and (signal := _parsed(line, f"a line of {self._path}")) is not None:
                yield signal

    def obeyed(self) -> None:
        """What was read has been obeyed for good."""
        if not self._taken:
            return
        try:
            with self._path.open("r+b") as file:
                file.seek(self._taken)
                rest = file.read()
                file.seek(0)
                file.write(rest)
                file.truncate()
                os.fsync(file.fileno())
        except OSError as exc:
            log.warning("the file of signals cannot be cut off", file=str(self._path), error=str(exc))
            return
        self._taken = 0

    def close(self) -> None:
        """Nothing is open."""


def _is_signal(line: bytes) -> bool:
    try:
        parse_line(line.decode())
    except ValueError:
        return False
    return True


def _parsed(data: bytes, place: str) -> Signal | None:
    try:
        return parse_line(data.decode())
    except ValueError as exc:
        log.warning("a signal is not understood and passed over", place=place, error=str(exc))
        return None


class SignalChannels:
    """The enabled ones but the signal table, which comes with the stream."""

    _KINDS: Final[Mapping[str, Callable[[PostgresSourceConfig], KafkaSignals | FileSignals]]] = {
        "kafka": KafkaSignals, "file": FileSignals,
    }  # fmt: skip

    def __init__(self, config: PostgresSourceConfig) -> None:
        self._channels = [self._KINDS[name](config) for name in config.signal_channels if name in self._KINDS]
        self._interval_s = config.signal_poll_interval_ms / 1000
        self._due = 0.0
        self._unstored = self._is_stored_next = False

    def read(self) -> list[Signal]:
        """What has come since the last time, once per signal.poll.interval.ms."""
        if not self._channels or time.monotonic() < self._due:
            return []
        self._due = time.monotonic() + self._interval_s
        found = [signal for channel in self._channels for signal in channel.read()]
        self._unstored = self._unstored or bool(found)
        return found

    def must_store(self) -> bool:
        """Signals were read that no offset stands for yet; the one that is handed out now will."""
        if not self._unstored:
            return False
        self._unstored, self._is_stored_next = False, True
        return True

    def stored(self) -> None:
        """The offsets handed out so far are durable."""
        if self._is_stored_next:
            self._is_stored_next = False
            for channel in self._channels:
                channel.obeyed()

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
