"""What the source runner does when Kafka is slow or refuses: an offset is never ahead of its records."""

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException
from support.source_bench import HERE, OFFSETS, Bench, FakeKafka, offset, record

from connect.api import (
    ConnectError,
    Converter,
    DataError,
    Header,
    JsonRecords,
    RecordBatch,
    RetriableError,
    SourceRecord,
)
from connect.api.schemas import INT64, struct
from connect.converters.json import JsonConverter
from connect.converters.string import StringConverter
from connect.transforms.chain import TransformChain


def test_offsets_follow_the_acknowledgements() -> None:
    bench = Bench([record("a", 1), record("b", 2)])
    assert bench.run() == [("t", b"a"), ("t", b"b"), "flush", offset('{"file":"a"}'), "flush"]
    assert bench.kafka.sent[-1][:4] == (OFFSETS, b'{"position":2}', b'["n",{"file":"a"}]', -1)
    assert bench.task.committed == [[(HERE, {"position": 2})]]
    assert bench.task.stopped == 1


def test_an_offset_without_a_record_follows_the_records_before_it() -> None:
    bench = Bench([record("a", 1)], [])
    poll = bench.task.poll

    def advancing() -> Sequence[SourceRecord]:
        records = poll()
        if not records and not bench.channel.stopping:
            bench.context.advance(HERE, {"position": 5})
        return records

    bench.task.poll = advancing  # type: ignore[method-assign]
    assert bench.run() == [("t", b"a"), "flush", offset('{"file":"a"}'), "flush"]
    assert bench.task.committed == [[(HERE, {"position": 5})]]


def test_records_that_are_not_acknowledged_keep_their_offsets_back() -> None:
    bench = Bench([record("a", 1)])
    bench.kafka.acknowledges = False
    assert bench.run() == [("t", b"a"), "flush"]
    assert bench.task.committed == []


def test_a_delivery_that_failed_fails_the_task_before_any_offset() -> None:
    def fails(step: str, _: Any) -> None:
        if step in ("check", "flush"):
            raise ConnectError("not delivered")

    bench = Bench([record("a", 1)], kafka=FakeKafka(fails))
    with pytest.raises(ConnectError, match="not delivered"):
        bench.run()
    assert offset('{"file":"a"}') not in bench.kafka.steps
    assert bench.task.committed == []
    assert bench.task.stopped == 1


def test_the_offset_of_the_last_record_counts_however_the_partitions_are_made() -> None:
    # Equal dicts that are not the same object, in turns.
    first, second = dict(HERE), dict(HERE)
    bench = Bench([record("a", 1, first), record("b", 2, second), record("c", 3, first)])
    bench.run()
    assert bench.task.committed == [[(HERE, {"position": 3})]]


def test_what_was_sent_before_a_failure_is_committed() -> None:
    bench = Bench([record("a", 1)], ConnectError("broken"))
    with pytest.raises(ConnectError, match="broken"):
        bench.run()
    assert bench.task.committed == [[(HERE, {"position": 1})]]


def test_a_batch_that_fails_in_the_middle_is_not_committed() -> None:
    bench = Bench(
        [record("a", 1)], [record("b", 2), record(object(), 3, value_schema=None, headers=[object()])]
    )
    with pytest.raises(ConnectError, match="Tolerance exceeded"):
        bench.run()
    assert bench.task.committed == [[(HERE, {"position": 1})]]


def test_a_full_queue_is_waited_for() -> None:
    full = [True, True]

    def fails(step: str, value: Any) -> None:
        if step == "produce" and value == b"b" and full:
            full.pop()
            raise BufferError

    bench = Bench([record("a", 1), record("b", 2), record("c", 3)], kafka=FakeKafka(fails))
    assert bench.run()[:4] == [("t", b"a"), "wait", ("t", b"b"), ("t", b"c")]


def test_a_record_that_is_too_large_is_skipped_if_tolerated() -> None:
    def fails(step: str, value: Any) -> None:
        if step == "produce" and value == b"b":
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))

    polls = [record("a", 1), record("b", 2)]
    with pytest.raises(ConnectError, match="Tolerance exceeded"):
        Bench(polls, kafka=FakeKafka(fails)).run()
    bench = Bench(polls, kafka=FakeKafka(fails), errors_tolerance="all")
    assert bench.run() == [("t", b"a"), "flush", offset('{"file":"a"}'), "flush"]
    assert bench.task.committed == [[(HERE, {"position": 2})]]  # what is skipped is done with


def test_a_poll_that_may_be_retried_loses_nothing() -> None:
    bench = Bench(RetriableError("later"), RetriableError("later"), [record("a", 1)])
    assert bench.run()[0] == ("t", b"a")
    retrying, running = [each for each in bench.told if each["type"] in ("retrying", "running")][1:]
    assert re.fullmatch(r"poll is tried again since \S+Z: later", retrying["trace"])
    assert running == {"type": "running"}


def test_a_commit_that_the_connector_cannot_take_is_no_failure() -> None:
    bench = Bench([record("a", 1)])
    bench.task.commit_error = DataError("no")
    assert bench.run()[-1] == "flush"


def test_key_headers_partition_and_timestamp_are_passed_on() -> None:
    headers = (Header("h", None, "v"), Header("n", None, None))
    bench = Bench([record("a", 1, key="k", partition=3, timestamp_ms=5, headers=headers)])
    bench.run()
    assert bench.kafka.sent[0] == ("t", b"a", b"k", 3, None, None, 5, [("h", b"v"), ("n", None)])


def test_offsets_are_committed_at_the_interval() -> None:
    bench = Bench([record("a", 1)], [record("b", 2)], flush_interval_s=0)
    steps = bench.run()
    assert steps.count("flush") == 4
    assert bench.task.committed == [[(HERE, {"position": 1})], [(HERE, {"position": 2})]]


def json_batch(*positions: int) -> RecordBatch:
    """A single record, and a block."""
    batch = RecordBatch([record({"a": 0}, 0)])
    batch.add(
        JsonRecords(
            HERE, lambda number: {"position": positions[number]}, "t",
            [b'{"a":%d}' % position for position in positions], struct({"a": INT64}), orjson.loads,
            keys=[b"%d" % position for position in positions], key_schema=INT64, decode_key=orjson.loads,
            headers=(Header("h", None, "v"),),
        )
    )  # fmt: skip
    return batch


@pytest.mark.parametrize("converter", [JsonConverter, StringConverter])
def test_json_in_blocks_is_sent_as_record_by_record(converter: type[Converter]) -> None:
    blocks = Bench(json_batch(1, 2, 3), converter=converter)
    singles = Bench(list(json_batch(1, 2, 3)), converter=converter)
    assert blocks.run() == singles.run()
    assert blocks.kafka.sent == singles.kafka.sent
    assert len(blocks.kafka.sent) == 5
    assert blocks.task.committed == singles.task.committed == [[(HERE, {"position": 3})]]


def test_a_transform_sees_each_record_of_a_block() -> None:
    def without_zero(seen: SourceRecord) -> SourceRecord | None:
        return None if seen.value == {"a": 0} else seen.replace(topic="other")

    chain = TransformChain({"only": without_zero}, [], {})
    bench = Bench(json_batch(1, 2), converter=JsonConverter, transforms=chain)
    bench.run()
    assert [sent[0] for sent in bench.kafka.sent] == ["other", "other", OFFSETS]
    assert bench.task.committed == [[(HERE, {"position": 2})]]


def test_a_full_queue_is_waited_for_in_a_block() -> None:
    full = [True, True]

    def fails(step: str, value: Any) -> None:
        if step == "produce" and value and b'"payload":{"a":2}' in value and full:
            full.pop()
            raise BufferError

    bench = Bench(json_batch(1, 2, 3), converter=JsonConverter, kafka=FakeKafka(fails))
    steps = bench.run()
    assert [step if step == "wait" else json.loads(step[1])["payload"]["a"] for step in steps[:5]] == [
        0, 1, "wait", 2, 3,
    ]  # fmt: skip
