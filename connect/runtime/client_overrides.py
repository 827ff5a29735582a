"""The settings of a task's Kafka clients: the worker's, then the connector's own `producer.override.` etc."""

import logging
from collections.abc import Mapping
from typing import Final

from connect.api import ConfigError
from connect.runtime.config import WorkerConfig
from connect.runtime.kafka_clients import ClientSettings, librdkafka_settings, unknown_settings

_LOG = logging.getLogger(__name__)
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
    policy = worker.override_policy
    if policy == "All":
        return []
    allowed: frozenset[str] = _PRINCIPAL if policy == "Principal" else frozenset()
    if policy == "Allowlist":
        listed = worker.originals.get("connector.client.config.override.allowlist", "")
        allowed = frozenset(name.strip() for name in listed.split(","))
    return [name for name in overrides(kind, config) if name not in allowed]


def override_refusal(worker: WorkerConfig, name: str) -> str:
    """Connect's sentence for it."""
    return (
        f"The '{worker.override_policy}' policy does not allow '{name}' to be overridden in the connector "
        "configuration."
    )


def client_settings(worker: WorkerConfig, kind: str, config: Mapping[str, str | None]) -> ClientSettings:
    """librdkafka's settings for a connector's client of this kind; unknown names are logged."""
    if refused := refused_overrides(worker, kind, config):
        raise ConfigError(override_refusal(worker, refused[0]))
    java = {**worker.client(kind), **overrides(kind, config)}
    if unknown := unknown_settings(java):
        _LOG.info("%s settings passed on as they are: %s", kind, ", ".join(unknown))
    settings = librdkafka_settings(java)
    for warning in settings.warnings:
        _LOG.warning("%s settings: %s", kind, warning)
    return settings
