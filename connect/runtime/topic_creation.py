"""Topics that a source creates before it writes to them (KIP-158): `topic.creation.*`."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from connect.api import ConfigError, ConnectError
from connect.api.java_regex import compile_java

PREFIX: Final = "topic.creation."
_TIMEOUT_S: Final = 60.0
_OWN_KEYS: Final = frozenset({"include", "exclude", "partitions", "replication.factor"})


@dataclass(frozen=True, slots=True)
class TopicGroup:
    """How the topics that match are created. -1 leaves a number to the broker."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]
    include: Sequence[re.Pattern[str]] = ()
    exclude: Sequence[re.Pattern[str]] = ()

    def matches(self, topic: str) -> bool:
        return any(p.fullmatch(topic) for p in self.include) and not any(
            p.fullmatch(topic) for p in self.exclude
        )


def topic_groups(config: Mapping[str, str | None]) -> list[TopicGroup]:
    """The groups in their order, the default group last; empty if the connector creates no topics."""
    if not any(name.startswith(f"{PREFIX}default.") for name in config):
        return []
    names = [name.strip() for name in (config.get(f"{PREFIX}groups") or "").split(",") if name.strip()]
    default = _group("default", config, None)
    return [_group(name, config, default) for name in names if name != "default"] + [default]


def _group(name: str, config: Mapping[str, str | None], default: TopicGroup | None) -> TopicGroup:
    prefix = f"{PREFIX}{name}."
    own = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
    settings = {key: value for key, value in own.items() if value is not None}
    return TopicGroup(
        name,
        _number(f"{prefix}partitions", settings.get("partitions"), default.partitions if default else None),
        _number(
            f"{prefix}replication.factor",
            settings.get("replication.factor"),
            default.replication_factor if default else None,
        ),
        {key: value for key, value in settings.items() if key not in _OWN_KEYS},
        _patterns(f"{prefix}include", settings.get("include", ".*" if default is None else None)),
        _patterns(f"{prefix}exclude", settings.get("exclude", "")),
    )


def _number(name: str, text: str | None, default: int | None) -> int:
    if text is None:
        if default is None:
            raise ConfigError(f'Missing required configuration "{name}" which has no default value.')
        return default
    if not re.fullmatch(r"-1|[1-9]\d*", text.strip()):
        raise ConfigError.invalid(name, text, "Value must be at least 1, or -1 for the broker's default")
    return int(text)


def _patterns(name: str, text: str | None) -> list[re.Pattern[str]]:
    if text is None:
        raise ConfigError(f'Missing required configuration "{name}" which has no default value.')
    try:
        return [compile_java(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as exc:
        raise ConfigError.invalid(name, text, str(exc)) from None


class TopicCreator:
    """Makes sure that a topic exists, once per topic."""

    def __init__(self, groups: Sequence[TopicGroup], admin_settings: Mapping[str, Any]) -> None:
        self._groups = groups
        self._settings = admin_settings

    def ensure(self, topic: str) -> None:
        """Create the topic unless it exists; raises `ConnectError`."""
        group = next(group for group in self._groups if group.name == "default" or group.matches(topic))
        create_topic(self._settings, topic, group.partitions, group.replication_factor, group.configs)


def create_topic(
    admin_settings: Mapping[str, Any],
    topic: str,
    partitions: int,
    replication_factor: int,
    configs: Mapping[str, str],
) -> None:
    """Create a topic; one that exists is left as it is."""
    admin = AdminClient(dict(admin_settings))
    wanted = NewTopic(topic, partitions, replication_factor, config=dict(configs))
    created: Future[None] = admin.create_topics([wanted], operation_timeout=_TIMEOUT_S)[topic]
    try:
        created.result(_TIMEOUT_S)
    except KafkaException as exc:
        error: KafkaError = exc.args[0]
        if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise ConnectError(f"Task failed to create new topic {topic}: {error.str()}") from exc
