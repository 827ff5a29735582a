"""Names of topics, schemas and fields. What is expected comes from Debezium's own classes."""

import pytest

from connectors.postgres.config import TOPIC_NAMING, PostgresSourceConfig
from connectors.postgres.keys import KeyColumns
from connectors.postgres.naming import Names

BASE = {
    "topic.prefix": "pre-fix", "database.hostname": "h", "database.user": "u", "database.dbname": "d",
}  # fmt: skip


def names(**properties: str) -> Names:
    given = BASE | {name.replace("__", "."): value for name, value in properties.items()}
    return Names(PostgresSourceConfig.parse(given))


# name, schema and field with avro, schema and field with avro_unicode
ADJUSTED = [
    ("abc", "abc", "abc", "abc", "abc"),
    ("1st", "_1st", "_1st", "_u0031st", "_u0031st"),
    ("a b.c", "a_b.c", "a_b_c", "a_u0020b.c", "a_u0020b_u002ec"),
    ("ю_x", "__x", "__x", "_u44e_u005fx", "_u44e_u005fx"),
    ("Id-1", "Id_1", "Id_1", "Id_u002d1", "Id_u002d1"),
    ("_x", "_x", "_x", "_u005fx", "_u005fx"),
    ("9.1.2", "_9.1.2", "_9_1_2", "_u0039.1.2", "_u0039_u002e1_u002e2"),
    ("a€", "a_", "a_", "a_u20ac", "a_u20ac"),
    ("𝄞x", "__x", "__x", "_ud834_udd1ex", "_ud834_udd1ex"),
    ("a..b", "a..b", "a__b", "a..b", "a_u002e_u002eb"),
    ("é", "_", "_", "_u00e9", "_u00e9"),
]


@pytest.mark.parametrize(("name", "avro", "avro_field", "unicode", "unicode_field"), ADJUSTED)
def test_adjusted(name: str, avro: str, avro_field: str, unicode: str, unicode_field: str) -> None:
    for mode, schema, field in (("avro", avro, avro_field), ("avro_unicode", unicode, unicode_field)):
        adjusted = names(schema__name__adjustment__mode=mode, field__name__adjustment__mode=mode)
        assert adjusted.schema_name(name) == schema
        assert adjusted.field(name) == field
    assert (names().schema_name(name), names().field(name)) == (name, name)


@pytest.mark.parametrize(
    ("table", "plain", "unicode"),
    [
        ("T 1_x é", "T_1_x__", "T_u00201_u005fx_u0020_u00e9"),
        ("a.b", "a.b", "a.b"),
        ("ю", "_", "_u44e"),
        ("𝄞", "__", "_ud834_udd1e"),
        ("a-b", "a-b", "a-b"),
    ],
)
def test_topics_of_tables(table: str, plain: str, unicode: str) -> None:
    assert names().table_topic("My-Schema", table) == f"pre-fix.My-Schema.{plain}"
    escaped = names(topic__naming__strategy=TOPIC_NAMING[2])
    assert escaped.table_topic("My-Schema", table) == f"pre-fix.My-Schema.{unicode}"


def test_a_topic_has_as_many_characters_as_kafka_allows() -> None:
    assert len(names().table_topic("public", "a" * 300)) == 249


def test_the_unicode_strategy_escapes_the_delimiter_too() -> None:
    escaped = names(topic__naming__strategy=TOPIC_NAMING[2], topic__delimiter="_")
    assert escaped.table_topic("s", "t") == "pre-fix_u005fs_u005ft"
    assert escaped.heartbeat_topic == "__debezium-heartbeat_pre-fix"
    assert escaped.transaction_topic == "pre-fix_transaction"


def test_several_tables_in_one_topic() -> None:
    shards = names(
        topic__naming__strategy=TOPIC_NAMING[1], topic__regex=r"(.*)\.shard_\d+", topic__replacement="$1.all",
        topic__key__field__regex=r".*(\d+)", topic__key__field__replacement="no $1",
        topic__key__field__name="shard",
    )  # fmt: skip
    assert shards.table_topic("public", "shard_7") == "pre-fix.public.all"
    assert shards.key_field("public", "shard_7") == ("shard", "no 7")
    assert shards.table_topic("public", "shards") == "pre-fix.public.shards"
    assert shards.key_field("public", "shards") == ("shard", "pre-fix.public.shards")


def test_keys_may_go_without_the_table() -> None:
    shards = names(
        topic__naming__strategy=TOPIC_NAMING[1], topic__regex="a", topic__replacement="b",
        topic__key__enforce__uniqueness="false",
    )  # fmt: skip
    assert shards.key_field("public", "shard_7") is None
    assert names().key_field("public", "shard_7") is None


def test_key_columns() -> None:
    keys = KeyColumns("(.*).a:v,w ; public.b:(.*)x;PUBLIC.c:ID")
    assert keys.of("public.a", ["w", "id", "v"]) == ("v", "w")
    assert keys.of("public.b", ["ax", "bx", "c"]) == ("ax", "bx")
    assert keys.of("public.c", ["id"]) == ("id",)
    assert keys.of("public.d", ["id"]) == ()
    assert KeyColumns(None).of("public.a", ["v"]) == ()
