"""Column type → Connect schema, and the function from PostgreSQL's text to the JSON of a value.

Names, parameters and encodings are Debezium's
(https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-data-types).
"""

import re
import struct
from base64 import urlsafe_b64encode
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from json.encoder import encode_basestring as quote
from typing import Final, Literal

import orjson

from connect.api import Schema, SchemaType
from connect.api import schemas as connect
from connect.api.java_text import java_double
from connectors.postgres import times
from connectors.postgres.catalog import VARHDRSZ, PgType, TypeKind
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.literals import array_items, hstore_items

Encode = Callable[[str], str]


class UnknownLabelError(Exception):
    """A label of an enum that was not there when the type was read. It is an error only once, or once more
    after `ask_again`."""

    def __init__(self, label: str, ask_again: Callable[[], None]) -> None:
        super().__init__(label)
        self.ask_again = ask_again


class _Labels(dict[str, str]):
    """The JSON of an enum's labels. Another one is new, or not there any more: `asked` remembers which were
    asked for, and only the first time is an error."""

    def __init__(self, enum: PgType, asked: set[tuple[int, str]] | None) -> None:
        super().__init__((label, quote(label)) for label in enum.labels)
        self._oid = enum.oid
        self._asked = asked

    def __missing__(self, label: str) -> str:
        if self._asked is not None and (self._oid, label) not in self._asked:
            self._asked.add((self._oid, label))
            raise UnknownLabelError(label, partial(self._asked.discard, (self._oid, label)))
        return quote(label)


@dataclass(frozen=True, slots=True)
class ColumnType:
    """How the values of a column are written.

    `encode` makes JSON of PostgreSQL's text; None where the text is the JSON. `unavailable` is the JSON
    for a TOAST value that the server did not send, `zero` for a NOT NULL column that is not in the old
    row's key. Types without `takes_default` have none in their schema, as in Debezium. `is_text`: the value
    is characters, which can be masked.
    """

    schema: Schema
    encode: Encode | None
    zero: str
    unavailable: str = "null"
    takes_default: bool = True
    is_text: bool = False

    def json(self, text: str) -> str:
        return self.encode(text) if self.encode is not None else text


def _named(schema_type: SchemaType, name: str, parameters: dict[str, str] | None = None) -> Schema:
    return Schema(schema_type, False, name, 1, None, parameters or {})


_INT32, _INT64, _STRING = SchemaType.INT32, SchemaType.INT64, SchemaType.STRING
_VARIABLE_SCALE: Final = connect.struct(
    {"scale": connect.INT32, "value": connect.BYTES},
    name="io.debezium.data.VariableScaleDecimal", version=1, doc="Variable scaled decimal",
)  # fmt: skip
_POINT: Final = connect.struct(
    {"x": connect.FLOAT64, "y": connect.FLOAT64, "wkb": connect.OPTIONAL_BYTES,
     "srid": connect.OPTIONAL_INT32},
    name="io.debezium.data.geometry.Point", version=1, doc="Geometry (POINT)",
)  # fmt: skip
_GEOMETRY_FIELDS: Final = {"wkb": connect.BYTES, "srid": connect.OPTIONAL_INT32}
_SPARSE_VECTOR: Final = connect.struct(
    {"dimensions": connect.INT16, "vector": connect.map_of(connect.INT16, connect.FLOAT64)},
    name="io.debezium.data.SparseDoubleVector", version=1, doc="Sparse double vector",
)  # fmt: skip
_SRID_FLAG: Final = 0x2000_0000
_EMPTY_COLLECTION: Final = "010700000000000000"
_GEOMETRIC: Final = ("line", "lseg", "box", "path", "polygon", "circle")
_NUMBER: Final = re.compile(r"-?(?:[\d.]+(?:e[+-]?\d+)?|Infinity)|NaN")
_BITS_LENGTH_MAX: Final = (1 << 31) - 1
_ZERO_UUID: Final = '"00000000-0000-0000-0000-000000000000"'
# Types whose text is the value, with the name of their schema.
_TEXTS: Final = {
    "bpchar": None, "varchar": None, "text": None, "char": None, "name": None, "citext": None,
    "json": "io.debezium.data.Json", "jsonb": "io.debezium.data.Json", "xml": "io.debezium.data.Xml",
    "ltree": "io.debezium.data.Ltree", "tsvector": "io.debezium.data.Tsvector",
}  # fmt: skip
_WITHOUT_DEFAULT: Final = ("citext", "ltree", "tsvector")
_PLAIN_TEXTS: Final = ("inet", "cidr", "macaddr", "macaddr8", "int4range", "int8range", "numrange", "tsrange",
                       "tstzrange", "daterange")  # fmt: skip
_NOT_NUMBERS: Final = {"NaN": "NAN", "Infinity": "POSITIVE_INFINITY", "-Infinity": "NEGATIVE_INFINITY"}


def base64_json(data: bytes) -> str:
    return f'"{b2a_base64(data, newline=False).decode()}"'


def _unscaled(value: int) -> bytes:
    """Java's BigInteger.toByteArray: two's complement, big-endian, as short as can be."""
    magnitude = value if value >= 0 else ~value
    return value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True)


def _boolean(text: str) -> str:
    return "true" if text == "t" else "false"


def _float(text: str) -> str:
    if text in _NOT_NUMBERS:
        return f'"{text}"'
    return text if "." in text or "e" in text else f"{text}.0"


def _double_of_numeric(text: str) -> str:
    return f'"{text}"' if text in _NOT_NUMBERS else repr(float(text))


def _string_of_numeric(text: str) -> str:
    return f'"{_NOT_NUMBERS.get(text, text)}"'


def _decimal(scale: int) -> Encode:
    """Connect's Decimal of the text of a numeric, which has `scale` digits behind the point."""
    point = -scale - 1

    def encode(text: str) -> str:
        if scale > 0 and text[point : point + 1] == ".":
            # `base64_json(_unscaled(…))` without the calls, which cost as much as the work.
            value = int(text.replace(".", ""))
            size = ((value if value >= 0 else ~value).bit_length() >> 3) + 1
            return f'"{b2a_base64(value.to_bytes(size, "big", signed=True), newline=False).decode()}"'
        if text in _NOT_NUMBERS:
            return "null"
        whole, _, fraction = text.partition(".")
        if scale < 0:
            return base64_json(_unscaled(int(whole) // 10**-scale))
        return base64_json(_unscaled(int(whole + fraction.ljust(scale, "0"))))

    return encode


def _variable_scale(text: str) -> str:
    if text in _NOT_NUMBERS:
        return "null"
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return f'{{"scale":{len(fraction)},"value":{base64_json(_unscaled(int(whole + fraction)))}}}'


def _money_text(text: str) -> str:
    """`-$1,234.56` (lc_monetary is C) → `-1234.56`."""
    return text.replace("$", "").replace(",", "")


def _hex_bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _bits(text: str) -> str:
    """java.util.BitSet.toByteArray: the last bit first, without trailing zero bytes."""
    value = int(text or "0", 2)
    return base64_json(value.to_bytes((value.bit_length() + 7) // 8, "little"))


def _double(text: str) -> str:
    return _float(repr(float(text)).replace("inf", "Infinity").replace("nan", "NaN"))


def _point(text: str) -> str:
    x, y = text[1:-1].split(",")
    wkb = base64_json(b"\x01\x01\0\0\0" + struct.pack("<dd", float(x), float(y)))
    return f'{{"x":{_double(x)},"y":{_double(y)},"wkb":{wkb},"srid":null}}'


def _geometry(text: str) -> str:
    """PostGIS's extended WKB as it is, and the number of its reference system, if it has one
    (https://postgis.net/docs/using_postgis_dbmanagement.html#EWKB_EWKT)."""
    data = bytes.fromhex(text)
    order: Literal["little", "big"] = "little" if data[0] else "big"
    has_srid = int.from_bytes(data[1:5], order) & _SRID_FLAG
    srid = int.from_bytes(data[5:9], order, signed=True) if has_srid else "null"
    return f'{{"wkb":{base64_json(data)},"srid":{srid}}}'


def _numbers(text: str) -> str:
    """oidvector and int2vector: `1 2`."""
    return f"[{','.join(text.split())}]"


def _unknown(text: str) -> bytes:
    return text.encode()


def _unknown_geometric(text: str) -> bytes:
    """As PostgreSQL's JDBC driver writes lines, boxes and so on: with Java's numbers."""
    return _unknown(_NUMBER.sub(lambda found: java_double(float(found[0])), text))


def _vector(text: str) -> str:
    """pgvector's `[1,2.5]`."""
    return f"[{','.join([_float(item) for item in text[1:-1].split(',')])}]"


def _sparse_vector(text: str) -> str:
    """pgvector's `{1:1.5,20:2}/25`; JsonConverter writes a map with such keys as pairs."""
    items, _, dimensions = text[1:].partition("}/")
    pairs = [item.split(":") for item in items.split(",") if item]
    shown = ",".join([f"[{index},{_float(value)}]" for index, value in pairs])
    return f'{{"dimensions":{dimensions},"vector":[{shown}]}}'


def _hstore_json(text: str) -> str:
    return quote(_hstore_map(text))


def _hstore_map(text: str) -> str:
    return orjson.dumps(hstore_items(text)).decode()


class TypeMap:
    """Maps column types under the handling modes of one config. `asks`: an enum's label that is not known is
    an `UnknownLabelError`, once; otherwise it is written as it is."""

    def __init__(self, config: PostgresSourceConfig, asks: bool = False) -> None:
        self._config = config
        self._asked: set[tuple[int, str]] | None = set() if asks else None
        self._placeholder = config.placeholder_bytes
        self._quoted_placeholder = quote(self._placeholder.decode())
        self.bytea = self._binary(_hex_bytes)
        self._fixed = self._fixed_types()

    def column_type(self, pg_type: PgType, typmod: int) -> ColumnType | None:
        """How to write a column, or None for a type that is left out."""
        pg_type, typmod = base_type(pg_type, typmod)
        if pg_type.kind is TypeKind.ENUM:
            allowed = {"allowed": ",".join(pg_type.labels)}
            enum = self._text(_named(_STRING, "io.debezium.data.Enum", allowed))
            return replace(enum, encode=_Labels(pg_type, self._asked).__getitem__)
        if pg_type.element is not None:
            return self._array(pg_type.element, typmod)
        if pg_type.kind is TypeKind.PSEUDO:  # dropped since, as no column has such a type
            return self._text()
        found = None
        if pg_type.kind in (TypeKind.BASE, TypeKind.RANGE):  # a composite type may have any name
            found = self._fixed.get(pg_type.name) or self._by_typmod(pg_type.name, typmod)
        if found is None and self._config.include_unknown:
            as_bytes = _unknown_geometric if pg_type.name in _GEOMETRIC else _unknown
            return self._binary(as_bytes)
        return found

    def _text(
        self, schema: Schema = connect.STRING, zero: str = '""', takes_default: bool = True
    ) -> ColumnType:
        return ColumnType(schema, quote, zero, self._quoted_placeholder, takes_default, is_text=True)

    def _bytes(self, encode: Encode) -> ColumnType:
        return ColumnType(connect.BYTES, encode, '""', base64_json(self._placeholder), takes_default=False)

    def _fixed_types(self) -> dict[str, ColumnType]:
        """The types that typmods do not change."""
        zoned = _named(_STRING, "io.debezium.time.ZonedTime")
        types = {
            "int2": ColumnType(connect.INT16, None, "0"),
            "int4": ColumnType(connect.INT32, None, "0"),
            "int8": ColumnType(connect.INT64, None, "0"),
            "oid": ColumnType(connect.INT64, None, "0"),
            "float4": ColumnType(connect.FLOAT32, _float, "0.0"),
            "float8": ColumnType(connect.FLOAT64, _float, "0.0"),
            "bool": ColumnType(connect.BOOLEAN, _boolean, "false"),
            "uuid": self._text(_named(_STRING, "io.debezium.data.Uuid"), _ZERO_UUID),
            "timetz": ColumnType(zoned, times.zoned_time, '"00:00:00Z"', takes_default=False),
            "date": self._date(),
            "interval": self._interval(),
            "money": self._money(),
            "bytea": self.bytea,
            "hstore": self._hstore(),
            "vector": _vector_type("io.debezium.data.DoubleVector", connect.FLOAT64),
            "halfvec": _vector_type("io.debezium.data.FloatVector", connect.FLOAT32),
            "sparsevec": ColumnType(
                _SPARSE_VECTOR, _sparse_vector, _sparse_vector("{}/0"), takes_default=False
            ),
            "oidvector": ColumnType(connect.array(connect.INT64), _numbers, "[]", takes_default=False),
            "int2vector": ColumnType(connect.array(connect.INT16), _numbers, "[]", takes_default=False),
            "geometry": _geometry_type("Geometry"),
            "geography": _geometry_type("Geography"),
            "point": ColumnType(_POINT, _point, _point("(0,0)"), takes_default=False),
        }
        for name, schema_name in _TEXTS.items():
            schema = _named(_STRING, schema_name) if schema_name else connect.STRING
            zero = '"{}"' if name in ("json", "jsonb") else '""'
            types[name] = self._text(schema, zero, takes_default=name not in _WITHOUT_DEFAULT)
        for name in _PLAIN_TEXTS:
            types[name] = self._text(takes_default=False)
        return types

    def _by_typmod(self, name: str, typmod: int) -> ColumnType | None:
        match name:
            case "numeric":
                return self._numeric(typmod)
            case "time":
                return self._time(6 if typmod < 0 else typmod)
            case "timestamp":
                return self._timestamp(6 if typmod < 0 else typmod)
            case "timestamptz":
                encode = times.zoned_timestamp(6 if typmod < 0 else typmod)
                schema = _named(_STRING, "io.debezium.time.ZonedTimestamp")
                return ColumnType(schema, encode, encode("1970-01-01 00:00:00+00"))
            case "bit" if typmod == 1:
                return ColumnType(connect.BOOLEAN, lambda text: "true" if text == "1" else "false", "false")
            case "bit" | "varbit":
                length = {"length": str(typmod if typmod > 0 else _BITS_LENGTH_MAX)}
                return ColumnType(_named(SchemaType.BYTES, "io.debezium.data.Bits", length), _bits, '""')
        return None

    def _numeric(self, typmod: int) -> ColumnType:
        mode = self._config.decimal_mode
        sized = numeric_typmod(typmod)
        if mode == "string":
            return ColumnType(connect.STRING, _string_of_numeric, '"0"')
        if mode == "double":
            return ColumnType(connect.FLOAT64, _double_of_numeric, "0.0")
        if sized is None:
            return ColumnType(_VARIABLE_SCALE, _variable_scale, _variable_scale("0"), takes_default=False)
        precision, scale = sized
        return ColumnType(connect.decimal(scale, precision=precision), _decimal(scale), _decimal(scale)("0"))

    def _money(self) -> ColumnType:
        mode = self._config.decimal_mode
        if mode == "string":
            return ColumnType(
                connect.STRING, lambda text: f'"{_money_text(text)}"', '"0"', takes_default=False
            )
        if mode == "double":
            return ColumnType(
                connect.FLOAT64, lambda text: repr(float(_money_text(text))), "0.0", takes_default=False
            )
        scale = self._config.money_fraction_digits
        encode = _decimal(scale)

        def money(text: str) -> str:
            whole, _, fraction = _money_text(text).partition(".")
            return encode(f"{whole}.{fraction[:scale]}")

        return ColumnType(connect.decimal(scale), money, encode("0"), takes_default=False)

    def _date(self) -> ColumnType:
        match self._config.time_mode:
            case "connect":
                return ColumnType(_named(_INT32, connect.DATE), times.date_days, "0")
            case "isostring":
                return ColumnType(
                    _named(_STRING, "io.debezium.time.IsoDate"), times.iso_date, '"1970-01-01Z"'
                )
        return ColumnType(_named(_INT32, "io.debezium.time.Date"), times.date_days, "0")

    def _time(self, precision: int) -> ColumnType:
        match self._config.time_mode:
            case "connect":
                return ColumnType(_named(_INT32, connect.TIME), times.time_scaled(1, 1000), "0")
            case "isostring":
                return ColumnType(_named(_STRING, "io.debezium.time.IsoTime"), times.iso_time, '"00:00:00Z"')
            case "nanoseconds":
                return ColumnType(
                    _named(_INT64, "io.debezium.time.NanoTime"), times.time_scaled(1000, 1), "0"
                )
            case "adaptive" if precision <= 3:
                return ColumnType(_named(_INT32, "io.debezium.time.Time"), times.time_scaled(1, 1000), "0")
        return ColumnType(_named(_INT64, "io.debezium.time.MicroTime"), times.time_scaled(1, 1), "0")

    def _timestamp(self, precision: int) -> ColumnType:
        millis, nanos = times.timestamp_scaled(1, 1000), times.timestamp_scaled(1000, 1)
        match self._config.time_mode:
            case "connect":
                return ColumnType(_named(_INT64, connect.TIMESTAMP), millis, "0")
            case "isostring":
                name = "io.debezium.time.IsoTimestamp"
                return ColumnType(_named(_STRING, name), times.iso_timestamp, '"1970-01-01T00:00:00Z"')
            case "nanoseconds":
                return ColumnType(_named(_INT64, "io.debezium.time.NanoTimestamp"), nanos, "0")
            case "adaptive" | "adaptive_time_microseconds" if precision <= 3:
                return ColumnType(_named(_INT64, "io.debezium.time.Timestamp"), millis, "0")
        return ColumnType(_named(_INT64, "io.debezium.time.MicroTimestamp"), times.timestamp_micros, "0")

    def _interval(self) -> ColumnType:
        if self._config.interval_mode == "string":
            return ColumnType(
                _named(_STRING, "io.debezium.time.Interval"), times.interval_iso, '"P0Y0M0DT0H0M0S"'
            )
        return ColumnType(_named(_INT64, "io.debezium.time.MicroDuration"), times.interval_micros, "0")

    def _binary(self, to_bytes: Callable[[str], bytes]) -> ColumnType:
        """Bytes as binary.handling.mode wants them."""
        raw = self._placeholder
        match self._config.binary_mode:
            case "bytes":
                return self._bytes(lambda text: base64_json(to_bytes(text)))
            case "base64":
                encode, unavailable = (lambda text: base64_json(to_bytes(text))), base64_json(raw)
            case "base64-url-safe":
                encode = lambda text: f'"{urlsafe_b64encode(to_bytes(text)).decode()}"'  # noqa: E731
                unavailable = f'"{urlsafe_b64encode(raw).decode()}"'
            case _:
                encode, unavailable = (lambda text: f'"{to_bytes(text).hex()}"'), f'"{raw.hex()}"'
        return ColumnType(connect.STRING, encode, '""', unavailable, takes_default=False)

    def _hstore(self) -> ColumnType:
        if self._config.hstore_mode == "map":
            unavailable = f"{{{self._quoted_placeholder}:{self._quoted_placeholder}}}"
            schema = connect.map_of(connect.STRING, connect.OPTIONAL_STRING)
            return ColumnType(schema, _hstore_map, "{}", unavailable, takes_default=False)
        schema = _named(_STRING, "io.debezium.data.Json")
        return ColumnType(
            schema, _hstore_json, '"{}"', self._quoted_placeholder, takes_default=False, is_text=True
        )

    def _array(self, element: PgType, typmod: int) -> ColumnType | None:
        inner = self.column_type(element, typmod)
        if inner is None:
            return None
        json, delimiter = inner.json, base_type(element, typmod)[0].delimiter

        def encode(text: str) -> str:
            items = ["null" if item is None else json(item) for item in array_items(text, delimiter)]
            return f"[{','.join(items)}]"

        schema = connect.array(inner.schema.as_optional())
        return ColumnType(schema, encode, "[]", self._unavailable_array(inner), takes_default=False)

    def _unavailable_array(self, element: ColumnType) -> str:
        if element.schema.type in (SchemaType.INT16, _INT32, _INT64):
            return f"[{','.join(str(byte) for byte in self._placeholder)}]"
        return f"[{element.unavailable}]" if element.unavailable != "null" else "null"


def _vector_type(name: str, element: Schema) -> ColumnType:
    schema = Schema(SchemaType.ARRAY, False, name, 1, value_schema=element)
    return ColumnType(schema, _vector, "[]", takes_default=False)


def _geometry_type(name: str) -> ColumnType:
    """Nullable whatever the column says, as in Debezium."""
    schema = connect.struct(
        _GEOMETRY_FIELDS, name=f"io.debezium.data.geometry.{name}", version=1, doc=name, optional=True
    )
    return ColumnType(schema, _geometry, _geometry(_EMPTY_COLLECTION), takes_default=False)


def base_type(pg_type: PgType, typmod: int) -> tuple[PgType, int]:
    """What a domain is made of in the end, and its typmod; other types as they are."""
    while pg_type.kind is TypeKind.DOMAIN and pg_type.base is not None:
        typmod = pg_type.base_typmod if pg_type.base_typmod != -1 else typmod
        pg_type = pg_type.base
    return pg_type, typmod


def numeric_typmod(typmod: int) -> tuple[int, int] | None:
    """(precision, scale) of numeric(p,s), None for plain numeric; the scale may be negative."""
    if typmod < VARHDRSZ:
        return None
    value = typmod - VARHDRSZ
    scale = value & 0x7FF
    return value >> 16 & 0xFFFF, scale - 0x800 if scale & 0x400 else scale


def field_schema(
    column_type: ColumnType, optional: bool, default: object, parameters: Mapping[str, str]
) -> Schema:
    """The schema of a column's field."""
    schema = column_type.schema
    return replace(
        schema, optional=optional or schema.optional, default=default,
        parameters={**schema.parameters, **parameters},
    )  # fmt: skip
