"""Writing records to Kafka from a task: a seam with one implementation, on librdkafka.

`produce` is librdkafka's own method, so that a record costs no Python call beyond it; there is no callback
per record. What could not be delivered is found by `check` and `flush`, before an offset is committed.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from connect.api import ConnectError

_LOG = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes | None]]

_DEFAULTS: Final[Mapping[str, Any]] = {
    "acks": "all",
    "enable.idempotence": True,
    # Records wait for a broker that is away as long as it takes; nothing is dropped by time.
    "message.timeout.ms": 0,
    # Java's choice for keys, so that a key stays on its partition when a Java worker was here before.
    "partitioner": "murmur2_random",
    "queue.buffering.max.kbytes": 32_768,
    "queue.buffering.max.messages": 0,
    # Most of what a longer wait saves at the broker and here, at a latency that nobody sees.
    "linger.ms": 1,
    "delivery.report.only.error": True,
}


class SourceProducer(Protocol):
    """What the source runner needs, whatever the delivery."""

    @property
    def produce(self) -> Callable[..., None]:
        """`(topic, value, key, partition, None, None, timestamp_ms, headers)`: queue a record. Raises
        `BufferError` when the queue is full (then `make_room`), `KafkaException` for a record that cannot
        be sent at all. Partition -1: by the key; timestamp 0: now."""
        ...

    @property
    def queued(self) -> int:
        """How many records are not acknowledged yet."""
        ...

    def make_room(self) -> None:
        """Wait a moment for queued records to go."""
        ...

    def check(self) -> None:
        """Raise `ConnectError` if any record could not be delivered."""
        ...


class RecordProducer(SourceProducer, Protocol):
    """And what shows that records arrived, without transactions."""

    def flush(self, seconds: float) -> bool:
        """Wait until everything queued is acknowledged; False if that takes longer. Raises like `check`."""
        ...


class LibrdkafkaProducer:
    """The first implementation; `settings` are librdkafka's and override the defaults."""

    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._failure: KafkaError | None = None
        self._failed_topic: str | None = None
        self._client = confluent_kafka.Producer(
            {**self.defaults, **settings, "on_delivery": self._on_delivery, "error_cb": self._on_error},
            logger=_LOG,
        )
        self.produce: Callable[..., None] = self._client.produce

    @property
    def queued(self) -> int:
        return len(self._client)

    def make_room(self) -> None:
        self._client.poll(0.1)
        self.check()

    def check(self) -> None:
        self._client.poll(0)
        if self._failure is not None:
            topic = f" to topic {self._failed_topic}" if self._failed_topic else ""
            raise ConnectError(
                f"Unrecoverable exception from producer send callback{topic}: {self._failure.str()}"
            )

    def flush(self, seconds: float) -> bool:
        left = self._client.flush(seconds)
        self.check()
        return bool(left == 0)

    def _on_delivery(self, error: KafkaError | None, message: Any) -> None:
        if error is not None and self._failure is None:
            self._failure, self._failed_topic = error, message.topic()

    def _on_error(self, error: KafkaError) -> None:
        # Errors of connections mend themselves; a fatal one (KIP-98 fencing, lost sequence) does not.
        if error.fatal() and self._failure is None:
            self._failure = error


def is_bad_record(error: KafkaException) -> bool:
    """Whether this record is at fault rather than the producer."""
    return error.args[0].code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._INVALID_ARG)
