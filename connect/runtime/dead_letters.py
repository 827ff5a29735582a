"""The dead letter topic of a sink (KIP-298): what could not be processed, as it stood in its topic."""

from collections.abc import Mapping
from typing import Any

from connect.api import ConnectError
from connect.runtime.connector_config import SinkConnectorConfig
from connect.runtime.errors import Failure, context_headers
from connect.runtime.producer import LibrdkafkaProducer
from connect.runtime.topic_creation import create_topic

_FLUSH_SECONDS = 60.0


class DeadLetters:
    """A reporter for `ErrorHandler`. Offsets may be committed only after `flush`."""

    def __init__(
        self,
        config: SinkConnectorConfig,
        task: int,
        producer_settings: Mapping[str, Any],
        admin_settings: Mapping[str, Any],
    ) -> None:
        self._config = config
        self._task = task
        self._topic = config.errors_deadletterqueue_topic_name
        create_topic(
            admin_settings, self._topic, 1, config.errors_deadletterqueue_topic_replication_factor, {}
        )
        self._producer = LibrdkafkaProducer(producer_settings)

    def report(self, failure: Failure) -> None:
        message = failure.record
        headers = list(message.headers() or ())
        if self._config.errors_deadletterqueue_context_headers_enable:
            headers += context_headers(failure, self._config.name, self._task)
        arguments = (self._topic, message.value(), message.key(), -1, None, None,
                     message.timestamp()[1], headers)  # fmt: skip
        while True:
            try:
                self._producer.produce(*arguments)
            except BufferError:
                self._producer.make_room()
            else:
                return

    def flush(self) -> None:
        """Wait for the acknowledgements; raises `ConnectError`."""
        if not self._producer.flush(_FLUSH_SECONDS):
            raise ConnectError(f"dead letter topic {self._topic}: not acknowledged in {_FLUSH_SECONDS:g} s")
