"""What a column's declaration says of length and scale, as `*.propagate.source.type` shows it.

The numbers are those of PostgreSQL's JDBC driver (`TypeInfoCache`), as consumers of Debezium know them.
"""

from typing import Final, NamedTuple

from connectors.postgres.catalog import VARHDRSZ, PgType
from connectors.postgres.type_map import base_type, numeric_typmod

UNLIMITED: Final = (1 << 31) - 1
_LENGTHS: Final = {
    "int2": 5, "int4": 10, "int8": 19, "oid": 10, "float4": 8, "float8": 17, "bool": 1, "char": 1, "date": 13,
    "interval": 49,
}  # fmt: skip
_SCALES: Final = {"float4": 8, "float8": 17}
# Without digits of the second: 00:00:00, and what stands around it.
_TIME_LENGTHS: Final = {"time": 8, "timetz": 14, "timestamp": 22, "timestamptz": 28}
_NUMERIC_DIGITS_MAX: Final = 131_089


class SourceType(NamedTuple):
    """A column's type as its table declares it."""

    name: str
    length: int
    scale: int

    def parameters(self, column: str) -> dict[str, str]:
        """What goes into the schema of the column's field."""
        shown = {"type": self.name.upper(), "length": self.length, "scale": self.scale, "name": column}
        return {f"__debezium.source.column.{name}": str(value) for name, value in shown.items()}


def source_type(pg_type: PgType, typmod: int) -> SourceType:
    """The type of a column; of an array, length and scale are those of its items."""
    base, base_typmod = base_type(pg_type, typmod)
    if base.element is not None:
        base, base_typmod = base_type(base.element, base_typmod)
    return SourceType(pg_type.name, *_length_and_scale(base.name, base_typmod))


def _length_and_scale(name: str, typmod: int) -> tuple[int, int]:
    if name in _TIME_LENGTHS:
        digits = 6 if typmod < 0 else typmod
        # The driver counts one digit as two.
        shown = digits + 1 + (digits == 1) if digits else 0
        return _TIME_LENGTHS[name] + shown, digits
    if name == "numeric":
        return numeric_typmod(typmod) or (_NUMERIC_DIGITS_MAX, 0)
    if name == "interval":
        return _LENGTHS[name], 6 if typmod < 0 else typmod & 0xFFFF
    if name in ("varchar", "bpchar"):
        return (typmod - VARHDRSZ if typmod >= VARHDRSZ else UNLIMITED), 0
    if name in ("bit", "varbit"):
        return (typmod if typmod > 0 else UNLIMITED), 0
    return _LENGTHS.get(name, UNLIMITED), _SCALES.get(name, 0)
