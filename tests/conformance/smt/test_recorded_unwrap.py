"""ExtractNewRecordState against what Debezium's did (tests/golden/smt_unwrap).

All recordings are of the same changes to one table: a row that was there, an insert, an update, a change of
the key (a delete and an insert with headers), a delete. The events that went in are made here.
"""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from connect.api import ConfigError, DataError, Header, Schema, SchemaType, SourceRecord
from connect.api.schemas import (
    INT32,
    INT64,
    OPTIONAL_INT64,
    OPTIONAL_STRING,
    STRING,
    array,
    decimal,
    struct,
)  # fmt: skip
from connect.converters.header import SimpleHeaderConverter
from connect.converters.json import JsonConverter
from connect.transforms.extract_new_record_state import ExtractNewRecordState

RECORDINGS = Path(__file__).parents[2] / "golden" / "smt_unwrap"

DATE = Schema(SchemaType.INT32, True, "io.debezium.time.Date", 1)
MARKERS = "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"
SNAPSHOT = Schema(
    SchemaType.STRING, True, "io.debezium.data.Enum", 1, default="false", parameters={"allowed": MARKERS}
)
KEY = struct([("id", INT32)], name="server.public.t.Key")
ROW = struct(
    [("id", INT32), ("v", OPTIONAL_STRING), ("n", decimal(2, optional=True, precision=5)), ("d", DATE),
     ("kind", OPTIONAL_STRING)],
    name="server.public.t.Value", optional=True,
)  # fmt: skip
SOURCE = struct(
    [("ts_ms", INT64), ("snapshot", SNAPSHOT), ("db", STRING), ("schema", STRING), ("table", STRING),
     ("lsn", OPTIONAL_INT64)],
    name="io.debezium.connector.postgresql.Source",
)  # fmt: skip
BLOCK = struct([("id", STRING), ("total_order", INT64)], name="event.block", version=1, optional=True)
ENVELOPE = struct(
    [("before", ROW), ("after", ROW), ("source", SOURCE), ("transaction", BLOCK), ("op", STRING),
     ("ts_ms", OPTIONAL_INT64)],
    name="server.public.t.Envelope", version=2,
)  # fmt: skip
# What no two runs have in common.
VOLATILE = ("__source_ts_ms", "__log_pos", "__transaction_id")


def row(number: int, text: str, amount: str, day: int | None, kind: str) -> dict[str, Any]:
    return {"id": number, "v": text, "n": Decimal(amount), "d": day, "kind": kind}


def event(
    op: str, before: Any, after: Any, *headers: Header, key: int, schema: Schema | None = ENVELOPE
) -> SourceRecord:
    source = {"ts_ms": 5, "snapshot": "last" if op == "r" else "false", "db": "server", "schema": "public",
              "table": "t", "lsn": 7}  # fmt: skip
    block = None if op == "r" else {"id": "1:2", "total_order": 1}
    value = {"before": before, "after": after, "source": source, "transaction": block, "op": op, "ts_ms": 9}
    return SourceRecord(
        {},
        {},
        "server.public.t",
        value,
        value_schema=schema,
        key={"id": key},
        key_schema=KEY,
        headers=headers,
    )


def tombstone(key: int, *headers: Header) -> SourceRecord:
    return SourceRecord({}, {}, "server.public.t", None, key={"id": key}, key_schema=KEY, headers=headers)


def changes() -> Iterator[SourceRecord]:
    snap, insert = row(1, "snap", "1.50", 19723, "x"), row(2, "b", "2.50", None, "y")
    update, moved = row(2, "B", "2.50", None, "y"), row(3, "B", "2.50", None, "y")
    new, old = Header("__debezium.newkey", KEY, {"id": 3}), Header("__debezium.oldkey", KEY, {"id": 2})
    yield event("r", None, snap, key=1)
    yield event("c", None, insert, key=2)
    yield event("u", insert, update, key=2)
    yield event("d", update, None, new, key=2)
    yield tombstone(2, new)
    yield event("c", None, moved, old, key=3)
    yield event("d", snap, None, key=1)
    yield tombstone(1)


def changed_fields(records: Iterator[SourceRecord]) -> Iterator[SourceRecord]:
    """With the header that says which fields an update left as they were."""
    for record in records:
        event_value = record.value
        same = []
        if event_value is not None and event_value["op"] == "u":
            before, after = event_value["before"], event_value["after"]
            same = [name for name in after if before[name] == after[name]]
        names = Header("Unchanged", array(STRING), same)
        changed = Header("Changed", array(STRING), ["v"] if same else [])
        yield record.replace(headers=[*record.headers, changed, names])


def unwrap(settings: Mapping[str, str]) -> ExtractNewRecordState[SourceRecord]:
    transform: ExtractNewRecordState[SourceRecord] = ExtractNewRecordState()
    transform.configure(settings)
    return transform


def told(record: SourceRecord) -> dict[str, Any]:
    converter, headers = JsonConverter(), SimpleHeaderConverter()
    converter.configure({})
    value = converter.from_connect("t", record.value_schema, record.value)
    return {
        "topic": record.topic,
        "key": orjson.loads(converter.from_connect("t", record.key_schema, record.key) or b""),
        "value": None if value is None else masked(orjson.loads(value)),
        "headers": [[h.name, header_text(headers.from_connect_header("t", h))] for h in record.headers],
    }


def header_text(data: bytes | None) -> Any:
    assert data is not None
    return json.loads(data) if data[:1] in (b"{", b"[") else data.decode()


def masked(value: Any) -> Any:
    if isinstance(value["payload"], dict):
        value["payload"] |= {name: "?" for name in VOLATILE if value["payload"].get(name) is not None}
    return value


def in_order(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Between topics there is no order."""
    return sorted(records, key=lambda record: str(record["topic"]))


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.json")), ids=lambda path: path.stem)
def test_does_what_debezium_did(path: Path) -> None:
    recording = json.loads(path.read_bytes())
    settings = {name.removeprefix("transforms.unwrap."): value for name, value in recording["config"].items()}
    transform = unwrap(settings)
    records = changed_fields(changes()) if "drop.fields.header.name" in settings else changes()
    out = [told(record) for original in records if (record := transform.apply(original)) is not None]
    expected = [
        {**record, "value": record["value"] and masked(record["value"])} for record in recording["records"]
    ]
    assert in_order(out) == in_order(expected)


def test_all_eleven_recordings_are_there() -> None:
    assert len(list(RECORDINGS.glob("*.json"))) == 11


def test_a_tombstone_is_kept_only_where_that_is_asked_for() -> None:
    kept = tombstone(1)
    modes = ("drop", "tombstone", "rewrite", "delete-to-tombstone", "rewrite-with-tombstone")
    outcomes = [unwrap({"delete.tombstone.handling.mode": mode}).apply(kept) for mode in modes]
    assert outcomes == [None, None, None, None, kept]


@pytest.mark.parametrize(
    ("old", "mode"),
    [
        ({"drop.tombstones": "true"}, "drop"),
        ({"drop.tombstones": "false"}, "tombstone"),
        ({"delete.handling.mode": "rewrite"}, "rewrite"),
        ({"delete.handling.mode": "rewrite", "drop.tombstones": "false"}, "rewrite-with-tombstone"),
        ({"delete.handling.mode": "none"}, "delete-to-tombstone"),
        ({"delete.handling.mode": "rewrite", "delete.tombstone.handling.mode": "tombstone"}, "tombstone"),
    ],
)
def test_modes_in_the_words_of_older_versions(old: dict[str, str], mode: str) -> None:
    events = [event("d", row(1, "a", "1.00", None, "x"), None, key=1), tombstone(1)]
    expected = [unwrap({"delete.tombstone.handling.mode": mode}).apply(record) for record in events]
    assert [repr(unwrap(old).apply(record)) for record in events] == [repr(record) for record in expected]


def test_what_is_no_change_event_passes() -> None:
    for other in (
        event("m", None, None, key=1, schema=struct([("op", STRING)], name="io.debezium.MessageValue")),
        event("c", None, {}, key=1, schema=None),
        SourceRecord({}, {}, "t", "text", value_schema=STRING),
    ):
        assert unwrap({}).apply(other) is other


def test_a_truncate_is_dropped() -> None:
    assert unwrap({}).apply(event("t", None, None, key=1)) is None


def test_only_optional_fields_are_dropped_where_schemas_are_to_stay_compatible() -> None:
    names = Header("gone", array(STRING), ["id", "v", "nosuch"])
    settings = {"drop.fields.header.name": "gone", "drop.fields.from.key": "true"}
    record = event("c", None, row(1, "a", "1.00", None, "x"), names, key=1)
    compatible = unwrap(settings).apply(record)
    assert compatible is not None
    assert (list(compatible.value), compatible.key) == (["id", "n", "d", "kind"], {"id": 1})
    freely = unwrap({**settings, "drop.fields.keep.schema.compatible": "false"}).apply(record)
    assert freely is not None
    assert (list(freely.value), freely.key) == (["n", "d", "kind"], {})


def test_a_row_without_the_field_to_route_by() -> None:
    with pytest.raises(DataError, match=r"route\.by\.field=nosuch"):
        unwrap({"route.by.field": "nosuch"}).apply(event("c", None, row(1, "a", "1.00", None, "x"), key=1))


def test_a_delete_whose_old_row_is_not_known() -> None:
    record = unwrap({"delete.tombstone.handling.mode": "rewrite"}).apply(event("d", None, None, key=1))
    assert record is not None
    assert (record.value, record.value_schema) == (None, ROW)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"add.fields": "a.b.c"}, "a.b.c for configuration add.fields"),
        ({"add.headers": "a."}, "a. for configuration add.headers"),
        ({"delete.tombstone.handling.mode": "none"}, "String must be one of: drop, tombstone"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        unwrap(settings)


def test_an_added_field_must_not_hide_a_column() -> None:
    settings = {"add.fields": "op:v", "add.fields.prefix": ""}
    with pytest.raises(DataError, match="duplication v"):
        unwrap(settings).apply(event("c", None, row(1, "a", "1.00", None, "x"), key=1))
