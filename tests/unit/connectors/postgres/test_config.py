"""Settings: Debezium's names and defaults, and clear refusals."""

import pytest

from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.plugin import PostgresConnector

BASE = {
    "topic.prefix": "p", "database.hostname": "h", "database.user": "u", "database.password": "secret",
    "database.dbname": "d",
}  # fmt: skip


def errors(**properties: str) -> dict[str, str]:
    given = BASE | {name.replace("__", "."): value for name, value in properties.items()}
    return {error.name: error.message for error in PostgresSourceConfig.examine(given)[1]}


def test_defaults() -> None:
    config = PostgresSourceConfig.parse(BASE)
    assert config.port == 5432
    assert config.slot_name == "debezium"
    assert config.publication_name == "dbz_publication"
    assert config.snapshot_mode == "initial"
    assert config.placeholder == "__debezium_unavailable_value"


def test_required() -> None:
    _, found = PostgresSourceConfig.examine({})
    assert {error.name for error in found} == {
        "topic.prefix", "database.hostname", "database.user", "database.dbname",
    }  # fmt: skip


def test_old_name_of_the_prefix() -> None:
    given = {name: value for name, value in BASE.items() if name != "topic.prefix"} | {
        "database.server.name": "old"
    }
    assert PostgresSourceConfig.parse(given).topic_prefix == "old"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("provide.transaction.metadata", "true"), ("signal.data.collection", "public.s"),
        ("snapshot.max.threads", "2"), ("snapshot.mode", "configuration_based"), ("lsn.flush.mode", "manual"),
        ("snapshot.locking.mode", "shared"), ("column.mask.with.4.chars", "public.t.c"),
        ("column.mask.hash.v2.SHA-256.with.salt.abc", "public.t.c"),
        ("column.truncate.to.4.chars", "public.t.c"),
        ("message.key.columns", "t:a"), ("read.only", "true"),
        ("notification.enabled.channels", "log"), ("schema.name.adjustment.mode", "avro"),
    ],
)  # fmt: skip
def test_what_is_not_there_yet_is_refused(name: str, value: str) -> None:
    assert "not supported yet" in errors(**{name: value})[name]


def test_exclusive_lists() -> None:
    found = errors(table__include__list="a", table__exclude__list="b")
    assert found == {
        "table.exclude.list": '"table.include.list" is already specified: '
        "give only one of it and table.exclude.list"
    }


def test_a_broken_regex_is_named() -> None:
    assert "is no regular expression" in errors(table__include__list="public.(a")["table.include.list"]


def test_unknown_skipped_operation() -> None:
    assert "only c, u, d, t and none" in errors(skipped__operations="x")["skipped.operations"]


def test_a_named_override_must_be_given() -> None:
    found = errors(snapshot__select__statement__overrides="public.a")
    assert "give the SELECT for public.a" in found["snapshot.select.statement.overrides"]


def test_patterned_names_are_known() -> None:
    assert PostgresSourceConfig.unknown(["snapshot.select.statement.overrides.public.a", "nonsense"]) == [
        "nonsense"
    ]


def test_one_task_gets_all_settings() -> None:
    config = PostgresSourceConfig.parse(BASE)
    assert PostgresConnector().task_configs(config, 4) == [BASE]
