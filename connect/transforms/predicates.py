"""The predicates of Kafka Connect."""

from collections.abc import Mapping

from connect.api import Config, Predicate, setting
from connect.api.java_regex import compile_java, regex_error
from connect.transforms.base import R
from connect.version import __version__

_EMPTY = "String must be non-empty"


class TopicNameMatchesConfig(Config):
    """Settings of TopicNameMatches."""

    pattern: str = setting(
        "pattern", check=lambda value: regex_error(value) if value else _EMPTY,
        doc="A Java regular expression for matching against the name of a record's topic.",
    )  # fmt: skip


class TopicNameMatches(Predicate[R]):
    """Whether the whole topic matches a regular expression."""

    version = __version__
    config_class = TopicNameMatchesConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        self._pattern = compile_java(TopicNameMatchesConfig.parse(properties).pattern)

    def test(self, record: R) -> bool:
        return self._pattern.fullmatch(record.topic) is not None


class HasHeaderKeyConfig(Config):
    """Settings of HasHeaderKey."""

    name: str = setting("name", check=lambda value: None if value else _EMPTY, doc="The header name.")


class HasHeaderKey(Predicate[R]):
    """Whether there is a header of this name."""

    version = __version__
    config_class = HasHeaderKeyConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        self._name = HasHeaderKeyConfig.parse(properties).name

    def test(self, record: R) -> bool:
        return any(header.name == self._name for header in record.headers)


class RecordIsTombstone(Predicate[R]):
    """Whether the value is null."""

    version = __version__

    def configure(self, properties: Mapping[str, str]) -> None:
        """There is nothing to set."""

    def test(self, record: R) -> bool:
        return record.value is None
