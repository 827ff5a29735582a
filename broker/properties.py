"""Java's .properties files, as `java.util.Properties.load` reads them."""

import re
from pathlib import Path

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_BLANK = " \t\f"


class PropertiesError(Exception):
    """The file cannot be read, or is no properties file; the message says where."""


def read_properties(path: Path) -> dict[str, str]:
    """Keys and values of the file. A key that is there twice has its last value."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise PropertiesError(f"cannot read {path}: {exc}") from exc
    return parse_properties(text)


def parse_properties(text: str) -> dict[str, str]:
    """Comments by # or !, separators =, : or blanks, lines continued by a backslash, \\uXXXX escapes."""
    properties = {}
    for line in _logical_lines(text):
        key, value = _split(line)
        properties[_unescape(key)] = _unescape(value)
    return properties


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    continued = False
    for raw in re.split(r"\r\n|\r|\n", text):
        line = raw.lstrip(_BLANK)
        if not continued and (not line or line[0] in "#!"):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        continues = backslashes % 2 == 1
        if continues:
            line = line[:-1]
        if continued:
            lines[-1] += line
        else:
            lines.append(line)
        continued = continues
    return lines


def _split(line: str) -> tuple[str, str]:
    end = 0
    while end < len(line) and line[end] not in "=:" + _BLANK:
        end += 2 if line[end] == "\\" else 1
    value = line[end:].lstrip(_BLANK)
    if value[:1] in ("=", ":"):
        value = value[1:].lstrip(_BLANK)
    return line[:end], value


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        code, char = match.groups()
        return chr(int(code, 16)) if code else _ESCAPES.get(char, char)

    return _ESCAPE.sub(replace, text)
