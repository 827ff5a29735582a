"""Debezium's transforms behind the PostgreSQL source: what they take for change events is what it makes."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.capture import Capture

from connect.api import SourceRecord, Transform
from connect.converters.json import JsonConverter
from connect.testing.postgres import PostgresServer
from connect.transforms.by_logical_table_router import ByLogicalTableRouter
from connect.transforms.event_router import EventRouter
from connect.transforms.extract_changed_record_state import ExtractChangedRecordState
from connect.transforms.extract_new_record_state import ExtractNewRecordState
from connect.transforms.header_to_value import HeaderToValue
from connect.transforms.timezone_converter import TimezoneConverter

UUID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.fixture
def capture(postgres: PostgresServer) -> Iterator[Capture]:
    capture = Capture(postgres)
    yield capture
    capture.close()


def through(
    records: list[SourceRecord], *chain: tuple[Transform[Any], Mapping[str, str]]
) -> list[SourceRecord]:
    for transform, settings in chain:
        transform.configure(settings)
        records = [changed for record in records if (changed := transform.apply(record)) is not None]
    return records


def written(record: SourceRecord) -> bytes | None:
    converter = JsonConverter()
    converter.configure({"schemas.enable": "false"})
    return converter.from_connect(record.topic, record.value_schema, record.value)


def test_an_outbox_becomes_the_events_that_were_put_into_it(capture: Capture) -> None:
    capture.sql(
        "CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text NOT NULL,"
        " type text NOT NULL, payload jsonb, at timestamp NOT NULL, part int);"
    )
    capture.start().drain()
    capture.sql(
        f"""INSERT INTO outbox VALUES ('{UUID}', 'order', '7', 'Made',
        '{{"n": 1, "lines": [{{"sku": "a"}}]}}', '2024-02-29 12:00:00.5', 3); DELETE FROM outbox"""
    )
    capture.drain()
    settings = {
        "table.expand.json.payload": "true",
        "table.field.event.timestamp": "at",
        "table.fields.additional.placement": "type:header:eventType,part:partition",
    }
    (made,) = through(capture.records, (EventRouter[SourceRecord](), settings))
    assert (made.topic, made.key, made.partition) == ("outbox.event.order", "7", 3)
    assert made.timestamp_ms == 1_709_208_000_500
    assert written(made) == b'{"n":1,"lines":[{"sku":"a"}]}'
    headers = {header.name: header.value for header in made.headers}
    assert headers.items() >= {"id": UUID, "eventType": "Made"}.items()


def test_shards_go_into_one_topic_and_keep_their_keys_apart(capture: Capture) -> None:
    capture.sql(
        "CREATE TABLE t_1 (id int PRIMARY KEY, v text); CREATE TABLE t_2 (id int PRIMARY KEY, v text);"
        "INSERT INTO t_1 VALUES (1, 'a'); INSERT INTO t_2 VALUES (1, 'b')"
    )
    capture.start().drain()
    settings = {
        "topic.regex": r".*\.public\.(.*)_\d+", "topic.replacement": "all.$1",
        "key.field.name": "shard", "key.field.regex": r".*_(\d+)", "key.field.replacement": "$1",
    }  # fmt: skip
    routed = through(
        capture.records, (ByLogicalTableRouter[SourceRecord](), settings), (ExtractNewRecordState(), {})
    )
    assert {(record.topic, record.key["shard"], record.value["v"]) for record in routed} == {
        ("all.t", "1", "a"), ("all.t", "2", "b"),
    }  # fmt: skip


def test_times_and_changes_of_an_update(capture: Capture) -> None:
    capture.sql(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, v text); ALTER TABLE t REPLICA IDENTITY FULL;"
        "INSERT INTO t VALUES (1, '2024-07-01 12:00:00+00', 'a')"
    )
    capture.start().drain()
    capture.sql("UPDATE t SET v = 'b'")
    capture.drain()
    *_, update = through(
        capture.records,
        (TimezoneConverter[SourceRecord](), {"converted.timezone": "Europe/Berlin"}),
        (ExtractChangedRecordState(), {"header.changed.name": "changed"}),
        (HeaderToValue(), {"headers": "changed", "fields": "source.changed", "operation": "move"}),
        (ExtractNewRecordState(), {"add.fields": "source.changed"}),
    )
    assert update.value == {
        "id": 1, "at": "2024-07-01T14:00:00+02:00", "v": "b", "__source_changed": ["v"]
    }  # fmt: skip
    assert "changed" not in {header.name for header in update.headers}
    assert b'"__source_changed":["v"]' in (written(update) or b"")
