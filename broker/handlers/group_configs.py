"""Configs of groups (KIP-848): names, types, bounds and error texts of Kafka 4.3, and the broker settings
behind them.

Known gaps: what is about share and streams groups, which this broker does not serve.
"""

from collections.abc import Mapping

from broker.catalog.config_types import (
    ConfigDefinition,
    ConfigSource,
    ConfigType,
    ConfigValueSource,
    InvalidConfig,
    to_text,
)
from broker.config import BrokerSettings
from broker.handlers.broker_configs import explicit_properties

SESSION_TIMEOUT = "consumer.session.timeout.ms"
HEARTBEAT_INTERVAL = "consumer.heartbeat.interval.ms"
ASSIGNMENT_INTERVAL = "consumer.assignment.interval.ms"

# Name, smallest value of any broker, description.
_ALL = (
    (ASSIGNMENT_INTERVAL, 0, "The least time between two assignments of the group's partitions."),
    (HEARTBEAT_INTERVAL, 1, "How often members of the group are told to send a heartbeat."),
    (SESSION_TIMEOUT, 1, "How long a member may be silent before it is taken out of the group."),
)


class GroupConfigs:
    """Group configs on top of a broker's settings; the counterpart of `TopicConfigs`.

    `group.<config>` is the broker's default, `group.consumer.min.…` and `group.consumer.max.…` its bounds.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._explicit = explicit_properties(settings)
        self._defaults = _settings_of(settings, "group.consumer.")
        self._minima = _settings_of(settings, "group.consumer.min.")
        self._maxima = _settings_of(settings, "group.consumer.max.")
        kafkas = _settings_of(BrokerSettings(), "group.consumer.")
        self.definitions: Mapping[str, ConfigDefinition] = {
            name: ConfigDefinition(name, ConfigType.INT, str(kafkas[name]), doc, minimum=minimum)
            for name, minimum, doc in _ALL
        }

    def validate(self, configs: Mapping[str, str]) -> None:
        """Whether these may be set for a group. Raises InvalidConfig with Kafka's text."""
        for name in configs:
            if name not in self.definitions:
                raise InvalidConfig(f"Unknown group config name: {name}")
        values = self._defaults | self.values(configs)
        for name, value in values.items():
            what = name.removeprefix("consumer.")
            if value < self._minima[name]:
                raise InvalidConfig(f"{name} must be greater than or equal to group.consumer.min.{what}")
            if value > self._maxima[name]:
                raise InvalidConfig(f"{name} must be less than or equal to group.consumer.max.{what}")
        if values[SESSION_TIMEOUT] <= values[HEARTBEAT_INTERVAL]:
            raise InvalidConfig(f"{SESSION_TIMEOUT} must be greater than {HEARTBEAT_INTERVAL}")

    def values(self, configs: Mapping[str, str]) -> dict[str, int]:
        """What is set, in milliseconds, by name. What only a newer Millstream knows is left out."""
        values = {}
        for name, text in configs.items():
            if name not in self.definitions:
                continue
            value = self.definitions[name].parse(text)
            assert isinstance(value, int)
            values[name] = value
        return values

    def text(self, name: str, configs: Mapping[str, str]) -> str:
        """The value in force."""
        return to_text(self.values({name: configs[name]})[name] if name in configs else self._defaults[name])

    def sources(self, name: str, configs: Mapping[str, str]) -> list[ConfigValueSource]:
        """All places that name a value, the one in force first."""
        setting = f"group.{name}"
        sources = []
        if name in configs:
            sources.append(ConfigValueSource(name, self.text(name, configs), ConfigSource.GROUP))
        if setting in self._explicit:
            sources.append(ConfigValueSource(setting, self._explicit[setting], ConfigSource.STATIC_BROKER))
        sources.append(ConfigValueSource(setting, self.definitions[name].default, ConfigSource.DEFAULT))
        return sources


def _settings_of(settings: BrokerSettings, prefix: str) -> dict[str, int]:
    """The settings with names of that prefix that belong to group configs, by the name of the config."""
    values: dict[str, int] = {}
    for name, _, _ in _ALL:
        field_name = (prefix + name.removeprefix("consumer.")).replace(".", "_")
        values[name] = getattr(settings, field_name)
    return values
