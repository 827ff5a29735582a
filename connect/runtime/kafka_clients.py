"""Kafka client settings as Java users write them, for librdkafka (tasks) and aiokafka (the worker itself).

Most names are the same in librdkafka; this module holds those that are not, and those without meaning
here. A name that only librdkafka knows may be used as it is.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connect.api import ConfigError
from connect.api.config import HIDDEN
from connect.runtime.client_definitions import CLIENTS, client_definitions

# Java name → librdkafka name, where they differ.
_RENAMED: Final = {
    "delivery.timeout.ms": "message.timeout.ms",
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "max.request.size": "message.max.bytes",
    "ssl.truststore.location": "ssl.ca.location",
    "ssl.truststore.certificates": "ssl.ca.pem",
    "ssl.keystore.key": "ssl.key.pem",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
}
# Java's names that are librdkafka's too.
_SAME: Final = frozenset({
    "bootstrap.servers", "client.id", "client.rack", "security.protocol", "acks", "retries",
    "retry.backoff.ms", "retry.backoff.max.ms", "linger.ms", "batch.size", "compression.type",
    "enable.idempotence", "partitioner", "max.in.flight.requests.per.connection", "transactional.id",
    "transaction.timeout.ms", "request.timeout.ms", "auto.offset.reset", "fetch.min.bytes",
    "fetch.max.bytes", "max.partition.fetch.bytes", "group.id", "group.instance.id", "group.protocol",
    "group.remote.assignor", "heartbeat.interval.ms", "session.timeout.ms", "max.poll.interval.ms",
    "client.dns.lookup", "isolation.level", "check.crcs", "metadata.max.age.ms", "connections.max.idle.ms",
    "reconnect.backoff.ms", "reconnect.backoff.max.ms", "socket.connection.setup.timeout.ms",
    "allow.auto.create.topics", "sasl.mechanism", "sasl.kerberos.service.name", "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url", "ssl.cipher.suites", "ssl.endpoint.identification.algorithm",
    "ssl.key.password", "ssl.keystore.location", "ssl.keystore.password",
})  # fmt: skip
# Translated by a rule of their own below.
_TRANSLATED: Final = frozenset({
    "max.poll.records", "buffer.memory", "partition.assignment.strategy", "sasl.jaas.config",
    "ssl.keystore.type", "ssl.truststore.type", "ssl.truststore.password",
})  # fmt: skip
# Known to Java clients, without meaning here.
_MEANINGLESS: Final = frozenset({
    "key.serializer", "value.serializer", "key.deserializer", "value.deserializer", "metric.reporters",
    "metrics.num.samples", "metrics.sample.window.ms", "metrics.recording.level", "interceptor.classes",
    "auto.include.jmx.reporter", "enable.metrics.push", "max.block.ms", "metadata.max.idle.ms",
    "metadata.recovery.strategy", "metadata.recovery.rebootstrap.trigger.ms",
    "socket.connection.setup.timeout.max.ms", "ssl.protocol", "ssl.enabled.protocols", "ssl.provider",
    "ssl.keymanager.algorithm", "ssl.trustmanager.algorithm", "ssl.secure.random.implementation",
    "ssl.engine.factory.class", "exclude.internal.topics", "default.api.timeout.ms", "enable.auto.commit",
    "auto.commit.interval.ms", "partitioner.class", "partitioner.ignore.keys", "security.providers",
    "partitioner.adaptive.partitioning.enable", "partitioner.availability.timeout.ms", "config.providers",
})  # fmt: skip
_ASSIGNORS: Final = {
    "org.apache.kafka.clients.consumer.RangeAssignor": "range",
    "org.apache.kafka.clients.consumer.RoundRobinAssignor": "roundrobin",
    "org.apache.kafka.clients.consumer.CooperativeStickyAssignor": "cooperative-sticky",
}
# Java name → aiokafka's, whole numbers all of them.
_AIOKAFKA_NUMBERS: Final = {
    "connections.max.idle.ms": "connections_max_idle_ms",
    "metadata.max.age.ms": "metadata_max_age_ms",
    "request.timeout.ms": "request_timeout_ms",
    "retry.backoff.ms": "retry_backoff_ms",
}
_NO_SETTING: Final = "millstream.no.such.setting"
_JAAS_FIELDS: Final = {"username": "sasl.username", "password": "sasl.password"}
_JAAS_PAIR: Final = re.compile(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class ClientSettings:
    """Settings for librdkafka. `max_poll_records` has no place there, the sink runner obeys it; `warnings`
    name what was left out."""

    values: dict[str, Any] = field(default_factory=dict)
    max_poll_records: int | None = None
    warnings: list[str] = field(default_factory=list)


def librdkafka_settings(java: Mapping[str, str]) -> ClientSettings:
    """Translate; raises `ConfigError` for a value that cannot be translated."""
    settings = ClientSettings()
    for name, value in java.items():
        if name in _TRANSLATED:
            _translate(settings, name, value)
        elif name in _SAME or name in _RENAMED:
            settings.values[_RENAMED.get(name, name)] = value
        elif name not in _MEANINGLESS:
            _pass_on(settings, name, value)
    return settings


def _pass_on(settings: ClientSettings, name: str, value: str) -> None:
    if known_to_librdkafka(name):
        settings.values[name] = value
    elif any(name in client_definitions(client) for client in CLIENTS):
        settings.warnings.append(f"{name} has no effect: librdkafka has no such setting")
    else:
        settings.warnings.append(f"{name} is ignored: neither Kafka nor librdkafka has such a setting")


def known_to_librdkafka(name: str) -> bool:
    """Whether it has a setting of that name; it tells only when a client is made, which this one never is."""
    from confluent_kafka import KafkaException, Producer  # the worker itself needs none of it

    try:
        Producer({name: "", _NO_SETTING: ""})
    except KafkaException as exc:
        return not str(exc.args[0].str()).endswith(f'property: "{name}"')
    raise AssertionError(f"librdkafka took {_NO_SETTING}")


def _translate(settings: ClientSettings, name: str, value: str) -> None:
    if name == "max.poll.records":
        settings.max_poll_records = _positive(name, value)
    elif name == "buffer.memory":
        settings.values["queue.buffering.max.kbytes"] = max(1, _positive(name, value) // 1024)
    elif name == "partition.assignment.strategy":
        settings.values[name] = _assignors(value)
    elif name == "sasl.jaas.config":
        settings.values |= _jaas(value)
    elif name == "ssl.truststore.password":
        settings.warnings.append("ssl.truststore.password has no effect: trust stores are read as PEM")
    elif value.upper() == "JKS":  # KIP-651: librdkafka reads PKCS#12 and PEM key stores, PEM trust stores
        raise ConfigError.invalid(name, value, "JKS stores cannot be read; use PEM or PKCS12")


def _positive(name: str, value: str) -> int:
    if not value.strip().isdecimal() or int(value) < 1:
        raise ConfigError.invalid(name, value, "Value must be a positive number")
    return int(value)


def _assignors(value: str) -> str:
    names = [_ASSIGNORS.get(name.strip(), name.strip()) for name in value.split(",")]
    for name in names:
        if name not in _ASSIGNORS.values():
            why = f"must be one of: {', '.join(_ASSIGNORS)}"
            raise ConfigError.invalid("partition.assignment.strategy", value, why)
    # librdkafka refuses a mix of eager and cooperative assignors; the first is what the user prefers.
    cooperative = names[0] == "cooperative-sticky"
    return ",".join(name for name in names if (name == "cooperative-sticky") is cooperative)


def _jaas(value: str) -> dict[str, str]:
    """User and password out of `…PlainLoginModule required username="u" password="p";`."""
    pairs = {name: re.sub(r"\\(.)", r"\1", text) for name, text in _JAAS_PAIR.findall(value)}
    found = {ours: pairs[theirs] for theirs, ours in _JAAS_FIELDS.items() if theirs in pairs}
    if len(found) != len(_JAAS_FIELDS):
        why = (
            "only login modules with username and password are supported; "
            "set sasl.oauthbearer.* or sasl.kerberos.* for the others"
        )
        raise ConfigError.invalid("sasl.jaas.config", HIDDEN, why)
    return found


def aiokafka_settings(java: Mapping[str, str]) -> dict[str, Any]:
    """What an aiokafka client needs to connect, from a worker's settings."""
    values = librdkafka_settings(java).values
    settings: dict[str, Any] = {"bootstrap_servers": values["bootstrap.servers"].split(",")}
    protocol = values.get("security.protocol", "PLAINTEXT").upper()
    settings["security_protocol"] = protocol
    if "client.id" in values:
        settings["client_id"] = values["client.id"]
    settings |= {ours: int(values[name]) for name, ours in _AIOKAFKA_NUMBERS.items() if name in values}
    if protocol.startswith("SASL"):
        settings["sasl_mechanism"] = values.get("sasl.mechanism", "PLAIN")
        settings["sasl_plain_username"] = values.get("sasl.username")
        settings["sasl_plain_password"] = values.get("sasl.password")
    if protocol.endswith("SSL"):
        settings["ssl_context"] = _ssl_context(values)
    return settings


def _ssl_context(values: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(
            cafile=values.get("ssl.ca.location"), cadata=values.get("ssl.ca.pem")
        )
        if certificate := values.get("ssl.certificate.location") or values.get("ssl.keystore.location"):
            context.load_cert_chain(
                certificate, values.get("ssl.key.location"), values.get("ssl.key.password")
            )
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"the TLS settings of the worker cannot be used: {exc}") from exc
    if values.get("ssl.endpoint.identification.algorithm", "https") == "":
        context.check_hostname = False
    return context
