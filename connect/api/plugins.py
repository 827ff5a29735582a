"""The other kinds of plugin: converters, transforms, predicates, config providers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

from connect.api.config import Config
from connect.api.records import ConnectRecord, Header, SchemaAndValue
from connect.api.schemas import Schema

R = TypeVar("R", bound=ConnectRecord)
UNDEFINED_VERSION: Final = "undefined"


class Plugin:
    """What all plugins have: a version and the class of their settings.

    Plugins are made without arguments; `configure` (a connector: the config of each call) gives them their
    settings. `version` is shown by `GET /connector-plugins` and in statuses; a class that names none has the
    version of the package that it is installed with.
    """

    version: ClassVar[str] = UNDEFINED_VERSION
    config_class: ClassVar[type[Config]] = Config


class Converter(Plugin, ABC):
    """Bytes ↔ value, for keys and values. One instance serves either keys or values of one task."""

    @abstractmethod
    def configure(self, properties: Mapping[str, str], is_key: bool) -> None:
        """Take the settings (their prefix `key.converter.` or `value.converter.` already removed); raises
        `ConfigError`."""

    @abstractmethod
    def from_connect(self, topic: str, schema: Schema | None, raw: Any) -> bytes | None:
        """The bytes of a value or `JsonPayload`, None for a tombstone; raises `DataError` for what the format
        cannot hold. `schema` is None for a schemaless value."""

    def json_frame(self, topic: str, schema: Schema) -> tuple[bytes, bytes] | None:
        """What stands before and behind the JSON of a `JsonPayload` in the bytes of a value of `schema`;
        None, the default, where each value has to be looked at."""
        return None

    @abstractmethod
    def to_connect(self, topic: str, data: bytes | None) -> SchemaAndValue[Any]:
        """The value, or its `JsonPayload`, that the bytes stand for; raises `DataError` for other bytes.
        None, a tombstone, is None."""


class HeaderConverter(Plugin, ABC):
    """Bytes ↔ header value. One instance serves one task."""

    @abstractmethod
    def configure(self, properties: Mapping[str, str]) -> None:
        """Take the settings (their prefix `header.converter.` already removed); raises `ConfigError`."""

    @abstractmethod
    def from_connect_header(self, topic: str, header: Header) -> bytes | None:
        """The bytes of a header of a record for `topic`; raises `DataError` for what the format cannot
        hold."""

    @abstractmethod
    def to_connect_header(self, topic: str, name: str, data: bytes | None) -> Header:
        """The header that stands in a record of `topic`; raises `DataError` for bytes that are none."""


class Transform(Plugin, ABC, Generic[R]):
    """Record → changed record, or None to drop it. One instance serves one task, from one thread.

    Order: `configure`, then `apply` again and again, then `close`.
    """

    @abstractmethod
    def configure(self, properties: Mapping[str, str]) -> None:
        """Take the settings (their prefix `transforms.<alias>.` already removed); raises `ConfigError`."""

    @abstractmethod
    def apply(self, record: R) -> R | None:
        """The record to go on with: this one, or a changed copy (`record.replace`); None drops it. The given
        record is never changed. Raises `DataError` for a record that cannot be changed so; null values
        (tombstones) come too."""

    def close(self) -> None:
        """Give back what `configure` took."""


class Predicate(Plugin, ABC, Generic[R]):
    """Says whether a transform is applied to a record. One instance serves one task, from one thread."""

    @abstractmethod
    def configure(self, properties: Mapping[str, str]) -> None:
        """Take the settings (their prefix `predicates.<alias>.` already removed); raises `ConfigError`."""

    @abstractmethod
    def test(self, record: R) -> bool:
        """True or False, nothing else that is true or false: it is compared by identity. Never changes the
        record."""


class ConfigProvider(Plugin, ABC):
    """Looks up `${provider:path:key}` (KIP-297), in the process that needs the value: each task's own.

    The worker's settings `config.providers` and `config.providers.<name>.class` put it to use.
    """

    @abstractmethod
    def configure(self, properties: Mapping[str, str]) -> None:
        """Take the settings (their prefix `config.providers.<name>.param.` already removed); raises
        `ConfigError`."""

    @abstractmethod
    def get(self, path: str, keys: Sequence[str]) -> Mapping[str, str]:
        """The values of those of `keys` that exist under `path` (empty for `${provider:key}`). Raises
        `ConfigError` if nothing can be looked up there; its text must not hold a value."""

    def ttl_ms(self, path: str) -> int | None:
        """How many milliseconds what `get` has just given for `path` is good for; None, the default, is for
        ever. Asked after each `get`. A connector with `config.action.reload=restart` is restarted then."""
        return None
