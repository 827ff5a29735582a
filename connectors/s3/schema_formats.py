"""Formats whose files have one schema each: records of different schemas go into files of their own, which
are open side by side.

Schemaless JSON gets a file too: its lines wait on disk until the file ends, then its schema is worked out
from all of them (see `inferred`). So the file depends on its records alone.
"""

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby, islice
from typing import Any, Final, Generic, Protocol, TypeVar

import orjson

from connect.api import DataError, JsonPayload, Schema, SinkRecord
from connectors.s3.fields import where
from connectors.s3.formats import FileWriter, Format, one_line, schemaless_converter
from connectors.s3.inferred import Kind

_SCHEMAS_MAX: Final = 1_024
_IN_MEMORY_BYTES: Final = 256 << 10
_ROWS_AT_ONCE: Final = 1_000

P = TypeVar("P")  # what a schema comes down to


class TypedItem(Protocol):
    """A value of a plan, ready to be written."""

    @property
    def plan(self) -> Hashable: ...


class SchemaFormat(Format, Generic[P]):
    """A plan is made of each schema, once. `row_name` is that of an inferred one."""

    def __init__(self, row_name: str | None = None) -> None:
        self._row_name = row_name
        self._plan_of: Callable[[Schema], P] = lru_cache(_SCHEMAS_MAX)(self.plan)
        self._to_json = schemaless_converter().from_connect

    @abstractmethod
    def plan(self, schema: Schema) -> P:
        """Raises `DataError` if the format cannot hold it."""

    @abstractmethod
    def typed_items(self, plan: P, values: Sequence[Any]) -> Sequence[TypedItem]:
        """Raises `ValueError`, `TypeError` or the like where a value does not fit."""

    @abstractmethod
    def open_typed(self, plan: P) -> FileWriter:
        """A file of items of this plan."""

    def rename(self, names: Iterable[str]) -> Sequence[str]:
        """Names of fields as the format allows them."""
        return list(names)

    def items(self, records: Sequence[SinkRecord]) -> list[Any]:
        items: list[Any] = []
        for schema, run in groupby(records, lambda record: record.value_schema):
            same = list(run)
            if schema is None:
                items += [self._line(record) for record in same]
                continue
            try:
                items += self.typed_items(self._plan_of(schema), [record.value for record in same])
            except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as exc:
                # Of several records the caller tries each, to find the one.
                raise DataError(f"the value of {where(same[0])} does not fit its schema: {exc}") from exc
        return items

    def variants(self, items: Sequence[Any]) -> Sequence[Hashable]:
        return [None if type(item) is bytes else item.plan for item in items]

    def open(self, first: Any) -> FileWriter:
        return InferredFile(self) if type(first) is bytes else self.open_typed(first.plan)

    def inferred(self, kind: Kind) -> P:
        return self.plan(replace(kind.schema(self.rename), optional=False, name=self._row_name))

    def _line(self, record: SinkRecord) -> bytes:
        """Schemaless JSON."""
        raw = record.raw_value
        line = raw.json if type(raw) is JsonPayload else self._to_json(record.topic, None, raw) or b"null"
        if not line.lstrip().startswith(b"{") or not line.strip(b"{} \t\r\n"):
            raise DataError(
                f"{where(record)} has a value without schema that is no JSON object with fields, which "
                f"{type(self).__name__} cannot hold"
            )
        return one_line(line)


class InferredFile(FileWriter):
    """A file whose schema is known when it ends."""

    def __init__(self, format: SchemaFormat[Any]) -> None:
        self._format = format
        self._kind = Kind()
        self._lines = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - lives as long as the file

    def write(self, items: Sequence[bytes]) -> bytes:
        for line in items:
            self._kind.add(orjson.loads(line))
        self._lines.write(b"\n".join([*items, b""]))
        return b""

    def finish(self) -> Iterator[bytes]:
        plan = self._format.inferred(self._kind)
        file = self._format.open_typed(plan)
        self._lines.seek(0)
        while lines := list(islice(self._lines, _ROWS_AT_ONCE)):
            values = [self._kind.fit(orjson.loads(line)) for line in lines]
            yield file.write(self._format.typed_items(plan, values))
        yield from file.finish()
        self._lines.close()
