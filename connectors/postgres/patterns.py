"""Debezium's lists of regular expressions: anchored, in any case, separated by commas (`\\,` is a comma)."""

import re
from collections.abc import Iterable
from typing import Final

from connect.api.java_regex import compile_java

_COMMA: Final = re.compile(r"(?<!\\),")


def split(text: str) -> list[str]:
    """The patterns of a list."""
    parts = (part.replace("\\,", ",").strip() for part in _COMMA.split(text))
    return [part for part in parts if part]


def compiled(pattern: str) -> re.Pattern[str]:
    """One pattern; raises `ValueError` for a wrong one."""
    return compile_java(f"(?i){pattern}")


def any_of(patterns: str | Iterable[str]) -> re.Pattern[str]:
    """What matches any of a list's patterns; raises `ValueError` for a wrong one."""
    parts = split(patterns) if isinstance(patterns, str) else list(patterns)
    for part in parts:
        compiled(part)  # so that an error names one pattern
    return compiled("|".join(f"(?:{part})" for part in parts))
