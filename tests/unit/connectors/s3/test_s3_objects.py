"""Objects on their way into the bucket."""

import pytest
from support.memory_bucket import MemoryBucket

from connect.api import ConnectError
from connectors.s3 import objects
from connectors.s3.objects import GrowingObject
from connectors.s3.staging import Buffer, Staging

PART_BYTES = 10


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PART_BYTES_MIN", 5)


def growing(bucket: MemoryBucket, staging: Staging | None = None) -> GrowingObject:
    return GrowingObject(bucket, "key", PART_BYTES, staging or Staging(1), if_absent=False)  # type: ignore[arg-type]


def test_up_to_a_part_there_is_no_multipart_upload() -> None:
    bucket = MemoryBucket()
    target = growing(bucket)
    target.append(b"0123456789")
    target.send_full_parts()
    assert bucket.uploads == {}
    target.complete({})
    assert bucket.objects == {"key": b"0123456789"}


def test_more_than_a_part_is_sent_at_once() -> None:
    bucket = MemoryBucket()
    target = growing(bucket)
    target.append(b"x" * 25)
    target.send_full_parts()
    [(_, parts)] = bucket.uploads.values()
    assert [len(part) for part in parts.values()] == [10, 10]
    assert target.memory_bytes == 5
    target.complete({})
    assert bucket.objects == {"key": b"x" * 25}


def test_shrinking_sends_what_is_large_enough_and_keeps_the_rest_on_disk() -> None:
    bucket, staging = MemoryBucket(), Staging(1)
    gauge = staging.gauge
    large, small = growing(bucket, staging), growing(bucket, staging)
    large.append(b"12345")
    small.append(b"1234")
    assert gauge.bytes == 9
    large.shrink()
    small.shrink()
    assert gauge.bytes == large.memory_bytes == small.memory_bytes == 0
    [(_, parts)] = bucket.uploads.values()
    assert parts == {1: b"12345"}
    small.append(b"5")
    small.complete({})
    assert bucket.objects == {"key": b"12345"}


def test_an_abandoned_object_leaves_nothing() -> None:
    bucket, staging = MemoryBucket(), Staging(1)
    target = growing(bucket, staging)
    target.append(b"x" * 25)
    target.send_full_parts()
    target.abandon()
    target.shrink()
    assert (bucket.objects, bucket.uploads, staging.gauge.bytes) == ({}, {}, 0)


def test_too_many_parts_are_told_before_s3_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PARTS_MAX", 2)
    target = growing(MemoryBucket())
    target.append(b"x" * 31)
    with pytest.raises(ConnectError, match=r"cannot write s3://memory/key: .* make parts larger"):
        target.send_full_parts()


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = Buffer()
    buffer.append(b"x")
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
        expect_no_room(buffer)


def expect_no_room(buffer: Buffer) -> None:
    with pytest.raises(ConnectError, match=r"cannot keep waiting files in .*: No space left on device; make"):
        buffer.spill()
