"""A Kafka client for any version of any API: requests are dicts, made to fit the version."""

import typing
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from typing import Any

from kio.index import load_request_schema
from support.batches import encode_request
from support.raw_kafka import RawKafka, decode_body


class Wire(RawKafka):
    """`ask(key, version, field=value, …)` sends a request and returns kio's response.

    Nested structures are dicts. Fields that the version lacks are left out, times are milliseconds, and
    what is not given has kio's default, or the type's empty value.
    """

    def ask(self, api_key: int, version: int, **values: Any) -> Any:
        self.request(api_key, version, **values)
        return self.response(api_key, version)

    def request(self, api_key: int, version: int, **values: Any) -> None:
        """Send, and do not wait."""
        schema = load_request_schema(api_key, version)
        self.send(api_key, version, encode_request(api_key, version, **_fields(schema, values)))

    def response(self, api_key: int, version: int) -> Any:
        """The next response."""
        return decode_body(api_key, version, self.receive()[1])


def _fields(schema: Any, values: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(schema)
    built: dict[str, Any] = {}
    for field in fields(schema):
        if field.name in values:
            built[field.name] = _value(hints[field.name], values[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            built[field.name] = _empty(hints[field.name])
    return built


def _value(hint: Any, value: Any) -> Any:
    nested = _nested(hint)
    if isinstance(value, list | tuple):
        return tuple(
            nested(**_fields(nested, item)) if nested and isinstance(item, dict) else item for item in value
        )
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
