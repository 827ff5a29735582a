"""Partitioners that users write: `partitioner.class=module:Class` names a class derived from
`CustomPartitioner`, which the worker finds where Python looks and in `plugin.path`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar, Final

from connect.api import ConfigError, SinkRecord

_LOCAL: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class CustomPartitioner(ABC):
    """Made without arguments, once per task (and to check a config); called from one thread.

    `encode` must say the same of a record whenever it is asked, after a restart too: which records share an
    object depends on it, and with that, that each is written once.
    """

    # True: the record's time by `timestamp.extractor` is given to `encode`, and `rotate.interval.ms` counts.
    is_time_based: ClassVar[bool] = False

    def configure(self, properties: Mapping[str, str]) -> None:  # noqa: B027 - most have no settings
        """Take the connector's settings, all of them, as they were given: the partitioner's own are among
        them. Raises `ConfigError`."""

    @abstractmethod
    def encode(self, record: SinkRecord, time_ms: int | None) -> str:
        """The folder of a record below its topic's, such as `country=DE`; it may have the delimiter in it.
        `time_ms` (since 1970) is there where `is_time_based`. Raises `DataError` for a record that has none;
        this and any other error goes where `errors.tolerance` says, with the record."""


def is_custom(name: str) -> bool:
    """Whether this names a class of the user's."""
    return _LOCAL.fullmatch(name) is not None


def custom_partitioner(name: str) -> type[CustomPartitioner]:
    """The class `module:Class`; raises `ConfigError` if it cannot be used."""
    module, _, attribute = name.partition(":")
    try:
        found: object = getattr(import_module(module), attribute)
    except Exception as exc:  # the module is the user's, and may raise anything
        raise ConfigError(f"{name} cannot be loaded: {type(exc).__name__}: {exc}") from exc
    if not (isinstance(found, type) and issubclass(found, CustomPartitioner)):
        raise ConfigError(f"{name} is not derived from connectors.s3.custom_partitioner.CustomPartitioner")
    if lacking := sorted(found.__abstractmethods__):
        raise ConfigError(f"{name} has no {', '.join(lacking)}")
    return found


def configured(name: str, properties: Mapping[str, str]) -> CustomPartitioner:
    """One of the class `module:Class`, with its settings; raises `ConfigError`."""
    partitioner = custom_partitioner(name)()
    partitioner.configure(properties)
    return partitioner
