"""Batches of records that are made only when somebody asks for them are sequences like any other."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from connect.api import Header, JsonRecords, RecordBatch, SourceRecord
from connect.api.schemas import INT64, STRING

HERE = {"server": "s"}
HEADERS = (Header("h", None, "x"),)


def offset_of(number: int) -> Mapping[str, Any]:
    return {"n": number}


def block(*values: bytes, keys: tuple[bytes, ...] | None = None) -> JsonRecords:
    return JsonRecords(
        HERE, offset_of, "t", values, STRING, json.loads, keys=keys,
        key_schema=None if keys is None else INT64, decode_key=json.loads, headers=HEADERS,
    )  # fmt: skip


def single(value: str) -> SourceRecord:
    return SourceRecord(HERE, {}, "t", value)


def test_a_record_of_a_block() -> None:
    record = block(b'"a"', b'"b"', keys=(b"1", b"2"))[1]
    assert (record.topic, record.value, record.value_schema, record.key, record.key_schema) == (
        "t", "b", STRING, 2, INT64,
    )  # fmt: skip
    assert (record.source_partition, record.source_offset, record.headers) == (HERE, {"n": 1}, HEADERS)
    assert block(b'"a"')[-1].key is None
    assert [each.source_offset for each in block(b"1", b"2", b"3")[1:]] == [{"n": 1}, {"n": 2}]
    with pytest.raises(IndexError):
        block(b"1")[1]


def test_a_batch_keeps_the_order() -> None:
    batch = RecordBatch([single("a")])
    batch.add(block(b'"b"', b'"c"'))
    batch.add(block(b'"d"'))
    batch += [single("e")]
    batch.append(single("f"))
    assert [record.value for record in batch] == list("abcdef")
    assert [batch[place].value for place in range(len(batch))] == list("abcdef")
    assert [batch[place].value for place in (-1, -2, -3)] == list("fed")
    assert [record.value for record in batch[1:4]] == list("bcd")
    assert batch[:] is batch
    assert [len(part) for part in batch.parts] == [1, 2, 0, 1, 2]
    assert batch.pop().value == "f"
    assert len(batch) == 5
    assert not RecordBatch()
    with pytest.raises(IndexError):
        batch[5]
