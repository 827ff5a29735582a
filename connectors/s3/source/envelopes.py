"""From what an object holds to what a record was: keys, headers and timestamps where they are there."""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

import orjson

from connect.api import DataError, Header, JsonPayload, Schema, SchemaType
from connect.api.schemas import STRING
from connectors.s3.source.formats import Item
from connectors.s3.source.json_texts import member_texts

_FRACTION: Final = re.compile(r"\.(\d+)")


class Parts(NamedTuple):
    """A record without its place."""

    value: Any
    value_schema: Schema | None = None
    key: Any = None
    key_schema: Schema | None = None
    headers: Sequence[Header] = ()
    timestamp_ms: int | None = None


class Envelope(Protocol):
    def open(self, item: Item, key: str) -> Parts:
        """What the record was; `key` is the object's. Raises `DataError` for an item that is no envelope."""
        ...


class Bare:
    """An item is the value, and nothing else is known."""

    def open(self, item: Item, key: str) -> Parts:
        return Parts(item.value, item.schema)


class KeyedByObject:
    """An item is the value, and the object's key in S3 is the record's, as with Aiven's source."""

    def open(self, item: Item, key: str) -> Parts:
        return Parts(item.value, item.schema, key.encode())


class Fields:
    """An item holds the fields that Aiven's sink was told to write (`format.output.fields`)."""

    def open(self, item: Item, key: str) -> Parts:
        raw = item.value
        row = raw.value() if isinstance(raw, JsonPayload) else raw
        if not isinstance(row, dict):
            raise DataError("it is no object with the fields of format.output.fields")
        texts = _texts_that_differ(raw.json, row) if isinstance(raw, JsonPayload) else {}
        value, value_schema = _member(row, item.schema, "value", texts)
        key_, key_schema = _member(row, item.schema, "key", texts)
        return Parts(
            value, value_schema, key_, key_schema,
            _headers(row.get("headers"), item.schema), _milliseconds(row.get("timestamp")),
        )  # fmt: skip


class CsvFields:
    """A line of Aiven's sink: fields in their order with commas between; keys and headers are base64, values
    too unless `plain_values`."""

    def __init__(self, fields: Sequence[str], *, plain_values: bool) -> None:
        self._fields = list(fields)
        self._plain_values = plain_values
        self._last_takes_commas = plain_values and self._fields.count("value") == 1

    def open(self, item: Item, key: str) -> Parts:
        texts = self._split(item.value.removesuffix(b"\r"))
        value = texts.get("value")
        if value is not None and not self._plain_values:
            value = _base64(value)
        name = texts.get("key")
        return Parts(
            value or None,
            None,
            _base64(name) if name else None,
            None,
            _csv_headers(texts.get("headers", b"")),
            _milliseconds(texts["timestamp"].decode()) if texts.get("timestamp") else None,
        )

    def _split(self, line: bytes) -> Mapping[str, bytes]:
        cells = line.split(b",")
        extra = len(cells) - len(self._fields)
        if extra > 0 and self._last_takes_commas:  # commas of a value are not escaped
            at = self._fields.index("value")
            cells[at : at + extra + 1] = [b",".join(cells[at : at + extra + 1])]
        if len(cells) != len(self._fields):
            raise DataError(
                f"there are {len(cells)} fields, and format.output.fields names {len(self._fields)}"
            )
        return dict(zip(self._fields, cells, strict=True))


def headers_of(item: Item) -> Sequence[Header]:
    """Headers as Confluent's sink writes them beside the values: an array of key and value, both texts."""
    raw = item.value
    rows = raw.value() if isinstance(raw, JsonPayload) else raw
    if isinstance(rows, dict):  # Parquet holds structs only
        rows = rows.get("headers")
    if not isinstance(rows, list):
        raise DataError("they are no array of key and value")
    return tuple(Header(row["key"], STRING, row["value"]) for row in rows)


def key_of(item: Item) -> tuple[Any, Schema | None]:
    """A key as Confluent's sink writes it beside the values."""
    if item.schema is not None and item.schema.name == "RecordKey" and set(item.value) == {"key"}:
        return item.value["key"], item.schema.by_name["key"].schema
    return item.value, item.schema


def _member(
    row: Mapping[str, Any], schema: Schema | None, name: str, texts: Mapping[str, bytes]
) -> tuple[Any, Schema | None]:
    value = row.get(name)
    if schema is not None:
        field = schema.field(name)
        return value, None if field is None else field.schema
    if value is None:
        return None, None
    return JsonPayload(texts[name] if texts else orjson.dumps(value), None, value), None


def _texts_that_differ(text: bytes, row: Mapping[str, Any]) -> Mapping[str, bytes]:
    """The members' texts; none if they are what orjson would write."""
    try:
        if orjson.dumps(row) == text:
            return {}
    except TypeError:  # of what Python's parser takes and orjson does not write
        return member_texts(text)
    return member_texts(text)


def _headers(found: Any, schema: Schema | None) -> Sequence[Header]:
    if not found:
        return ()
    if isinstance(found, dict):  # Avro and Parquet: a map
        field = None if schema is None else schema.field("headers")
        kind = None if field is None else field.schema.value_schema
        return tuple(Header(name, kind, value) for name, value in found.items())
    if not isinstance(found, list) or not all(isinstance(each, dict) and "key" in each for each in found):
        raise DataError("its headers are no array of key and value")
    return tuple(Header(each["key"], None, each.get("value")) for each in found)


def _csv_headers(text: bytes) -> Sequence[Header]:
    pairs = [pair.split(b":") for pair in text.split(b";") if pair]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError("its headers are no list of key:value;")
    return tuple(Header(_base64(name).decode(), _BYTES, _base64(value)) for name, value in pairs)


def _milliseconds(found: Any) -> int | None:
    """A time as the sink writes it: ISO 8601, or milliseconds since 1970."""
    if found is None or isinstance(found, int):
        return found
    try:
        if str(found).lstrip("-").isdigit():
            return int(found)
        # Python knows six digits of a fraction at most.
        text = _FRACTION.sub(lambda digits: f".{digits[1][:6]:0<6}", str(found))
        moment = datetime.fromisoformat(text)
        return round(moment.timestamp() * 1000)
    except ValueError:
        raise DataError(f"its timestamp is {found!r}, no time in ISO 8601") from None


def _base64(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise DataError(f"{text[:80]!r} is no base64") from None


_BYTES: Final = replace(Schema(SchemaType.BYTES), optional=True)
