"""The settings of Debezium's ReselectColumnsPostProcessor: `post.processors`, `<name>.type` and
`<name>.reselect.*`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connect.api import ConfigError
from connectors.postgres.patterns import any_of

RESELECT_NAME: Final = re.compile(r"[^.]+\.(type|reselect\..+)")
_CLASS: Final = "io.debezium.processors.reselect.ReselectColumnsPostProcessor"
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class ReselectSettings:
    """Which columns to read again: `include` or `exclude` has `schema.table:column`; at most one is given.

    `unavailable`: TOAST values that were not sent; `null`: nulls. `by_event_key`: find the row by the columns
    of the event's key, not of the primary key. `fail`: stop where the row cannot be read, else keep what is
    there.
    """

    include: re.Pattern[str] | None
    exclude: re.Pattern[str] | None
    unavailable: bool
    null: bool
    by_event_key: bool
    fail: bool

    def wants(self, table: str, column: str) -> bool:
        """Whether a column of `schema.table` is read again."""
        name = f"{table}:{column}"
        if self.include is not None:
            return self.include.fullmatch(name) is not None
        return self.exclude is None or self.exclude.fullmatch(name) is None


def reselect_settings(processors: Sequence[str], properties: Mapping[str, str]) -> ReselectSettings | None:
    """The settings, None where there is no such processor; raises `ConfigError` for wrong ones."""
    if not processors:
        return None
    if len(processors) > 1:
        raise ConfigError.invalid("post.processors", ",".join(processors), "only one is supported")
    name = processors[0]
    given = properties.get(f"{name}.type")
    if given != _CLASS:
        raise ConfigError.invalid(f"{name}.type", given, f"only {_CLASS} is supported")
    reader = _Reader(f"{name}.reselect.", properties)
    settings = ReselectSettings(
        include=reader.columns("columns.include.list"),
        exclude=reader.columns("columns.exclude.list"),
        unavailable=reader.choice("unavailable.values", "true", _BOOLEANS),
        null=reader.choice("null.values", "true", _BOOLEANS),
        by_event_key=reader.choice("use.event.key", "false", _BOOLEANS),
        fail=reader.choice("error.handling.mode", "warn", {"warn": False, "fail": True}),
    )
    if settings.include is not None and settings.exclude is not None:
        raise ConfigError.invalid(
            f"{name}.reselect.columns.exclude.list", properties[f"{name}.reselect.columns.exclude.list"],
            "give an include or an exclude list, not both",
        )  # fmt: skip
    reader.check_unknown()
    return settings


class _Reader:
    """Reads the properties under a prefix."""

    def __init__(self, prefix: str, properties: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._properties = properties
        self._known: set[str] = set()

    def columns(self, name: str) -> re.Pattern[str] | None:
        value = self._value(name)
        try:
            return any_of(value) if value else None
        except ValueError as exc:
            raise ConfigError.invalid(self._prefix + name, value, str(exc)) from None

    def choice(self, name: str, default: str, choices: Mapping[str, bool]) -> bool:
        value = self._value(name) or default
        if value.lower() not in choices:
            raise ConfigError.invalid(self._prefix + name, value, f"must be one of {', '.join(choices)}")
        return choices[value.lower()]

    def check_unknown(self) -> None:
        for name, value in self._properties.items():
            if name.startswith(self._prefix) and name not in self._known:
                raise ConfigError.invalid(name, value, "no such setting of the post processor")

    def _value(self, name: str) -> str | None:
        self._known.add(self._prefix + name)
        return self._properties.get(self._prefix + name)
