"""How a table is to be partitioned, as a setting says it: the terms of Iceberg's Kafka Connect sink."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_TERM: Final = re.compile(
    r"(?P<transform>bucket|truncate|year|month|day|hour|identity)s?\s*\(\s*(?P<column>[^,()]+?)\s*"
    r"(,\s*(?P<number>[0-9]+)\s*)?\)|(?P<plain>[^,()]+)",
    re.IGNORECASE,
)
_SEPARATORS: Final = re.compile(r"\s*,\s*(?![^()]*\))")
_NUMBERED: Final = ("bucket", "truncate")


@dataclass(frozen=True, slots=True)
class Term:
    """A column and its transform; `number` is that of bucket and truncate."""

    text: str
    column: str
    transform: str = "identity"
    number: int | None = None


def parse_terms(text: str) -> Sequence[Term]:
    """Those of a `partition-by`, separated by commas; raises `ValueError` with what is wrong."""
    return [_parse(term.strip()) for term in _SEPARATORS.split(text) if term.strip()]


def problem_with(text: str) -> str | None:
    """What is wrong with a `partition-by`, without looking at a table."""
    try:
        parse_terms(text)
    except ValueError as exc:
        return str(exc)
    return None


def _parse(text: str) -> Term:
    found = _TERM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} is no column and no transform such as bucket(id, 16) or day(created)")
    if found["plain"]:
        return Term(text, found["plain"].strip())
    name, number = found["transform"].lower(), found["number"]
    if (name in _NUMBERED) != (number is not None) or number == "0":
        raise ValueError(f"{text} is written as {name}(column{', N' if name in _NUMBERED else ''})")
    return Term(text, found["column"], name, int(number) if number else None)
