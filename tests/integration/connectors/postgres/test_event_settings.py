"""What settings make of events where no recording of Debezium's shows it, or where it is wrong."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.capture import Capture

from connect.api import ConnectError, SourceRecord
from connect.testing.postgres import PostgresServer

RESELECT = {
    "post__processors": "again",
    "again__type": "io.debezium.processors.reselect.ReselectColumnsPostProcessor",
    "again__reselect__null__values": "false",
}
TOASTED = """
CREATE TABLE t (id int PRIMARY KEY, a text, b bytea, n int, z int);
ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL;
"""
INSERT = "INSERT INTO t VALUES (1, repeat('a', 5000), repeat('b', 5000)::bytea, NULL, 1);"


@pytest.fixture
def started(postgres: PostgresServer) -> Iterator[Any]:
    captures: list[Capture] = []

    def start(sql: str, **properties: str) -> Capture:
        capture = Capture(postgres, **properties)
        captures.append(capture)
        capture.sql(sql)
        capture.start().drain()
        return capture

    yield start
    for capture in captures:
        capture.close()


def after(record: SourceRecord) -> Any:
    return record.value["after"]


def fields(record: SourceRecord) -> list[str]:
    assert record.value_schema is not None
    schema = record.value_schema.by_name["after"].schema
    return [field.name for field in schema.fields]


# --- TOAST values that were not sent


def test_unavailable_values_are_omitted(started: Any) -> None:
    capture = started(TOASTED, unavailable__value__handling__mode="omit")
    capture.sql(f"{INSERT} UPDATE t SET z = 2; UPDATE t SET a = 'short'; DELETE FROM t;")
    insert, update, changed, delete, _ = capture.drain()
    assert fields(insert) == ["id", "a", "b", "n", "z"]
    assert fields(update) == ["id", "n", "z"]
    assert after(update) == {"id": 1, "n": None, "z": 2}
    assert fields(changed) == ["id", "a", "n", "z"]
    assert after(changed) == {"id": 1, "a": "short", "n": None, "z": 2}
    assert fields(delete) == fields(insert)


def test_unavailable_values_are_read_again(started: Any) -> None:
    capture = started(TOASTED, **RESELECT, again__reselect__columns__exclude__list="public.t:b")
    capture.sql(f"{INSERT} UPDATE t SET z = 2;")
    _, update = capture.drain()
    assert after(update)["a"] == "a" * 5000
    assert after(update)["b"] == b"__debezium_unavailable_value"


def test_nulls_are_read_again(started: Any) -> None:
    properties = RESELECT | {"again__reselect__null__values": "true"}
    capture = started(TOASTED, **properties, again__reselect__columns__include__list="public.t:n")
    capture.sql("INSERT INTO t VALUES (1, NULL, NULL, NULL, 1); UPDATE t SET n = 7;")
    insert, update = capture.drain()
    assert after(insert) == {"id": 1, "a": None, "b": None, "n": 7, "z": 1}
    assert after(update)["n"] == 7


def test_a_row_that_is_gone_keeps_its_placeholder(started: Any) -> None:
    capture = started(TOASTED, **RESELECT)
    capture.sql(f"{INSERT} UPDATE t SET z = 2; DELETE FROM t;")
    _, update, _, _ = capture.drain()
    assert after(update)["a"] == "__debezium_unavailable_value"


def test_or_is_an_error_where_it_is_wanted(started: Any) -> None:
    capture = started(TOASTED, **RESELECT, again__reselect__error__handling__mode="fail")
    capture.sql(f"{INSERT} UPDATE t SET z = 2; DELETE FROM t;")
    with pytest.raises(ConnectError, match="columns cannot be read again: 0 rows are found"):
        capture.drain()


def test_rows_are_found_by_the_key_of_the_event(started: Any) -> None:
    sql = "CREATE TABLE t (a text, k text, z int); ALTER TABLE t ALTER a SET STORAGE EXTERNAL;"
    capture = started(
        sql + "CREATE UNIQUE INDEX u ON t (k); ALTER TABLE t ALTER k SET NOT NULL;"
        "ALTER TABLE t REPLICA IDENTITY USING INDEX u;",
        **RESELECT, again__reselect__use__event__key="true", message__key__columns="public.t:k",
    )  # fmt: skip
    capture.sql("INSERT INTO t VALUES (repeat('a', 5000), 'null', 1), ('b', 'x', 1); UPDATE t SET z = 2;")
    _, _, update, _ = capture.drain()
    assert after(update) == {"a": "a" * 5000, "k": "null", "z": 2}


# --- masks


def test_a_placeholder_stays_what_it_is_behind_a_mask(started: Any) -> None:
    capture = started(
        TOASTED,
        **{
            "column.truncate.to.3.chars": "public.t.(a|b)",
            "column.propagate.source.type": "public.t.a",
        },
    )
    capture.sql(f"{INSERT} UPDATE t SET z = 2;")
    insert, update = capture.drain()
    assert after(insert)["a"] == "aaa"
    assert after(insert)["b"] == b"bbb"
    assert after(update)["a"] == "__debezium_unavailable_value"
    assert after(update)["b"] == b"__debezium_unavailable_value"
    parameters = insert.value_schema.by_name["after"].schema.by_name["a"].schema.parameters
    # As in Debezium, where a column has one rule: a mask, or what its type is told by.
    assert parameters == {"truncateLength": "3"}


def test_an_update_of_a_masked_column_alone_is_no_change(started: Any) -> None:
    capture = started(
        "CREATE TABLE t (id int PRIMARY KEY, a text); ALTER TABLE t REPLICA IDENTITY FULL;",
        **{"column.mask.with.3.chars": "public.t.a", "skip.messages.without.change": "true"},
    )
    capture.sql("INSERT INTO t VALUES (1, 'a'); UPDATE t SET a = 'b'; UPDATE t SET id = 2;")
    ops = [record.value["op"] for record in capture.drain() if record.value is not None]
    assert ops == ["c", "d", "c"]


# --- keys


def test_a_key_that_an_old_row_does_not_tell_is_not_guessed(started: Any) -> None:
    """Debezium takes defaults for it, and so sees a change of the key."""
    capture = started(
        "CREATE TABLE t (id int PRIMARY KEY, k text NOT NULL DEFAULT 'd')", message__key__columns="public.t:k"
    )
    capture.sql("INSERT INTO t VALUES (1, 'a'); UPDATE t SET id = 2;")
    insert, update = capture.drain()
    assert (insert.key, update.key) == ({"k": "a"}, {"k": "a"})
    assert update.value["op"] == "u"


def test_the_key_is_the_one_that_the_table_had_then(started: Any) -> None:
    capture = started(
        "CREATE TABLE t (a int NOT NULL, b int NOT NULL, CONSTRAINT p PRIMARY KEY (a));"
        "INSERT INTO t VALUES (0, 0)"
    )
    capture.stop()
    capture.sql(
        "INSERT INTO t VALUES (1, 2); ALTER TABLE t DROP CONSTRAINT p, ADD CONSTRAINT p PRIMARY KEY (b, a);"
        "INSERT INTO t VALUES (3, 4);"
    )
    assert [record.key for record in capture.start().drain()] == [{"a": 1}, {"b": 4, "a": 3}]


def test_two_columns_of_one_name_are_refused(started: Any) -> None:
    with pytest.raises(ConnectError, match=r"makes a_b of both a b and a_b of public\.t"):
        started('CREATE TABLE t ("a b" int, a_b int)', field__name__adjustment__mode="avro")


# --- schema changes


def test_the_new_schema_starts_with_the_first_record_that_has_it(started: Any) -> None:
    capture = started(
        "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (0, '')",
        include__schema__changes="true",
    )
    capture.stop()
    capture.sql(
        "INSERT INTO t VALUES (1, 'a'); ALTER TABLE t ADD b int NOT NULL DEFAULT 5;"
        "INSERT INTO t VALUES (2, 'b', 6); ALTER TABLE t RENAME a TO c;"
        "ALTER TABLE t ALTER b TYPE numeric(8,2); UPDATE t SET b = 7.5 WHERE id = 2;"
        "ALTER TABLE t DROP c; DELETE FROM t WHERE id = 1;"
    )
    capture.start()
    records = capture.drain()
    shown = [
        fields(record) if record.topic.endswith(".t") else record.value["tableChanges"][0]["type"]
        for record in records
        if record.value is not None
    ]
    assert shown == [
        "CREATE", ["id", "a"], "ALTER", ["id", "a", "b"], "ALTER", ["id", "c", "b"], "ALTER", ["id", "b"],
    ]  # fmt: skip
    change = records[4]
    assert change.topic == capture.name
    assert change.key == {"databaseName": capture.name}
    assert change.value["ddl"] is None
    assert change.value["source"]["table"] == "t"
    (table,) = change.value["tableChanges"]
    assert table["id"] == '"public"."t"'
    assert table["table"]["primaryKeyColumnNames"] == ["id"]
    shown_columns = [(c["name"], c["typeName"], c["length"], c["scale"]) for c in table["table"]["columns"]]
    assert shown_columns == [("id", "int4", 10, 0), ("c", "text", None, 0), ("b", "numeric", 8, 2)]


def test_a_schema_change_does_not_hide_the_change_behind_it(started: Any) -> None:
    """Its offset is stored, and its record comes again."""
    capture = started("CREATE TABLE t (id int PRIMARY KEY)", include__schema__changes="true")
    capture.sql(
        "BEGIN; INSERT INTO t VALUES (1); ALTER TABLE t ADD a int; INSERT INTO t VALUES (2, 3); COMMIT;"
    )
    first, one, change, two = capture.drain(store=False)
    assert [record.topic.endswith(".t") for record in (first, one, change, two)] == [False, True, False, True]
    capture.store(change)
    capture.stop()
    capture.start()
    again = [record for record in capture.drain() if record.topic.endswith(".t")]
    assert [after(record) for record in again] == [{"id": 2, "a": 3}]


# --- transactions


def numbers(record: SourceRecord) -> Any:
    if record.value is None:
        return None
    if "status" in record.value:
        return record.value["status"], record.value["event_count"]
    block = record.value["transaction"]
    return block["total_order"], block["data_collection_order"]


TRANSACTION = """
BEGIN;
INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1);
COPY a FROM stdin;
3
4
5
\\.
UPDATE b SET id = 2;
COMMIT;
"""
NUMBERED = [
    ("BEGIN", None), (1, 1), (2, 2), (3, 1), (4, 3), (5, 4), (6, 5), (7, 2), None, (8, 3), ("END", 8),
]  # fmt: skip


@pytest.mark.parametrize("stored", [0, 2, 5, 8, 9])
def test_numbering_goes_on_after_a_restart_in_the_middle(started: Any, stored: int) -> None:
    capture = started(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)",
        provide__transaction__metadata="true",
    )
    capture.sql(TRANSACTION)
    records = capture.drain(store=False)
    assert [numbers(record) for record in records] == NUMBERED
    capture.store(records[stored])
    capture.stop()
    capture.start()
    again = [numbers(record) for record in capture.drain()]
    # Changes at one position, and the records of one change, come again together.
    together = {5: 4, 6: 4, 7: 7, 8: 7, 9: 7}
    first = stored + 1
    while first in together and together[first] != first:
        first -= 1
    assert again == NUMBERED[first:]


# --- values that cannot be read

ODD_TYPE = """
CREATE TYPE hstore;
CREATE FUNCTION vin(cstring) RETURNS hstore AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION vout(hstore) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE hstore (INPUT = vin, OUTPUT = vout, LIKE = text);
CREATE TABLE t (id int PRIMARY KEY, v hstore);
"""


def test_a_change_that_cannot_be_read_stops_the_task(started: Any) -> None:
    capture = started(ODD_TYPE)
    capture.sql("INSERT INTO t VALUES (1, 'no hstore')")
    with pytest.raises(ConnectError, match=r"a change of public\.t at .* cannot be read"):
        capture.drain()


@pytest.mark.parametrize("mode", ["warn", "skip", "ignore"])
def test_or_is_left_out(started: Any, mode: str) -> None:
    capture = started(ODD_TYPE, event__processing__failure__handling__mode=mode)
    capture.sql("INSERT INTO t VALUES (1, ''), (2, 'no hstore'), (3, '')")
    assert [record.key["id"] for record in capture.drain()] == [1, 3]


def test_a_composite_type_may_have_any_name(started: Any) -> None:
    capture = started(
        "CREATE TYPE vector AS (a int); CREATE TABLE t (id int PRIMARY KEY, v vector)",
        include__unknown__datatypes="true",
    )
    capture.sql("INSERT INTO t VALUES (1, '(5)')")
    (record,) = capture.drain()
    assert after(record) == {"id": 1, "v": b"(5)"}


def test_arrays_of_boxes_have_their_own_delimiter(started: Any) -> None:
    capture = started("CREATE TABLE t (id int PRIMARY KEY, v box[])", include__unknown__datatypes="true")
    capture.sql("INSERT INTO t VALUES (1, ARRAY['(1,2),(3,4)'::box, NULL, '(5,6),(7,8)'])")
    (record,) = capture.drain()
    assert after(record)["v"] == [b"(3.0,4.0),(1.0,2.0)", None, b"(7.0,8.0),(5.0,6.0)"]


def test_a_key_column_that_is_not_captured_is_in_the_key_all_the_same(started: Any) -> None:
    capture = started(
        "CREATE TABLE t (id int PRIMARY KEY, k text); INSERT INTO t VALUES (1, 'a')",
        message__key__columns="public.t:k", column__exclude__list="public.t.(id|k)",
    )  # fmt: skip
    capture.sql("INSERT INTO t VALUES (2, 'b')")
    capture.drain()
    assert [(record.key, after(record)) for record in capture.records] == [({"k": "a"}, {}), ({"k": "b"}, {})]
