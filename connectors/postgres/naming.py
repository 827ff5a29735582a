"""Names of topics, schemas and fields: `topic.*`, `*.name.adjustment.mode`."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from connect.api.java_regex import compile_java, java_replacement
from connectors.postgres.config import TOPIC_NAMING, PostgresSourceConfig
from connectors.postgres.event_checks import REGEX_NAMING

_TOPIC_LENGTH_MAX: Final = 249
_ILLEGAL_IN_TOPIC: Final = re.compile(r"[^a-zA-Z0-9._-]")
# The escape is an underscore, so an underscore is escaped as well.
_ILLEGAL_IN_TOPIC_UNICODE: Final = re.compile(r"[^a-zA-Z0-9.-]")

Rename = Callable[[str], str]


class KeyField(NamedTuple):
    """What the key of a table says of its origin when several tables share a topic."""

    name: str
    value: str


class Names:
    """The names of one config."""

    def __init__(self, config: PostgresSourceConfig) -> None:
        self._prefix, self._delimiter = config.topic_prefix, config.topic_delimiter
        self._escapes = config.topic_naming_strategy == TOPIC_NAMING[2]
        self._shared_topic: Rename = _same
        self._identifier: Rename = _same
        self._key_field: str | None = None
        if config.topic_naming_strategy == REGEX_NAMING:
            self._shared_topic = _router(config.topic_regex, config.topic_replacement)
            if config.topic_key_enforce_uniqueness:
                self._key_field = config.topic_key_field_name
                self._identifier = _router(config.topic_key_field_regex, config.topic_key_field_replacement)
        self.heartbeat_topic = self._delimiter.join((config.heartbeat_prefix, self._prefix))
        # Whatever the delimiter, as in Debezium.
        self.message_topic = f"{self._prefix}.message"
        self.transaction_topic = self._delimiter.join((self._prefix, config.topic_transaction))
        self.schema_name = _ADJUSTMENTS[config.schema_name_adjustment](keep=".")
        """What a schema is called."""
        self.field = _ADJUSTMENTS[config.field_name_adjustment](keep="")
        """What the field of a column is called."""

    def topic(self, *parts: str) -> str:
        """`<topic.prefix>.<part>…`, with `_` for what a topic name cannot have."""
        name = self._delimiter.join((self._prefix, *parts))
        if self._escapes:
            legal = _ILLEGAL_IN_TOPIC_UNICODE.sub(lambda found: _unicode_escape(found[0]), name)
        else:
            legal = _ILLEGAL_IN_TOPIC.sub(lambda found: "_" * _utf16_units(found[0]), name)
        return legal[:_TOPIC_LENGTH_MAX]

    def table_topic(self, schema: str, table: str) -> str:
        """The topic of a table's events."""
        return self._shared_topic(self.topic(schema, table))

    def key_field(self, schema: str, table: str) -> KeyField | None:
        """The field that tells the keys of tables apart which share a topic."""
        if self._key_field is None:
            return None
        return KeyField(
            self._key_field, self._identifier(self._delimiter.join((self._prefix, schema, table)))
        )


def _same(name: str) -> str:
    return name


def _router(regex: str | None, replacement: str | None) -> Rename:
    """Names that the regex matches as a whole become the replacement."""
    if not regex or not replacement:
        return _same
    pattern = compile_java(regex)
    replace = java_replacement(replacement, pattern)

    def route(name: str) -> str:
        found = pattern.fullmatch(name)
        return (replace(found) or name) if found else name

    return route


def _none(keep: str) -> Rename:
    return _same


def _avro(keep: str) -> Rename:
    """Names as Avro has them, with `_` for the rest.

    https://avro.apache.org/docs/current/specification/#names
    """
    illegal = re.compile(rf"[^a-zA-Z0-9_{keep}]")

    def adjust(name: str) -> str:
        legal = illegal.sub(lambda found: "_" * _utf16_units(found[0]), name)
        # A digit stays behind its underscore, so that 1st and 2st stay two names.
        return f"_{legal}" if legal[:1].isdigit() else legal

    return adjust


def _avro_unicode(keep: str) -> Rename:
    """Names as Avro has them, with `_uXXXX` for the rest and for the underscore itself."""
    illegal = re.compile(rf"^[^a-zA-Z]|[^a-zA-Z0-9{keep}]")
    return lambda name: illegal.sub(lambda found: _unicode_escape(found[0]), name)


def _unicode_escape(character: str) -> str:
    data = character.encode("utf-16-be", "surrogatepass")
    units = [f"{high << 8 | low:x}" for high, low in zip(data[::2], data[1::2], strict=True)]
    return "".join("_u" + ("00" + unit if len(unit) <= 2 else unit) for unit in units)


def _utf16_units(character: str) -> int:
    return 2 if ord(character) > 0xFFFF else 1


_ADJUSTMENTS: Final = {"none": _none, "avro": _avro, "avro_unicode": _avro_unicode}
