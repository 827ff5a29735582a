"""What `validate` says of a server that is not ready: the SQL that it gives mends what it complains about."""

import contextlib
import re
from collections.abc import Iterator

import psycopg
import pytest
from support.capture import Capture

from connect.api import ConnectError, FieldWarning
from connect.testing.postgres import PostgresServer
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.plugin import PostgresConnector


@pytest.fixture
def capture(postgres: PostgresServer) -> Iterator[Capture]:
    capture = Capture(postgres)
    yield capture
    capture.close()


def errors(capture: Capture) -> dict[str, list[str]]:
    return _said(capture, warnings=False)


def warnings(capture: Capture) -> dict[str, list[str]]:
    return _said(capture, warnings=True)


def _said(capture: Capture, *, warnings: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    config = PostgresSourceConfig.parse(capture.properties)
    for each in PostgresConnector().check_connection(config):
        if isinstance(each, FieldWarning) is warnings:
            found.setdefault(each.name, []).append(each.message)
    return found


def run_what_it_says(capture: Capture) -> None:
    """The statement of every complaint, as a superuser."""
    for messages in errors(capture).values():
        for message in messages:
            statement = re.search(r"run ((?:ALTER|GRANT|CREATE|SELECT) .*?;)", message)
            assert statement is not None, message
            assert capture.sql(statement[1]) == ""


@contextlib.contextmanager
def user(capture: Capture, rights: str = "") -> Iterator[str]:
    """A role that the connector uses."""
    name = f"{capture.name}-user"
    capture.sql(f"CREATE ROLE \"{name}\" LOGIN {rights} PASSWORD 'p'")
    capture.change({"database.user": name, "database.password": "p"})
    try:
        yield name
    finally:
        capture.stop()
        capture.sql(f'REASSIGN OWNED BY "{name}" TO postgres; DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def test_a_good_server_has_no_complaints(capture: Capture) -> None:
    capture.sql("CREATE TABLE t (id int PRIMARY KEY)")
    assert (errors(capture), warnings(capture)) == ({}, {})


def test_a_wrong_password(capture: Capture) -> None:
    capture.change({"database.password": "wrong"})
    assert "password authentication failed" in errors(capture)["database.hostname"][0]


def test_a_user_with_no_right_at_all_is_told_all_at_once(capture: Capture) -> None:
    capture.sql(
        'CREATE SCHEMA "S"; CREATE TABLE "S".t (id int PRIMARY KEY);CREATE TABLE t (id int PRIMARY KEY)'
    )
    capture.change({"publication.autocreate.mode": "filtered"})
    with user(capture) as name:
        told = errors(capture)["database.user"]
        assert told == [
            f'user {name} may not read S.t: run GRANT USAGE ON SCHEMA "S" TO "{name}";',
            f'user {name} may not read public.t: run GRANT SELECT ON "public"."t" TO "{name}";',
            f'user {name} may not replicate: run ALTER ROLE "{name}" REPLICATION;',
            f"user {name} may not create a publication: run GRANT CREATE ON DATABASE "
            f'"{capture.name}" TO "{name}"; or make it yourself and set publication.autocreate.mode=disabled',
            f"user {name} may not publish S.t, which belongs to another user: run "
            f'ALTER TABLE "S"."t" OWNER TO "{name}"; or make the publication yourself and set '
            "publication.autocreate.mode=disabled",
            f"user {name} may not publish public.t, which belongs to another user: run "
            f'ALTER TABLE "public"."t" OWNER TO "{name}"; or make the publication yourself and set '
            "publication.autocreate.mode=disabled",
        ]
        run_what_it_says(capture)
        assert errors(capture) == {}
        capture.sql("INSERT INTO t VALUES (1)")
        assert len(capture.start().drain()) == 1


def test_a_publication_for_all_tables_needs_a_superuser(capture: Capture) -> None:
    capture.sql("CREATE TABLE t (id int PRIMARY KEY)")
    with user(capture, "REPLICATION") as name:
        capture.sql(f'GRANT CREATE ON DATABASE "{capture.name}" TO "{name}"; GRANT SELECT ON t TO "{name}"')
        assert "FOR ALL TABLES; as one, or set" in errors(capture)["publication.autocreate.mode"][0]
        run_what_it_says(capture)
        assert errors(capture) == {}
        capture.sql("INSERT INTO t VALUES (1)")
        assert len(capture.start().drain()) == 1


def test_rights_on_the_captured_columns_are_enough(capture: Capture) -> None:
    capture.sql(
        f"CREATE TABLE t (id int PRIMARY KEY, secret text); INSERT INTO t VALUES (1, 's');"
        f'CREATE PUBLICATION "{capture.name}" FOR ALL TABLES'
    )
    capture.change({"column.exclude.list": "public.t.secret"})
    with user(capture, "REPLICATION") as name:
        capture.sql(f'GRANT SELECT (id) ON t TO "{name}"')
        assert errors(capture) == {}
        assert [record.value["after"] for record in capture.start().drain()] == [{"id": 1}]


def test_a_missing_publication_that_must_exist(capture: Capture) -> None:
    capture.sql("CREATE TABLE t (id int PRIMARY KEY)")
    capture.change({"publication.autocreate.mode": "disabled"})
    expected = f'CREATE PUBLICATION "{capture.name}" FOR ALL TABLES;'
    assert expected in errors(capture)["publication.name"][0]
    capture.change({"table.include.list": "public.t"})
    assert (
        f'CREATE PUBLICATION "{capture.name}" FOR TABLE "public"."t";'
        in errors(capture)["publication.name"][0]
    )


def test_a_publication_that_does_not_publish_all_that_is_captured(capture: Capture) -> None:
    capture.sql(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);"
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        f"CREATE PUBLICATION \"{capture.name}\" FOR TABLE a, p WITH (publish = 'insert, update')"
    )
    told = warnings(capture)["publication.name"]
    alter = f'ALTER PUBLICATION "{capture.name}"'
    assert f'does not publish "public"."b", whose changes will not come: run {alter} ADD TABLE' in told[0]
    assert (
        f"does not publish delete: run {alter} SET (publish = 'insert, update, delete, truncate');" in told[1]
    )
    assert errors(capture) == {}


def test_replica_identities(capture: Capture) -> None:
    capture.sql(
        "CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE keyless (id int);"
        "CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;"
        "CREATE TABLE full_ (id int); ALTER TABLE full_ REPLICA IDENTITY FULL; CREATE TABLE will_be (id int)"
    )
    capture.change({"replica.identity.autoset.values": "public.will_be:FULL"})
    told = warnings(capture)["table.include.list"]
    assert [message.split()[0] for message in told] == ["public.keyless", "public.nothing"]
    assert 'run ALTER TABLE "public"."keyless" REPLICA IDENTITY FULL;' in told[0]


def test_a_key_that_deletes_do_not_know(capture: Capture) -> None:
    capture.sql(
        "CREATE TABLE plain (id int PRIMARY KEY, tenant int);"
        "CREATE TABLE whole (id int PRIMARY KEY, tenant int); ALTER TABLE whole REPLICA IDENTITY FULL;"
        "CREATE TABLE indexed (id int PRIMARY KEY, tenant int NOT NULL UNIQUE);"
        "ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_tenant_key"
    )
    capture.change({"message.key.columns": "public.*:tenant"})
    (told,) = warnings(capture)["message.key.columns"]
    assert told.startswith("message.key.columns: tenant of public.plain is not in its replica identity")
    assert told.endswith('run ALTER TABLE "public"."plain" REPLICA IDENTITY FULL;')
    assert errors(capture) == {}


def test_tables_that_are_not_there(capture: Capture) -> None:
    capture.sql("CREATE TABLE t (id int PRIMARY KEY)")
    capture.change({"table.include.list": "public.t, public.typo, other[.].*"})
    assert warnings(capture) == {
        "table.include.list": [
            f"table.include.list: public.typo matches no table of {capture.name}, yet",
            f"table.include.list: other[.].* matches no table of {capture.name}, yet",
        ]
    }


def test_a_slot_of_another_plugin(capture: Capture) -> None:
    capture.sql(f"SELECT pg_create_physical_replication_slot('{capture.name}')")
    assert f"SELECT pg_drop_replication_slot('{capture.name}');" in errors(capture)["slot.name"][0]
    with pytest.raises(ConnectError, match="is for physical replication"):
        capture.start().drain()


def test_a_slot_of_another_database(capture: Capture, postgres: PostgresServer) -> None:
    capture.start().drain()
    other = Capture(postgres)
    other.change({"slot.name": capture.name})
    assert f"is for plugin pgoutput in database {capture.name}, not for" in errors(other)["slot.name"][0]
    with pytest.raises(ConnectError, match=r"set slot\.name to another one"):
        other.start().drain()
    other.stop()


def test_a_slot_that_is_being_read(capture: Capture) -> None:
    capture.start().drain()
    told = warnings(capture)["slot.name"][0]
    assert re.search(
        r"is read by PID \d+ \(Millstream Streaming, from 127\.0\.0\.1\); unless that is this", told
    )
    assert errors(capture) == {}


def test_no_slot_and_no_sender_left() -> None:
    with PostgresServer({"max_replication_slots": "1", "max_wal_senders": "1"}) as server:
        first, second = Capture(server), Capture(server)
        first.start().drain()
        assert "all 1 replication slots of the server are in use" in errors(second)["slot.name"][0]
        assert "ALTER SYSTEM SET max_replication_slots = 2;" in errors(second)["slot.name"][0]
        assert "ALTER SYSTEM SET max_wal_senders = 2;" in errors(second)["database.hostname"][0]
        first.stop()
        second.stop()


def test_a_server_without_logical_wal() -> None:
    with PostgresServer({"wal_level": "replica"}) as server:
        capture = Capture(server)
        assert "ALTER SYSTEM SET wal_level = 'logical'" in errors(capture)["database.hostname"][0]
        with pytest.raises(ConnectError, match="ALTER SYSTEM SET wal_level"):
            capture.start().drain()
        capture.stop()


def test_a_server_that_answers_nothing_is_given_up_in_time(capture: Capture) -> None:
    """A port that accepts connections and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as mute:
        capture.change({"database.port": str(mute.getsockname()[1]), "driver.connectTimeout": "2"})
        assert "timeout expired" in errors(capture)["database.hostname"][0]


def test_catalog_queries_that_take_too_long(capture: Capture) -> None:
    with psycopg.connect(capture.server.conninfo(capture.name)) as connection:
        connection.execute("LOCK TABLE pg_publication IN ACCESS EXCLUSIVE MODE")
        assert "statement timeout" in errors(capture)["database.hostname"][0]
