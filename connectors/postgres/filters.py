"""Which schemas, tables and columns are captured: Debezium's lists of anchored, case-insensitive regexes."""

import re
from collections.abc import Iterator, Sequence

from connectors.postgres.catalog import Table
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.keys import KeyColumns
from connectors.postgres.patterns import any_of, compiled


def _matcher(patterns: Sequence[str]) -> re.Pattern[str] | None:
    return any_of(patterns) if patterns else None


class _Lists:
    """An include and an exclude list, of which at most one is given."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include, self._exclude = _matcher(include), _matcher(exclude)

    def allow(self, name: str) -> bool:
        if self._include is not None:
            return _matches(self._include, name)
        return not _matches(self._exclude, name)


def unmatched(
    config: PostgresSourceConfig, tables: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str, str]]:
    """The patterns of include lists that match none of `tables`: (setting, pattern, what it should match)."""
    for pattern in config.schema_include:
        if not any(re.fullmatch(pattern, schema, re.IGNORECASE) for schema, _ in tables):
            yield "schema.include.list", pattern, "schema with tables"
    for pattern in config.table_include:
        if not any(re.fullmatch(pattern, f"{schema}.{name}", re.IGNORECASE) for schema, name in tables):
            yield "table.include.list", pattern, "table"


class Filters:
    """Answers for one config."""

    def __init__(self, config: PostgresSourceConfig) -> None:
        self._schemas = _Lists(config.schema_include, config.schema_exclude)
        self._tables = _Lists(config.table_include, config.table_exclude)
        self._columns = _Lists(config.column_include, config.column_exclude)
        self._messages = _Lists(config.message_prefix_include, config.message_prefix_exclude)
        self._snapshot = _Lists(config.snapshot_include, ())
        self._order = [compiled(pattern) for pattern in config.table_include]
        self._keys = KeyColumns(config.message_key_columns)
        self._propagated = _matcher(config.column_propagate)
        self._propagated_types = _matcher(config.datatype_propagate)
        self._signal_table = config.signal_data_collection

    def keeps_table(self, schema: str, table: str) -> bool:
        if self.is_signal_table(schema, table):
            return True
        return self._schemas.allow(schema) and self._tables.allow(f"{schema}.{table}")

    def is_signal_table(self, schema: str, table: str) -> bool:
        return self._signal_table == f"{schema}.{table}"

    def keeps_column(self, schema: str, table: str, column: str) -> bool:
        return self.keeps(f"{schema}.{table}.{column}")

    def keeps(self, column: str) -> bool:
        """Whether the column `schema.table.column` is captured."""
        return self._columns.allow(column)

    def propagates(self, table: str, column: str, type_name: str) -> bool:
        """Whether the schema tells the source type of a column of `schema.table`."""
        return _matches(self._propagated, f"{table}.{column}") or _matches(
            self._propagated_types, f"{table}.{type_name}"
        )

    def key_columns(self, table: Table) -> tuple[str, ...]:
        """The columns of a table's key: those of message.key.columns, else those of the table itself."""
        return self.custom_key(table.full_name, [column.name for column in table.columns]) or table.key

    def custom_key(self, table: str, columns: Sequence[str]) -> tuple[str, ...]:
        """Which columns of `schema.table` message.key.columns names; empty where it names none."""
        return self._keys.of(table, columns)

    def keeps_message(self, prefix: str) -> bool:
        return self._messages.allow(prefix)

    def in_snapshot(self, schema: str, table: str) -> bool:
        if self.is_signal_table(schema, table):
            return False
        return self.keeps_table(schema, table) and self._snapshot.allow(f"{schema}.{table}")

    def snapshot_order(self, schema: str, table: str) -> int:
        """Tables are read in the order of the include list, those of one pattern by name."""
        name = f"{schema}.{table}"
        return next((place for place, pattern in enumerate(self._order) if pattern.fullmatch(name)), 0)


def _matches(pattern: re.Pattern[str] | None, name: str) -> bool:
    return pattern is not None and pattern.fullmatch(name) is not None
