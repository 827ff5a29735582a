"""PostgreSQL's text of values: arrays and hstore taken apart, string literals of SQL made."""

import re
from collections.abc import Iterator
from typing import Final

_HSTORE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"=>(?:"((?:[^"\\]|\\.)*)"|NULL)(?:, |$)', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


def array_items(text: str, delimiter: str = ",") -> Iterator[str | None]:
    """The items of an array's text, NULL as None: `{a,"b c",NULL}`, `[2:3]={5,6}`. `delimiter` is
    pg_type.typdelim of the items' type.

    An array of several dimensions gives its items in row order, as Connect's arrays have one
    (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO).
    """
    pos = text.index("{")
    end = len(text)
    between, behind = "{}" + delimiter, "}" + delimiter
    while pos < end:
        char = text[pos]
        if char in between:
            pos += 1
        elif char == '"':
            stop = pos + 1
            while text[stop] != '"':
                stop += 2 if text[stop] == "\\" else 1
            yield _ESCAPE.sub(r"\1", text[pos + 1 : stop])
            pos = stop + 1
        else:
            stop = pos
            while text[stop] not in behind:
                stop += 1
            item = text[pos:stop]
            yield None if item == "NULL" else item
            pos = stop


def hstore_items(text: str) -> dict[str, str | None]:
    """The pairs of an hstore's text: `"a"=>"1", "b"=>NULL`."""
    pairs: dict[str, str | None] = {}
    pos = 0
    while pos < len(text):
        found = _HSTORE.match(text, pos)
        if found is None:
            raise ValueError(f"{text!r} is no hstore")
        key, value = found.groups()
        pairs[_ESCAPE.sub(r"\1", key)] = None if value is None else _ESCAPE.sub(r"\1", value)
        pos = found.end()
    return pairs


def quote_literal(text: str) -> str:
    """An SQL string literal, for sessions with standard_conforming_strings."""
    return "'" + text.replace("'", "''") + "'"
