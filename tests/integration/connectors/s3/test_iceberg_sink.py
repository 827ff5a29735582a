"""IcebergFormat on S3 over HTTP: what comes into a table, once each, whatever happens in between."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema as IcebergSchema
from pyiceberg.types import LongType, NestedField, StringType
from support.iceberg import Warehouse
from support.memory_bucket import Killed
from support.s3_sink import SinkDriver, json_record

from connect.api import RetriableError, SinkRecord, TopicPartition
from connect.api.schemas import INT32, INT64, STRING, struct
from connect.testing.postgres import PostgresServer
from connect.testing.s3 import S3Server
from connectors.s3.iceberg import datafiles

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
TABLE = "default.t"


@pytest.fixture
def warehouse(s3: S3Server, tmp_path: Path) -> Warehouse:
    return Warehouse(s3, tmp_path)


def log(count: int, *partitions: TopicPartition) -> dict[TopicPartition, list[SinkRecord]]:
    return {
        tp: [json_record(n, {"p": tp.partition}, partition=tp.partition) for n in range(count)]
        for tp in partitions or (T0,)
    }


def finish(run: SinkDriver) -> None:
    """As when the worker stops: what is open is committed."""
    run.commit()
    run.task.close(list(run.log))
    run.task.stop()


def pairs(warehouse: Warehouse) -> list[tuple[int, int]]:
    return sorted((row["p"], row["o"]) for row in warehouse.rows(TABLE))


def test_rows_and_offsets_are_committed_together(warehouse: Warehouse) -> None:
    run = warehouse.sink(log(7, T0, T1), {"flush.size": "4"})
    run.run(batch=2)
    assert run.committed == {T0: 4, T1: 4}
    assert pairs(warehouse) == [(p, o) for p in (0, 1) for o in range(4)]
    finish(run)
    assert pairs(warehouse) == [(p, o) for p in (0, 1) for o in range(7)]
    table = warehouse.catalog.load_table(TABLE)
    summaries = [s.summary for s in table.snapshots() if s.summary]
    told = [summary["millstream.offsets.test-sink"] for summary in summaries]
    assert told == ['{"t":{"0":4,"1":4}}', '{"t":{"0":7,"1":7}}']
    assert len({summary["kafka.connect.commit-id"] for summary in summaries}) == 2
    assert len(warehouse.data_files()) == 2
    assert table.location() == f"s3://{warehouse.bucket}/topics/default/t"


def test_what_a_table_has_is_left_out_whatever_kafka_knows(warehouse: Warehouse) -> None:
    run = warehouse.sink(log(6), {"flush.size": "4"})
    run.run()
    run.committed.clear()
    run.restart()
    run.run()
    finish(run)
    assert warehouse.offsets(TABLE) == list(range(6))


def test_the_interval_commits_what_is_idle(warehouse: Warehouse) -> None:
    settings = {"flush.size": "1000", "iceberg.control.commit.interval-ms": "0"}
    run = warehouse.sink(log(3), settings)
    run.deliver(2)
    run.put([])
    run.commit()
    assert run.committed == {T0: 2}


def kill_at(moment: str) -> Any:
    """Ends the process before or after a data file is written or a commit is made."""
    steps = {"file": (datafiles.OpenDataFile, "finish"), "commit": (SqlCatalog, "commit_table")}
    cls, name = steps[moment.split()[1]]
    original = getattr(cls, name)

    def killed(*args: Any) -> Any:
        if moment.startswith("after"):
            original(*args)
        raise Killed

    return patch.object(cls, name, killed)


@pytest.mark.parametrize("moment", ["before file", "after file", "before commit", "after commit"])
def test_a_kill_between_any_two_steps(warehouse: Warehouse, moment: str) -> None:
    run = warehouse.sink(log(8), {"flush.size": "3"})
    run.deliver(3)
    with kill_at(moment), suppress(Killed):
        run.deliver(3)
    run.restart()
    run.run(batch=3)
    finish(run)
    assert warehouse.offsets(TABLE) == list(range(8))


def test_an_answer_that_is_lost_is_no_reason_to_write_twice(warehouse: Warehouse) -> None:
    run = warehouse.sink(log(4), {"flush.size": "4"})
    original = SqlCatalog.commit_table

    def lost(*args: Any) -> Any:
        original(*args)
        raise ConnectionResetError("the answer is lost")

    with patch.object(SqlCatalog, "commit_table", lost), pytest.raises(RetriableError, match="is lost"):
        run.deliver(4)
    run.commit()
    assert run.committed == {T0: 0}
    run.run()
    assert run.committed == {T0: 4}
    assert warehouse.offsets(TABLE) == list(range(4))


def test_a_zombie_cannot_commit(warehouse: Warehouse) -> None:
    zombie = warehouse.sink(log(9), {"flush.size": "5"})
    zombie.deliver(3)  # and the partition goes to another task, without its knowledge
    successor = warehouse.sink(log(9), {"flush.size": "4"})
    successor.run(batch=4)
    assert warehouse.offsets(TABLE) == list(range(8))
    zombie.deliver(3)  # would commit the first six
    assert zombie.positions == {T0: 0}
    assert warehouse.offsets(TABLE) == list(range(8))
    assert len(warehouse.data_files()) == 2  # its own is taken back
    zombie.run()
    finish(zombie)
    assert warehouse.offsets(TABLE) == list(range(9))
    finish(successor)  # which is the zombie now
    assert warehouse.offsets(TABLE) == list(range(9))


def test_nothing_is_lost_of_partitions_beside_the_one_that_was_overtaken(warehouse: Warehouse) -> None:
    run = warehouse.sink(log(6, T0, T1), {"flush.size": "6"})
    run.deliver(3, T0)
    warehouse.sink(log(2, T0), {"flush.size": "1"}).run()
    run.deliver(6)  # three of one, six of the other
    run.run()
    finish(run)
    assert pairs(warehouse) == [(p, o) for p in (0, 1) for o in range(6)]


def test_tasks_commit_to_one_table_at_once(warehouse: Warehouse) -> None:
    """Each finds that the other was faster, again and again."""
    first, second = (warehouse.sink(log(6, tp), {"flush.size": "2"}) for tp in (T0, T1))
    original = SqlCatalog.commit_table
    is_racing = False

    def race(*args: Any) -> Any:
        nonlocal is_racing
        if not is_racing:
            is_racing = True
            second.deliver(2)
            is_racing = False
        return original(*args)

    first.deliver(1)
    first.deliver(1)
    second.deliver(2)
    with patch.object(SqlCatalog, "commit_table", race):
        first.deliver(2)
    for run in (first, second):
        run.run()
    assert pairs(warehouse) == [(p, o) for p in (0, 1) for o in range(6)]


def test_partitions_that_move_take_their_rows_along(warehouse: Warehouse) -> None:
    both = log(4, T0, T1)
    run = warehouse.sink(both, {"flush.size": "1000"})
    run.deliver(2)
    run.task.close([T1])
    other = warehouse.sink({T1: both[T1]}, {"flush.size": "1000"})
    other.run()
    finish(other)
    run.deliver(2, T0)
    finish(run)
    assert pairs(warehouse) == [(p, o) for p in (0, 1) for o in range(4)]


def structs(*values: Any) -> list[SinkRecord]:
    """Records of growing schemas."""
    old, new = struct({"o": INT32}), struct({"o": INT64, "x": STRING.as_optional()})
    return [
        SinkRecord("t", 0, n, value, value_schema=new if "x" in value else old)
        for n, value in enumerate(values)
    ]


def test_evolution(warehouse: Warehouse) -> None:
    records = structs({"o": 0}, {"o": 1 << 40, "x": "a"}, {"o": 2})
    settings = {"flush.size": "3", "iceberg.tables.evolve-schema-enabled": "true"}
    warehouse.sink({T0: records}, settings).run(batch=1)
    rows = warehouse.rows(TABLE)
    assert sorted(rows, key=str) == [{"o": 0, "x": None}, {"o": 1 << 40, "x": "a"}, {"o": 2, "x": None}]


def test_without_evolution_a_new_column_is_an_error_of_the_record(warehouse: Warehouse) -> None:
    run = warehouse.sink({T0: structs({"o": 0}, {"o": 1, "x": "a"}, {"o": 2})}, {"flush.size": "3"})
    run.run(batch=1)
    assert warehouse.offsets(TABLE) == [0, 2]
    [(record, error)] = run.context.errant
    assert record.offset == 1
    assert "has not the column x of type string" in str(error)
    assert "iceberg.tables.evolve-schema-enabled=true" in str(error)


def test_a_table_that_is_there(warehouse: Warehouse) -> None:
    """Its columns count, whatever the records' order of fields; other rows stay."""
    warehouse.catalog.create_namespace("shop")
    fields = (
        NestedField(1, "name", StringType()), NestedField(2, "o", LongType(), required=True),
        NestedField(3, "more", StringType()),
    )  # fmt: skip
    warehouse.catalog.create_table(
        "shop.orders", IcebergSchema(*fields), f"s3://{warehouse.bucket}/elsewhere"
    )
    records = [json_record(0, {"name": "a"}), json_record(1, {"name": {"b": 1}}), json_record(2, {"o": None})]
    settings = {
        "flush.size": "3",
        "iceberg.tables": "shop.orders",
        "iceberg.tables.auto-create-enabled": "false",
    }
    run = warehouse.sink({T0: records}, settings)
    run.run(batch=3)
    assert sorted(warehouse.rows("shop.orders"), key=str) == [
        {"name": "a", "o": 0, "more": None}, {"name": '{"b":1}', "o": 1, "more": None},
    ]  # fmt: skip
    assert "value.o is null or missing, and the table requires it" in str(run.context.errant[0][1])
    assert all(key.startswith("elsewhere/") for key in warehouse.data_files())


def test_tables_by_a_field(warehouse: Warehouse) -> None:
    records = [json_record(n, {"kind": kind}) for n, kind in enumerate(["a.x", "b.y", None, "plain", "a.x"])]
    settings = {
        "flush.size": "5", "iceberg.tables.dynamic-enabled": "true", "iceberg.tables.route-field": "kind",
    }  # fmt: skip
    run = warehouse.sink({T0: records}, settings)
    run.run(batch=5)
    assert (warehouse.offsets("a.x"), warehouse.offsets("b.y")) == ([0, 4], [1])
    assert [record.offset for record, _ in run.context.errant] == [3]


@pytest.mark.parametrize(("behavior", "errant"), [("fail", [1]), ("ignore", [])])
def test_records_without_a_value(warehouse: Warehouse, behavior: str, errant: Sequence[int]) -> None:
    records = [json_record(0), SinkRecord("t", 0, 1, None), json_record(2)]
    run = warehouse.sink({T0: records}, {"flush.size": "3", "behavior.on.null.values": behavior})
    run.run(batch=3)
    assert warehouse.offsets(TABLE) == [0, 2]
    assert [record.offset for record, _ in run.context.errant] == errant
    assert run.committed == {T0: 3}


def test_partitions_of_a_table(warehouse: Warehouse) -> None:
    schema = struct({"o": INT64, "at": STRING, "s": STRING.as_optional()})
    records = [
        SinkRecord("t", 0, n, {"o": n, "at": "x" * n, "s": [None, "left/right"][n % 2]}, value_schema=schema)
        for n in range(4)
    ]
    settings = {
        "flush.size": "4", "iceberg.table.default.t.partition-by": "s, bucket(o, 2), truncate(at, 1)",
    }  # fmt: skip
    warehouse.sink({T0: records}, settings).run(batch=4)
    table = warehouse.catalog.load_table(TABLE)
    assert [field.name for field in table.spec().fields] == ["s", "o_bucket", "at_trunc"]
    found = table.scan(row_filter="s = 'left/right' and o > 2").to_arrow().to_pylist()
    assert [row["o"] for row in found] == [3]
    planned = list(table.scan(row_filter="s is null").plan_files())
    assert 1 <= len(planned) <= 2
    assert sorted(row["o"] for row in table.scan(row_filter="s is null").to_arrow().to_pylist()) == [0, 2]


def test_memory_and_open_files_are_bounded(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.s3.iceberg.sink.WAITING_BYTES_MAX", 100_000)
    monkeypatch.setattr("connectors.s3.iceberg.sink.OPEN_FILES_MAX", 3)
    records = [json_record(n, {"f": n % 5, "x": "y" * 20_000}) for n in range(30)]
    settings = {"flush.size": "30", "iceberg.tables.default-partition-by": "f"}
    run = warehouse.sink({T0: records}, settings)
    for _ in records[:-1]:
        run.deliver(1)
        files = [file for writer in run.task.task._writers.values() for file in writer.open_files]
        assert sum(file.memory_bytes for file in files) <= 120_000
        assert len(files) <= 3
    run.run()
    assert warehouse.offsets(TABLE) == list(range(30))


def test_a_catalog_in_postgresql(
    s3: S3Server, tmp_path: Path, postgres: PostgresServer, kafka_topic: str
) -> None:
    postgres.create_database(kafka_topic)
    place = f"{postgres.host}:{postgres.port}/{kafka_topic}"
    uri = f"postgresql+psycopg://{postgres.user}:{postgres.password}@{place}"
    warehouse = Warehouse(s3, tmp_path, uri)
    jdbc = {
        "iceberg.catalog.catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "iceberg.catalog.uri": f"jdbc:postgresql://{place}",
        "iceberg.catalog.jdbc.user": postgres.user, "iceberg.catalog.jdbc.password": postgres.password,
        "flush.size": "2",
    }  # fmt: skip
    warehouse.sink(log(2), jdbc).run()
    assert warehouse.offsets(TABLE) == [0, 1]
