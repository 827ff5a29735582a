"""Masks of columns: what they show. The hashes are those that Debezium was recorded with."""

from hashlib import sha256
from json import dumps

import pytest

from connectors.postgres.catalog import PgType, TypeKind
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.masks import Mask, Masks
from connectors.postgres.source_types import source_type
from connectors.postgres.type_map import TypeMap

CONFIG = PostgresSourceConfig.parse(
    {"topic.prefix": "p", "database.hostname": "h", "database.user": "u", "database.dbname": "d"}
)


def mask(properties: dict[str, str], type_name: str = "text", typmod: int = -1) -> Mask | None:
    pg_type = PgType(1, type_name, TypeKind.BASE)
    column_type = TypeMap(CONFIG).column_type(pg_type, typmod)
    assert column_type is not None
    return Masks(properties).mask("public.t.c", column_type, source_type(pg_type, typmod))


def shown(properties: dict[str, str], value: str, type_name: str = "text", typmod: int = -1) -> str:
    found = mask(properties, type_name, typmod)
    assert found is not None
    assert found.change is not None
    return found.change(dumps(value, ensure_ascii=False))


V1 = {"column.mask.hash.SHA-256.with.salt.CzQMA0cB5K": "public.t.c"}
V2 = {"column.mask.hash.v2.SHA-256.with.salt.CzQMA0cB5K": "public.t.c"}


@pytest.mark.parametrize(
    ("properties", "value", "typmod", "expected"),
    [
        (V1, "secret", 24, '"122e56d6f15256f7a553"'),
        (V1, "", 24, '"7b061bc77caec9afdc6b"'),
        (V1, "é☃𝄞x", 24, '"ee1223bd9528c39f966a"'),
        (V2, "secret", -1, '"8b41ea6bee11d6298cbf86dab70bb64aabef4ff6119d9c929ace2a16123117a5"'),
        (V2, "é☃𝄞x", -1, '"55e7b1ab4412de8b0dd07fea48bfa2c3fed7e602848da66d810c6102756b4b89"'),
        (
            {"column.mask.hash.MD5.with.salt.s1": "public.t.c"},
            "secret",
            -1,
            '"7618ada80ad5fe2f9958a89fec5976d8"',
        ),
    ],
)
def test_hashes(properties: dict[str, str], value: str, typmod: int, expected: str) -> None:
    assert shown(properties, value, "varchar" if typmod > 0 else "text", typmod) == expected


def test_a_text_that_java_writes_as_a_long_one() -> None:
    text = "x" * 70_000
    serialised = b"\xac\xed\x00\x05|" + len(text).to_bytes(8, "big") + text.encode()
    assert shown(V1, text) == f'"{sha256(b"CzQMA0cB5K" + serialised).hexdigest()}"'


@pytest.mark.parametrize(
    "name", ["MD5", "SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512", "SHA-512/256", "SHA3-256"]
)
def test_the_hashes_of_java_are_known(name: str) -> None:
    digits = {"MD5": 32, "SHA-1": 40, "SHA-224": 56, "SHA-384": 96, "SHA-512": 128}.get(name, 64)
    value = shown({f"column.mask.hash.v2.{name}.with.salt.a.b": "public.t.c"}, "secret")
    assert len(value) == digits + 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("secret", '"secr"'), ("abcd", '"abcd"'), ("", '""'), ('a"b\\c', '"a\\"b\\\\"'), ("☃☃☃☃☃", '"☃☃☃☃"'),
        ("𝄞𝄞𝄞", '"𝄞𝄞"'), ("abc𝄞", '"abc"'), ("a\nbcd", '"a\\nbc"'),
    ],
)  # fmt: skip
def test_truncation_counts_as_java_does(value: str, expected: str) -> None:
    assert shown({"column.truncate.to.4.chars": "public.t.c"}, value) == expected


def test_a_column_that_is_short_anyway_is_not_truncated() -> None:
    properties = {"column.truncate.to.4.chars": "public.t.c"}
    assert mask(properties, "varchar", 4 + 4) is None
    assert mask(properties, "varchar", 5 + 4) is not None


def test_bytes_are_truncated_as_bytes() -> None:
    found = mask({"column.truncate.to.4.chars": "public.t.c"}, "bytea")
    assert found is not None
    assert found.change is not None
    assert found.change('"AQIDBAUG"') == '"AQIDBA=="'


def test_of_several_masks_the_one_that_shows_least_is_taken() -> None:
    properties = V2 | {"column.truncate.to.4.chars": ".*", "column.truncate.to.2.chars": "public.t.c"}
    assert len(shown(properties, "secret")) == 66
    stars = mask(properties | {"column.mask.with.3.chars": "public.t.c"})
    assert stars == Mask({"masked": "true"}, constant='"***"')
    del properties[next(iter(V2))]
    assert shown(properties, "secret") == '"se"'


def test_what_is_no_text_cannot_be_masked() -> None:
    assert mask(V2, "int4") == Mask({"masked": "true"})


def test_other_columns_are_left_alone() -> None:
    assert mask({"column.mask.with.3.chars": "public.t.cc,public.t2.c"}) is None
