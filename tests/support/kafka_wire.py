"""A client that speaks any version of any Kafka API over a socket, by kio's structures."""

import io
import socket
import struct
import typing
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i16, i32

TIMEOUT_S = 30


class Wire:
    """One connection. `ask(key, version, field=value, …)` sends a request and returns kio's response.

    Nested structures are dicts. Fields that the version lacks are left out, times are milliseconds, and
    what is not given has kio's default, or the type's empty value.
    """

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        self._correlation_id = 0

    def ask(self, api_key: int, version: int, **values: Any) -> Any:
        self.send(api_key, version, **values)
        return self.receive(api_key, version)

    def send(self, api_key: int, version: int, **values: Any) -> None:
        schema = load_request_schema(api_key, version)
        self._correlation_id += 1
        header = schema.__header_schema__(
            request_api_key=i16(api_key),
            request_api_version=i16(version),
            correlation_id=i32(self._correlation_id),
            client_id="wire",
        )
        buffer = io.BytesIO()
        entity_writer(type(header))(buffer, header)
        entity_writer(schema)(buffer, _build(schema, values))
        frame = buffer.getvalue()
        self._socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self, api_key: int, version: int) -> Any:
        """The next response. It must be used up to its last byte."""
        schema = load_response_schema(api_key, version)
        (size,) = struct.unpack(">i", self._read(4))
        frame = self._read(size)
        header, header_size = entity_reader(schema.__header_schema__)(frame, 0)
        assert header.correlation_id == self._correlation_id
        response, body_size = entity_reader(schema)(frame, header_size)
        assert header_size + body_size == size, "bytes are left after the response"
        return response

    def is_closed(self) -> bool:
        """Whether the broker hangs up. Waits for it."""
        return not self._socket.recv(1)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionError("the broker has closed the connection")
            data += part
        return bytes(data)


def _build(schema: Any, values: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(schema)
    built = {}
    for field in fields(schema):
        if field.name in values:
            built[field.name] = _value(hints[field.name], values[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            built[field.name] = _empty(hints[field.name])
    return schema(**built)


def _value(hint: Any, value: Any) -> Any:
    nested = _nested(hint)
    if isinstance(value, list | tuple):
        return tuple(_build(nested, item) if nested and isinstance(item, dict) else item for item in value)
    if isinstance(value, int) and not isinstance(value, bool) and "Timedelta" in str(hint):
        return timedelta(milliseconds=value)
    return value


def _nested(hint: Any) -> Any:
    if is_dataclass(hint):
        return hint
    return next((found for part in typing.get_args(hint) if (found := _nested(part))), None)


def _empty(hint: Any) -> Any:
    if type(None) in typing.get_args(hint):
        return None
    if typing.get_origin(hint) is tuple:
        return ()
    name = str(hint)
    if "Timedelta" in name:
        return timedelta(0)
    return "" if issubclass(hint, str) else b"" if issubclass(hint, bytes) else False if hint is bool else 0
