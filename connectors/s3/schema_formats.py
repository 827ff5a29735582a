"""Formats whose files have one schema each: records of different schemas go into files of their own, which
are open side by side.

Schemaless JSON gets a file too: its lines wait until the file ends, when its schema is known from all of them
(see `inferred`). So the file depends on its records alone.
"""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from connect.api import DataError, JsonPayload, Schema, SinkRecord
from connectors.s3.fields import where
from connectors.s3.formats import FileWriter, Format, one_line, schemaless_converter
from connectors.s3.inferred import Kind, loads
from connectors.s3.staging import Buffer

_SCHEMAS_MAX: Final = 1_024
_LEARN_BYTES: Final = 64 << 10
_PIECE_BYTES: Final = 1 << 20
_VALUE_SCHEMA: Final = attrgetter("value_schema")

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
        for schema, run in groupby(records, _VALUE_SCHEMA):
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

    def learn(self, kind: Kind, lines: bytes) -> None:
        """Take lines of JSON into account."""
        for line in lines.splitlines():
            kind.add(loads(line))

    def write_lines(self, file: FileWriter, plan: P, kind: Kind, lines: bytes) -> bytes:
        """Write lines of JSON, which `kind` knows, into a file of the plan that was inferred."""
        values = [kind.fit(loads(line)) for line in lines.splitlines()]
        return file.write(self.typed_items(plan, values))

    def _line(self, record: SinkRecord) -> bytes:
        """Schemaless JSON."""
        raw = record.raw_value
        line = raw.json if type(raw) is JsonPayload else self._to_json(record.topic, None, raw) or b"null"
        is_object = line.startswith(b'{"') or (line.lstrip().startswith(b"{") and line.strip(b"{} \t\r\n"))
        if not is_object:
            raise DataError(
                f"{where(record)} has a value without schema that is no JSON object with fields, which "
                f"{type(self).__name__} cannot hold"
            )
        return one_line(line) if b"\n" in line or b"\r" in line else line


class InferredFile(FileWriter):
    """A file whose schema is known when it ends. `_fresh` are lines that were not looked at yet."""

    def __init__(self, format: SchemaFormat[Any]) -> None:
        self._format = format
        self._kind = Kind()
        self._fresh = bytearray()
        self._lines = Buffer()

    def keep_in(self, make_buffer: Callable[[], Buffer]) -> None:
        self._lines = make_buffer()

    def write(self, items: Sequence[bytes]) -> bytes:
        self._fresh += b"\n".join([*items, b""])
        self.waiting_bytes = len(self._fresh)
        return self.flush() if self.waiting_bytes >= _LEARN_BYTES else b""

    def flush(self) -> bytes:
        if not self._fresh:
            return b""
        lines = bytes(self._fresh)
        self._fresh = bytearray()
        self.waiting_bytes = 0
        self._format.learn(self._kind, lines)
        self._lines.append(lines)
        return b""

    def finish(self) -> Iterator[bytes]:
        self.flush()
        plan = self._format.inferred(self._kind)
        file = self._format.open_typed(plan)
        for lines in self._pieces():
            yield self._format.write_lines(file, plan, self._kind, lines)
        yield from file.finish()

    def _pieces(self) -> Iterator[bytes]:
        """Whole lines."""
        rest = b""
        while self._lines.size:
            data = rest + self._lines.take(_PIECE_BYTES)
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                yield data[:end]
