"""librdkafka clients for the commands, with sentences for what goes wrong."""

import logging
from collections.abc import Iterable
from typing import Any, NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ClusterMetadata

from connect.cli.failure import USAGE, Failure

TIMEOUT_SECONDS = 10.0
REACH_SECONDS = 4.0

# Clients say what they have to say by errors; their own log lines would be a second voice.
_SILENT = logging.getLogger("millstream.librdkafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


def settings(bootstrap: str, more: Iterable[str], **fixed: Any) -> dict[str, Any]:
    """librdkafka's settings; `more` holds NAME=VALUE texts from the command line."""
    found: dict[str, Any] = {"bootstrap.servers": bootstrap, "logger": _SILENT, **fixed}
    for text in more:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise Failure(f"-X {text}: write NAME=VALUE, for example -X security.protocol=SSL", USAGE)
        found[name] = value
    return found


def admin_client(config: dict[str, Any]) -> AdminClient:
    try:
        return AdminClient(config)
    except KafkaException as exc:
        raise Failure(_refused_setting(exc), USAGE) from None


def producer(config: dict[str, Any]) -> Producer:
    try:
        return Producer(config)
    except KafkaException as exc:
        raise Failure(_refused_setting(exc), USAGE) from None


def consumer(config: dict[str, Any]) -> Consumer:
    try:
        return Consumer(config)
    except KafkaException as exc:
        raise Failure(_refused_setting(exc), USAGE) from None


def _refused_setting(exc: KafkaException) -> str:
    return f"a Kafka client setting was refused: {exc.args[0].str()} (-X or --bootstrap)"


def metadata(
    client: AdminClient | Consumer | Producer, bootstrap: str, topic: str | None = None
) -> ClusterMetadata:
    """Also the first call on a connection: `Failure` if no broker answers."""
    try:
        if topic is None:
            return client.list_topics(timeout=REACH_SECONDS)
        return client.list_topics(topic, timeout=REACH_SECONDS)
    except KafkaException as exc:
        if exc.args[0].code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN):
            raise Failure(
                f"no Kafka broker answers at {bootstrap}: start one with `millstream up`, "
                "or say where it is with --bootstrap or MILLSTREAM_BOOTSTRAP"
            ) from None
        fail(exc)


def fail(exc: KafkaException, what: str = "") -> NoReturn:
    """Give up with the broker's own words."""
    error = exc.args[0]
    raise Failure(f"{what}{': ' if what else ''}{error.str()} ({error.name()})") from None
