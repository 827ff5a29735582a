"""Records that a sink task reports (KIP-610), as they stood in their topic."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import confluent_kafka
from confluent_kafka import KafkaException

from connect.api import Converter, HeaderConverter, SinkRecord, TopicPartition

_LOG = logging.getLogger(__name__)
_READ_S: Final = 10.0
_QUEUED_KBYTES_MAX: Final = 1_024

Place = tuple[str, int, int]


class Originals:
    """Finds the message that a sink's record was made of: in the batch that the task has in hand, else it is
    read again. Nothing is kept for it meanwhile, for a record that a task keeps may wait for hours."""

    def __init__(self, read: Callable[[TopicPartition, int], Any | None]) -> None:
        self._read = read
        self._batch: Sequence[Any] = ()
        self._index: dict[Place, Any] | None = None

    @contextlib.contextmanager
    def at_hand(self, batch: Sequence[Any]) -> Iterator[None]:
        """The messages whose records the task is given now."""
        self._batch = batch
        try:
            yield
        finally:
            self._batch, self._index = (), None

    def find(self, record: SinkRecord) -> Any | None:
        """None if it is not in its topic any more, or cannot be read."""
        if self._index is None:
            self._index = {
                (message.topic(), message.partition(), message.offset()): message
                for message in self._batch
                if message.error() is None
            }
        partition = TopicPartition(record.original_topic, record.original_partition)
        return self._index.get((*partition, record.offset)) or self._read(partition, record.offset)


class MessageReader:
    """Reads single messages of topics, outside of any group."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._consumer: confluent_kafka.Consumer | None = None

    def read(self, partition: TopicPartition, offset: int) -> Any | None:
        """The message at this offset; None if it is gone or does not come in time."""
        try:
            if self._consumer is None:
                self._consumer = confluent_kafka.Consumer(
                    {
                        **self._settings,
                        "auto.offset.reset": "error",
                        "queued.max.messages.kbytes": _QUEUED_KBYTES_MAX,
                    },
                    logger=_LOG,
                )
            self._consumer.assign([confluent_kafka.TopicPartition(*partition, offset)])
            message = self._consumer.poll(_READ_S)
            self._consumer.unassign()
        except KafkaException as exc:
            _LOG.warning("%s@%d cannot be read again: %s", partition, offset, exc.args[0].str())
            return None
        if message is None or message.error() is not None or message.offset() != offset:
            return None
        return message

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()


class RebuiltMessage:
    """A record that is gone from its topic in the shape of the client's message, with the bytes that the
    converters make of it."""

    __slots__ = ("_headers", "_key", "_record", "_value")

    def __init__(
        self,
        record: SinkRecord,
        key_converter: Converter,
        value_converter: Converter,
        header_converter: HeaderConverter,
    ) -> None:
        topic = record.topic
        self._record = record
        self._key = key_converter.from_connect(topic, record.key_schema, record.raw_key)
        self._value = value_converter.from_connect(topic, record.value_schema, record.raw_value)
        self._headers = [
            (header.name, header_converter.from_connect_header(topic, header)) for header in record.headers
        ]

    def topic(self) -> str:
        return self._record.original_topic

    def partition(self) -> int:
        return self._record.original_partition

    def offset(self) -> int:
        return self._record.offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return int(self._record.timestamp_type), self._record.timestamp_ms or 0

    def headers(self) -> list[tuple[str, bytes | None]]:
        return self._headers
