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


@pytest.mark.parametrize(("hostname", "hosts", "ports"), [
    ("h", "h", "5432"), ("::1", "::1", "5432"), ("[::1]:5433", "::1", "5433"), ("/run/pg", "/run/pg", "5432"),
    ("a:5433, b,[fe80::1]:1", "a,b,fe80::1", "5433,5432,1"), ("a:b", "a:b", "5432"),
])  # fmt: skip
def test_several_servers(hostname: str, hosts: str, ports: str) -> None:
    info = PostgresSourceConfig.parse(BASE | {"database.hostname": hostname}).conninfo()
    assert (info["host"], info["port"]) == (hosts, ports)
    assert info.get("target_session_attrs") == ("primary" if "," in hosts else None)


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
        ("snapshot.mode", "custom"), ("snapshot.locking.mode", "custom"),
    ],
)  # fmt: skip
def test_what_is_not_there_yet_is_refused(name: str, value: str) -> None:
    assert "not supported yet" in errors(**{name: value})[name]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("column.mask.with.4.chars", "public.(t", "Invalid regex"),
        ("column.mask.with.4000000.chars", "public.t.a", "give at most 1000000 characters"),
        ("column.truncate.to.0.chars", "public.t.a", "must be positive"),
        ("column.mask.hash.SHA-7.with.salt.x", "public.t.a", "unknown hash SHA-7: give MD5, SHA-1"),
        ("message.key.columns", "public.t", "'public.t' names no columns"),
        ("message.key.columns", "public.t:a;b:", "'b:' names no columns"),
        ("column.propagate.source.type", "a(", "is no regular expression"),
        ("datatype.propagate.source.type", "a(", "is no regular expression"),
        ("unavailable.value.placeholder", "hex:3f4", "hexadecimal digits of UTF-8"),
        ("converters", "isbn", "Java classes, which cannot be loaded: use a transform"),
        ("topic.naming.strategy", "com.example.Mine", "io.debezium.schema.SchemaTopicNamingStrategy"),
        ("sourceinfo.struct.maker", "com.example.Mine", "PostgresSourceInfoStructMaker"),
        ("transaction.metadata.factory", "com.example.Mine", "DefaultTransactionMetadataFactory"),
        ("post.processors", "x,y", "only one is supported"),
    ],
)  # fmt: skip
def test_wrong_settings_of_events_are_named(name: str, value: str, says: str) -> None:
    assert says in errors(**{name: value})[name]


REGEX_NAMING = {"topic.naming.strategy": "io.debezium.schema.SchemaRegexTopicNamingStrategy"}


@pytest.mark.parametrize(
    ("given", "name", "says"),
    [
        ({}, "topic.regex", "needs it"),
        ({"topic.regex": "a"}, "topic.replacement", "must be non-empty if topic.regex is set"),
        ({"topic.regex": "a", "topic.replacement": "$1"}, "topic.regex", "No group 1"),
        ({"topic.regex": "a(", "topic.replacement": "b"}, "topic.regex", "Invalid regex"),
        ({"topic.regex": "a", "topic.replacement": "b", "topic.key.field.regex": "c"},
         "topic.key.field.replacement", "must be non-empty if topic.key.field.regex is set"),
    ],
)  # fmt: skip
def test_topic_naming_by_regex_needs_both(given: dict[str, str], name: str, says: str) -> None:
    assert says in errors(**REGEX_NAMING, **given)[name]


RESELECT = {
    "post.processors": "again",
    "again.type": "io.debezium.processors.reselect.ReselectColumnsPostProcessor",
}


def test_the_post_processor_that_reads_columns_again() -> None:
    given = {"again.reselect.columns.include.list": r"public.t:(a|b)", "again.reselect.null.values": "false"}
    settings = PostgresSourceConfig.parse(BASE | RESELECT | given).reselect
    assert settings is not None
    assert (settings.unavailable, settings.null, settings.by_event_key, settings.fail) == (
        True, False, False, False,
    )  # fmt: skip
    assert settings.wants("public.t", "a")
    assert not settings.wants("public.t", "c")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("again.type", "com.example.Mine", "only io.debezium.processors.reselect"),
        ("again.reselect.null.values", "yes", "must be one of true, false"),
        ("again.reselect.columns.include.list", "a(", "Invalid regex"),
        ("again.reselect.nulls", "true", "no such setting of the post processor"),
    ],
)
def test_wrong_post_processors_are_named(name: str, value: str, says: str) -> None:
    message = errors(**(RESELECT | {name: value}))["post.processors"]
    assert name in message
    assert says in message


def test_the_old_name_of_the_heartbeat_prefix() -> None:
    assert PostgresSourceConfig.parse(BASE | {"heartbeat.topics.prefix": "hb"}).heartbeat_prefix == "hb"


@pytest.mark.parametrize(
    ("settings", "name", "why"),
    [
        ({"signal__enabled__channels": "source,mail"}, "signal.enabled.channels", "not mail"),
        ({"signal__enabled__channels": "kafka"}, "signal.kafka.bootstrap.servers", "needs the brokers"),
        ({"signal__data__collection": "signals"}, "signal.data.collection", "schema.table"),
        ({"notification__enabled__channels": "mail"}, "notification.enabled.channels", "not mail"),
        ({"notification__enabled__channels": "sink"}, "notification.sink.topic.name", "needs a topic"),
    ],
)
def test_channels(settings: dict[str, str], name: str, why: str) -> None:
    assert why in errors(**settings)[name]


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
    known = [
        "snapshot.select.statement.overrides.public.a", "column.mask.with.4.chars",
        "column.mask.hash.v2.SHA-256.with.salt.a.b", "again.type", "again.reselect.null.values",
    ]  # fmt: skip
    assert PostgresSourceConfig.unknown([*known, "nonsense"]) == ["nonsense"]


def test_one_task_gets_all_settings() -> None:
    config = PostgresSourceConfig.parse(BASE)
    assert PostgresConnector().task_configs(config, 4) == [BASE]
