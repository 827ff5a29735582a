"""The settings of a task's Kafka clients: the worker's, then the connector's own `producer.override.` etc."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from connect.api import ConfigError
from connect.runtime.config import WorkerConfig
from connect.runtime.kafka_clients import ClientSettings, librdkafka_settings

_LOG = logging.getLogger(__name__)
# The broker aborts a transaction that is open for longer.
TRANSACTION_TIMEOUT_MS: Final = 60_000
FENCING_S: Final = 65.0  # for a plugin host that fences the producers of a connector's tasks
# KIP-458: what the policy Principal allows.
_PRINCIPAL: Final = frozenset({"sasl.jaas.config", "sasl.mechanism", "security.protocol"})


def overrides(kind: str, config: Mapping[str, str | None]) -> dict[str, str]:
    """A connector's overrides for a `producer`, `consumer` or `admin` client."""
    prefix = f"{kind}.override."
    return {
        name.removeprefix(prefix): value
        for name, value in config.items()
        if name.startswith(prefix) and value is not None
    }


def sink_group(connector: str, config: Mapping[str, str | None]) -> str:
    """The consumer group of a sink connector."""
    return overrides("consumer", config).get("group.id") or f"connect-{connector}"


def sink_client_id(connector: str, task: int) -> str:
    """The client id of a sink task's consumer, unless the settings name another."""
    return f"connector-consumer-{connector}-{task}"


def refused_overrides(worker: WorkerConfig, kind: str, config: Mapping[str, str | None]) -> list[str]:
    """The names of the overrides that `connector.client.config.override.policy` does not allow."""
    policy = worker.policy
    if policy == "All":
        return []
    allowed: frozenset[str] = _PRINCIPAL if policy == "Principal" else frozenset()
    if policy == "Allowlist":
        allowed = frozenset(worker.override_allowlist)
    return [name for name in overrides(kind, config) if name not in allowed]


def override_refusal(worker: WorkerConfig, name: str) -> str:
    """Connect's sentence for it."""
    return (
        f"The '{worker.policy}' policy does not allow '{name}' to be overridden in the connector "
        "configuration."
    )


def transactional_id(worker: WorkerConfig, connector: str, task: int) -> str:
    """Of a source task's producer (KIP-618). Nobody may choose another: it fences the task's zombies."""
    return f"{worker.group_id}-{connector}-{task}"


# What must hold where sources deliver exactly once, by kind of client; Connect ignores other values.
_EXACTLY_ONCE: Final[Mapping[str, Mapping[str, str]]] = {
    "producer": {"enable.idempotence": "true"},
    "consumer": {"isolation.level": "read_committed"},
}


def ignored_overrides(
    worker: WorkerConfig, connector: str, task: int, kind: str, config: Mapping[str, str | None]
) -> dict[str, str]:
    """Client settings of an exactly-once source that have no effect, each with Connect's sentence."""
    fixed = dict(_EXACTLY_ONCE.get(kind, {}))
    if kind == "producer":
        fixed["transactional.id"] = transactional_id(worker, connector, task)
    given = {**worker.client(kind), **overrides(kind, config)}
    return {
        name: f"The value '{given[name]}' for the '{name}' property will be ignored as it cannot be "
        "overridden for connectors when exactly-once source support is enabled. "
        f"The value '{value}' will be used instead."
        for name, value in fixed.items()
        if name in given and given[name].lower() != value.lower()
    }


def check_overrides(worker: WorkerConfig, kind: str, config: Mapping[str, str | None]) -> None:
    """Raises `ConfigError` for an override that the policy does not allow."""
    if refused := refused_overrides(worker, kind, config):
        raise ConfigError(override_refusal(worker, refused[0]))


def client_settings(worker: WorkerConfig, kind: str, config: Mapping[str, str | None]) -> ClientSettings:
    """librdkafka's settings for a connector's client of this kind; what has no effect is logged."""
    check_overrides(worker, kind, config)
    java = {**worker.client(kind), **overrides(kind, config)}
    settings = librdkafka_settings(java)
    for warning in settings.warnings:
        _LOG.warning("%s settings: %s", kind, warning)
    return settings


def transactional_settings(
    worker: WorkerConfig, connector: str, task: int, config: Mapping[str, str | None], longest_ms: int = 0
) -> dict[str, Any]:
    """librdkafka's settings for the producer of an exactly-once source task, whose transactions are meant to
    be open for up to `longest_ms`."""
    for warning in ignored_overrides(worker, connector, task, "producer", config).values():
        _LOG.warning("%s", warning)
    values = {
        "client.id": f"connector-producer-{connector}-{task}",
        "transaction.timeout.ms": str(longest_ms + TRANSACTION_TIMEOUT_MS),
        **client_settings(worker, "producer", config).values,
        **_EXACTLY_ONCE["producer"],
        "transactional.id": transactional_id(worker, connector, task),
    }
    # What does not get through before its transaction is aborted need not be tried any longer. librdkafka
    # refuses a longer time, and Connect's own default for it.
    message_ms = int(values.get("message.timeout.ms", 0))
    if not 0 < message_ms <= int(values["transaction.timeout.ms"]):
        values.pop("message.timeout.ms", None)
    return values


def task_client(
    worker: WorkerConfig,
    kind: str,
    connector: str,
    task: int,
    config: Mapping[str, str | None],
    role: str | None = None,
) -> dict[str, Any]:
    """librdkafka's settings for a task's client of this kind; its `role` shows in the client id."""
    settings = client_settings(worker, kind, config).values
    settings.setdefault("client.id", f"connector-{role or kind}-{connector}-{task}")
    return settings
