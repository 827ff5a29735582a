"""Values as Java's `toString` shows them: what Kafka Connect writes where it needs a text of any value."""

import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from connect.api.java_patterns import MS_PER_DAY, JavaPattern, epoch_ms_of
from connect.api.schemas import DATE, TIME, TIMESTAMP, Schema, SchemaType


def java_text(schema: Schema | None, value: Any) -> str:
    """The text of a Connect value: `true`, `1.0E10`, `[1, 2]`, `{k=v}`, `Struct{id=7,name=x}`,
    `Thu Feb 29 13:51:30 UTC 2024`.

    Java shows bytes as an object's identity; here they are their text, with escapes for what is not UTF-8.
    """
    if value is None:
        return "null"
    if schema is not None and schema.name in _EPOCH_MS:
        return _DATE_FORMAT.format(value * _EPOCH_MS[schema.name])
    render = _BY_TYPE.get(type(value))
    return render(schema, value) if render is not None else str(value)


def java_double(value: float, digits: str | None = None) -> str:
    """`Double.toString`. `digits` replaces the shortest decimal form, for numbers of other precision."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    sign, figures, exponent = Decimal(digits or repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int), "infinities and NaN are done above"
    text = "".join(map(str, figures))
    scale = len(text) + exponent - 1  # the power of ten of the first figure
    if figures == (0,):
        plain = "0.0"
    elif -3 <= scale < 7:
        point = scale + 1
        text = "0" * (1 - point) + text if point < 1 else text.ljust(point, "0")
        point = max(point, 1)
        plain = f"{text[:point]}.{text[point:] or '0'}"
    else:
        plain = f"{text[0]}.{text[1:] or '0'}E{scale}"
    return "-" + plain if sign else plain


def _float(schema: Schema | None, value: float) -> str:
    if schema is not None and schema.type is SchemaType.FLOAT32:
        return java_double(value, shortest_of_single(value))
    return java_double(value)


def shortest_of_single(value: float) -> str | None:
    """The fewest figures, at least two, that mean the same 32-bit number; None for infinities and NaN."""
    single = _to_single(value)
    if single - single != 0:
        return None
    return next(
        text for text in (f"{single:.{n}e}" for n in range(1, 9)) if _to_single(float(text)) == single
    )


def _to_single(value: float) -> float:
    try:
        unpacked: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return unpacked


def _mapping(schema: Schema | None, value: Mapping[Any, Any]) -> str:
    if schema is not None and schema.type is SchemaType.STRUCT:
        # A Struct shows only the fields that have a value.
        shown = [
            f"{field.name}={java_text(field.schema, value[field.name])}"
            for field in schema.fields
            if value.get(field.name) is not None
        ]
        return f"Struct{{{','.join(shown)}}}"
    keys = schema.key_schema if schema is not None else None
    values = schema.value_schema if schema is not None else None
    pairs = [f"{java_text(keys, name)}={java_text(values, member)}" for name, member in value.items()]
    return f"{{{', '.join(pairs)}}}"


def _list(schema: Schema | None, value: list[Any]) -> str:
    element = schema.value_schema if schema is not None else None
    return f"[{', '.join([java_text(element, member) for member in value])}]"


# How `java.util.Date.toString` shows an instant, and how many milliseconds a unit of each type has.
_DATE_FORMAT: Final = JavaPattern.simple_date_format("EEE MMM dd HH:mm:ss zzz yyyy")
_EPOCH_MS: Final[Mapping[str | None, int]] = {DATE: MS_PER_DAY, TIME: 1, TIMESTAMP: 1}

_BY_TYPE: Final[Mapping[type, Callable[[Schema | None, Any], str]]] = {
    bool: lambda schema, value: "true" if value else "false",
    bytes: lambda schema, value: value.decode("utf-8", "backslashreplace"),
    datetime: lambda schema, value: _DATE_FORMAT.format(epoch_ms_of(value)),
    dict: _mapping,
    float: _float,
    list: _list,
}
