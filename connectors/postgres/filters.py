"""Which schemas, tables and columns are captured: Debezium's lists of anchored, case-insensitive regexes."""

import re
from collections.abc import Sequence

from connectors.postgres.config import PostgresSourceConfig


def _matcher(patterns: Sequence[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


class _Lists:
    """An include and an exclude list, of which at most one is given."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include, self._exclude = _matcher(include), _matcher(exclude)

    def allow(self, name: str) -> bool:
        if self._include is not None:
            return self._include.fullmatch(name) is not None
        return self._exclude is None or self._exclude.fullmatch(name) is None


class Filters:
    """Answers for one config."""

    def __init__(self, config: PostgresSourceConfig) -> None:
        self._schemas = _Lists(config.schema_include, config.schema_exclude)
        self._tables = _Lists(config.table_include, config.table_exclude)
        self._columns = _Lists(config.column_include, config.column_exclude)
        self._messages = _Lists(config.message_prefix_include, config.message_prefix_exclude)
        self._snapshot = _Lists(config.snapshot_include, ())
        self._signal_table = config.signal_data_collection
        self._order = [re.compile(pattern, re.IGNORECASE) for pattern in config.table_include]

    def keeps_table(self, schema: str, table: str) -> bool:
        if self.is_signal_table(schema, table):
            return True
        return self._schemas.allow(schema) and self._tables.allow(f"{schema}.{table}")

    def is_signal_table(self, schema: str, table: str) -> bool:
        return self._signal_table == f"{schema}.{table}"

    def keeps_column(self, schema: str, table: str, column: str) -> bool:
        return self._columns.allow(f"{schema}.{table}.{column}")

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
