"""The worker's own settings: what its file says, and what that stands for."""

import difflib
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import javaproperties

from connect.api import ConfigError, FieldError
from connect.runtime.config import WorkerConfig
from connect.runtime.config_providers import ConfigResolver
from connect.runtime.idle_settings import IdleSettings
from connect.runtime.plugins import Plugins, plugin_directories

_PROVIDERS: Final = "config.providers"


@dataclass(slots=True)
class WorkerSettings:
    """`values` are those in force; `secrets` came out of references and are shown to nobody; `errors` name
    the settings whose references have no value, where they stay as they are written."""

    values: dict[str, str]
    secrets: set[str] = field(default_factory=set)
    errors: list[FieldError] = field(default_factory=list)


def read_properties(file: Path) -> dict[str, str]:
    """A .properties file as Java reads it; raises `ConfigError`."""
    try:
        found: dict[str, str] = javaproperties.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"cannot read {file}: {exc}") from None
    return found


def resolved(written: Mapping[str, str]) -> WorkerSettings:
    """The settings with every `${provider:path:key}` looked up (KIP-297).

    The settings of the providers themselves are taken as they are written, as Kafka does, and so is
    `plugin.path`, where providers may come from.
    """
    settings = WorkerSettings(dict(written))
    asked = {
        name: value
        for name, value in written.items()
        if "${" in value and name != "plugin.path" and not name.startswith(_PROVIDERS)
    }
    if not asked:
        return settings
    directories = plugin_directories(filter(None, map(str.strip, written.get("plugin.path", "").split(","))))
    sys.path += [each for each in directories if each not in sys.path]
    try:
        resolver = ConfigResolver(written, Plugins.discover(directories))
    except ConfigError as exc:
        settings.errors.append(FieldError(_PROVIDERS, str(exc)))
        return settings
    for name, value in asked.items():
        try:
            settings.values[name], missing = resolver.look_up(value)
        except ConfigError as exc:
            missing = [str(exc)]
        settings.errors += [FieldError(name, why) for why in missing]
    settings.secrets = resolver.found
    return settings


def doubts(properties: Mapping[str, str], rest: Collection[str]) -> Iterator[tuple[str, str]]:
    """(name, what is to be said) of settings without effect and of unknown ones; `rest` names those that the
    REST layer reads."""
    for name, why in IdleSettings.given(properties):
        yield name, f"has no effect: {why}"
    known = [*WorkerConfig.definitions(), *IdleSettings.definitions(), *rest]
    for name in IdleSettings.unknown(WorkerConfig.unknown(properties)):
        if name not in rest:
            near = difflib.get_close_matches(name, known, 1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            yield name, f"unknown, and ignored{hint}"
