"""`message.key.columns`: which columns make the key of a table, where it is not the table's own."""

import re
from collections.abc import Sequence
from typing import Final

from connectors.postgres.patterns import compiled, split

_FORM: Final = "give `schema.table:column,column;…`, where tables and columns are regular expressions"


class KeyColumns:
    """The rules of `message.key.columns`; raises `ValueError` for a text that is none."""

    def __init__(self, text: str | None) -> None:
        self._columns: list[re.Pattern[str]] = []
        for rule in (text or "").split(";"):
            if not rule.strip():
                continue
            table, colon, columns = rule.strip().partition(":")
            if not (colon and table.strip() and split(columns)):
                raise ValueError(f"{rule.strip()!r} names no columns: {_FORM}")
            self._columns += [compiled(rf"{table.strip()}\.{column}") for column in split(columns)]

    def of(self, table: str, columns: Sequence[str]) -> tuple[str, ...]:
        """The columns of `schema.table` that the rules name, in their order; empty where none does."""
        found = (
            column
            for pattern in self._columns
            for column in columns
            if pattern.fullmatch(f"{table}.{column}")
        )
        return tuple(dict.fromkeys(found))
