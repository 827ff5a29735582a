"""Secrets that stay outside of configs: `${provider:path:key}` (KIP-297), from files and the environment.

Resolved where they are used, in the task or the plugin host; what the worker stores and shows keeps the
reference. The names `file`, `env` and `dir` work without any setting.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import javaproperties

from connect.api import ConfigError, ConfigProvider
from connect.runtime.plugins import PluginKind, Plugins
from connect.version import __version__

_REFERENCE: Final = re.compile(r"\$\{([^}]*?):(([^}]*?):)?([^}]*?)\}")
_PACKAGE: Final = "org.apache.kafka.common.config.provider"
_DEFAULT_PROVIDERS: Final = {
    "file": f"{_PACKAGE}.FileConfigProvider",
    "env": f"{_PACKAGE}.EnvVarConfigProvider",
    "dir": f"{_PACKAGE}.DirectoryConfigProvider",
}


class _AllowedPaths:
    """`allowed.paths`: nothing outside of these may be read; no setting allows all (KIP-993)."""

    def __init__(self, setting: str | None) -> None:
        self._roots: list[Path] | None = None
        if setting:
            roots = [Path(part.strip()) for part in setting.split(",")]
            for root in roots:
                if not root.is_absolute():
                    raise ConfigError.invalid("allowed.paths", root, "Path is not absolute")
                if not root.exists():
                    raise ConfigError.invalid("allowed.paths", root, "Path does not exist")
            self._roots = [root.resolve() for root in roots]

    def check(self, path: Path) -> Path:
        if self._roots is not None:
            real = path.resolve()
            if not any(real.is_relative_to(root) for root in self._roots):
                raise ConfigError(f"config provider: {path} is not under allowed.paths")
        return path


class FileConfigProvider(ConfigProvider):
    """`${file:/path/secrets.properties:key}`."""

    version = __version__

    def configure(self, properties: Mapping[str, str]) -> None:
        self._allowed = _AllowedPaths(properties.get("allowed.paths"))

    def get(self, path: str, keys: Sequence[str]) -> Mapping[str, str]:
        if not path:
            return {}
        try:
            found = javaproperties.loads(self._allowed.check(Path(path)).read_text())
        except (OSError, ValueError) as exc:
            raise ConfigError(f"config provider: could not read properties from file {path}: {exc}") from exc
        return {key: found[key] for key in keys if key in found}


class EnvVarConfigProvider(ConfigProvider):
    """`${env:NAME}`; `allowlist.pattern` restricts the names."""

    version = __version__

    def configure(self, properties: Mapping[str, str]) -> None:
        pattern = properties.get("allowlist.pattern", ".*")
        try:
            self._allowed = re.compile(pattern)
        except re.error as exc:
            raise ConfigError.invalid(
                "allowlist.pattern", pattern, f"not a regular expression: {exc}"
            ) from exc

    def get(self, path: str, keys: Sequence[str]) -> Mapping[str, str]:
        if path:
            raise ConfigError(f"config provider: environment variables have no path, but {path!r} was given")
        return {key: os.environ[key] for key in keys if key in os.environ and self._allowed.fullmatch(key)}


class DirectoryConfigProvider(ConfigProvider):
    """`${dir:/path:file}`: a file per secret, as Kubernetes mounts them."""

    version = __version__

    def configure(self, properties: Mapping[str, str]) -> None:
        self._allowed = _AllowedPaths(properties.get("allowed.paths"))

    def get(self, path: str, keys: Sequence[str]) -> Mapping[str, str]:
        directory = self._allowed.check(Path(path))
        if not directory.is_dir():
            raise ConfigError(f"config provider: {path} is not a directory")
        found = {}
        for key in keys:
            file = directory / key
            # A key is a file's name, never a way out of the directory.
            if file.parent == directory and self._allowed.check(file).is_file():
                try:
                    found[key] = file.read_text()
                except (OSError, UnicodeDecodeError) as exc:
                    raise ConfigError(f"config provider: could not read {file}: {exc}") from exc
        return found


class ConfigResolver:
    """Replaces references in configs. `worker` holds the worker's `config.providers…` settings."""

    def __init__(self, worker: Mapping[str, str], plugins: Plugins) -> None:
        names = [name.strip() for name in worker.get("config.providers", "").split(",") if name.strip()]
        classes = _DEFAULT_PROVIDERS | {name: _class_of(worker, name) for name in names}
        self._providers: dict[str, ConfigProvider] = {}
        for name, class_name in classes.items():
            prefix = f"config.providers.{name}.param."
            settings = {key.removeprefix(prefix): worker[key] for key in worker if key.startswith(prefix)}
            plugin = plugins.get(PluginKind.CONFIG_PROVIDER, class_name).load()
            provider = cast(ConfigProvider, plugin())
            provider.configure(settings)
            self._providers[name] = provider
        self.ttl_ms: int | None = None  # of the shortest-lived value that was looked up so far
        self.found: set[str] = set()  # the values that were looked up so far, to be shown to nobody

    def resolve(self, properties: Mapping[str, str | None]) -> dict[str, str | None]:
        """The properties with every `${provider:path:key}` of a known provider replaced.

        A key that the provider does not have stays as it is, as Kafka leaves it.
        """
        return {
            name: value if value is None or "${" not in value else self.look_up(value)[0]
            for name, value in properties.items()
        }

    def look_up(self, text: str) -> tuple[str, list[str]]:
        """The text with its references replaced, and a sentence for each that has no value and stays."""
        missing: list[str] = []

        def replacement(match: re.Match[str]) -> str:
            provider = self._providers.get(match[1])
            if provider is None:
                missing.append(
                    f"{match[0]} names config provider {match[1]}, which config.providers does not name"
                )
                return match[0]
            found = self._value(provider, match[3] or "", match[4])
            if found is None:
                missing.append(f"{match[0]} has no value on this machine")
                return match[0]
            return found

        return _REFERENCE.sub(replacement, text), missing

    def _value(self, provider: ConfigProvider, path: str, key: str) -> str | None:
        found = provider.get(path, [key]).get(key)
        if found:
            self.found.add(found)
        ttl_ms = provider.ttl_ms(path)
        if ttl_ms is not None:
            self.ttl_ms = ttl_ms if self.ttl_ms is None else min(self.ttl_ms, ttl_ms)
        return found


def _class_of(worker: Mapping[str, str], name: str) -> str:
    try:
        return worker[f"config.providers.{name}.class"]
    except KeyError:
        if name in _DEFAULT_PROVIDERS:
            return _DEFAULT_PROVIDERS[name]
        raise ConfigError(
            f"config.providers names {name}, but config.providers.{name}.class is not set"
        ) from None
