"""Snapshots in chunks: over several connections, and interrupted at any of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.capture import Capture

from connect.api import ConnectError, SourceRecord
from connect.testing.postgres import PostgresServer
from connectors.postgres import snapshot

ROWS = 1_500
EXTERNAL = "ALTER TABLE t ALTER big SET STORAGE EXTERNAL"
TABLES = {
    "by pages": "CREATE TABLE t (id int PRIMARY KEY, v text)",
    "by keys": f"CREATE TABLE t (id int PRIMARY KEY, v text, big text); {EXTERNAL}",
    "by a composite key": "CREATE TABLE t (id int, v text, k text DEFAULT 'it''s', big text,"
    f" PRIMARY KEY (k, id)); {EXTERNAL}",
    "partitions": "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY HASH (id); "
    "CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (modulus 2, remainder 0); "
    "CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (modulus 2, remainder 1)",
}  # fmt: skip
WHOLE = (
    "CREATE TABLE t (id int, v text); ALTER TABLE t REPLICA IDENTITY FULL; CREATE TABLE child () INHERITS (t)"
)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "CHUNK_BYTES_MAX", 16 << 10)
    monkeypatch.setattr(snapshot, "_CHUNK_BYTES_MIN", 16 << 10)


def open_capture(server: PostgresServer, **properties: str) -> Iterator[Capture]:
    capture = Capture(server, **properties)
    yield capture
    capture.close()


def fill(capture: Capture, table: str) -> None:
    """Fill the table `t`, with TOAST values where it has a column for them."""
    big = ", repeat(md5(g::text), 100)" if " big " in table else ""
    names = "id, v, big" if big else "id, v"
    capture.sql(
        f"{table}; INSERT INTO t ({names}) SELECT g, md5(g::text){big} FROM generate_series(1, {ROWS}) g;"
        "ANALYZE t"
    )


def content(capture: Capture) -> dict[int, dict[str, Any]]:
    """What the table `t` holds."""
    with capture.server.connect(capture.name) as connection:
        cursor = connection.execute("SELECT * FROM t")
        names = [column.name for column in cursor.description or ()]
        return {row[0]: dict(zip(names, row, strict=True)) for row in cursor}


def rebuilt(records: list[SourceRecord]) -> dict[int, dict[str, Any]]:
    """The table that a consumer builds, which keeps what stands for a TOAST value that was not sent."""
    table: dict[int, dict[str, Any]] = {}
    gone: dict[int, dict[str, Any]] = {}
    for record in records:
        value = record.value
        if value is None:
            continue
        if value["after"] is None:
            old = value["before"]["id"]
            gone[old] = table.pop(old, {})
            continue
        row = dict(value["after"])
        if row.get("big") == "__debezium_unavailable_value":
            moved = [header.value["id"] for header in record.headers if header.name == "__debezium.oldkey"]
            row["big"] = (gone[moved[0]] if moved else table[row["id"]])["big"]
        table[row["id"]] = row
    return table


def read_ids(records: list[SourceRecord]) -> list[int]:
    return [r.value["after"]["id"] for r in records if r.value and r.value["op"] == "r"]


def interrupt(capture: Capture, after: int) -> int:
    """Start, take so many rows, store the offset of the last, and stop; how many rows there were."""
    capture.start()
    while len(capture.records) < after:
        capture.poll()
    capture.store(capture.records[-1])
    capture.stop()
    return len(capture.records)


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_an_interrupted_snapshot_goes_on_at_its_chunk(
    postgres: PostgresServer, table: str, threads: str
) -> None:
    for capture in open_capture(
        postgres, snapshot__max__threads=threads, max__batch__size="100",
        table__include__list="public.t", publish__via__partition__root="true",
    ):  # fmt: skip
        fill(capture, table)
        before = interrupt(capture, ROWS // 2)
        assert capture.offset is not None
        assert capture.offset["snapshot_completed"] is False
        assert '"place": ' in capture.offset["snapshot_progress"]
        capture.sql(
            f"""
            UPDATE t SET v = 'read before' WHERE id = 2; DELETE FROM t WHERE id = 3;
            UPDATE t SET v = 'not read yet' WHERE id = {ROWS - 2}; DELETE FROM t WHERE id = {ROWS - 3};
            UPDATE t SET id = -id WHERE id = 4; INSERT INTO t (id, v) VALUES (0, 'new');
            """
        )
        capture.start().drain()
        first, second = read_ids(capture.records[:before]), read_ids(capture.records[before:])
        assert rebuilt(capture.records) == content(capture)
        assert len({*first} & {*second}) < ROWS // 4, "it started over"
        assert capture.offset is not None
        assert "snapshot_progress" not in capture.offset


def test_a_table_that_was_rewritten_is_read_from_its_beginning(postgres: PostgresServer) -> None:
    """Its pages hold other rows now."""
    for capture in open_capture(postgres, max__batch__size="100"):
        fill(capture, TABLES["by pages"])
        capture.sql("DELETE FROM t WHERE id < 700")
        before = interrupt(capture, 400)
        capture.sql("VACUUM FULL t")
        capture.start().drain()
        assert rebuilt(capture.records) == content(capture)
        assert len(read_ids(capture.records[before:])) == ROWS - 699


def test_tables_that_are_done_are_not_read_again(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres, max__batch__size="100"):
        capture.sql("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 200)")
        fill(capture, WHOLE)
        before = interrupt(capture, 700)
        assert capture.offset is not None
        assert capture.offset["snapshot_progress"] == '{"done": ["public.a", "public.child"]}'
        capture.start().drain()
        topics = {record.topic for record in capture.records[before:]}
        assert topics == {f"{capture.name}.public.t"}
        assert rebuilt([r for r in capture.records if r.topic.endswith(".t")]) == content(capture)


def test_a_snapshot_without_a_stream_starts_over(postgres: PostgresServer) -> None:
    """Nothing would tell what has changed since the first rows were read."""
    for capture in open_capture(postgres, max__batch__size="100", snapshot__mode="initial_only"):
        fill(capture, TABLES["by pages"])
        before = interrupt(capture, 700)
        capture.start().drain()
        assert read_ids(capture.records[before:]) == [*range(1, ROWS + 1)]


def test_a_slot_that_was_made_anew_starts_the_snapshot_over(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres, max__batch__size="100", slot__drop__on__stop="true"):
        fill(capture, TABLES["by pages"])
        before = interrupt(capture, 700)
        capture.start().drain()
        assert read_ids(capture.records[before:]) == [*range(1, ROWS + 1)]


def test_a_lost_connection_goes_on_at_the_chunk(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres, max__batch__size="100"):
        fill(capture, TABLES["by keys"])
        capture.start()
        while len(capture.records) < 700:
            capture.poll()
        capture.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{capture.name}' AND pid <> pg_backend_pid()"
        )
        with pytest.raises(ConnectError, match="lost"):
            capture.drain()
        capture.drain()
        assert rebuilt(capture.records) == content(capture)
        assert len(read_ids(capture.records)) < ROWS + 300


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_the_result_does_not_depend_on_the_number_of_threads(postgres: PostgresServer, threads: str) -> None:
    for capture in open_capture(postgres, max__batch__size="64", snapshot__max__threads=threads):
        fill(capture, TABLES["by pages"])
        capture.sql("CREATE TABLE z (id int PRIMARY KEY); CREATE TABLE u AS SELECT * FROM t")
        capture.start().drain()
        told = [(r.topic.rpartition(".")[2], r.value["source"]["snapshot"]) for r in capture.records]
        assert told == [
            ("t", "first"), *[("t", "true")] * (ROWS - 2), ("t", "last_in_data_collection"),
            ("u", "first_in_data_collection"), *[("u", "true")] * (ROWS - 2), ("u", "last"),
        ]  # fmt: skip
        assert read_ids(capture.records) == [*range(1, ROWS + 1)] * 2


def test_all_threads_show_the_same_moment(postgres: PostgresServer) -> None:
    """With a slot that is there already, the first connection exports the snapshot."""
    for capture in open_capture(
        postgres, snapshot__max__threads="3", max__batch__size="50", snapshot__mode="always"
    ):
        fill(capture, TABLES["by pages"])
        capture.start().drain()
        capture.stop()
        capture.records.clear()
        capture.start()
        while not capture.records:
            capture.poll()
        capture.sql("DELETE FROM t; INSERT INTO t VALUES (-1, 'later')")
        capture.drain()
        assert sorted(read_ids(capture.records)) == [*range(1, ROWS + 1)]
        assert rebuilt(capture.records) == content(capture)


def test_a_failed_select_of_one_thread_ends_the_snapshot(postgres: PostgresServer) -> None:
    overrides = {
        "snapshot__select__statement__overrides__public__t": "SELECT * FROM t WHERE 1 / (id - 700) < 9"
    }
    for capture in open_capture(
        postgres, snapshot__max__threads="3", snapshot__select__statement__overrides="public.t", **overrides
    ):
        fill(capture, TABLES["by pages"])
        capture.start()
        with pytest.raises(ConnectError, match="division by zero"):
            capture.drain()


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_tables_in_the_order_of_their_rows(postgres: PostgresServer, order: str) -> None:
    for capture in open_capture(postgres, snapshot__tables__order__by__row__count=order):
        for name, rows in {"a": 20, "b": 30, "c": 10}.items():
            capture.sql(f"CREATE TABLE {name} AS SELECT generate_series(1, {rows}) AS id")
        capture.start().drain()
        tables = list(dict.fromkeys(record.topic[-1] for record in capture.records))
        assert "".join(tables) == ("cab" if order == "ascending" else "bac")


def test_a_locked_table_is_an_error_that_says_what_to_do(postgres: PostgresServer) -> None:
    for capture in open_capture(
        postgres, snapshot__mode="always", snapshot__locking__mode="shared", snapshot__lock__timeout__ms="100"
    ):
        fill(capture, TABLES["by pages"])
        capture.start().drain()
        assert len(capture.records) == ROWS
        capture.stop()
        with postgres.connect(capture.name) as other:
            other.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            capture.start()
            expected = (
                r"public\.t could not be locked within snapshot\.lock\.timeout\.ms=100: end the statement"
            )
            with pytest.raises(ConnectError, match=expected):
                capture.drain()
            capture.stop()


@pytest.mark.parametrize("mode", ["read_committed", "repeatable_read"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_isolation_modes(postgres: PostgresServer, mode: str, threads: str) -> None:
    for capture in open_capture(
        postgres, snapshot__isolation__mode=mode, snapshot__max__threads=threads, max__batch__size="100"
    ):
        fill(capture, TABLES["by pages"])
        capture.start()
        while not capture.records:
            capture.poll()
        capture.sql("UPDATE t SET v = 'changed'")
        capture.drain()
        assert rebuilt(capture.records) == content(capture)


CONFIGURED = "snapshot.mode.configuration.based."


@pytest.mark.parametrize(
    ("settings", "ops"),
    [
        ({"snapshot.data": "true", "start.stream": "true"}, "rcrr"),
        ({"start.stream": "true"}, "c"),
        ({"snapshot.data": "true"}, "rrr"),
    ],
)
def test_configuration_based(postgres: PostgresServer, settings: Mapping[str, str], ops: str) -> None:
    for capture in open_capture(postgres, snapshot__mode="configuration_based"):
        capture.change({CONFIGURED + name: value for name, value in settings.items()})
        capture.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        streams = "start.stream" in settings
        take(capture, streams)
        capture.sql("INSERT INTO t VALUES (2)")
        if streams:
            capture.drain()
        capture.stop()
        take(capture, streams)
        assert "".join(record.value["op"] for record in capture.records) == ops


def take(capture: Capture, streams: bool) -> None:
    """Start, and take what there is."""
    capture.start()
    if streams:
        capture.drain()
        return
    while True:
        batch = capture.poll()
        if batch and batch[-1].source_offset["snapshot_completed"]:
            capture.store(batch[-1])
            return


def test_an_empty_snapshot_is_not_taken_again(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres):
        capture.sql("CREATE TABLE t (id int PRIMARY KEY)")
        capture.start().drain()
        assert capture.offset is not None
        assert capture.offset["snapshot_completed"] is True
        capture.stop()
        capture.sql("INSERT INTO t VALUES (1)")
        capture.start().drain()
        assert [record.value["op"] for record in capture.records] == ["c"]


def test_progress_is_told(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres):
        fill(capture, TABLES["by pages"])
        capture.start().drain()
        told = {name: value for name, _, _, value in capture.context.metrics.samples()}
        assert told["debezium_metrics_RowsScanned"] == ROWS
        assert told["debezium_metrics_RemainingTableCount"] == 0
        assert told["debezium_metrics_SnapshotCompleted"] == 1
        assert told["debezium_metrics_SnapshotRunning"] == 0
