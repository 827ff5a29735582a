"""JSON documents with a schema: one that is given, or one that follows from the first documents of a file."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import BinaryIO

from connect.api import DataError, Schema
from connectors.files.directory.schemas import SAMPLE_ROWS_MAX, inferred, named
from connectors.readers import JsonReader, Row, TextParser, fitted


class TypedJsonReader:
    """Each document is a STRUCT. `json` gives parsed values; without a `schema` one is made, under `name`."""

    def __init__(self, json: JsonReader, schema: Schema | None, name: str, parser: TextParser) -> None:
        self._json = json
        self._schema = schema
        self._name = name
        self._parser = parser

    def rows(self, stream: BinaryIO, after: int = 0) -> Iterator[Row]:
        schema = self._schema
        if schema is None:
            found = self._json.rows(stream)
            sample = list(islice(found, SAMPLE_ROWS_MAX))
            values = [row.value for row in sample if row.error is None]
            if values:
                schema = named(inferred(values), self._name)
            found = chain(sample, found)
        else:
            found = self._json.rows(stream, after)
        for row in found:
            if row.position > after:
                yield row if row.error is not None or schema is None else self._typed(schema, row)

    def _typed(self, schema: Schema, row: Row) -> Row:
        try:
            return row._replace(value=fitted(schema, row.value, self._parser), schema=schema)
        except DataError as exc:
            return row._replace(value=str(row.value), error=f"line {row.line}: {exc}")
