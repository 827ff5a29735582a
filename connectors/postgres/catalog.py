"""What the server's catalog says of tables and types (https://www.postgresql.org/docs/current/catalogs.html)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from psycopg import Connection

VARHDRSZ: Final = 4  # typmods of character types and numeric count a header of this size


class TypeKind(StrEnum):
    """pg_type.typtype."""

    BASE = "b"
    COMPOSITE = "c"
    DOMAIN = "d"
    ENUM = "e"
    MULTIRANGE = "m"
    PSEUDO = "p"
    RANGE = "r"


@dataclass(frozen=True, slots=True)
class PgType:
    """A type; `element` is what an array holds, `base` with `base_typmod` what a domain is made of.
    `delimiter` stands between the values in the text of an array of them."""

    oid: int
    name: str
    kind: TypeKind
    element: "PgType | None" = None
    base: "PgType | None" = None
    base_typmod: int = -1
    labels: tuple[str, ...] = ()
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `typmod` -1 is none. `default` is the SQL of its default, `default_text` its value where
    it is a literal."""

    name: str
    type: PgType
    typmod: int
    not_null: bool
    default: str | None
    default_text: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its columns in order, and the columns of its key (primary, else a unique index)."""

    oid: int
    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"


# A constant with its casts, as pg_get_expr writes it: 7, '-4'::integer, 'it''s'::character varying, true.
_LITERAL: Final = re.compile(
    r"""([BE]?'([^']|'')*'|\(?-?[0-9][0-9.]*\)?|true|false)(::("[^"]+"|[\w. ]+)(\([\d, ]+\))?(\[\])*)*"""
)
_COLUMNS: Final = """
SELECT a.attname, a.atttypid::bigint, a.atttypmod, a.attnotnull OR (t.typtype = 'd' AND t.typnotnull),
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
# The primary key; where there is none, the first unique index whose columns are all NOT NULL. An index
# that is the replica identity comes before them, as a delete tells only its columns.
_KEY: Final = """
SELECT array_agg(a.attname::text ORDER BY k.place)
  FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = %s AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
   AND k.place <= i.indnkeyatts
 GROUP BY i.indexrelid, i.indisprimary, i.indisreplident, c.relname
HAVING i.indisprimary OR bool_and(a.attnotnull)
 ORDER BY i.indisreplident DESC, i.indisprimary DESC, c.relname LIMIT 1
"""
_TYPE: Final = """
SELECT typname, typtype, CASE WHEN typoutput = 'array_out'::regproc THEN typelem::bigint ELSE 0 END,
       typbasetype::bigint, typtypmod,
       ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder),
       typdelim
  FROM pg_type t WHERE oid = %s
"""
_TABLES: Final = """
SELECT c.oid::bigint, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""


class Catalog:
    """Reads tables and types over one connection; types are kept, as their oids are never used again."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._types: dict[int, PgType] = {}

    def tables(self) -> list[tuple[int, str, str]]:
        """(oid, schema, name) of all ordinary and partitioned tables, in the order of their names."""
        return self._connection.execute(_TABLES).fetchall()

    def table(self, oid: int, schema: str, name: str) -> Table | None:
        """The table, or None where it is gone."""
        rows = self._connection.execute(_COLUMNS, (oid,)).fetchall()
        if not rows:
            return None
        key = self._connection.execute(_KEY, (oid,)).fetchone()
        columns = tuple(
            Column(column, self.type(type_oid), typmod, not_null, default, self._evaluate(default))
            for column, type_oid, typmod, not_null, default in rows
        )
        return Table(oid, schema, name, columns, tuple(key[0]) if key else ())

    def _evaluate(self, default: str | None) -> str | None:
        """The text of a literal default; the server reads it, as only the server knows all notations."""
        if default is None or _LITERAL.fullmatch(default) is None:
            return None
        row = self._connection.execute(f"SELECT format('%s', {default})".encode()).fetchone()
        return row[0] if row else None

    def type(self, oid: int) -> PgType:
        """The type with this oid."""
        found = self._types.get(oid)
        if found is None:
            found = self._types[oid] = self._read_type(oid)
        return found

    def _read_type(self, oid: int) -> PgType:
        row = self._connection.execute(_TYPE, (oid,)).fetchone()
        if row is None:  # dropped since the change was made; its values still come as text
            return PgType(oid, f"oid {oid}", TypeKind.PSEUDO)
        name, kind, element, base, base_typmod, labels, delimiter = row
        return PgType(
            oid, name, TypeKind(kind), self.type(element) if element else None,
            self.type(base) if base else None, base_typmod, tuple(labels), delimiter,
        )  # fmt: skip

    def forget_enums(self) -> None:
        """Labels may have been added: read enum types (and what is made of them) again."""
        self._types = {
            oid: t for oid, t in self._types.items() if t.kind is TypeKind.BASE and t.element is None
        }
