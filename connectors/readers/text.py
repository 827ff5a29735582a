"""Lines of text: LF, CR LF or CR ends one, and the end of the file ends the last."""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from connect.api import DataError
from connect.api.schemas import STRING
from connectors.readers.rows import Row

LINE_CHARACTERS_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class TextSettings:
    """`charset` as Java or Python names it. `header` and `footer` lines are left out."""

    charset: str = "UTF-8"
    header: int = 0
    footer: int = 0


def charset_error(name: str) -> str | None:
    """What is wrong with the name of a charset, for the `check` of a setting."""
    try:
        codecs.lookup(name)
    except LookupError:
        return f"Millstream knows no charset {name}"
    return None


class LineReader:
    """Each line is a row, a STRING without its end."""

    def __init__(self, settings: TextSettings) -> None:
        self._settings = settings

    def rows(self, stream: BinaryIO, after: int = 0) -> Iterator[Row]:
        for number, line in lines(stream, self._settings, after):
            yield Row(number, line, STRING)


def lines(stream: BinaryIO, settings: TextSettings, after: int = 0) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of the lines behind the first `after`.

    A byte order mark is no part of the text. Bytes that the charset does not have become escapes that can be
    seen (`\\xff`), as with FileStreamSource. Raises `DataError` for a line that no memory should hold.
    """
    found = _numbered(stream, settings.charset)
    first = max(after, settings.header)
    if settings.footer:
        found = _without_last(found, settings.footer)
    for number, line in found:
        if number > first:
            yield number, line


def _numbered(stream: BinaryIO, charset: str) -> Iterator[tuple[int, str]]:
    codec = codecs.lookup(charset).name
    text = io.TextIOWrapper(
        stream, "utf-8-sig" if codec == "utf-8" else codec, errors="backslashreplace", newline=""
    )
    number = 0
    try:
        while line := text.readline(LINE_CHARACTERS_MAX):
            number += 1
            if len(line) == LINE_CHARACTERS_MAX:
                raise DataError(f"line {number} is longer than {LINE_CHARACTERS_MAX} characters")
            yield number, line.rstrip("\r\n")
    finally:
        text.detach()  # the stream is its owner's to close


def _without_last(found: Iterator[tuple[int, str]], count: int) -> Iterator[tuple[int, str]]:
    held: list[tuple[int, str]] = []
    for each in found:
        held.append(each)
        if len(held) > count:
            yield held.pop(0)
