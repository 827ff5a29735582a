"""Many rows at once: PostgreSQL's text, by column, and the JSON fragments that a plan makes of it.

What is done for each value is then done by C code that goes through a whole column.
"""

import re
from collections.abc import Sequence
from typing import Final

from connect.api import ConnectError
from connectors.postgres import pgoutput
from connectors.postgres.joiner import Column
from connectors.postgres.plan import TablePlan
from connectors.postgres.type_map import Encode

_ESCAPE: Final = re.compile(r"\\(.)")
# https://www.postgresql.org/docs/current/sql-copy.html, "Text Format"
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NULL_TEXT: Final = "\\N"

Texts = Sequence[str]
"""The texts of one column; `pgoutput.ABSENT` for NULL, `pgoutput.UNCHANGED` for what was not sent."""


def copied(plan: TablePlan, lines: bytes, count: int) -> list[Column]:
    """The fragments, by column, of `count` lines of COPY; raises `ConnectError` for what cannot be read."""
    text = lines.decode()
    width = len(plan.encoders)
    # Tabs and line ends that belong to a value are escaped.
    items = text.replace("\n", "\t").split("\t")
    if len(items) != width * count + 1 and width:
        raise ConnectError(f"{count} rows of {plan.table.full_name} have {len(items) - 1} values")
    columns: list[Texts] = [items[place : width * count : width] for place in range(width)]
    has_escapes = "\\" in text
    return fragments(plan, [_unescaped(each) for each in columns] if has_escapes else columns, has_escapes)


def fragments(plan: TablePlan, columns: Sequence[Texts], has_gaps: bool) -> list[Column]:
    """The fragments of the columns' texts; with `has_gaps` some may be no text. Raises `ConnectError`."""
    try:
        return [
            _column(encode, texts, unavailable, has_gaps)
            for encode, texts, unavailable in zip(plan.encoders, columns, plan.unavailable, strict=True)
        ]
    except ValueError as exc:
        raise ConnectError(f"a row of {plan.table.full_name} cannot be read: {exc}") from exc


def _column(encode: Encode | None, texts: Texts, unavailable: str, has_gaps: bool) -> Column:
    if has_gaps and (pgoutput.ABSENT in texts or pgoutput.UNCHANGED in texts):
        gaps = {pgoutput.ABSENT: pgoutput.NULL, pgoutput.UNCHANGED: unavailable}
        if encode is None:
            return [gaps.get(text, text) for text in texts]
        return [encode(text) if (gap := gaps.get(text)) is None else gap for text in texts]
    return texts if encode is None else list(map(encode, texts))


def row_of(columns: Sequence[Column], place: int) -> list[str]:
    """One row of them."""
    return [column[place] for column in columns]


def unescape(item: str) -> str:
    """A field of a line of COPY that is not null."""
    if "\\" not in item:
        return item
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), item)


def _unescaped(items: Sequence[str]) -> Texts:
    if "\\" not in "".join(items):
        return items
    return [pgoutput.ABSENT if item == _NULL_TEXT else unescape(item) for item in items]
