"""Which plugins there are, found through entry points without importing them.

A plugin goes by its Java class name, by an alias of that (`PostgresConnector`, `Postgres`, `JsonConverter`,
`Json`, `Cast$Value`), or, for code that is not installed, by `module:Class`. Packages are looked for where
Python looks, and in the directories of `plugin.path`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any, Final, cast

from connect.api import (
    ConfigError,
    ConfigProvider,
    Connector,
    Converter,
    HeaderConverter,
    Plugin,
    Predicate,
    SourceConnector,
    Transform,
)
from connect.api.plugins import UNDEFINED_VERSION


class PluginKind(StrEnum):
    CONNECTOR = "millstream.connectors"
    CONVERTER = "millstream.converters"
    TRANSFORM = "millstream.transforms"
    PREDICATE = "millstream.predicates"
    CONFIG_PROVIDER = "millstream.config_providers"


# What Connect calls them: the base class and the suffix that an alias may leave out.
_BASES: Final[Mapping[PluginKind, tuple[type, ...]]] = {
    PluginKind.CONNECTOR: (Connector,),
    PluginKind.CONVERTER: (Converter, HeaderConverter),
    PluginKind.TRANSFORM: (Transform,),
    PluginKind.PREDICATE: (Predicate,),
    PluginKind.CONFIG_PROVIDER: (ConfigProvider,),
}
_SUFFIXES: Final[Mapping[PluginKind, str]] = {
    PluginKind.CONNECTOR: "Connector",
    PluginKind.CONVERTER: "Converter",
    PluginKind.CONFIG_PROVIDER: "ConfigProvider",
}
_LOCAL: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class PluginEntry:
    """One plugin; `target` is its `module:Class`, `package` what it comes with."""

    class_name: str
    kind: PluginKind
    target: str
    package: Distribution | None = None

    def load(self) -> type[Plugin]:
        """Import it; raises `ConfigError` if that fails or it is not what it is registered as.

        A class that names no version has that of its package from then on.
        """
        module, _, name = self.target.partition(":")
        try:
            found: Any = import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as exc:
            raise ConfigError(f"plugin {self.class_name} cannot be loaded from {self.target}: {exc}") from exc
        if not (isinstance(found, type) and issubclass(found, _BASES[self.kind])):
            wanted = " or ".join(base.__name__ for base in _BASES[self.kind])
            raise ConfigError(f"plugin {self.class_name}: {self.target} is not a {wanted}")
        if lacking := _lacking(found):
            raise ConfigError(f"plugin {self.class_name}: {self.target} has no {', '.join(lacking)}")
        plugin = cast(type[Plugin], found)
        if plugin.version == UNDEFINED_VERSION and self.package is not None:
            plugin.version = self.package.version
        return plugin

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]


class Plugins:
    """The registry. Listing costs no import; `find` takes names and aliases."""

    def __init__(self, entries: Iterable[PluginEntry]) -> None:
        self._entries: dict[PluginKind, dict[str, PluginEntry]] = {kind: {} for kind in PluginKind}
        self._aliases: dict[PluginKind, dict[str, PluginEntry | None]] = {kind: {} for kind in PluginKind}
        self._names: dict[str, str] = {}  # target → class name
        for entry in entries:
            self._names[entry.target] = entry.class_name
            self._entries[entry.kind][entry.class_name] = entry
            for alias in _aliases(entry):
                known = self._aliases[entry.kind].get(alias, entry)
                # Two plugins with one alias: neither has it.
                self._aliases[entry.kind][alias] = entry if known == entry else None

    @classmethod
    @cache
    def discover(cls, plugin_directories: tuple[str, ...] = ()) -> "Plugins":
        """All that installed packages offer, and the packages in these directories; what is installed goes
        first. Looked up once per process, and before it forks."""
        offered: dict[tuple[PluginKind, str], PluginEntry] = {}
        beside = [
            point for package in distributions(path=list(plugin_directories)) for point in _points(package)
        ]
        for kind in PluginKind:
            for point in (*entry_points(group=kind.value), *beside):
                if point.group == kind.value:
                    entry = PluginEntry(point.name, kind, point.value, point.dist)
                    offered.setdefault((kind, point.name), entry)
        return cls(offered.values())

    def all(self, kind: PluginKind) -> list[PluginEntry]:
        return sorted(self._entries[kind].values(), key=lambda entry: entry.class_name)

    def find(self, kind: PluginKind, name: str) -> PluginEntry | None:
        """The plugin of this name or alias."""
        if entry := self._entries[kind].get(name) or self._aliases[kind].get(name):
            return entry
        return PluginEntry(name, kind, name) if _LOCAL.fullmatch(name) else None

    def find_connector(self, name: str) -> PluginEntry | None:
        return self.find(PluginKind.CONNECTOR, name)

    def name_of(self, plugin: object) -> str:
        """The class name that users know a class, or an instance's class, by, for reports."""
        cls = plugin if isinstance(plugin, type) else type(plugin)
        return self._names.get(f"{cls.__module__}:{cls.__qualname__}", f"{cls.__module__}.{cls.__qualname__}")

    def get(self, kind: PluginKind, name: str) -> PluginEntry:
        """Like `find`; raises `ConfigError` if there is none."""
        entry = self.find(kind, name)
        if entry is None:
            raise ConfigError(f"Class {name} could not be found.")
        return entry

    def finder(self, kind: PluginKind) -> Callable[[str], type[Plugin]]:
        """What loads the class of a name; raises `ConfigError`."""
        return lambda name: self.get(kind, name).load()


def _lacking(plugin: type) -> list[str]:
    """What its author has left out."""
    lacking = sorted(getattr(plugin, "__abstractmethods__", ()))
    if issubclass(plugin, Connector) and not hasattr(plugin, "task_class"):
        lacking.append("task_class")
    return lacking


def plugin_directories(plugin_path: Iterable[str]) -> tuple[str, ...]:
    """Where Python finds the code of a `plugin.path`: its directories, and, as in Kafka Connect, a directory
    in them per plugin (`pip install --target DIRECTORY/PLUGIN PACKAGE`)."""
    found: list[str] = []
    for directory in map(Path, plugin_path):
        found.append(str(directory))
        found += sorted({str(info.parent) for info in directory.glob("*/*.dist-info")})
    return tuple(dict.fromkeys(found))


def _points(package: Distribution) -> Iterable[EntryPoint]:
    groups = {kind.value for kind in PluginKind}
    return [point for point in package.entry_points if point.group in groups]


def _aliases(entry: PluginEntry) -> set[str]:
    simple = entry.class_name.rpartition(".")[2]
    suffix = _SUFFIXES.get(entry.kind, "")
    return {simple, simple.removesuffix(suffix)} if suffix else {simple}


def connector_type(connector: type[Plugin]) -> str:
    """`source` or `sink`."""
    return "source" if issubclass(connector, SourceConnector) else "sink"
