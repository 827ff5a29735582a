"""Showing the records of a topic in a shell."""

import base64
import json
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
)

from connect.cli import kafka_client
from connect.cli.failure import Failure

BATCH_RECORDS = 500
POLL_SECONDS = 0.2
TOPIC_SECONDS = 5.0  # a connector that was just deployed is about to create its topic


class Consumption:
    """One run of `millstream consume`; say where to begin with `join` or `assign`."""

    def __init__(
        self, bootstrap: str, settings: Iterable[str], topic: str, form: Callable[[Message], str]
    ) -> None:
        self._bootstrap = bootstrap
        self._settings = list(settings)
        self._topic = topic
        self._form = form
        self._consumer: Consumer | None = None
        self._group: str | None = None

    def _connect(self, **fixed: Any) -> Consumer:
        config = kafka_client.settings(
            self._bootstrap, self._settings, **{"allow.auto.create.topics": False, **fixed}
        )
        self._consumer = kafka_client.consumer(config)
        return self._consumer

    def _partitions(self, consumer: Consumer) -> list[int]:
        deadline = time.monotonic() + TOPIC_SECONDS
        while True:
            found = kafka_client.metadata(consumer, self._bootstrap).topics.get(self._topic)
            if found is not None and found.partitions:
                return sorted(found.partitions)
            if time.monotonic() >= deadline:
                raise Failure(f"topic {self._topic} does not exist")
            time.sleep(POLL_SECONDS)

    def join(self, group: str, from_beginning: bool) -> None:
        """Read what the group has not read yet; `from_beginning` is for a group without offsets."""
        self._group = group
        consumer = self._connect(**{
            "group.id": group,
            "auto.offset.reset": "earliest" if from_beginning else "latest",
            # Offsets are stored only once a record has been shown.
            "enable.auto.offset.store": False,
        })  # fmt: skip
        self._partitions(consumer)
        consumer.subscribe([self._topic])

    def assign(self, partition: int | None, offset: int | None, from_beginning: bool) -> None:
        """Read one or all partitions, outside of any group."""
        consumer = self._connect(**{"group.id": "millstream-consume", "enable.auto.commit": False})
        partitions = self._partitions(consumer)
        if partition is not None and partition not in partitions:
            raise Failure(f"topic {self._topic} has no partition {partition}: it has 0 to {partitions[-1]}")
        begin = offset if offset is not None else OFFSET_BEGINNING if from_beginning else OFFSET_END
        chosen = partitions if partition is None else [partition]
        consumer.assign([TopicPartition(self._topic, one, begin) for one in chosen])

    def run(self, max_messages: int | None, timeout_ms: int | None) -> None:
        """Show records until there were enough, nothing came for the timeout, or Ctrl-C."""
        assert self._consumer is not None
        try:
            shown = self._show(self._consumer, max_messages, timeout_ms)
        except KeyboardInterrupt:
            shown = max_messages or 0
        except KafkaException as exc:
            kafka_client.fail(exc, f"topic {self._topic}")
        finally:
            self._consumer.close()
        if max_messages is not None and shown < max_messages:
            raise Failure(f"{shown} of {max_messages} records came before {timeout_ms} ms without one")

    def _show(self, consumer: Consumer, max_messages: int | None, timeout_ms: int | None) -> int:
        shown = 0
        last = time.monotonic()
        wait_seconds = POLL_SECONDS if timeout_ms is None else min(POLL_SECONDS, timeout_ms / 1000)
        while max_messages is None or shown < max_messages:
            wanted = BATCH_RECORDS if max_messages is None else min(BATCH_RECORDS, max_messages - shown)
            messages = consumer.consume(wanted, wait_seconds)
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                sys.stdout.write(self._form(message) + "\n")
            if messages:
                sys.stdout.flush()
                shown += len(messages)
                last = time.monotonic()
                if self._group is not None:
                    for message in messages:
                        consumer.store_offsets(message)
            elif timeout_ms is not None and (time.monotonic() - last) * 1000 >= timeout_ms:
                break
        return shown


def json_line(message: Message) -> str:
    """`{topic, partition, offset, timestamp, key, value, headers}`; what is no UTF-8 is {"base64": …}."""
    return json.dumps(
        {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": _timestamp_ms(message),
            "key": _document(message.key()),
            "value": _document(message.value()),
            "headers": [{"key": name, "value": _document(value)} for name, value in _headers(message)],
        },
        ensure_ascii=False,
    )


def text_line(message: Message) -> str:
    """One line for a person: where, when, key, value, headers."""
    timestamp = _timestamp_ms(message)
    when = "-" if timestamp is None else _iso(timestamp)
    parts = [f"{message.partition()}:{message.offset()}", when, _text(message.key()), _text(message.value())]
    parts += [f"{name}={_text(value)}" for name, value in _headers(message)]
    return "  ".join(parts)


def _headers(message: Message) -> list[tuple[str, Any]]:
    found: Any = message.headers()  # the library's annotation allows a dict, which it never returns
    return list(found or ())


def _timestamp_ms(message: Message) -> int | None:
    kind, value = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE else value


def _iso(timestamp_ms: int) -> str:
    try:
        when = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(timestamp_ms)  # a clock that is thousands of years off
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _document(data: Any) -> Any:
    if data is None:
        return None
    raw = data if isinstance(data, bytes) else str(data).encode()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def _text(data: Any) -> str:
    if data is None:
        return "null"
    raw = data if isinstance(data, bytes) else str(data).encode()
    return raw.decode(errors="backslashreplace").replace("\n", "\\n")
