"""Secrets in configs: hidden in answers, and put back where a client sends a hidden one in again.

A client that reads a config, changes one setting and writes the whole back (as consoles and deployment
tools do) sends `[hidden]` for the password. That means "as it is": the stored value is kept.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from connect.api import Definition, Kind
from connect.api.config import HIDDEN
from connect.runtime.secret_names import sounds_secret
from connect.runtime.service import BadRequest, ConnectService, NotFound

# A reference says where the secret is, not what it is.
_REFERENCE: Final = re.compile(r"\$\{[^}]+\}")


T = TypeVar("T", str, str | None)


class Masking:
    """Which settings of which connector class are secret, asked of the worker once per class."""

    def __init__(self, service: ConnectService) -> None:
        self._service = service
        self._kinds: dict[str, Mapping[str, Definition]] = {}

    async def hide(self, config: Mapping[str, str]) -> dict[str, str]:
        """The config as it may be shown."""
        known = await self._definitions(config.get("connector.class"))
        return {
            name: HIDDEN if value and not _REFERENCE.fullmatch(value) and _is_secret(name, known) else value
            for name, value in config.items()
        }

    def restore(self, connector: str, given: Mapping[str, T]) -> dict[str, T | str]:
        """What the client means: `[hidden]` replaced by what is stored; `BadRequest` where nothing is."""
        if HIDDEN not in given.values():
            return dict(given)
        try:
            stored: Mapping[str, str] = self._service.info(connector).config
        except NotFound:
            stored = {}
        for name, value in given.items():
            if value == HIDDEN and name not in stored:
                raise BadRequest(
                    f"{name} is {HIDDEN}, which stands for the value that connector {connector} has now, "
                    f"but it has none: give the value itself"
                )
        return {name: stored[name] if value == HIDDEN else value for name, value in given.items()}

    async def _definitions(self, class_name: str | None) -> Mapping[str, Definition]:
        if class_name is None:
            return {}
        if class_name not in self._kinds:
            try:
                found = await self._service.plugin_definitions(class_name)
            except NotFound:
                return {}
            self._kinds[class_name] = {definition.name: definition for definition in found}
        return self._kinds[class_name]


def _is_secret(name: str, known: Mapping[str, Definition]) -> bool:
    if name in known:
        return known[name].kind is Kind.PASSWORD
    return sounds_secret(name)
