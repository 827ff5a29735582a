"""The other kinds of plugin: converters, transforms, predicates, config providers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from connect.api.config import Config
from connect.api.records import ConnectRecord, Header, SchemaAndValue
from connect.api.schemas import Schema

R = TypeVar("R", bound=ConnectRecord)


class Plugin:
    """What all plugins have: a version and the class of their settings."""

    version: ClassVar[str]
    config_class: ClassVar[type[Config]] = Config


class Converter(Plugin, ABC):
    """Bytes ↔ value, for keys and values. One instance serves either keys or values of one task."""

    @abstractmethod
    def configure(self, properties: Mapping[str, str], is_key: bool) -> None:
        """Take the settings (their prefix `key.converter.` or `value.converter.` already removed)."""

    @abstractmethod
    def from_connect(self, topic: str, schema: Schema | None, raw: Any) -> bytes | None:
        """The bytes of a value or `JsonPayload`; raises `DataError` for what the format cannot hold."""

    @abstractmethod
    def to_connect(self, topic: str, data: bytes | None) -> SchemaAndValue[Any]:
        """The value, or its `JsonPayload`, that the bytes stand for; raises `DataError`."""


class HeaderConverter(Plugin, ABC):
    """Bytes ↔ header value."""

    @abstractmethod
    def configure(self, properties: Mapping[str, str]) -> None: ...

    @abstractmethod
    def from_connect_header(self, topic: str, header: Header) -> bytes | None: ...

    @abstractmethod
    def to_connect_header(self, topic: str, name: str, data: bytes | None) -> Header: ...


class Transform(Plugin, ABC, Generic[R]):
    """Record → changed record, or None to drop it."""

    @abstractmethod
    def configure(self, properties: Mapping[str, str]) -> None: ...

    @abstractmethod
    def apply(self, record: R) -> R | None: ...

    def close(self) -> None:
        """Give back what `configure` took."""


class Predicate(Plugin, ABC, Generic[R]):
    """Says whether a transform is applied to a record."""

    @abstractmethod
    def configure(self, properties: Mapping[str, str]) -> None: ...

    @abstractmethod
    def test(self, record: R) -> bool: ...


class ConfigProvider(Plugin, ABC):
    """Looks up `${provider:path:key}` (KIP-297)."""

    @abstractmethod
    def configure(self, properties: Mapping[str, str]) -> None: ...

    @abstractmethod
    def get(self, path: str, keys: Sequence[str]) -> Mapping[str, str]:
        """The values of those of `keys` that exist under `path`; raises `ConfigError`."""
