"""Aiven's S3 sink, whatever the records and whatever goes wrong: no record is lost, and as long as names
depend on offsets alone, none is there twice."""

from collections import Counter
from collections.abc import Iterator, Mapping
from unittest.mock import patch

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memory_bucket import Fault, Killed, MemoryBucket
from support.s3_sink import SinkDriver, json_record

from connect.api import RetriableError, SinkRecord, TopicPartition
from connect.api.schemas import STRING
from connectors.s3 import objects
from connectors.s3.aiven import config, sink
from connectors.s3.aiven.plugin import AivenS3SinkConnector

HOUR_MS = 3_600_000
Log = Mapping[TopicPartition, list[SinkRecord]]

BY_OFFSET = "{{topic}}-{{partition}}-{{start_offset}}"
BY_KEY = "{{topic}}-{{partition}}-{{key}}-{{start_offset}}"
BY_TIME = "{{topic}}-{{partition}}-{{start_offset}}-{{timestamp:unit=HH}}"
FAULTS = st.lists(st.sampled_from([*Fault, Fault.NONE, Fault.NONE]), max_size=25)


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    """Parts of a few bytes, hardly any memory and few files, so that everything happens."""
    with (
        patch.object(objects, "PART_BYTES_MIN", 10),
        patch.object(sink, "WAITING_BYTES_MAX", 60),
        patch.object(sink, "FILES_MAX", 4),
        patch.object(config, "PART_BYTES_MIN", 10),
    ):
        yield


@st.composite
def logs(draw: st.DrawFn) -> Log:
    found = {}
    for partition in range(draw(st.integers(1, 2))):
        offset, records = 0, []
        for _ in range(draw(st.integers(0, 12))):
            offset += draw(st.sampled_from([1, 1, 1, 3]))  # compaction leaves gaps
            value = {"x": "y" * draw(st.integers(0, 30))}
            time_ms = draw(st.integers(0, 3)) * HOUR_MS
            record = json_record(offset, value, partition=partition, timestamp_ms=time_ms)
            records.append(record.replace(key=draw(st.sampled_from("ab")), key_schema=STRING))
        found[TopicPartition("t", partition)] = records
    return found


def run(
    given_settings: Mapping[str, str], log: Log, faults: list[Fault], data: st.DataObject
) -> MemoryBucket:
    """Deliver in batches of any size, commit now and then, restart when killed."""
    remaining = iter(faults)
    bucket = MemoryBucket(lambda: next(remaining, Fault.NONE))
    with patch.object(sink, "open_bucket", lambda _: bucket):
        fixed = {"aws.s3.bucket.name": "memory", "aws.s3.part.size.bytes": "20", "aws.s3.upload.threads": "1"}
        given_settings = {**given_settings, **fixed}
        driver = SinkDriver(given_settings, log, AivenS3SinkConnector)
        for _ in range(500):
            were_behind = driver.behind
            try:
                driver.deliver(data.draw(st.integers(1, 6), label="batch"))
                asked = driver.context.commits_requested
                driver.context.commits_requested = 0
                if asked or not were_behind or data.draw(st.booleans(), label="commit"):
                    driver.commit()
            except RetriableError:
                continue
            except Killed:
                driver.restart()
                continue
            if not were_behind and not driver.behind and driver.is_caught_up:
                driver.task.stop()
                assert driver.task._staging.gauge.bytes == 0
                assert not bucket.uploads or Fault.KILLED_AFTER in faults or Fault.KILLED_BEFORE in faults
                return bucket
    raise AssertionError("the task does not get on")


def offsets(bucket: MemoryBucket) -> Counter[tuple[str, int]]:
    """How often each record is there; in each object they are in order, and none is there twice."""
    found: Counter[tuple[str, int]] = Counter()
    for name, content in bucket.objects.items():
        inside = [orjson.loads(line)["o"] for line in content.split(b"\n")]
        assert inside == sorted(set(inside))
        found.update(("-".join(name.split("-")[:2]), offset) for offset in inside)
    return found


def expected(log: Log) -> Counter[tuple[str, int]]:
    return Counter((f"{p.topic}-{p.partition}", r.offset) for p, records in log.items() for r in records)


THOROUGH = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=80
)


@THOROUGH
@given(st.sampled_from([BY_OFFSET, BY_KEY]), logs(), FAULTS, st.data())
def test_every_record_is_there_once(
    template: str, log: Log, faults: list[Fault], data: st.DataObject
) -> None:
    bucket = run({"file.name.template": template}, log, faults, data)
    assert offsets(bucket) == expected(log)


@THOROUGH
@given(st.sampled_from([BY_OFFSET, BY_KEY, BY_TIME]), st.integers(0, 3), logs(), FAULTS, st.data())
def test_no_record_is_lost_where_a_crash_may_leave_some_twice(
    template: str, records_max: int, log: Log, faults: list[Fault], data: st.DataObject
) -> None:
    given_settings = {
        "file.name.template": template, "file.max.records": str(records_max),
        "file.name.timestamp.source": "event",
    }  # fmt: skip
    bucket = run(given_settings, log, faults, data)
    assert offsets(bucket).keys() == expected(log).keys()
    if not {Fault.KILLED_AFTER, Fault.KILLED_BEFORE, Fault.UPLOADS_LOST} & set(faults):
        assert offsets(bucket) == expected(log)


@THOROUGH
@given(logs(), FAULTS, st.data())
def test_the_last_record_of_each_key_is_there(log: Log, faults: list[Fault], data: st.DataObject) -> None:
    bucket = run({"file.name.template": "{{topic}}-{{partition}}-{{key}}"}, log, faults, data)
    last = {f"t-{p.partition}-{r.key}": r.offset for p, records in log.items() for r in records}
    assert {name: orjson.loads(content)["o"] for name, content in bucket.objects.items()} == last
