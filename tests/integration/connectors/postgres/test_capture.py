"""What is captured: values, filters, snapshot selection, and what the server must have for it."""

from collections.abc import Iterator

import psycopg
import pytest
from support.capture import Capture

from connect.api import ConnectError, JsonPayload
from connect.testing.postgres import PostgresServer
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.plugin import PostgresConnector

NASTY_TEXTS = [
    "", "\\N", "NULL", "a\tb", "a\nb", "a\rb", "\b\f\v", "\\", "\\\\n", "\\t", '"', "'",
    "\x01\x1f\x7f", "é☃𝄞", "\u2028",
    "{}", "</script>", "\\x41", "\\.", " lead and trail ", "%s %% %(a)s", "x" * 100_000,
]  # fmt: skip


@pytest.fixture
def capture(postgres: PostgresServer) -> Iterator[Capture]:
    capture = Capture(postgres)
    yield capture
    capture.close()


def test_texts_are_the_same_in_snapshot_and_stream(capture: Capture) -> None:
    with capture.server.connect(capture.name) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, v text, w text)")
        insert = "INSERT INTO t VALUES (%s, %s, NULL)"
        for number, text in enumerate(NASTY_TEXTS):
            connection.execute(insert, (number, text))
        capture.start().drain()
        for number, text in enumerate(NASTY_TEXTS):
            connection.execute(insert, (number + 1000, text))
        capture.drain()
    texts = [record.value["after"]["v"] for record in capture.records]
    assert texts == NASTY_TEXTS * 2
    assert all(record.value["after"]["w"] is None for record in capture.records)


def test_json_is_handed_out_undecoded(capture: Capture) -> None:
    capture.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')")
    capture.start().drain()
    (record,) = capture.records
    assert isinstance(record.raw_key, JsonPayload)
    assert record.raw_key.json == b'{"id":1}'
    assert isinstance(record.raw_value, JsonPayload)
    assert record.raw_value.json.startswith(b'{"before":null,"after":{"id":1,"v":"a"},"source":{"version":')


def test_a_null_that_hides_behind_a_default_is_handed_out_decoded(capture: Capture) -> None:
    """JsonConverter would write the default, so there is no JSON that stands for the row."""
    capture.sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'd'); INSERT INTO t VALUES (1, NULL), (2, 'x')"
    )
    capture.start().drain()
    hidden, plain = capture.records
    assert hidden.raw_value["after"] == {"id": 1, "v": None}
    assert isinstance(plain.raw_value, JsonPayload)


def test_many_rows_that_share_a_position(capture: Capture) -> None:
    rows = "\n".join(f"{n}\trow {n}" for n in range(5000))
    capture.change({"max.batch.size": "100"})
    capture.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    capture.start().drain()
    capture.sql(f"COPY t FROM STDIN;\n{rows}\n\\.\n")
    records = capture.drain()
    assert [record.key["id"] for record in records] == list(range(5000))
    lsns = {record.source_offset["lsn"] for record in records}
    assert len(lsns) < 5000
    done = [record for record in records if record.source_offset["lsn_proc"] == record.source_offset["lsn"]]
    assert len(done) == len(lsns)


def test_identity_by_another_index_gives_the_keys(capture: Capture) -> None:
    capture.sql(
        "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL UNIQUE, v int);"
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_code_key; INSERT INTO t VALUES (1, 'a', 1)"
    )
    capture.start().drain()
    capture.sql("UPDATE t SET v = 2; UPDATE t SET code = 'b'; DELETE FROM t")
    capture.drain()
    assert [(r.key, r.value and r.value["op"]) for r in capture.records] == [
        ({"code": "a"}, "r"), ({"code": "a"}, "u"),
        ({"code": "a"}, "d"), ({"code": "a"}, None), ({"code": "b"}, "c"),
        ({"code": "b"}, "d"), ({"code": "b"}, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("properties", "topics"),
    [
        ({"table.include.list": "public.a, x[.]A"}, {"public.a", "x.a"}),
        ({"table.exclude.list": "public.*"}, {"x.a"}),
        ({"schema.include.list": "X"}, {"x.a"}),
        ({"schema.exclude.list": "x"}, {"public.a", "public.ab"}),
        ({"snapshot.include.collection.list": "public.ab"}, {"public.ab"}),
    ],
)
def test_filters(capture: Capture, properties: dict[str, str], topics: set[str]) -> None:
    capture.sql(
        "CREATE SCHEMA x; CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE ab (id int PRIMARY KEY);"
        "CREATE TABLE x.a (id int PRIMARY KEY);"
        "INSERT INTO a VALUES (1); INSERT INTO ab VALUES (1); INSERT INTO x.a VALUES (1)"
    )
    capture.change(properties)
    capture.start().drain()
    assert {record.topic.removeprefix(f"{capture.name}.") for record in capture.records} == topics


def test_a_filtered_publication_follows_new_tables(capture: Capture) -> None:
    capture.change({"publication.autocreate.mode": "filtered", "table.include.list": "public.t.*"})
    capture.sql("CREATE TABLE t1 (id int PRIMARY KEY)")
    capture.start().drain()
    capture.stop()
    capture.sql("CREATE TABLE t2 (id int PRIMARY KEY)")
    capture.start().drain()
    capture.sql("INSERT INTO t1 VALUES (1); INSERT INTO t2 VALUES (2)")
    assert [record.key["id"] for record in capture.drain()] == [1, 2]


def test_filtered_without_a_table_says_so(capture: Capture) -> None:
    capture.change({"publication.autocreate.mode": "filtered", "table.include.list": "public.missing"})
    with pytest.raises(ConnectError, match=r"no table matches table\.include\.list"):
        capture.start().drain()


def test_a_publication_of_all_tables_cannot_be_filtered(capture: Capture) -> None:
    capture.sql(f'CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION "{capture.name}" FOR ALL TABLES')
    capture.change({"publication.autocreate.mode": "filtered", "table.include.list": "public.t"})
    with pytest.raises(ConnectError, match=r"run DROP PUBLICATION .* or set the mode to all_tables"):
        capture.start().drain()


def test_initial_statements(capture: Capture) -> None:
    capture.change({"database.initial.statements": "SET search_path = pg_catalog; SELECT ';;'"})
    capture.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    assert len(capture.start().drain()) == 1


def test_offsets_that_a_user_sets_are_checked(capture: Capture) -> None:
    connector, config = PostgresConnector(), PostgresSourceConfig.parse(capture.properties)
    mine = {"server": capture.name}
    assert connector.alter_offsets(config, [(mine, {"lsn": 1}), (mine, None)])
    with pytest.raises(ConnectError, match="is not this connector's"):
        connector.alter_offsets(config, [({"server": "other"}, {"lsn": 1})])
    with pytest.raises(ConnectError, match="has no lsn"):
        connector.alter_offsets(config, [(mine, {"position": 1})])


def test_a_user_without_rights_on_a_table(capture: Capture) -> None:
    user = f"{capture.name}_user"
    capture.sql(f"CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE {user} LOGIN REPLICATION PASSWORD 'p'")
    capture.sql(f'CREATE PUBLICATION "{capture.name}" FOR ALL TABLES')
    capture.change({"database.user": user, "database.password": "p"})
    with pytest.raises(ConnectError, match="permission denied for table t"):
        capture.start().drain()
    capture.stop()
    capture.sql(f"DROP ROLE {user}")


def test_capture_uses_its_own_time_zone(capture: Capture) -> None:
    with psycopg.connect(capture.server.conninfo(capture.name), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE \"{capture.name}\" SET timezone = 'Asia/Kolkata'".encode())
        connection.execute(f"ALTER DATABASE \"{capture.name}\" SET datestyle = 'German'".encode())
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, z timestamptz)")
        connection.execute("INSERT INTO t VALUES (1, '2024-01-01 00:00:00+00')")
        capture.start().drain()
        connection.execute("INSERT INTO t VALUES (2, '2024-01-01 00:00:00+00')")
        capture.drain()
    assert {record.value["after"]["z"] for record in capture.records} == {"2024-01-01T00:00:00.000000Z"}
