"""JSON: one document after another, each on a line (NDJSON) or over several, or the elements of an array.

In a file that begins with a whole object on its first line, a line that is a whole object by itself is a
document whatever stands before it: so one that is broken costs only itself.
"""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import orjson

from connect.api.schemas import STRING
from connectors.readers.rows import Row
from connectors.readers.text import TextSettings, lines

# Strings whole, so that brackets inside are none; a string does not go on in the next line.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],]')
_SHOWN_CHARACTERS_MAX: Final = 10_000


class JsonReader:
    """Each document is a row: a STRING with the document's text as it stands in the file, or its Python value
    without a schema where `parsed`. Positions count documents, broken ones too."""

    def __init__(self, text: TextSettings, *, parsed: bool) -> None:
        self._text = text
        self._parsed = parsed

    def rows(self, stream: BinaryIO, after: int = 0) -> Iterator[Row]:
        splitter = _Splitter()
        documents = splitter.documents(lines(stream, self._text))
        for count, (first, text) in enumerate(documents, 1):
            if count > after:
                yield self._row(count, first, text)

    def _row(self, count: int, first: int, text: str) -> Row:
        try:
            value: Any = orjson.loads(text)
        except orjson.JSONDecodeError as exc:
            return Row(count, text[:_SHOWN_CHARACTERS_MAX], None, f"line {first}: no valid JSON: {exc.msg}")
        return Row(count, value, line=first) if self._parsed else Row(count, text, STRING, line=first)


class _Splitter:
    """Cuts a text into documents by its brackets alone."""

    def __init__(self) -> None:
        self._depth = 0
        self._base = 0  # 1 inside an array whose elements are the documents
        self._parts: list[str] = []
        self._first = 0
        self._by_lines: bool | None = None

    def documents(self, numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """(number of the first line, text) of each document."""
        for number, line in numbered:
            if not line or line.isspace():
                continue
            if self._is_whole(line):
                if self._parts:
                    yield self._take()
                    self._depth = self._base
                yield number, line.strip()
                continue
            yield from self._cut(number, line)
        if self._parts:
            yield self._take()

    def _is_whole(self, line: str) -> bool:
        if self._base or not line.startswith("{") or self._by_lines is False:
            return False
        try:
            orjson.loads(line)
        except orjson.JSONDecodeError:
            whole = False
        else:
            whole = True
        if self._by_lines is None:
            self._by_lines = whole
        return whole

    def _cut(self, number: int, line: str) -> Iterator[tuple[int, str]]:
        if self._by_lines is None:
            self._by_lines = False
            if line.lstrip().startswith("["):
                self._base = 1
                self._depth = 1
                line = line.lstrip()[1:]
        start = 0
        for token in _TOKEN.finditer(line):
            mark = token[0]
            if mark in ("{", "["):
                self._depth += 1
            elif mark in ("}", "]"):
                self._depth -= 1
                if self._depth < self._base:  # the end of the array around the documents
                    self._add(number, line[start : token.start()])
                    start = token.end()
                    self._base = self._depth = 0
                elif self._depth == self._base:
                    self._add(number, line[start : token.end()])
                    start = token.end()
                    yield self._take()
                continue
            elif mark == "," and self._depth == self._base:
                self._add(number, line[start : token.start()])
                start = token.end()
            else:
                continue
            if self._parts and self._depth == self._base:
                yield self._take()
        self._add(number, line[start:])
        if self._parts and self._depth == self._base == 0:
            yield self._take()

    def _add(self, number: int, text: str) -> None:
        if not self._parts:
            text = text.lstrip()
            if not text:
                return
            self._first = number
        self._parts.append(text)

    def _take(self) -> tuple[int, str]:
        text = "\n".join(self._parts).rstrip()
        self._parts = []
        return self._first, text
