"""What an object holds, record by record.

JSON lines, text and separated bytes are read here, because what they read may be gone on with at a byte, and
JSON stays the text that it is. The others are those that every connector reads files with.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson

from connect.api import DataError, JsonPayload, Schema
from connect.api.schemas import BYTES, OPTIONAL_STRING, STRING, struct
from connectors.readers import AvroReader, CsvDialect, CsvReader, ParquetReader, Reader, TextSettings
from connectors.readers.csv_rows import Columns
from connectors.s3.source.json_texts import element_texts
from connectors.s3.source.objects import Content

RECORD_BYTES_MAX: Final = 64 << 20


class Item(NamedTuple):
    """One record, or where there should be one. `position` is the byte behind it, where reading may go on; 0
    where it may not. `error` says what is wrong with it, and where; `value` is what stands there then."""

    value: Any
    schema: Schema | None = None
    position: int = 0
    error: str | None = None


class Format(ABC):
    """Holds settings only."""

    @abstractmethod
    def items(self, content: Content, position: int, after: int) -> Iterator[Item]:
        """The records from byte `position` on, without the first `after` of them. Raises one of
        `connectors.readers.DAMAGE` where the rest cannot be read."""


class Separated(Format):
    """Records with a separator behind each; the last one may lack it."""

    separator = b"\n"

    def items(self, content: Content, position: int, after: int) -> Iterator[Item]:
        found = self._items(content, position)
        return islice(found, after, None) if after else found

    def _items(self, content: Content, position: int) -> Iterator[Item]:
        end = position
        chunks = content.chunks(position)
        for line in separated(chunks, self.separator, position):
            start, end = end, end + len(line)
            yield from self.of(line, start, end if content.is_plain else 0)

    @abstractmethod
    def of(self, line: bytes, start: int, end: int) -> Iterable[Item]:
        """The records of what was read from byte `start` on, with its separator."""


class JsonLines(Separated):
    """Each line is JSON. An array whose members stand on lines of their own is read as these."""

    def of(self, line: bytes, start: int, end: int) -> Iterable[Item]:
        text = line.strip(b" \t\r\n")
        if text in (b"", b"[", b"]", b"[]"):
            return ()
        if text.startswith(b"[") and text.endswith(b"]"):
            return self._members(text, start, end)
        return (self._one(text.rstrip(b","), start, end),)

    def _one(self, text: bytes, start: int, end: int) -> Item:
        try:
            value = _parsed(text)
        except ValueError as exc:
            return Item(text, BYTES, end, f"byte {start}: no valid JSON: {exc}")
        return Item(None if value is None else JsonPayload(text, None, value), None, end)

    def _members(self, text: bytes, start: int, end: int) -> Iterable[Item]:
        """A whole array on one line, whose members are records; but a record may be an array too."""
        item = self._one(text, start, end)
        members = item.value.value() if isinstance(item.value, JsonPayload) else None
        if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
            return (item,)
        # Reading may not begin between them.
        items = [
            Item(JsonPayload(part, None, member))
            for part, member in zip(element_texts(item.value.json), members, strict=True)
        ]
        return [*items[:-1], items[-1]._replace(position=end)]


class KeyOrHeaderLines(JsonLines):
    """JSON of a sink's keys or headers, where each line is one record, an array too."""

    def of(self, line: bytes, start: int, end: int) -> Iterable[Item]:
        return (self._one(line.rstrip(b"\r\n"), start, end),)


class Text(Separated):
    """Each line is a text."""

    def of(self, line: bytes, start: int, end: int) -> Iterable[Item]:
        return (Item(line.decode("utf-8", "backslashreplace").rstrip("\r\n"), STRING, end),)


class SeparatedBytes(Separated):
    def __init__(self, separator: bytes) -> None:
        self.separator = separator

    def of(self, line: bytes, start: int, end: int) -> Iterable[Item]:
        return (Item(line.removesuffix(self.separator), BYTES, end),)


class Blocks(Format):
    """Pieces of so many bytes, without a schema, as Aiven's source has them."""

    def __init__(self, size: int) -> None:
        self._size = size

    def items(self, content: Content, position: int, after: int) -> Iterator[Item]:
        return islice(self._items(content, position), after, None)

    def _items(self, content: Content, position: int) -> Iterator[Item]:
        waiting = bytearray()
        for chunk in content.chunks(position):
            waiting += chunk
            while len(waiting) >= self._size:
                position += self._size
                yield Item(bytes(waiting[: self._size]), None, position if content.is_plain else 0)
                del waiting[: self._size]
        if waiting:
            end = position + len(waiting)
            yield Item(bytes(waiting), None, end if content.is_plain else 0)


class FileFormat(Format):
    """A format of which only its reader knows where records begin. `counts`: its positions count records."""

    def __init__(self, reader: Reader, *, seeks: bool = False, counts: bool = True) -> None:
        self._reader = reader
        self._seeks = seeks
        self._counts = counts

    def items(self, content: Content, position: int, after: int) -> Iterator[Item]:
        stream = content.file() if self._seeks else content.stream()
        if self._counts:
            rows = self._reader.rows(stream, after)
        else:
            rows = islice(self._reader.rows(stream), after, None)
        for row in rows:
            yield Item(row.value, row.schema, 0, row.error)


def avro() -> Format:
    return FileFormat(AvroReader())


def parquet() -> Format:
    return FileFormat(ParquetReader(), seeks=True)


def csv(separator: str) -> Format:
    """The first row names the columns, which are texts."""
    dialect = CsvDialect(separator=separator, escape=None)
    return FileFormat(CsvReader(TextSettings(), dialect, _columns_of_text, header=True), counts=False)


def _columns_of_text(names: Sequence[str], sample: object) -> Columns:
    schema = struct(dict.fromkeys(names, OPTIONAL_STRING))
    return Columns(list(names), schema, [str] * len(names))


def separated(chunks: Iterable[bytes], separator: bytes, position: int) -> Iterator[bytes]:
    """The pieces that end with the separator, and the rest if there is one. Raises `DataError` for one that
    no memory should hold."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        # A long separator may be cut in two.
        if separator not in chunk and len(separator) == 1:
            waiting.append(chunk)
            size += len(chunk)
        else:
            *pieces, rest = b"".join([*waiting, chunk]).split(separator)
            for piece in pieces:
                position += len(piece) + len(separator)
                yield piece + separator
            waiting, size = [rest], len(rest)
        if size > RECORD_BYTES_MAX:
            raise DataError(
                f"the record at byte {position} is longer than {RECORD_BYTES_MAX} bytes, the most that is "
                "read as one"
            )
    if rest := b"".join(waiting):
        yield rest


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # Python's is more lenient: NaN, lone surrogates, deep nesting.
        try:
            return json.loads(text)
        except RecursionError as exc:
            raise ValueError("it is nested too deeply") from exc
