"""What Aiven's S3 sink does with what the runtime asks of it, with a bucket in memory."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from support.memory_bucket import Fault, MemoryBucket
from support.s3_sink import SinkDriver, json_record

from connect.api import ConnectError, SinkRecord, TopicPartition
from connect.api.schemas import STRING
from connectors.s3.aiven import sink
from connectors.s3.aiven.plugin import AivenS3SinkConnector

ONE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture
def bucket() -> Iterator[MemoryBucket]:
    made = MemoryBucket()
    with patch.object(sink, "open_bucket", lambda _: made):
        yield made


def driver(**settings: str) -> SinkDriver:
    given = {name.replace("_", "."): value for name, value in settings.items()}
    log = {p: [json_record(n, partition=p.partition) for n in range(4)] for p in (ONE, OTHER)}
    return SinkDriver({"aws.s3.bucket.name": "memory", **given}, log, AivenS3SinkConnector)


def test_partitions_that_are_lost_take_their_files_along(bucket: MemoryBucket) -> None:
    run = driver()
    run.deliver(2)
    run.task.close([ONE])  # without a commit before
    assert run.task.pre_commit({OTHER: 2}) == {}
    assert run.context.rewound == {OTHER: 0}
    assert bucket.objects == {}
    run.put([json_record(n, partition=1) for n in range(2)])
    assert run.task.pre_commit({OTHER: 2}) == {OTHER: 2}
    assert bucket.objects == {"t-1-0": b'{"o":0}\n{"o":1}'}


def test_what_comes_before_the_rewind_is_not_written(bucket: MemoryBucket) -> None:
    run = driver()
    run.deliver(2)
    run.task.close([ONE])
    run.task.put([json_record(2, partition=1), json_record(0, topic="new")])
    assert run.context.rewound == {OTHER: 0, TopicPartition("new", 0): 0}
    run.task.put([json_record(n, partition=1) for n in range(3)])
    assert run.task.pre_commit({OTHER: 3}) == {OTHER: 3}
    assert bucket.objects == {"t-1-0": b'{"o":0}\n{"o":1}\n{"o":2}'}


def test_records_that_a_transform_dropped_are_committed(bucket: MemoryBucket) -> None:
    run = driver()
    run.put([json_record(1)])
    assert run.task.pre_commit({ONE: 9, OTHER: 5}) == {ONE: 9, OTHER: 5}
    assert list(bucket.objects) == ["t-0-1"]


def test_files_are_completed_early_where_there_are_many(bucket: MemoryBucket) -> None:
    run = driver(file_max_records="1")
    with patch.object(sink, "FILES_MAX", 3):
        run.deliver(4)
    assert (len(bucket.objects), run.context.commits_requested) == (8, 1)


def test_a_flush_that_failed_goes_on_before_more_is_taken(bucket: MemoryBucket) -> None:
    faults = iter([Fault.NOT_DONE])
    failing = MemoryBucket(lambda: next(faults, Fault.NONE))
    with patch.object(sink, "open_bucket", lambda _: failing):
        run = driver()
    run.deliver(2)
    run.commit()
    assert run.committed == {ONE: 0, OTHER: 0}
    run.deliver(2)
    assert set(failing.objects) == {"t-0-0", "t-1-0"}
    assert run.context.commits_requested == 1
    run.commit()  # of what was completed; the next one completes the rest
    run.commit()
    assert run.committed == {ONE: 4, OTHER: 4}
    assert set(failing.objects) == {"t-0-0", "t-1-0", "t-0-2", "t-1-2"}


def test_two_files_of_one_name_are_refused(bucket: MemoryBucket) -> None:
    run = driver(file_name_template="{{topic}}{{partition}}{{start_offset}}")
    with pytest.raises(ConnectError, match="two files would be s3://memory/t111, "):
        run.put([json_record(11, partition=1), json_record(1, partition=11)])


def test_a_key_that_makes_too_long_a_name_is_reported(bucket: MemoryBucket) -> None:
    def keyed(offset: int, key: str) -> SinkRecord:
        return json_record(offset).replace(key=key, key_schema=STRING)

    run = driver(file_name_template="{{key}}")
    run.put([keyed(0, "x" * 1025), keyed(1, "y")])
    [(record, error)] = run.context.errant
    assert record.offset == 0
    assert "an object's key may have 1024 bytes" in str(error)
    assert run.task.pre_commit({ONE: 2}) == {ONE: 2}
    assert list(bucket.objects) == ["y"]
