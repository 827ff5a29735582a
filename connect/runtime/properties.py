"""Java's `.properties` format."""

import re
from typing import Final

_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_SPECIAL: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_PAIR: Final = re.compile(r"((?:\\.|[^\\\s:=])*)(?:\s*[:=]\s*|\s+|$)(.*)", re.DOTALL)


def parse_properties(text: str) -> dict[str, str]:
    """The keys and values of a properties text: comments, continuation lines and escapes as in Java."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for raw in lines:
        line = raw.lstrip(" \t\f")
        if not line or line[0] in "#!":
            continue
        while _continues(line):
            line = line[:-1] + next(lines, "").lstrip(" \t\f")
        pair = _PAIR.match(line)
        if pair is not None:
            found[_unescape(pair[1])] = _unescape(pair[2])
    return found


def _continues(line: str) -> bool:
    """An odd number of backslashes at the end joins the next line."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescape(text: str) -> str:
    def replacement(match: re.Match[str]) -> str:
        escaped = match[1]
        if len(escaped) == 5:
            return chr(int(escaped[1:], 16))
        return _SPECIAL.get(escaped, escaped)

    return _ESCAPE.sub(replacement, text)
