"""The broker's settings as configs: what was set, as text, and what holds."""

from collections.abc import Iterator
from dataclasses import dataclass

from broker.catalog.config_types import ConfigSource, ConfigType
from broker.config import BrokerSettings

_LONG_SUFFIXES = (".ms", ".retention.bytes", ".messages")
"""Kafka has 64 bits for these, except for the group protocol's times."""


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """One setting, as DescribeConfigs shows it; `default` is None where there is none."""

    name: str
    value: str | None
    default: str | None
    source: ConfigSource
    type: ConfigType


def explicit_properties(settings: BrokerSettings) -> dict[str, str]:
    """The properties that were set rather than left at their defaults, as text by dotted name."""
    return {
        config.name: config.value
        for config in broker_configs(settings)
        if config.source is ConfigSource.STATIC_BROKER and config.value is not None
    }


def broker_configs(settings: BrokerSettings) -> Iterator[BrokerConfig]:
    """All settings."""
    for field_name, field in BrokerSettings.model_fields.items():
        value = getattr(settings, field_name)
        is_set = field_name in settings.model_fields_set
        name = field.alias or field_name
        yield BrokerConfig(
            name=name,
            value=_text(value),
            default=_text(field.default),
            source=ConfigSource.STATIC_BROKER if is_set else ConfigSource.DEFAULT,
            type=_type(name, value if value is not None else field.default),
        )


def _text(value: object) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
        case float():
            return str(value).replace("e+", "E")
        case _:
            return str(value)


def _type(name: str, value: object) -> ConfigType:
    match value:
        case bool():
            return ConfigType.BOOLEAN
        case int() | None:
            is_long = name.endswith(_LONG_SUFFIXES) and not name.startswith("group.")
            return ConfigType.LONG if is_long else ConfigType.INT
        case float():
            return ConfigType.DOUBLE
        case tuple():
            return ConfigType.LIST
        case _:
            return ConfigType.STRING
