"""One plan per relation: all that is known of its rows, worked out once.

A row travels as *fragments*: the JSON text of each of its columns, in the order in which they come. The
snapshot and the stream make fragments of PostgreSQL's text by `encoders`; `row` and `key` put them
together. Nothing per row looks anything up by name.
"""

import re
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring as quote
from operator import itemgetter
from typing import Any, Final

from connect.api import JsonPayload, Schema
from connect.api.schemas import struct
from connectors.postgres.catalog import Column, PgType, Table
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import envelope_schema
from connectors.postgres.filters import Filters
from connectors.postgres.type_map import ColumnType, Encode, TypeMap, with_default
from connectors.postgres.values import decoder

_ILLEGAL_IN_TOPIC: Final = re.compile(r"[^a-zA-Z0-9._-]")
# A default that is a function call: Debezium puts the type's zero into the schema.
_CALL: Final = re.compile(r"\(?[A-Za-z0-9_.\"]+\(.*", re.DOTALL)
_NULL: Final = "null"


class _Column:
    """One column of the rows that come in, with all that is known of it."""

    __slots__ = ("absent", "default", "kept", "name", "schema", "type")

    def __init__(self, name: str, column_type: ColumnType | None, column: Column | None, kept: bool) -> None:
        self.name = name
        self.type = column_type
        self.kept = kept and column_type is not None
        optional = column is None or not column.not_null
        self.default = _default(column_type, column)
        self.absent = _NULL if optional or column_type is None else self.default or column_type.zero
        if column_type is not None:
            value = None if self.default is None else decoder(column_type.schema)(self.default.encode())
            self.schema = with_default(column_type.schema, optional, value)


def _default(column_type: ColumnType | None, column: Column | None) -> str | None:
    """The JSON of a column's default in its schema, None where it has none."""
    if column is None or column_type is None or not column_type.takes_default:
        return None
    if column.default_text is not None:
        return column_type.json(column.default_text)
    if column.default is not None and _CALL.fullmatch(column.default):
        return column_type.zero
    return None


class TablePlan:
    """How the rows of one table with one set of columns become records.

    `encoders` and `unavailable` are by incoming column. `key` is None for a table without a key.
    """

    def __init__(
        self,
        table: Table,
        incoming: Sequence[tuple[str, PgType, int]],
        identity: Sequence[str],
        config: PostgresSourceConfig,
        types: TypeMap,
        filters: Filters,
    ) -> None:
        by_name = {column.name: column for column in table.columns}
        columns = [
            _Column(
                name, types.column_type(pg_type, typmod), by_name.get(name),
                filters.keeps_column(table.schema, table.name, name),
            )
            for name, pg_type, typmod in incoming
        ]  # fmt: skip
        self.table = table
        self.topic = topic_name(config, table.schema, table.name)
        self.encoders: tuple[Encode | None, ...] = tuple(c.type.encode if c.type else None for c in columns)
        self.unavailable = tuple(c.type.unavailable if c.type else _NULL for c in columns)
        self.source_table = f'"schema":{quote(table.schema)},"table":{quote(table.name)},'
        kept = [(index, column) for index, column in enumerate(columns) if column.kept]
        self.row = _joiner([(index, column.name) for index, column in kept])
        value = struct([(c.name, c.schema) for _, c in kept], name=f"{self.topic}.Value", optional=True)
        self.value_schema = envelope_schema(self.topic, value)
        self.decode_value = decoder(self.value_schema)
        # JsonConverter replaces null by the default, so such a row has no JSON that stands for it.
        self._defaulted = tuple(i for i, c in kept if c.schema.optional and c.schema.default is not None)
        self.has_defaults = bool(self._defaulted)
        self._absent = [None if c.name in identity else c.absent for c in columns]
        self._set_key(columns)

    def _set_key(self, columns: Sequence[_Column]) -> None:
        places = {column.name: index for index, column in enumerate(columns) if column.type is not None}
        names = self.table.key if all(name in places for name in self.table.key) else ()
        self.key: Callable[[Sequence[str]], str] | None = None
        self.key_schema: Schema | None = None
        if names:
            self.key = _joiner([(places[name], name) for name in names])
            fields = [(name, columns[places[name]].schema) for name in names]
            self.key_schema = struct(fields, name=f"{self.topic}.Key")
            self._decode_key = decoder(self.key_schema)

    def key_payload(self, key: str) -> JsonPayload:
        return JsonPayload(key.encode(), self._decode_key)

    def value_payload(self, text: str, before: Sequence[str] | None, after: Sequence[str] | None) -> Any:
        """The value of an event: its JSON, or the decoded struct where JsonConverter would write another."""
        json = text.encode()
        for index in self._defaulted:
            if (after and after[index] == _NULL) or (before and before[index] == _NULL):
                return self.decode_value(json)
        return JsonPayload(json, self.decode_value)

    def fill_absent(self, old: Sequence[str]) -> list[str]:
        """The old row of a delete when only the columns of the replica identity are known."""
        return [known if absent is None else absent for known, absent in zip(old, self._absent, strict=True)]


def _joiner(columns: Sequence[tuple[int, str]]) -> Callable[[Sequence[str]], str]:
    """The function from a row's fragments to the JSON object of these columns."""
    template = "{" + ",".join(quote(name).replace("%", "%%") + ":%s" for _, name in columns) + "}"
    places = [index for index, _ in columns]
    if not places:
        return lambda fragments: "{}"
    if len(places) == 1:
        only = places[0]
        return lambda fragments: template % fragments[only]
    pick = itemgetter(*places)
    return lambda fragments: template % pick(fragments)


def topic_name(config: PostgresSourceConfig, *parts: str) -> str:
    """`<topic.prefix>.<schema>.<table>`, with `_` for what a topic name cannot have."""
    name = config.topic_delimiter.join((config.topic_prefix, *parts))
    return _ILLEGAL_IN_TOPIC.sub("_", name)
