"""What of a record is written: its value, and beside it, if wanted, its key and its headers, each into an
object of its own. The n-th key belongs to the n-th value.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from connect.api import DataError, Schema, SchemaType, SinkRecord
from connect.api.schemas import STRING, struct
from connect.api.values import text_of
from connectors.s3.config import S3SinkConfig
from connectors.s3.confluent import PARQUET_FORMAT
from connectors.s3.fields import where
from connectors.s3.formats import FileWriter, Format, format_for

_HEADER: Final = struct({"key": STRING, "value": STRING.as_optional()})
_HEADERS: Final = Schema(SchemaType.ARRAY, value_schema=_HEADER)


class View(ABC):
    """One part of records. `suffix` follows the object's name, before its format's extension."""

    suffix: str

    def __init__(self, format: Format) -> None:
        self.format = format

    @property
    def extension(self) -> str:
        return self.suffix + self.format.extension

    def items(self, records: Sequence[SinkRecord]) -> list[Any]:
        """What a file's writer takes for each record; raises `DataError` for one that it cannot."""
        return self.format.items([self.of(record) for record in records])

    @abstractmethod
    def of(self, record: SinkRecord) -> SinkRecord:
        """The record with this part as its value."""


class ValueView(View):
    suffix = ""

    def items(self, records: Sequence[SinkRecord]) -> list[Any]:
        return self.format.items(records)

    def of(self, record: SinkRecord) -> SinkRecord:
        return record


class KeyView(View):
    suffix = ".keys"

    def __init__(self, format: Format, *, enveloped: bool) -> None:
        super().__init__(format)
        self._enveloped = enveloped

    def of(self, record: SinkRecord) -> SinkRecord:
        schema = record.key_schema
        if not self._enveloped:
            return record.replace(value=record.raw_key, value_schema=schema)
        if schema is None:
            raise DataError(
                f"{where(record)} has no key with a schema, which store.kafka.keys=true needs with Parquet"
            )
        whole = replace(struct({"key": schema}), name="RecordKey")
        return record.replace(value={"key": record.key}, value_schema=whole)


class HeaderView(View):
    """An array of key and value, both as text."""

    suffix = ".headers"

    def __init__(self, format: Format, *, enveloped: bool) -> None:
        super().__init__(format)
        self._enveloped = enveloped

    def of(self, record: SinkRecord) -> SinkRecord:
        headers = [{"key": h.name, "value": text_of(h.schema, h.value)} for h in record.headers]
        if not self._enveloped:
            return record.replace(value=headers, value_schema=_HEADERS)
        whole = replace(struct({"headers": _HEADERS}), name="RecordHeaders")
        return record.replace(value={"headers": headers}, value_schema=whole)


class Views:
    """All that is written of a record. An item of several views is the tuple of theirs."""

    def __init__(self, views: Sequence[View]) -> None:
        self.all = views
        self._only = views[0] if len(views) == 1 else None

    def items(self, records: Sequence[SinkRecord]) -> list[Any]:
        """What the files' writers take for each record; raises `DataError` for one that they cannot."""
        if self._only is not None:
            return self._only.items(records)
        return list(zip(*(view.items(records) for view in self.all), strict=True))

    def variants(self, items: Sequence[Any]) -> Sequence[Hashable] | None:
        """What keeps items apart; see `Format.variants`."""
        if self._only is not None:
            return self._only.format.variants(items)
        columns = [
            view.format.variants([item[n] for item in items]) or [None] * len(items)
            for n, view in enumerate(self.all)
        ]
        return list(zip(*columns, strict=True))

    def sizes(self, items: Sequence[Any], records: Sequence[SinkRecord]) -> list[int]:
        """The bytes of each record's value in its file, before compression. They must not depend on the batch
        in which it came."""
        values = items if self._only is not None else [item[0] for item in items]
        sizes = []
        for value, record in zip(values, records, strict=True):
            data = value if type(value) is bytes else getattr(value, "data", None)
            if data is None:  # a row of a table, which has no bytes of its own
                data = orjson.dumps(record.value, default=str, option=orjson.OPT_NON_STR_KEYS)
            sizes.append(len(data))
        return sizes

    def open(self, first: Any) -> list[FileWriter]:
        """A writer for each view, of files whose first item this is."""
        firsts = [first] if self._only is not None else first
        return [view.format.open(item) for view, item in zip(self.all, firsts, strict=True)]

    def columns(self, items: list[Any]) -> list[list[Any]]:
        """The items of each view."""
        if self._only is not None:
            return [items]
        return [list(column) for column in zip(*items, strict=True)]


def views_for(config: S3SinkConfig) -> Views:
    """What the settings ask for."""
    views: list[View] = [ValueView(format_for(config, config.format))]
    of_part: list[tuple[bool, str, Callable[..., View]]] = [
        (config.store_keys, config.keys_format, KeyView),
        (config.store_headers, config.headers_format, HeaderView),
    ]
    for wanted, format, view in of_part:
        if wanted:
            views.append(view(format_for(config, format), enveloped=format == PARQUET_FORMAT))
    return Views(views)
