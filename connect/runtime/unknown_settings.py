"""Settings of a connector's config that mean nothing, each with the nearest one that does."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from connect.api import Config, Plugin
from connect.runtime.connector_config import ConnectorConfig
from connect.runtime.task_config import TaskConfig
from connect.runtime.topic_creation import PREFIX as TOPIC_CREATION

_CHAINS: Final = ("transforms", "predicates")
_CONVERTERS: Final = ("key.converter", "value.converter", "header.converter")


class UnknownSettings:
    """One connector's. `known` are the settings that were found to mean something; `plugins` are those that
    the config puts to use, by the prefix of their settings: None for one that cannot be loaded."""

    def __init__(
        self,
        own: type[Config],
        common: type[ConnectorConfig],
        known: Collection[str],
        plugins: Mapping[str, type[Plugin] | None],
        topic_groups: Collection[str],
    ) -> None:
        self._own = own
        self._common = common
        self._known = {*known, *TaskConfig.definitions()}
        self._plugins = plugins
        self._topic_groups = {*topic_groups, "default"}

    def warnings(self, names: Collection[str]) -> Iterator[str]:
        """A sentence for each of `names` that means nothing."""
        for name in names:
            if name not in self._known and self._own.unknown([name]) and (why := self._why(name)) is not None:
                near = self._nearest(name)
                hint = f'; did you mean "{near}"?' if near else ""
                yield f'Unknown configuration "{name}" is ignored{why}{hint}'

    def _why(self, name: str) -> str | None:
        """What is to be said of it, perhaps nothing; None if it may mean something."""
        if (prefix := self._prefix(name)) is not None:
            return "" if _is_unknown(self._plugins[prefix], name.removeprefix(prefix)) else None
        for chain in _CHAINS:
            if name.startswith(f"{chain}."):
                return f': "{chain}" does not name "{name.split(".")[1]}"'
        for role in _CONVERTERS:
            if name.startswith(f"{role}."):
                return f": without \"{role}\" the worker's converter is used with the worker's settings"
        if name.startswith(TOPIC_CREATION) and self._common.definitions().keys() & {
            f"{TOPIC_CREATION}groups"
        }:
            group = name.removeprefix(TOPIC_CREATION).rpartition(".")[0]
            named = any(group == known or group.startswith(f"{known}.") for known in self._topic_groups)
            return None if named else f': "{TOPIC_CREATION}groups" does not name its group'
        if name.startswith("millstream."):
            return ""
        return "" if self._common.unknown([name]) else None

    def _prefix(self, name: str) -> str | None:
        return max((prefix for prefix in self._plugins if name.startswith(prefix)), key=len, default=None)

    def _nearest(self, name: str) -> str | None:
        prefix = self._prefix(name) or ""
        among = [known for known in self._known if known.startswith(prefix)]
        if name.startswith(TOPIC_CREATION):
            # Any topic config may stand there, so the group is what is wrong.
            last = name.removeprefix(TOPIC_CREATION).partition(".")[2]
            among += [f"{TOPIC_CREATION}{group}.{last}" for group in self._topic_groups]
        return next(iter(difflib.get_close_matches(name, sorted(among), 1)), None)


def _is_unknown(plugin: type[Plugin] | None, name: str) -> bool:
    # One without declared settings may read what it likes.
    if plugin is None or plugin.config_class is Config:
        return False
    return bool(plugin.config_class.unknown([name]))
