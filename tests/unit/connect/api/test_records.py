"""Records, and values that are JSON already."""

import orjson
import pytest

from connect.api import Header, JsonPayload, SinkRecord, SourceRecord, TimestampType
from connect.api.schemas import INT32, STRING


def test_json_is_decoded_once_and_only_when_asked_for() -> None:
    calls: list[bytes] = []

    def decode(json: bytes) -> object:
        calls.append(json)
        return orjson.loads(json)

    payload = JsonPayload(b'{"a":1}', decode)
    record = SinkRecord("t", 0, 5, payload)
    assert calls == []
    assert record.raw_value is payload
    assert record.value == {"a": 1}
    assert record.value is record.value
    assert calls == [b'{"a":1}']


def test_json_with_its_value() -> None:
    value = {"a": 1}
    assert JsonPayload(b'{"a":1}', None, value).value() is value
    assert JsonPayload(b"null", None, None).value() is None


def source_record() -> SourceRecord:
    return SourceRecord(
        {"file": "f"}, {"position": 7}, "topic", {"v": 1}, value_schema=INT32, key="k", key_schema=STRING,
        partition=3, timestamp_ms=9, headers=[Header("h", None, "x")],
    )  # fmt: skip


def sink_record() -> SinkRecord:
    return SinkRecord(
        "topic", 3, 42, {"v": 1}, value_schema=INT32, key="k", key_schema=STRING, timestamp_ms=9,
        timestamp_type=TimestampType.LOG_APPEND_TIME, headers=[Header("h", None, "x")],
    )  # fmt: skip


def all_slots(record: SourceRecord | SinkRecord) -> dict[str, object]:
    names = [name for cls in type(record).__mro__ for name in getattr(cls, "__slots__", ())]
    return {name: getattr(record, name) for name in names}


@pytest.mark.parametrize("record", [source_record(), sink_record()])
def test_replace_changes_a_copy(record: SourceRecord | SinkRecord) -> None:
    before = all_slots(record)
    copy = record.replace(topic="other", value=None, key_schema=None)
    assert all_slots(record) == before
    assert type(copy) is type(record)
    changed = {"topic": "other", "raw_value": None, "key_schema": None}
    assert all_slots(copy) == {**before, **changed}


def test_a_sink_record_remembers_where_it_stands() -> None:
    moved = sink_record().replace(topic="elsewhere", partition=9)
    assert (moved.original_topic, moved.original_partition, moved.offset) == ("topic", 3, 42)


def test_replace_refuses_what_a_record_does_not_have() -> None:
    with pytest.raises(AttributeError):
        sink_record().replace(nosuch=1)
