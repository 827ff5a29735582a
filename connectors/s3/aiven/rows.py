"""What stands in a file of text for each record: a line of CSV, or JSON."""

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from connect.api import DataError, SinkRecord
from connect.api.java_patterns import JavaPattern
from connect.api.values import text_of
from connectors.s3.compression import Compressor
from connectors.s3.fields import where
from connectors.s3.formats import FileWriter, Format, JsonTexts, TextWriter, one_line

Column = Callable[[Sequence[SinkRecord]], Sequence[bytes]]

# However they are asked for: the order in which the Java connector writes them.
_JSON_ORDER: Final = ("headers", "offset", "value", "key", "timestamp")
_SECOND: Final = JavaPattern.simple_date_format("yyyy-MM-dd'T'HH:mm:ss")


class TextFile(TextWriter):
    """Items with something between them."""

    def __init__(self, compressor: Compressor, start: bytes, between: bytes, end: bytes) -> None:
        super().__init__(compressor)
        self._next, self._between, self._end = start, between, end

    def write(self, items: Sequence[bytes]) -> bytes:
        text = self._next + self._between.join(items)
        self._next = self._between
        return self._compressor.add(text)

    def finish(self) -> Iterable[bytes]:
        yield self._compressor.add(self._end)
        yield from super().finish()


class CsvRows(Format):
    """The fields in the order asked for, with commas between them, without quotes. Keys and headers are
    base64, values too unless `plain_values`. What is null is empty."""

    extension = ""

    def __init__(
        self, compressor: Callable[[], Compressor], fields: Sequence[str], *, plain_values: bool
    ) -> None:
        self._compressor = compressor
        self._encode: Callable[[bytes], bytes] = bytes if plain_values else b64encode
        columns = {
            "key": self._keys, "value": self._values, "offset": _offsets, "timestamp": self._times,
            "headers": self._headers,
        }  # fmt: skip
        self._columns: Sequence[Column] = [columns[field] for field in fields]

    def items(self, records: Sequence[SinkRecord]) -> list[bytes]:
        columns = [column(records) for column in self._columns]
        return [b",".join(row) for row in zip(*columns, strict=True)]

    def open(self, first: Any) -> FileWriter:
        return TextFile(self._compressor(), b"", b"\n", b"")

    def _keys(self, records: Sequence[SinkRecord]) -> Sequence[bytes]:
        return [b64encode(_key_bytes(record)) for record in records]

    def _values(self, records: Sequence[SinkRecord]) -> Sequence[bytes]:
        values = [record.raw_value for record in records]
        for record, value in zip(records, values, strict=True):
            if value is not None and type(value) is not bytes:
                raise DataError(
                    f"{where(record)} has a value of type {type(record.value).__name__}, and csv holds "
                    "bytes: set value.converter to "
                    "org.apache.kafka.connect.converters.ByteArrayConverter, or choose another "
                    "format.output.type"
                )
        encode = self._encode
        return [b"" if value is None else encode(value) for value in values]

    def _times(self, records: Sequence[SinkRecord]) -> Sequence[bytes]:
        return [b"" if record.timestamp_ms is None else b"%d" % record.timestamp_ms for record in records]

    def _headers(self, records: Sequence[SinkRecord]) -> Sequence[bytes]:
        return [
            b"".join(
                b64encode(header.name.encode()) + b":" + b64encode(_header_bytes(header)) + b";"
                for header in record.headers
            )
            for record in records
        ]


class JsonTextRows:
    """Records as JSON: an object of the fields, or the value of the only one.

    JSON that came as JSON stays the text that it is, but for line breaks.
    """

    def __init__(self, fields: Sequence[str], *, envelope: bool, iso_times: bool) -> None:
        columns = {
            "headers": self._headers, "offset": _offsets, "value": self._values, "key": self._keys,
            "timestamp": _iso_times if iso_times else _millis,
        }  # fmt: skip
        self._texts = JsonTexts()
        self._columns: Sequence[Column] = [columns[field] for field in fields]
        inside = b",".join(b'"%b":%%b' % field.encode() for field in fields)
        self._envelope = b"{" + inside + b"}" if envelope else None

    def of(self, records: Sequence[SinkRecord]) -> list[bytes]:
        """Each on one line."""
        columns = [column(records) for column in self._columns]
        if self._envelope is None:
            return list(columns[0])
        envelope = self._envelope
        return [envelope % row for row in zip(*columns, strict=True)]

    def _values(self, records: Sequence[SinkRecord]) -> Sequence[bytes]:
        return _on_one_line(self._texts.of_values(records))

    def _keys(self, records: Sequence[SinkRecord]) -> Sequence[bytes]:
        of = self._texts.of
        return _on_one_line([of(record.topic, record.key_schema, record.raw_key) for record in records])

    def _headers(self, records: Sequence[SinkRecord]) -> Sequence[bytes]:
        return [self._of_headers(record) if record.headers else b"[]" for record in records]

    def _of_headers(self, record: SinkRecord) -> bytes:
        of, topic = self._texts.of, record.topic
        shown = [
            b'{"key":%b,"value":%b}' % (orjson.dumps(name), of(topic, schema, value))
            for name, schema, value in record.headers
        ]
        return b"[%b]" % b",".join(shown)


class JsonRows(Format):
    """`as_array`: a file is one JSON array; else each of its lines is JSON. No line break ends the file."""

    extension = ""

    def __init__(
        self,
        compressor: Callable[[], Compressor],
        fields: Sequence[str],
        *,
        envelope: bool,
        as_array: bool,
    ) -> None:
        self._compressor = compressor
        ordered = [field for field in _JSON_ORDER if field in fields]
        self._rows = JsonTextRows(ordered, envelope=envelope, iso_times=True)
        self._frame = (b"[\n", b",\n", b"\n]") if as_array else (b"", b"\n", b"")

    def items(self, records: Sequence[SinkRecord]) -> list[bytes]:
        return self._rows.of(records)

    def open(self, first: Any) -> FileWriter:
        return TextFile(self._compressor(), *self._frame)


def _offsets(records: Sequence[SinkRecord]) -> Sequence[bytes]:
    return [b"%d" % record.offset for record in records]


def _millis(records: Sequence[SinkRecord]) -> Sequence[bytes]:
    return [b"null" if record.timestamp_ms is None else b"%d" % record.timestamp_ms for record in records]


def _iso_times(records: Sequence[SinkRecord]) -> Sequence[bytes]:
    return [
        b"null" if record.timestamp_ms is None else b'"%b"' % _instant(record.timestamp_ms)
        for record in records
    ]


def _instant(time_ms: int) -> bytes:
    """As Java's `Instant` shows it: with a fraction only where there is one."""
    second, millis = divmod(time_ms, 1000)
    return _second(second) + (b".%03dZ" % millis if millis else b"Z")


@lru_cache(1024)
def _second(second: int) -> bytes:
    return _SECOND.format(second * 1000).encode()


def _on_one_line(texts: list[bytes]) -> list[bytes]:
    if not any(b"\n" in text or b"\r" in text for text in texts):
        return texts
    return [one_line(text) for text in texts]


def _key_bytes(record: SinkRecord) -> bytes:
    key = record.key
    if key is None:
        return b""
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, bytes):
        return key
    raise DataError(
        f"{where(record)} has a key of type {type(key).__name__}, and csv holds text and bytes: set "
        "key.converter to org.apache.kafka.connect.storage.StringConverter"
    )


def _header_bytes(header: Any) -> bytes:
    if isinstance(header.value, bytes):
        return header.value
    return (text_of(header.schema, header.value) or "").encode()
