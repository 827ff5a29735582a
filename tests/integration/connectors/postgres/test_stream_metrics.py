"""Metrics of the stream, under Debezium's names where it has them."""

from collections.abc import Iterator

import pytest
from support.capture import Capture

from connect.testing.postgres import PostgresServer
from connectors.postgres import stream_metrics


@pytest.fixture
def capture(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Capture]:
    monkeypatch.setattr(stream_metrics, "_REPORT_S", 0.0)
    monkeypatch.setattr(stream_metrics, "_ASK_S", 0.0)
    capture = Capture(postgres)
    capture.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
    capture.change({"table.include.list": "public.t"})
    yield capture
    capture.close()


def samples(capture: Capture) -> dict[str, float]:
    found = {}
    for name, _, labels, value in capture.context.metrics.samples():
        if ("context", "streaming") in labels:
            assert dict(labels) == {"plugin": "postgres", "name": capture.name, "context": "streaming"}
            found[name.removeprefix("debezium_metrics_").removeprefix("millstream_postgres_")] = value
    return found


def test_what_the_stream_has_seen(capture: Capture) -> None:
    capture.start().drain()
    capture.sql(
        "INSERT INTO t VALUES (1), (2); UPDATE t SET id = 3 WHERE id = 2; DELETE FROM t;"
        "INSERT INTO other VALUES (1); TRUNCATE t"
    )
    capture.drain()
    found = samples(capture)
    expected = {"TotalNumberOfCreateEventsSeen": 3, "TotalNumberOfUpdateEventsSeen": 1,
                "TotalNumberOfDeleteEventsSeen": 2, "TotalNumberOfTruncateEventsSeen": 1,
                "TotalNumberOfEventsSeen": 7, "NumberOfEventsFiltered": 1,
                "NumberOfCommittedTransactions": 5, "Connected": 1,
                "MilliSecondsBehindSource": 0}  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["last_commit_timestamp_seconds"] > 1.7e9
    assert found["MilliSecondsSinceLastEvent"] >= 0
    assert found["slot_lag_bytes"] >= 0
    assert found["slot_retained_wal_bytes"] >= found["slot_lag_bytes"]
    assert found["slot_lag_seconds"] >= 0


def test_counts_go_on_over_a_lost_connection(capture: Capture) -> None:
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1)")
    capture.drain()
    task = capture.task
    assert task is not None
    task._disconnect()
    assert samples(capture)["Connected"] == 0
    task._batches = task._run()
    capture.sql("INSERT INTO t VALUES (2)")
    capture.drain()
    found = samples(capture)
    assert (found["Connected"], found["TotalNumberOfCreateEventsSeen"]) == (1, 2)
