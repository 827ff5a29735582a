"""Kafka client settings as Java users write them, for librdkafka (tasks) and aiokafka (the worker itself).

Most names are the same in librdkafka; this module holds those that are not, and says which have no
counterpart. Names that only librdkafka knows may be used as they are.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connect.api import ConfigError

# Java name → librdkafka name, where they differ.
_RENAMED: Final = {
    "buffer.memory": "queue.buffering.max.kbytes",
    "request.timeout.ms": "request.timeout.ms",
    "delivery.timeout.ms": "message.timeout.ms",
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "ssl.endpoint.identification.algorithm": "ssl.endpoint.identification.algorithm",
    "ssl.cipher.suites": "ssl.cipher.suites",
    "reconnect.backoff.ms": "reconnect.backoff.ms",
    "reconnect.backoff.max.ms": "reconnect.backoff.max.ms",
    "socket.connection.setup.timeout.ms": "socket.connection.setup.timeout.ms",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "max.request.size": "message.max.bytes",
}
# The same in both, so that they are passed on without a word.
_SAME: Final = frozenset(
    [
        "bootstrap.servers",
        "client.id",
        "client.rack",
        "security.protocol",
        "sasl.mechanism",
        "sasl.username",
        "sasl.password",
        "sasl.kerberos.service.name",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.oauthbearer.method",
        "acks",
        "retries",
        "retry.backoff.ms",
        "retry.backoff.max.ms",
        "linger.ms",
        "batch.size",
        "compression.type",
        "compression.level",
        "enable.idempotence",
        "max.in.flight.requests.per.connection",
        "transactional.id",
        "transaction.timeout.ms",
        "partitioner",
        "auto.offset.reset",
        "fetch.min.bytes",
        "fetch.max.bytes",
        "max.partition.fetch.bytes",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.remote.assignor",
        "heartbeat.interval.ms",
        "session.timeout.ms",
        "max.poll.interval.ms",
        "isolation.level",
        "check.crcs",
        "metadata.max.age.ms",
        "connections.max.idle.ms",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.key.password",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "allow.auto.create.topics",
    ]
)
# Known to Java clients, without meaning here.
_MEANINGLESS: Final = frozenset(
    [
        "key.serializer",
        "value.serializer",
        "key.deserializer",
        "value.deserializer",
        "metric.reporters",
        "metrics.num.samples",
        "metrics.sample.window.ms",
        "metrics.recording.level",
        "interceptor.classes",
        "auto.include.jmx.reporter",
        "enable.metrics.push",
        "max.block.ms",
        "metadata.max.idle.ms",
        "metadata.recovery.strategy",
        "metadata.recovery.rebootstrap.trigger.ms",
        "client.dns.lookup",
        "socket.connection.setup.timeout.max.ms",
        "ssl.protocol",
        "ssl.enabled.protocols",
        "ssl.provider",
        "ssl.keymanager.algorithm",
        "ssl.trustmanager.algorithm",
        "ssl.truststore.type",
        "ssl.secure.random.implementation",
        "ssl.engine.factory.class",
        "exclude.internal.topics",
        "default.api.timeout.ms",
        "enable.auto.commit",
        "auto.commit.interval.ms",
        "partitioner.class",
        "partitioner.ignore.keys",
        "partitioner.adaptive.partitioning.enable",
        "partitioner.availability.timeout.ms",
        "security.providers",
        "config.providers",
    ]
)
_ASSIGNORS: Final = {
    "org.apache.kafka.clients.consumer.RangeAssignor": "range",
    "org.apache.kafka.clients.consumer.RoundRobinAssignor": "roundrobin",
    "org.apache.kafka.clients.consumer.CooperativeStickyAssignor": "cooperative-sticky",
}
_JAAS_FIELDS: Final = {"username": "sasl.username", "password": "sasl.password"}


@dataclass(slots=True)
class ClientSettings:
    """Settings for librdkafka; `max_poll_records` has no place there. `warnings` name what was left out."""

    values: dict[str, Any] = field(default_factory=dict)
    max_poll_records: int | None = None
    warnings: list[str] = field(default_factory=list)


def librdkafka_settings(java: Mapping[str, str]) -> ClientSettings:
    """Translate; raises `ConfigError` for a value that cannot be translated."""
    settings = ClientSettings()
    for name, value in java.items():
        if name in _SAME:
            settings.values[name] = value
        elif name in _RENAMED:
            settings.values[_RENAMED[name]] = value
        elif name == "max.poll.records":
            settings.max_poll_records = _positive(name, value)
        elif name == "partition.assignment.strategy":
            settings.values[name] = _assignors(value)
        elif name == "sasl.jaas.config":
            settings.values |= _jaas(value)
        elif name.startswith(("ssl.keystore.", "ssl.truststore.")):
            _take_store(settings, name, value)
        elif name not in _MEANINGLESS:
            settings.values[name] = value
    if "queue.buffering.max.kbytes" in settings.values:
        bytes_max = _positive("buffer.memory", str(settings.values["queue.buffering.max.kbytes"]))
        settings.values["queue.buffering.max.kbytes"] = max(1, bytes_max // 1024)
    # Kafka's own default (KIP-480 and murmur2), so that a key stays on the partition that Java chose.
    return settings


def unknown_settings(java: Mapping[str, str]) -> list[str]:
    """Names that neither a Java client nor this module knows; librdkafka may."""
    known = _SAME | _RENAMED.keys() | _MEANINGLESS | {
        "max.poll.records", "partition.assignment.strategy", "sasl.jaas.config",
        "ssl.keystore.type", "ssl.truststore.location", "ssl.truststore.password",
        "ssl.truststore.certificates", "ssl.keystore.key", "ssl.keystore.certificate.chain",
    }  # fmt: skip
    return [name for name in java if name not in known]


def _positive(name: str, value: str) -> int:
    if not value.strip().isdecimal() or int(value) < 1:
        raise ConfigError.invalid(name, value, "Value must be a positive number")
    return int(value)


def _assignors(value: str) -> str:
    names = []
    for name in value.split(","):
        short = _ASSIGNORS.get(name.strip(), name.strip())
        if short not in _ASSIGNORS.values():
            known = ", ".join(_ASSIGNORS)
            raise ConfigError.invalid("partition.assignment.strategy", value, f"must be one of: {known}")
        names.append(short)
    # librdkafka refuses a mix of eager and cooperative assignors; the first is what the user prefers.
    cooperative = [name for name in names if name == "cooperative-sticky"]
    eager = [name for name in names if name != "cooperative-sticky"]
    return ",".join(eager if names[0] != "cooperative-sticky" else cooperative)


def _jaas(value: str) -> dict[str, str]:
    """User and password out of `…PlainLoginModule required username="u" password="p";`."""
    import re

    pairs = dict(re.findall(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"', value))
    found = {ours: pairs[theirs] for theirs, ours in _JAAS_FIELDS.items() if theirs in pairs}
    if len(found) != len(_JAAS_FIELDS):
        raise ConfigError("Invalid value [hidden] for configuration sasl.jaas.config: "
                          "only login modules with username and password are supported; "
                          "set sasl.oauthbearer.* or sasl.kerberos.* for the others")  # fmt: skip
    return found


def _take_store(settings: ClientSettings, name: str, value: str) -> None:
    """KIP-651: PEM texts and files. librdkafka reads PKCS#12 and PEM key stores, and PEM trust stores."""
    renamed = {
        "ssl.truststore.location": "ssl.ca.location",
        "ssl.truststore.certificates": "ssl.ca.pem",
        "ssl.keystore.key": "ssl.key.pem",
        "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    }
    if name.endswith(".type"):
        if value.upper() == "JKS":
            raise ConfigError.invalid(name, value, "JKS stores cannot be read; use PEM or PKCS12")
    elif name == "ssl.truststore.password":
        settings.warnings.append("ssl.truststore.password has no effect: trust stores are read as PEM")
    else:
        settings.values[renamed.get(name, name)] = value


def aiokafka_settings(java: Mapping[str, str]) -> dict[str, Any]:
    """What an aiokafka client needs to connect, from a worker's settings."""
    translated = librdkafka_settings(java)
    values = translated.values
    settings: dict[str, Any] = {"bootstrap_servers": values["bootstrap.servers"].split(",")}
    protocol = values.get("security.protocol", "PLAINTEXT").upper()
    settings["security_protocol"] = protocol
    if "client.id" in values:
        settings["client_id"] = values["client.id"]
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
