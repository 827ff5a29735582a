"""Types that are made, altered and dropped while the connector streams, or while it is stopped."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.capture import Capture

from connect.api import SourceRecord
from connect.testing.postgres import PostgresServer


@pytest.fixture
def capture(postgres: PostgresServer) -> Iterator[Capture]:
    capture = Capture(postgres)
    yield capture
    capture.close()


def allowed(record: SourceRecord, *path: str) -> str:
    """The labels in the schema of a column."""
    schema: Any = record.value_schema
    for name in ("after", *path):
        schema = schema.field(name).schema
    return str((schema.value_schema or schema).parameters["allowed"])


def test_types_that_are_made_in_mid_stream(capture: Capture) -> None:
    capture.start().drain()
    capture.sql("""
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE DOMAIN positive AS int CHECK (value > 0);
        CREATE TABLE fresh (id int PRIMARY KEY, m mood, p positive, ms mood[]);
        INSERT INTO fresh VALUES (1, 'ok', 5, '{sad,ok}');
        ALTER TYPE mood ADD VALUE 'happy';
        INSERT INTO fresh VALUES (2, 'happy', 6, '{happy}');
        CREATE EXTENSION IF NOT EXISTS citext;
        ALTER TABLE fresh ADD COLUMN c citext; INSERT INTO fresh VALUES (3, 'sad', 7, NULL, 'CI');
    """)
    capture.drain()
    capture.sql("""
        DROP TABLE fresh; DROP TYPE mood CASCADE; CREATE TYPE mood AS ENUM ('new');
        CREATE TABLE fresh (id int PRIMARY KEY, m mood); INSERT INTO fresh VALUES (4, 'new');
    """)
    capture.drain()
    assert [record.value["after"] for record in capture.records] == [
        {"id": 1, "m": "ok", "p": 5, "ms": ["sad", "ok"]}, {"id": 2, "m": "happy", "p": 6, "ms": ["happy"]},
        {"id": 3, "m": "sad", "p": 7, "ms": None, "c": "CI"}, {"id": 4, "m": "new"},
    ]  # fmt: skip


def test_labels_that_are_added_to_an_enum(capture: Capture) -> None:
    """From the first record that has one its schema knows them, though the table is not described again."""
    capture.sql("""
        CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN felt AS mood;
        CREATE TABLE t (id int PRIMARY KEY, m mood, ms mood[], f felt);
        INSERT INTO t VALUES (0, 'sad', '{sad}', 'sad');
    """)
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1, 'ok', '{ok}', 'ok')")
    capture.drain()
    capture.sql("""
        ALTER TYPE mood ADD VALUE 'glad' BEFORE 'ok'; INSERT INTO t VALUES (2, 'glad');
        ALTER TYPE mood ADD VALUE 'mad'; INSERT INTO t VALUES (3, 'ok', '{sad,mad,NULL}');
        BEGIN; INSERT INTO t VALUES (4, 'mad'); COMMIT;
    """)
    capture.drain()
    capture.sql("ALTER TYPE mood ADD VALUE 'bad'; INSERT INTO t VALUES (5, NULL, '{}', 'bad')")
    capture.drain()
    every = "sad,glad,ok,mad"
    assert [allowed(record, "m") for record in capture.records] == [
        "sad,ok", "sad,ok", every, every, every, every + ",bad",
    ]  # fmt: skip
    assert [allowed(capture.records[-1], name) for name in ("ms", "f")] == [every + ",bad"] * 2
    assert [record.value["after"]["m"] for record in capture.records] == [
        "sad", "ok", "glad", "ok", "mad", None,
    ]  # fmt: skip
    task = capture.task
    assert task is not None
    assert task._stream is not None
    assert task._stream.seen[ord("I")] == 5


def test_labels_that_are_renamed_are_asked_for_once(capture: Capture) -> None:
    """What was written before is told by the name of then, which the catalog has no more."""
    capture.sql("CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (id int PRIMARY KEY, m mood)")
    capture.start().drain()
    capture.stop()
    capture.sql("""
        ALTER TYPE mood ADD VALUE 'ok'; INSERT INTO t SELECT g, 'ok' FROM generate_series(1, 3) g;
        ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'; INSERT INTO t VALUES (4, 'fine');
    """)
    capture.start().drain()
    assert [record.value["after"]["m"] for record in capture.records] == ["ok", "ok", "ok", "fine"]
    assert {allowed(record, "m") for record in capture.records} == {"sad,fine"}


def test_a_column_that_becomes_an_enum(capture: Capture) -> None:
    capture.sql("CREATE TABLE t (id int PRIMARY KEY, m text)")
    capture.start().drain()
    capture.sql("""
        INSERT INTO t VALUES (1, 'sad'); CREATE TYPE mood AS ENUM ('sad', 'ok');
        ALTER TABLE t ALTER m TYPE mood USING m::mood; INSERT INTO t VALUES (2, 'ok');
        ALTER TABLE t ALTER m TYPE text; INSERT INTO t VALUES (3, 'glad');
    """)
    capture.drain()
    schemas: list[Any] = [record.value_schema for record in capture.records]
    names = [schema.field("after").schema.field("m").schema.name for schema in schemas]
    assert names == [None, "io.debezium.data.Enum", None]
    assert allowed(capture.records[1], "m") == "sad,ok"


def test_values_of_types_that_are_gone(capture: Capture) -> None:
    """The server sends them as text; what they were the catalog does not know any more."""
    capture.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    capture.start().drain()
    capture.stop()
    capture.sql("""
        CREATE TYPE mood AS ENUM ('sad', 'ok'); ALTER TABLE t ADD m mood, ADD ms mood[];
        INSERT INTO t VALUES (1, 'a', 'ok', '{sad,ok}');
        ALTER TABLE t DROP m, DROP ms; DROP TYPE mood; INSERT INTO t VALUES (2, 'b');
    """)
    capture.start().drain()
    assert [record.value["after"] for record in capture.records] == [
        {"id": 1, "v": "a", "m": "ok", "ms": "{sad,ok}"}, {"id": 2, "v": "b"},
    ]  # fmt: skip


def test_a_table_of_before_whose_domain_has_changed(capture: Capture) -> None:
    capture.sql("CREATE DOMAIN d AS int; CREATE TABLE t (id int PRIMARY KEY, d d)")
    capture.start().drain()
    capture.sql("""
        INSERT INTO t VALUES (1, 1); ALTER DOMAIN d ADD CONSTRAINT positive CHECK (value > 0);
        ALTER DOMAIN d SET DEFAULT 7; INSERT INTO t (id) VALUES (2);
        CREATE DOMAIN e AS numeric(5, 2); ALTER TABLE t ALTER d TYPE e; INSERT INTO t VALUES (3, 1.5);
        DROP TABLE t; DROP DOMAIN d; CREATE DOMAIN d AS text;
        CREATE TABLE t (id int PRIMARY KEY, d d); INSERT INTO t VALUES (4, 'text');
    """)
    capture.drain()
    assert [str(record.value["after"]["d"]) for record in capture.records] == ["1", "7", "1.50", "text"]
