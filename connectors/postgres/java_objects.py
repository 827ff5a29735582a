"""Java-serialised `Object[]`, in which Debezium's offsets keep the keys of an incremental snapshot.

https://docs.oracle.com/javase/8/docs/platform/serialization/spec/protocol.html, as far as the classes go that
the JDBC driver gives for columns of a key.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

_MAGIC: Final = bytes.fromhex("aced0005")
_NULL, _REFERENCE, _CLASS, _OBJECT, _STRING, _ARRAY = range(0x70, 0x76)
_BLOCK, _END, _LONG_STRING = 0x77, 0x78, 0x7C
_FIRST_HANDLE: Final = 0x7E0000
_WRITES_ITSELF: Final = 1  # SC_WRITE_METHOD
_PRIMITIVES: Final = {
    "B": ">b", "C": ">H", "D": ">d", "F": ">f", "I": ">i", "J": ">q", "S": ">h", "Z": ">?",
}  # fmt: skip
_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1)
_DEPTH_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class _Class:
    name: str
    version_uid: str
    flags: int
    fields: tuple[tuple[str, str], ...]
    parent: "_Class | None" = None

    def lineage(self) -> list["_Class"]:
        """From the topmost parent down, as the fields of an object stand."""
        return ([] if self.parent is None else self.parent.lineage()) + [self]


_NUMBER: Final = _Class("java.lang.Number", "86ac951d0b94e08b", 2, ())
_INTEGER: Final = _Class("java.lang.Integer", "12e2a0a4f7818738", 2, (("value", "I"),), _NUMBER)
_LONG: Final = _Class("java.lang.Long", "3b8be490cc8f23df", 2, (("value", "J"),), _NUMBER)
_FLOAT: Final = _Class("java.lang.Float", "daedc9a2db3cf0ec", 2, (("value", "F"),), _NUMBER)
_DOUBLE: Final = _Class("java.lang.Double", "80b3c24a296bfb04", 2, (("value", "D"),), _NUMBER)
_BOOLEAN: Final = _Class("java.lang.Boolean", "cd207280d59cfaee", 2, (("value", "Z"),))
_UUID: Final = _Class("java.util.UUID", "bc9903f7986d852f", 2, (("leastSigBits", "J"), ("mostSigBits", "J")))
_UTIL_DATE: Final = _Class("java.util.Date", "686a81014b597419", 3, ())
_SQL_DATE: Final = _Class("java.sql.Date", "14fa46683f356697", 2, (), _UTIL_DATE)
_TIMESTAMP: Final = _Class("java.sql.Timestamp", "2618d5c80153bf65", 2, (("nanos", "I"),), _UTIL_DATE)
_BIG_INTEGER: Final = _Class(
    "java.math.BigInteger", "8cfc9f1fa93bfb1d", 3,
    (("bitCount", "I"), ("bitLength", "I"), ("firstNonzeroByteNum", "I"), ("lowestSetBit", "I"),
     ("signum", "I"), ("magnitude", "[B")),
    _NUMBER,
)  # fmt: skip
_BIG_DECIMAL: Final = _Class(
    "java.math.BigDecimal", "54c71557f981284f", 3,
    (("scale", "I"), ("intVal", "Ljava/math/BigInteger;")), _NUMBER,
)  # fmt: skip
_OBJECTS: Final = _Class("[Ljava.lang.Object;", "90ce589f1073296c", 2, ())
_BYTES: Final = _Class("[B", "acf317f8060854e0", 2, ())


def write_key(values: Sequence[str] | None, types: Sequence[str]) -> str:
    """The hex of a key: PostgreSQL's texts of its columns, and their types' names in pg_type."""
    writer = _Writer()
    if values is None:
        writer.null()
    else:
        writer.array(values, types)
    return writer.out.hex()


def read_key(text: str) -> tuple[str, ...] | None:
    """The columns' texts for PostgreSQL, None for a null; raises `ValueError` for what cannot be read."""
    try:
        found = _Reader(bytes.fromhex(text)).read()
        if found is None:
            return None
        if not isinstance(found, list):
            raise ValueError(f"it is a {type(found).__name__} and no array")
        return tuple(_shown(item) for item in found)
    except (struct.error, LookupError, AttributeError, TypeError, ArithmeticError) as exc:
        raise ValueError(f"it is damaged: {exc}") from exc


# --- writing


class _Writer:
    """Writes one stream; class descriptions are written once and then referred to."""

    def __init__(self) -> None:
        self.out = bytearray(_MAGIC)
        self._handles = 0
        self._classes: dict[str, int] = {}

    def null(self) -> None:
        self.out.append(_NULL)

    def array(self, values: Sequence[str], types: Sequence[str]) -> None:
        self.out.append(_ARRAY)
        self._class(_OBJECTS)
        self._handles += 1
        self._pack(">i", len(values))
        for value, type_name in zip(values, types, strict=True):
            _WRITERS.get(type_name, _Writer.string)(self, value)

    def string(self, text: str) -> None:
        data = _modified_utf8(text)
        self._handles += 1
        if len(data) < 1 << 16:
            self.out.append(_STRING)
            self._pack(">H", len(data))
        else:
            self.out.append(_LONG_STRING)
            self._pack(">q", len(data))
        self.out += data

    def integer(self, text: str) -> None:
        self._object(_INTEGER)
        self._pack(">i", int(text))

    def long(self, text: str) -> None:
        self._object(_LONG)
        self._pack(">q", int(text))

    def float(self, text: str) -> None:
        self._object(_FLOAT)
        self._pack(">f", float(text))

    def double(self, text: str) -> None:
        self._object(_DOUBLE)
        self._pack(">d", float(text))

    def boolean(self, text: str) -> None:
        self._object(_BOOLEAN)
        self._pack(">?", text in ("t", "true"))

    def uuid(self, text: str) -> None:
        number = UUID(text).int
        self._object(_UUID)
        self._pack(">QQ", number & (1 << 64) - 1, number >> 64)

    def date(self, text: str) -> None:
        try:
            days = (date.fromisoformat(text) - date(1970, 1, 1)).days
        except ValueError:  # infinity, or before Christ
            self.string(text)
            return
        self._object(_SQL_DATE)
        self._block(struct.pack(">q", days * _DAY_MS))

    def timestamp(self, text: str) -> None:
        try:
            passed = datetime.fromisoformat(text) - _EPOCH
        except ValueError:
            self.string(text)
            return
        us = passed // timedelta(microseconds=1)
        self._object(_TIMESTAMP)
        self._block(struct.pack(">q", us // 1_000_000 * 1000))
        self._pack(">i", us % 1_000_000 * 1000)

    def binary(self, text: str) -> None:
        self._byte_array(bytes.fromhex(text.removeprefix("\\x")))

    def decimal(self, text: str) -> None:
        value = Decimal(text)
        if not value.is_finite():
            self.string(text)
            return
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        magnitude = int("".join(map(str, digits)))
        self._object(_BIG_DECIMAL)
        self._pack(">i", -exponent)
        self._object(_BIG_INTEGER)
        signum = 0 if magnitude == 0 else -1 if sign else 1
        # What Java works out anew when it reads them: its own values for unknown ones.
        self._pack(">iiiii", -1, -1, -2, -2, signum)
        self._byte_array(magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big"))
        self.out += bytes((_END, _END))

    def _object(self, described: _Class) -> None:
        self.out.append(_OBJECT)
        self._class(described)
        self._handles += 1

    def _byte_array(self, data: bytes) -> None:
        self.out.append(_ARRAY)
        self._class(_BYTES)
        self._handles += 1
        self._pack(">i", len(data))
        self.out += data

    def _block(self, data: bytes) -> None:
        self.out += bytes((_BLOCK, len(data)))
        self.out += data
        self.out.append(_END)

    def _class(self, described: _Class | None) -> None:
        if described is None:
            self.null()
            return
        if (handle := self._classes.get(described.name)) is not None:
            self.out.append(_REFERENCE)
            self._pack(">i", handle)
            return
        self.out.append(_CLASS)
        self._name(described.name)
        self.out += bytes.fromhex(described.version_uid)
        self._classes[described.name] = _FIRST_HANDLE + self._handles
        self._handles += 1
        self.out.append(described.flags)
        self._pack(">H", len(described.fields))
        for name, code in described.fields:
            self.out += code[0].encode()
            self._name(name)
            if code not in _PRIMITIVES:
                self.string(code)
        self.out.append(_END)
        self._class(described.parent)

    def _name(self, name: str) -> None:
        self._pack(">H", len(name))
        self.out += name.encode()

    def _pack(self, layout: str, *values: Any) -> None:
        self.out += struct.pack(layout, *values)


_WRITERS: Final[Mapping[str, Callable[[_Writer, str], None]]] = {
    "int2": _Writer.integer, "int4": _Writer.integer, "int8": _Writer.long, "oid": _Writer.long,
    "float4": _Writer.float, "float8": _Writer.double, "bool": _Writer.boolean, "uuid": _Writer.uuid,
    "numeric": _Writer.decimal, "date": _Writer.date, "timestamp": _Writer.timestamp,
    "bytea": _Writer.binary,
}  # fmt: skip


def _modified_utf8(text: str) -> bytes:
    """Java's: characters beyond U+FFFF as two surrogates of three bytes each; a zero as two bytes."""
    halves = text.encode("utf-16-be", "surrogatepass")
    units = struct.unpack(f">{len(halves) // 2}H", halves)
    return "".join(map(chr, units)).encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")


# --- reading


@dataclass(slots=True)
class _Object:
    name: str
    fields: dict[str, Any]
    block: bytes = b""


class _Reader:
    """Reads one stream into lists, strings, bytes, None and `_Object`s."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != _MAGIC:
            raise ValueError("it does not begin with Java's aced0005")
        self._data = data
        self._at = 4
        self._handles: list[Any] = []
        self._depth = 0

    def read(self) -> Any:
        """The next object."""
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise ValueError("its objects are nested too deep")
        try:
            return self._content(self._unpack(">B"))
        finally:
            self._depth -= 1

    def _content(self, kind: int) -> Any:
        if kind == _NULL:
            return None
        if kind == _REFERENCE:
            return self._handles[self._unpack(">i") - _FIRST_HANDLE]
        if kind in (_STRING, _LONG_STRING):
            size = self._unpack(">H" if kind == _STRING else ">q")
            return self._remember(_from_modified_utf8(self._take(size)))
        if kind == _ARRAY:
            return self._array()
        if kind == _OBJECT:
            return self._object()
        raise ValueError(f"it has an element of kind {kind:#x}")

    def _array(self) -> Any:
        described = self._class()
        place = len(self._handles)
        self._handles.append(None)
        size = self._unpack(">i")
        if described is not None and described.name == _BYTES.name:
            found: Any = self._take(size)
        elif described is not None and described.name.startswith("[L"):
            found = []
            for _ in range(size):
                found.append(self.read())
        else:
            raise ValueError(f"it has an array of {described}")
        self._handles[place] = found
        return found

    def _object(self) -> Any:
        described = self._class()
        if described is None:
            raise ValueError("it has an object without a class")
        found = _Object(described.name, {})
        self._handles.append(found)
        for ancestor in described.lineage():
            for name, code in ancestor.fields:
                layout = _PRIMITIVES.get(code[0])
                found.fields[name] = self.read() if layout is None else self._unpack(layout)
            if ancestor.flags & _WRITES_ITSELF:
                self._annotation(found)
        return found

    def _annotation(self, found: _Object) -> None:
        while (kind := self._unpack(">B")) != _END:
            if kind != _BLOCK:
                raise ValueError(f"{found.name} has an element of kind {kind:#x}")
            found.block += self._take(self._unpack(">B"))

    def _class(self) -> _Class | None:
        kind = self._unpack(">B")
        if kind == _NULL:
            return None
        if kind == _REFERENCE:
            known = self._handles[self._unpack(">i") - _FIRST_HANDLE]
            if not isinstance(known, _Class):
                raise ValueError("it refers to a class that is none")
            return known
        if kind != _CLASS:
            raise ValueError(f"it has a class of kind {kind:#x}")
        name = self._name()
        uid = self._take(8).hex()
        place = len(self._handles)
        self._handles.append(None)
        flags = self._unpack(">B")
        fields = []
        for _ in range(self._unpack(">H")):
            code, field_name = chr(self._unpack(">B")), self._name()
            fields.append((field_name, code if code in _PRIMITIVES else str(self.read())))
        if self._unpack(">B") != _END:
            raise ValueError(f"the class {name} has annotations")
        found = self._handles[place] = _Class(name, uid, flags, tuple(fields), self._class())
        return found

    def _name(self) -> str:
        return self._take(self._unpack(">H")).decode()

    def _remember(self, found: Any) -> Any:
        self._handles.append(found)
        return found

    def _unpack(self, layout: str) -> Any:
        (value,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return value

    def _take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if size < 0 or len(found) < size:
            raise ValueError("it is cut off")
        self._at += size
        return found


def _from_modified_utf8(data: bytes) -> str:
    units = data.replace(b"\xc0\x80", b"\0").decode("utf-8", "surrogatepass")
    return units.encode("utf-16-be", "surrogatepass").decode("utf-16-be")


def _shown(item: Any) -> str:
    """A value of a key as PostgreSQL reads it."""
    if isinstance(item, str):
        return item
    if isinstance(item, bytes):
        return "\\x" + item.hex()
    show = _SHOWN.get(item.name) if isinstance(item, _Object) else None
    if show is None:
        name = item.name if isinstance(item, _Object) else type(item).__name__
        raise ValueError(f"a key of {name} is not known")
    return show(item)


def _shown_number(item: _Object) -> str:
    return str(item.fields["value"])


def _shown_boolean(item: _Object) -> str:
    return "true" if item.fields["value"] else "false"


def _shown_float(item: _Object) -> str:
    return f"{item.fields['value']:.9g}"


def _shown_uuid(item: _Object) -> str:
    low, high = (item.fields[name] & (1 << 64) - 1 for name in ("leastSigBits", "mostSigBits"))
    return str(UUID(int=high << 64 | low))


def _shown_decimal(item: _Object) -> str:
    digits = item.fields["intVal"]
    magnitude = int.from_bytes(digits.fields["magnitude"], "big") * digits.fields["signum"]
    return f"{Decimal(magnitude).scaleb(-item.fields['scale']):f}"


def _shown_date(item: _Object) -> str:
    # Midnight where the JVM runs, so the nearest one in UTC.
    days = (_millis(item) + _DAY_MS // 2) // _DAY_MS
    return str(date(1970, 1, 1) + timedelta(days=days))


def _shown_timestamp(item: _Object) -> str:
    seconds = timedelta(seconds=_millis(item) // 1000, microseconds=item.fields["nanos"] // 1000)
    return str(_EPOCH + seconds)


def _shown_instant(item: _Object) -> str:
    return str(datetime.fromtimestamp(_millis(item) / 1000, UTC))


def _millis(item: _Object) -> int:
    (found,) = struct.unpack(">q", item.block)
    return int(found)


_SHOWN: Final[Mapping[str, Callable[[_Object], str]]] = {
    "java.lang.Integer": _shown_number, "java.lang.Long": _shown_number, "java.lang.Short": _shown_number,
    "java.lang.Byte": _shown_number, "java.lang.Boolean": _shown_boolean, "java.lang.Double": _shown_number,
    "java.lang.Float": _shown_float, "java.util.UUID": _shown_uuid, "java.math.BigDecimal": _shown_decimal,
    "java.sql.Date": _shown_date, "java.sql.Timestamp": _shown_timestamp, "java.util.Date": _shown_instant,
}  # fmt: skip
