"""Pieces of JSON as the texts that they are: a number that is read and written anew may be another one."""

import json
import re
from typing import Final

_DECODER: Final = json.JSONDecoder()
_SPACE: Final = re.compile(r"[ \t\r\n]*")


def member_texts(text: bytes) -> dict[str, bytes]:
    """The members of an object by name, each with the text of its value. The JSON must be valid."""
    source, found = text.decode(), {}
    at = _skip(source, _skip(source, 0) + 1)
    while source[at] != "}":
        name, at = _DECODER.raw_decode(source, at)
        start = _skip(source, _skip(source, at) + 1)
        _, at = _DECODER.raw_decode(source, start)
        found[name] = source[start:at].encode()
        at = _behind_comma(source, at)
    return found


def element_texts(text: bytes) -> list[bytes]:
    """The elements of an array. The JSON must be valid."""
    source, found = text.decode(), []
    at = _skip(source, _skip(source, 0) + 1)
    while source[at] != "]":
        start = at
        _, at = _DECODER.raw_decode(source, start)
        found.append(source[start:at].encode())
        at = _behind_comma(source, at)
    return found


def _skip(source: str, at: int) -> int:
    match = _SPACE.match(source, at)
    assert match is not None, "it may be empty"
    return match.end()


def _behind_comma(source: str, at: int) -> int:
    at = _skip(source, at)
    return _skip(source, at + 1) if source[at] == "," else at
