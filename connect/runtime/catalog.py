"""What is known of the plugins without importing them here: asked once, in a plugin host."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connect.api import ConfigError, Definition
from connect.api.plugins import UNDEFINED_VERSION
from connect.runtime.definitions import definition_from_json
from connect.runtime.forks import ForkServer
from connect.runtime.plugin_hosts import PluginFailed, PluginHosts
from connect.runtime.plugin_versions import check_version
from connect.runtime.plugins import PluginEntry, PluginKind, Plugins
from connect.runtime.service import NotFound, PluginInfo

_LOG = logging.getLogger(__name__)
_DESCRIBE_S: Final = 60.0
_SHOWN: Final = (PluginKind.CONNECTOR, PluginKind.CONVERTER, PluginKind.TRANSFORM, PluginKind.PREDICATE)


class PluginCatalog:
    """Types, versions and definitions of all plugins, by class name and alias."""

    def __init__(self, plugins: Plugins, hosts: PluginHosts) -> None:
        self.plugins = plugins
        self._hosts = hosts
        self._described: dict[str, Mapping[str, Any]] = {}
        self._loading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask all that are installed; whatever needs the answers waits for them."""
        self._loading = asyncio.create_task(self._load())

    async def stop(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait({self._loading})

    async def loaded(self) -> None:
        """Wait until all that are installed are known."""
        if self._loading is not None:
            await asyncio.shield(self._loading)

    async def _load(self) -> None:
        """One by one if it fails for all at once, so that a bad one does not hide the rest."""
        try:
            self._described |= await self._hosts.ask("describe", timeout_s=_DESCRIBE_S)
        except PluginFailed as exc:
            _LOG.warning("plugins could not be described at once: %s", exc)
            await asyncio.gather(
                *(self._describe(entry) for kind in PluginKind for entry in self.plugins.all(kind))
            )
        for told in self._described.values():
            if "error" in told:  # it says which plugin
                _LOG.warning("%s", told["error"])

    async def know(self, class_name: str) -> bool:
        """Whether there is a connector of this name; one that is not installed (`module:Class`) is asked now.

        Raises `ConfigError` if it is there and cannot be used.
        """
        entry = self.plugins.find(PluginKind.CONNECTOR, class_name)
        if entry is None:
            return False
        await self.loaded()
        if _key(entry) not in self._described:
            await self._describe(entry)
        if "error" in (told := self._told(entry)):
            if entry.class_name == entry.target:
                del self._described[_key(entry)]
            raise ConfigError(told["error"])
        return True

    async def _describe(self, entry: PluginEntry) -> None:
        try:
            told = await self._hosts.ask("describe_one", kind=entry.kind.name, plugin=entry.class_name)
        except PluginFailed as exc:
            told = {"error": str(exc)}
        self._described[_key(entry)] = told

    def class_name(self, name: str) -> str:
        """The full class name of a connector that goes by an alias."""
        entry = self.plugins.find(PluginKind.CONNECTOR, name)
        return entry.class_name if entry else name

    def type_of(self, class_name: str | None) -> str:
        """`source`, `sink` or `unknown`."""
        entry = self.plugins.find(PluginKind.CONNECTOR, class_name or "")
        return str(self._told(entry).get("type", "unknown")) if entry else "unknown"

    def version(self, class_name: str | None) -> str | None:
        entry = self.plugins.find(PluginKind.CONNECTOR, class_name or "")
        return self._told(entry).get("version") if entry else None

    def preload(self, forks: ForkServer, class_name: str | None) -> None:
        """Have the forkserver load an installed connector, so that its tasks share it."""
        entry = self.plugins.find(PluginKind.CONNECTOR, class_name or "")
        if entry is not None and entry.class_name != entry.target:
            forks.preload(entry.module)

    async def infos(self, connectors_only: bool) -> list[PluginInfo]:
        await self.loaded()
        found = []
        for kind in _SHOWN[:1] if connectors_only else _SHOWN:
            for entry in self.plugins.all(kind):
                told = self._told(entry)
                if "error" in told:
                    continue
                types = told.get("type", "unknown")
                for type_ in [types] if isinstance(types, str) else types:
                    found.append(PluginInfo(entry.class_name, type_, told.get("version")))
        return found

    async def definitions(self, name: str) -> Sequence[Definition]:
        await self.loaded()
        for kind in _SHOWN:
            entry = self.plugins.find(kind, name)
            if entry is not None and (told := self._told(entry)) and "definitions" in told:
                return [definition_from_json(definition) for definition in told["definitions"]]
        raise NotFound(f"Unknown plugin {name}.")

    def check_version(self, name: str, required: str | None) -> None:
        """Raises `ConfigError` if the plugin has another version."""
        for kind in _SHOWN:
            if entry := self.plugins.find(kind, name):
                check_version(
                    entry.class_name, self._told(entry).get("version") or UNDEFINED_VERSION, required
                )
                return

    def _told(self, entry: PluginEntry) -> Mapping[str, Any]:
        return self._described.get(_key(entry), {})


def _key(entry: PluginEntry) -> str:
    return f"{entry.kind.name}:{entry.class_name}"
