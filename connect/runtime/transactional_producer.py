"""A producer whose records count only once their transaction is committed (KIP-98), on librdkafka."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final

from confluent_kafka import KafkaError, KafkaException

from connect.api import ConnectError
from connect.runtime.producer import LibrdkafkaProducer

_STEP_S: Final = 1.0  # between two looks whether the task should stop
GivesUp = Callable[[], bool]
_FENCED: Final = frozenset({
    KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED,
})  # fmt: skip
# Records that do not get through in the time of a transaction go down with it.
_DEFAULTS: Final = {
    name: value for name, value in LibrdkafkaProducer.defaults.items() if name != "message.timeout.ms"
}


class ProducerFenced(ConnectError):
    """Another producer has taken this one's transactional id, or its transaction took too long."""

    java_class: ClassVar[str] = "org.apache.kafka.common.errors.ProducerFencedException"


class Interrupted(ConnectError):
    """The task was told to stop, and Kafka did not answer for too long. What becomes of the transaction is
    decided when the next producer of this id is initialized."""


class TransactionalProducer(LibrdkafkaProducer):
    """`settings` are librdkafka's, `transactional.id` among them. `initialize` first; then `begin`, produce,
    `commit` or `abort`, again and again. Each waits for Kafka until `gives_up`; then it raises `Interrupted`,
    or else `ProducerFenced` or `ConnectError`. After an error the producer can only `abort`, if that."""

    defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._id = settings["transactional.id"]
        self._aborting = False
        self.open = False

    def initialize(self, gives_up: GivesUp, known_topic: str | None = None) -> None:
        """Fence every other producer of this transactional id, and have its transaction ended: committed if
        that was decided, aborted if not. Quicker with the name of a topic that exists."""
        if known_topic is not None:
            # librdkafka asks for the coordinator at once, and then again in half a second: a broker should be
            # connected by then. The first answer only names the brokers, the second comes from one of them.
            with suppress(KafkaException):
                self._client.list_topics(known_topic, timeout=_STEP_S)
                self._client.list_topics(known_topic, timeout=_STEP_S)
        self._until_done(lambda: self._client.init_transactions(_STEP_S), "be initialized", gives_up)

    def begin(self) -> None:
        """Unless a transaction is open."""
        if not self.open:
            self._until_done(self._client.begin_transaction, "begin a transaction", lambda: False)
            self.open = True

    def commit(self, gives_up: GivesUp) -> None:
        """Everything produced since `begin` counts now."""
        self._until_done(lambda: self._client.commit_transaction(_STEP_S), "commit", gives_up)
        self.open = False
        self.check()

    def abort(self, gives_up: GivesUp) -> None:
        """Nothing produced since `begin` counts."""
        if self.open:
            self._aborting = True  # the records that were not sent yet are reported as failed
            self._until_done(lambda: self._client.abort_transaction(_STEP_S), "abort", gives_up)
            self._client.poll(0)
            self._aborting = False
            self.open = False

    def check(self) -> None:
        self._client.poll(0)
        if self._failure is not None and self._failure.code() in _FENCED:
            raise self._fenced(self._failure)
        super().check()

    def _on_delivery(self, error: KafkaError | None, message: Any) -> None:
        if not self._aborting:
            super()._on_delivery(error, message)

    def _until_done(self, step: Callable[[], None], what: str, gives_up: GivesUp) -> None:
        while True:
            try:
                step()
            except KafkaException as exc:
                error: KafkaError = exc.args[0]
                if error.code() in _FENCED:
                    raise self._fenced(error) from None
                if not error.retriable():
                    self.check()  # the record that could not be delivered says more
                    raise ConnectError(
                        f"the producer with transactional.id {self._id} could not {what}: {error.str()}"
                    ) from None
                if gives_up():
                    raise Interrupted(f"the task was stopped before its producer could {what}") from None
            else:
                return

    def _fenced(self, error: KafkaError) -> ProducerFenced:
        return ProducerFenced(
            f"the producer with transactional.id {self._id} was fenced: another one took its place, or its "
            f"transaction was open for longer than transaction.timeout.ms ({error.str()})"
        )
