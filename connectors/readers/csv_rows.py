"""CSV as opencsv reads it, which SpoolDir is built on: separator, quote and escape characters, fields over
several lines, and which fields count as null.

One difference: a backslash before a character that needs no escape stays in the value (`C:\\temp`), where
opencsv drops it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any, BinaryIO, Final

from connect.api import DataError, Schema
from connectors.readers.rows import Row
from connectors.readers.text import TextSettings, lines

_ROW_LINES_MAX: Final = 100_000


class NullIndicator(StrEnum):
    """Which empty fields are null: `,,` (SEPARATORS), `,"",` (QUOTES), both or neither."""

    EMPTY_SEPARATORS = "EMPTY_SEPARATORS"
    EMPTY_QUOTES = "EMPTY_QUOTES"
    BOTH = "BOTH"
    NEITHER = "NEITHER"


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How fields stand in a line. `quote` and `escape` are None where there is no such character."""

    separator: str = ","
    quote: str | None = '"'
    escape: str | None = "\\"
    ignore_leading_whitespace: bool = True
    null: NullIndicator = NullIndicator.NEITHER


Cells = list[str | None]


@dataclass(frozen=True, slots=True)
class Columns:
    """The fields that the columns become, in the columns' order, and what makes a value of each cell: `str`
    for text. Columns whose name is no field of the schema are left out."""

    names: Sequence[str]
    schema: Schema
    readers: Sequence[Callable[[str], Any]]


Shape = Callable[[Sequence[str], Iterator[Cells]], Columns]


class CsvReader:
    """Each row is a STRUCT.

    The columns' names are in the first row where `header`, else they are `names`, or column01, column02 and
    so on. `shape(names, sample)` says what the columns are; `sample` are the first rows of the file, as many
    as it takes.
    """

    def __init__(
        self,
        text: TextSettings,
        dialect: CsvDialect,
        shape: Shape,
        *,
        header: bool,
        names: Sequence[str] | None = None,
    ) -> None:
        self._text = text
        self._parser = _LineParser(dialect)
        self._shape = shape
        self._header = header
        self._names = names

    def rows(self, stream: BinaryIO, after: int = 0) -> Iterator[Row]:
        found = self._cells(stream)
        first_row = next(found, None)
        if first_row is None:
            return
        held: list[tuple[int, int, Cells]] = []
        if self._header:
            names: Sequence[str] = _header(first_row[2])
        else:
            names = self._names or [f"column{number:02d}" for number in range(1, len(first_row[2]) + 1)]
            found = chain([first_row], found)
        row = _RowBuilder(self._shape(names, _remembered(found, held)))
        for pending in (held, found):
            for first, last, cells in pending:
                if last > after:
                    yield row.build(first, last, cells)

    def _cells(self, stream: BinaryIO) -> Iterator[tuple[int, int, Cells]]:
        """(first line, last line, cells) of each row; empty lines are none."""
        parse = self._parser.parse
        numbered = lines(stream, self._text)
        for number, line in numbered:
            if not line:
                continue
            cells, last = parse(line), number
            while cells is None:
                following = next(numbered, None)
                if following is None or last - number > _ROW_LINES_MAX:
                    raise DataError(f"line {number}: a quoted field that begins here has no end")
                last = following[0]
                line = f"{line}\n{following[1]}"
                cells = parse(line)
            yield number, last, cells


def _header(cells: Cells) -> list[str]:
    names = [(cell or "").strip() for cell in cells]
    if "" in names:
        raise DataError(f"column {names.index('') + 1} of the header has no name")
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"the header has more than one column {sorted(twice)[0]}")
    return names


def _remembered(
    found: Iterator[tuple[int, int, Cells]], held: list[tuple[int, int, Cells]]
) -> Iterator[Cells]:
    """The rows' cells, for a look ahead: what was taken is in `held`."""
    for row in found:
        held.append(row)
        yield row[2]


class _RowBuilder:
    """Makes rows of cells."""

    def __init__(self, columns: Columns) -> None:
        self._schema = columns.schema
        self._count = len(columns.names)
        self._members = [
            (index, name, self._schema.by_name[name].schema, read)
            for index, (name, read) in enumerate(zip(columns.names, columns.readers, strict=True))
            if name in self._schema.by_name
        ]
        self._missing: dict[str, Any] = {}
        for field in self._schema.fields:
            if field.name not in columns.names:
                if not field.schema.optional and field.schema.default is None:
                    raise DataError(f"there is no column {field.name}, which the schema requires")
                self._missing[field.name] = field.schema.default

    def build(self, first: int, last: int, cells: Cells) -> Row:
        try:
            return Row(last, self._value(cells), self._schema)
        except (ValueError, DataError) as exc:
            text = ",".join([cell or "" for cell in cells])
            return Row(last, text, None, f"line {first}: {exc}")

    def _value(self, cells: Cells) -> dict[str, Any]:
        if len(cells) != self._count:
            raise DataError(f"{len(cells)} fields where there are {self._count} columns")
        value = dict(self._missing)
        for index, name, schema, read in self._members:
            cell = cells[index]
            if cell is None or (not cell and read is not str):
                if not schema.optional and schema.default is None:
                    raise DataError(f"column {name} is empty, which its schema does not allow")
                value[name] = schema.default
                continue
            try:
                value[name] = read(cell)
            except ValueError as exc:
                raise DataError(f"column {name}: {exc}") from None
        return value


class _LineParser:
    """Cuts a line into its fields."""

    def __init__(self, dialect: CsvDialect) -> None:
        self._dialect = dialect
        separator, quote = re.escape(dialect.separator), re.escape(dialect.quote or "")
        self._special = [mark for mark in (dialect.quote, dialect.escape) if mark]
        escape = re.escape(dialect.escape) if dialect.escape else None
        inside = rf"[^{quote}{escape or ''}]|{quote}{quote}" + (rf"|{escape}.|{escape}\Z" if escape else "")
        blank = r"[ \t]*" if dialect.ignore_leading_whitespace else ""
        self._quoted = re.compile(
            rf"{blank}{quote}(?P<text>(?:{inside})*)(?P<end>{quote}(?P<rest>[^{separator}]*))?", re.DOTALL
        )
        self._plain = re.compile(rf"[^{separator}]*", re.DOTALL)
        self._begins = re.compile(rf"{blank}{quote}")
        self._undo = re.compile(
            rf"{quote}{quote}" + (rf"|{escape}[{quote}{escape}]" if escape else ""), re.DOTALL
        )
        self._null_plain = dialect.null in (NullIndicator.EMPTY_SEPARATORS, NullIndicator.BOTH)
        self._null_quoted = dialect.null in (NullIndicator.EMPTY_QUOTES, NullIndicator.BOTH)

    def _all_quoted(self, line: str) -> Cells | None:
        """The fields of a line in which each is in quotes and nothing is escaped; None for others."""
        quote, escape = self._dialect.quote, self._dialect.escape
        if quote is None or line[0] != quote or (escape is not None and escape in line):
            return None
        cells: Cells = list(line[1:-1].split(f"{quote}{self._dialect.separator}{quote}"))
        if line[-1] != quote or line.count(quote) != 2 * len(cells):
            return None
        return [cell or None for cell in cells] if self._null_quoted else cells

    def parse(self, line: str) -> Cells | None:
        """The fields; None where a quoted one goes on in the next line."""
        if self._dialect.quote is None or not any(mark in line for mark in self._special):
            cells: Cells = list(line.split(self._dialect.separator))
            return [cell or None for cell in cells] if self._null_plain else cells
        if (simple := self._all_quoted(line)) is not None:
            return simple
        found: Cells = []
        position = 0
        while True:
            if self._begins.match(line, position):
                part = self._quoted.match(line, position)
                assert part is not None, "a quote that begins a field matches"
                if part["end"] is None:
                    return None
                text = self._undo.sub(lambda mark: mark[0][-1], part["text"]) + part["rest"]
                found.append(None if not text and self._null_quoted else text)
            else:
                part = self._plain.match(line, position)
                assert part is not None, "matches nothing, too"
                found.append(None if not part[0] and self._null_plain else part[0])
            position = part.end()
            if position == len(line):
                return found
            position += len(self._dialect.separator)
