"""The dead letter topic of a sink (KIP-298): what could not be processed, as it stood in its topic."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from connect.api import ConnectError
from connect.runtime.connector_config import SinkConnectorConfig
from connect.runtime.errors import Failure, context_headers
from connect.runtime.metrics import ErrorCounts
from connect.runtime.producer import LibrdkafkaProducer
from connect.runtime.topic_creation import create_topic

_LOG = logging.getLogger(__name__)
_FLUSH_S: Final = 60.0
_CLOSE_S: Final = 3.0
_LOOKUP_S: Final = 30.0
_REPLICATION_FACTOR: Final = "errors.deadletterqueue.topic.replication.factor"


class DeadLetters:
    """A reporter for `ErrorHandler`. Offsets may be committed only after `flush`; the last call is `close`.

    A record that cannot be written there fails the task: nothing that was asked to be kept is skipped.
    """

    def __init__(
        self,
        config: SinkConnectorConfig,
        task: int,
        producer_settings: Mapping[str, Any],
        admin_settings: Mapping[str, Any],
        counts: ErrorCounts,
    ) -> None:
        self._config = config
        self._task = task
        self._topic = config.errors_deadletterqueue_topic_name
        self._counts = counts
        try:
            factor = _replication_factor(config, admin_settings)
            create_topic(admin_settings, self._topic, 1, factor, {})
        except ConnectError as exc:
            raise ConnectError(f"Could not initialize dead letter queue with topic={self._topic}") from exc
        self._producer = LibrdkafkaProducer(producer_settings)

    def report(self, failure: Failure) -> None:
        message = failure.record
        headers = list(message.headers() or ())
        if self._config.errors_deadletterqueue_context_headers_enable:
            headers += context_headers(failure, self._config.name, self._task)
        arguments = (self._topic, message.value(), message.key(), -1, None, None,
                     message.timestamp()[1], headers)  # fmt: skip
        self._counts.letters += 1
        while True:
            try:
                self._producer.produce(*arguments)
            except BufferError:
                self._producer.make_room()
            except KafkaException as exc:
                self._counts.letters_failed += 1
                raise ConnectError(
                    f"dead letter topic {self._topic} cannot take the record of topic {message.topic()}, "
                    f"partition {message.partition()}, offset {message.offset()}: {exc.args[0].str()} "
                    "(producer.override.max.request.size says how large a record may be)"
                ) from failure.error
            else:
                return

    def flush(self) -> None:
        """Wait for the acknowledgements; raises `ConnectError`."""
        try:
            done = self._producer.flush(_FLUSH_S)
        except ConnectError:
            self._counts.letters_failed += 1
            raise
        if not done:
            raise ConnectError(f"dead letter topic {self._topic}: not acknowledged in {_FLUSH_S:g} s")

    def close(self) -> None:
        """Also after the task has failed: what was reported shall be there, if Kafka takes it in a while."""
        try:
            done = self._producer.flush(_CLOSE_S)
        except ConnectError as exc:
            _LOG.error("dead letter topic %s: %s", self._topic, exc)
        else:
            if not done:
                _LOG.error("dead letter topic %s: the last records were not acknowledged", self._topic)


def _replication_factor(config: SinkConnectorConfig, admin_settings: Mapping[str, Any]) -> int:
    """As set; else Connect's 3, or as many brokers as there are."""
    factor = config.errors_deadletterqueue_topic_replication_factor
    if _REPLICATION_FACTOR in config.originals:
        return factor
    try:
        brokers = len(AdminClient(dict(admin_settings)).list_topics(timeout=_LOOKUP_S).brokers)
    except KafkaException as exc:
        raise ConnectError(f"the brokers could not be looked up: {exc.args[0].str()}") from exc
    return min(factor, max(brokers, 1))
