"""Whatever the records and whatever goes wrong: every record is in the bucket once, and in order."""

import itertools
from collections.abc import Iterator, Mapping
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memory_bucket import Fault, Killed, MemoryBucket
from support.s3_sink import SinkDriver, json_record, offsets_in

from connect.api import RetriableError, SinkRecord, TopicPartition
from connectors.s3 import config, objects, sink

MINUTE_MS = 60_000
Log = Mapping[TopicPartition, list[SinkRecord]]


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    """Parts of a few bytes, and hardly any memory, so that multipart uploads happen."""
    with (
        patch.object(config, "PART_BYTES_MIN", 10),
        patch.object(objects, "PART_BYTES_MIN", 10),
        patch.object(sink, "WAITING_BYTES_MAX", 60),
    ):
        yield


@st.composite
def logs(draw: st.DrawFn) -> Log:
    found = {}
    for partition in range(draw(st.integers(1, 2))):
        offset, records = 0, []
        for _ in range(draw(st.integers(0, 12))):
            offset += draw(st.sampled_from([1, 1, 1, 3]))  # compaction leaves gaps
            value = {"f": draw(st.sampled_from("ab")), "x": "y" * draw(st.integers(0, 30))}
            time_ms = draw(st.integers(0, 6)) * 10 * MINUTE_MS
            record = json_record(offset, value, partition=partition, timestamp_ms=time_ms)
            records.append(record if draw(st.integers(0, 9)) else record.replace(value=None))
        found[TopicPartition("t", partition)] = records
    return found


DEFAULT = st.just({"partitioner.class": "DefaultPartitioner"})
BY_FIELD = st.just({"partitioner.class": "FieldPartitioner", "partition.field.name": "f"})
BY_TIME = st.fixed_dictionaries(
    {
        "partitioner.class": st.just("HourlyPartitioner"),
        "timezone": st.just("UTC"),
        "timestamp.extractor": st.just("Record"),
        "rotate.interval.ms": st.sampled_from(["-1", str(15 * MINUTE_MS)]),
        "rotate.file.on.partition.change": st.sampled_from(["true", "false"]),
    }
)
SETTINGS = st.tuples(
    st.one_of(DEFAULT, BY_FIELD, BY_TIME),
    st.integers(1, 8).map(str),
    st.sampled_from(["ignore", "write"]),
    st.sampled_from(["none", "gzip"]),
    st.integers(10, 100).map(str),
).map(
    lambda drawn: {
        **drawn[0],
        "flush.size": drawn[1],
        "behavior.on.null.values": drawn[2],
        "s3.compression.type": drawn[3],
        "s3.part.size": drawn[4],
        "s3.bucket.name": "memory",
        "s3.upload.threads": "1",  # so that a fault always meets the same request
    }
)
THOROUGH = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=200
)
FAULTS = st.lists(st.sampled_from([*Fault, Fault.NONE, Fault.NONE]), max_size=25)


def undisturbed(given_settings: Mapping[str, str], log: Log) -> MemoryBucket:
    bucket = MemoryBucket()
    with patch.object(sink, "open_bucket", lambda _: bucket):
        SinkDriver(given_settings, log).run(batch=100)
    return bucket


def run_disturbed(driver: SinkDriver, data: st.DataObject, until_caught_up: bool = False) -> None:
    """Deliver in batches of any size, over several partitions, commit now and then, restart when killed."""
    for _ in range(500):
        were_behind = driver.behind
        try:
            driver.deliver(data.draw(st.integers(1, 6), label="batch"))
            if not were_behind or data.draw(st.booleans(), label="commit"):
                driver.commit()
        except RetriableError:
            continue
        except Killed:
            driver.restart()
            continue
        if not were_behind and not driver.behind and (driver.is_caught_up or not until_caught_up):
            return
    raise AssertionError("the task does not get on")


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=200
)
@given(SETTINGS, logs(), FAULTS, st.data())
def test_the_objects_are_those_of_an_undisturbed_run(
    given_settings: Mapping[str, str], log: Log, faults: list[Fault], data: st.DataObject
) -> None:
    expected = undisturbed(given_settings, log)
    remaining = iter(faults)
    bucket = MemoryBucket(lambda: next(remaining, Fault.NONE))
    with patch.object(sink, "open_bucket", lambda _: bucket):
        driver = SinkDriver(given_settings, log)
        run_disturbed(driver, data)
    assert bucket.objects == expected.objects
    driver.task.stop()
    assert driver.task.task._plan.staging.gauge.bytes == 0


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=200
)
@given(st.one_of(DEFAULT, BY_FIELD), st.integers(1, 8), logs(), FAULTS, st.data())
def test_every_record_is_there_once_with_scheduled_rotation(
    partitioner: Mapping[str, str], flush_size: int, log: Log, faults: list[Fault], data: st.DataObject
) -> None:
    given_settings = {
        **partitioner, "flush.size": str(flush_size), "s3.bucket.name": "memory",
        "s3.upload.threads": "1", "rotate.schedule.interval.ms": str(MINUTE_MS), "timezone": "UTC",
        "behavior.on.null.values": "ignore",
    }  # fmt: skip
    remaining = iter(faults)
    bucket = MemoryBucket(lambda: next(remaining, Fault.NONE))
    moments = itertools.count(0, 25_000)
    with (
        patch.object(sink, "open_bucket", lambda _: bucket),
        patch.object(sink, "_now_ms", lambda: next(moments)),
        patch.object(sink, "WAITING_BYTES_MAX", 1 << 20),  # objects of several parts cannot tell their end
    ):
        driver = SinkDriver(given_settings, log)
        run_disturbed(driver, data, until_caught_up=True)
    written = [
        (f"t+{partition.partition}", record.offset)
        for partition, records in log.items()
        for record in records
        if record.raw_value is not None
    ]
    assert sorted(offsets_in(bucket.objects)) == sorted(written)
