"""One plan per relation: all that is known of its rows, worked out once.

A row travels as *fragments*: the JSON text of each of its columns, in the order in which they come. The
snapshot and the stream make fragments of PostgreSQL's text by `encoders`; `row` and `key` put them
together. Nothing per row looks anything up by name.
"""

import re
from collections.abc import Callable, Collection, Sequence
from copy import copy
from json.encoder import encode_basestring as quote
from typing import Any, Final, NamedTuple

from connect.api import ConnectError, JsonPayload, Schema
from connect.api import schemas as connect
from connect.api.schemas import struct
from connectors.postgres.catalog import Column, PgType, Table
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import envelope_schema, event
from connectors.postgres.filters import Filters
from connectors.postgres.joiner import Column as JsonColumn
from connectors.postgres.joiner import Joiner, as_template, fill
from connectors.postgres.masks import Mask, Masks
from connectors.postgres.naming import Names
from connectors.postgres.source_types import source_type
from connectors.postgres.type_map import ColumnType, Encode, TypeMap, field_schema
from connectors.postgres.values import decoder

# A default that is a function call: Debezium puts the type's zero into the schema.
_CALL: Final = re.compile(r"\(?[A-Za-z0-9_.\"]+\(.*", re.DOTALL)
_NULL: Final = "null"
UNAVAILABLE: Final = "unavailable"
"""The fragment of a value that was not sent, where something else than the placeholder is wanted. No JSON."""


class Incoming(NamedTuple):
    """A column of the rows that come in."""

    name: str
    type: PgType
    typmod: int


class _Column:
    """One column of the rows that come in, with all that is known of it.

    `schema` is that of its field in the key, `shown` in the row, where `mask` applies.
    """

    __slots__ = ("absent", "field", "kept", "mask", "name", "schema", "shown", "type")

    def __init__(
        self, incoming: Incoming, column: Column | None, table: str, types: TypeMap, filters: Filters,
        masks: Masks, names: Names,
    ) -> None:  # fmt: skip
        self.name = incoming.name
        self.field = names.field(incoming.name)
        self.type = column_type = types.column_type(incoming.type, incoming.typmod)
        self.kept = False
        self.mask: Mask | None = None
        self.absent = _NULL
        if column_type is None:
            return
        self.kept = filters.keeps(f"{table}.{incoming.name}")
        optional = column is None or not column.not_null
        default = _default(column_type, column)
        if not optional:
            self.absent = default or column_type.zero
        value = None if default is None else decoder(column_type.schema)(default.encode())
        declared = source_type(incoming.type, incoming.typmod)
        parameters: dict[str, str] = {}
        if self.kept:
            self.mask = masks.mask(f"{table}.{incoming.name}", column_type, declared)
        is_told = self.mask is None or self.mask.tells_type
        if is_told and filters.propagates(table, incoming.name, incoming.type.name):
            parameters |= declared.parameters(incoming.name)
        parameters |= self.mask.parameters if self.mask else {}
        self.schema = field_schema(column_type, optional, value, {})
        self.shown = field_schema(column_type, optional, value, parameters) if parameters else self.schema


def _default(column_type: ColumnType, column: Column | None) -> str | None:
    """The JSON of a column's default in its schema, None where it has none."""
    if column is None or not column_type.takes_default:
        return None
    if column.default_text is not None:
        return column_type.json(column.default_text)
    if column.default is not None and _CALL.fullmatch(column.default):
        return column_type.zero
    return None


class TablePlan:
    """How the rows of one table with one set of columns become records.

    `encoders`, `unavailable` (what stands for a TOAST value that was not sent) and `placeholders` are by
    incoming column. `key` is None for a table without a key; `key_known` says whether the columns of the
    replica identity, all that an old row may have, make the whole key.
    """

    def __init__(
        self,
        table: Table,
        incoming: Sequence[tuple[str, PgType, int]],
        identity: Collection[str],
        config: PostgresSourceConfig,
        types: TypeMap,
        filters: Filters,
    ) -> None:
        names = Names(config)
        masks = Masks(config.originals)
        by_name = {column.name: column for column in table.columns}
        columns = [
            _Column(Incoming(*each), by_name.get(each[0]), table.full_name, types, filters, masks, names)
            for each in incoming
        ]
        _check_fields(columns, table)
        self.table = table
        self.incoming = tuple(Incoming(*each) for each in incoming)
        self.topic = names.table_topic(table.schema, table.name)
        self.encoders: tuple[Encode | None, ...] = tuple(c.type.encode if c.type else None for c in columns)
        self.placeholders = tuple(c.type.unavailable if c.type else _NULL for c in columns)
        self.unavailable = (UNAVAILABLE,) * len(columns) if config.marks_unavailable else self.placeholders
        self.source_table = f'"schema":{quote(table.schema)},"table":{quote(table.name)},'
        self._absent = [None if c.name in identity else c.absent for c in columns]
        self._columns = columns
        self._schema_name = names.schema_name
        self._variants: dict[frozenset[int], TablePlan] = {}
        self._set_value(frozenset())
        self._set_key(columns, filters, names, identity)

    def _set_value(self, omitted: frozenset[int]) -> None:
        kept = [(i, c) for i, c in enumerate(self._columns) if c.kept and i not in omitted]
        fields = [(i, c.field, c.mask.constant if c.mask else None) for i, c in kept]
        changes = [(i, self.placeholders[i], c.mask.change) for i, c in kept if c.mask and c.mask.change]
        self.row = Joiner(fields, changes)
        value = struct(
            [(c.field, c.shown) for _, c in kept],
            name=self._schema_name(f"{self.topic}.Value"),
            optional=True,
        )
        self.value_schema = envelope_schema(self._schema_name(f"{self.topic}.Envelope"), value)
        self.decode_value = decoder(self.value_schema)
        # JsonConverter replaces null by the default, so such a row has no JSON that stands for it.
        self._defaulted = tuple(
            i for i, c in kept
            if c.shown.optional and c.shown.default is not None and not (c.mask and c.mask.constant)
        )  # fmt: skip
        self.has_defaults = bool(self._defaulted)

    def _set_key(
        self, columns: Sequence[_Column], filters: Filters, names: Names, identity: Collection[str]
    ) -> None:
        places = {column.name: index for index, column in enumerate(columns) if column.type is not None}
        wanted = filters.key_columns(self.table)
        known = all(name in places for name in wanted)
        key = [(places[name], columns[places[name]]) for name in wanted] if known else []
        extra = names.key_field(self.table.schema, self.table.name)
        self.key: Joiner | None = None
        self.key_schema: Schema | None = None
        self.decode_key: Callable[[bytes], Any] | None = None
        self.key_known = all(column.name in identity for _, column in key)
        if key or extra is not None:
            joined: list[tuple[int, str, str | None]] = [(place, column.field, None) for place, column in key]
            fields = [(column.field, column.schema) for _, column in key]
            if extra is not None:
                joined.append((0, extra.name, quote(extra.value)))
                fields.append((extra.name, connect.STRING))
            self.key = Joiner(joined)
            self.key_schema = struct(fields, name=self._schema_name(f"{self.topic}.Key"))
            self.decode_key = decoder(self.key_schema)

    def without(self, omitted: frozenset[int]) -> "TablePlan":
        """The plan of rows that lack these of the incoming columns."""
        variant = self._variants.get(omitted)
        if variant is None:
            variant = self._variants[omitted] = copy(self)
            variant._set_value(omitted)
        return variant

    def values(
        self,
        columns: Sequence[JsonColumn],
        count: int,
        op: str,
        source: str,
        tail: str,
        positions: Sequence[JsonColumn] = (),
    ) -> list[bytes] | None:
        """The JSON of the events `op` of `count` rows that are there now, given by column. `source` is the
        template of their source blocks, for `positions`. None where JsonConverter would write another value
        for one of them."""
        if any(_NULL in columns[index] for index in self._defaulted):
            return None
        template = event(op, _NULL, self.row.template, source, _NULL, as_template(tail))
        return fill(template, self.row.rows(columns, count, positions))

    def key_payload(self, key: str) -> JsonPayload:
        return JsonPayload(key.encode(), self.decode_key)

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


def _check_fields(columns: Sequence[_Column], table: Table) -> None:
    """No two columns may have the same field."""
    taken: dict[str, str] = {}
    for column in columns:
        if (other := taken.setdefault(column.field, column.name)) != column.name:
            raise ConnectError(
                f"field.name.adjustment.mode makes {column.field} of both {other} and {column.name} of "
                f"{table.full_name}: exclude one of them, or set avro_unicode"
            )
