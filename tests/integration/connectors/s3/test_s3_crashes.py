"""A task that is killed at any step of its uploads: the next one leaves the same objects, and no others."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.s3_sink import SinkDriver, json_record, objects, offsets_in

from connect.api import SinkRecord, TopicPartition
from connectors.s3 import sink
from connectors.s3.stores.s3 import S3Bucket

DAY_2024 = 1_709_164_800_000
HOUR_MS = 3_600_000
MIB = 1 << 20


class Killed(BaseException):
    """The end of the process, which nobody catches."""


class Assassin(S3Bucket):
    """Kills the task before (even steps) or after (odd steps) a request is done."""

    steps_left: int | None = None
    steps = 0

    def _perform(self, key: str, request: Callable[[Any], Any], retries: int | None = None) -> Any:
        self._step()
        answer = super()._perform(key, request, retries)
        self._step()
        return answer

    @classmethod
    def _step(cls) -> None:
        cls.steps += 1
        if cls.steps_left is not None:
            cls.steps_left -= 1
            if cls.steps_left < 0:
                raise Killed


SCENARIOS: dict[str, tuple[dict[str, str], list[SinkRecord]]] = {
    "by count": (
        {"flush.size": "3", "s3.compression.type": "gzip"},
        [json_record(n, partition=n % 2) for n in range(14)],
    ),
    "by fields": (
        {"flush.size": "4", "partitioner.class": "FieldPartitioner", "partition.field.name": "f"},
        [json_record(n, {"f": n % 3}) for n in range(10)],
    ),
    "by record time": (
        {"flush.size": "100", "partitioner.class": "HourlyPartitioner", "timezone": "UTC",
         "timestamp.extractor": "Record", "rotate.interval.ms": str(HOUR_MS)},
        [json_record(n, timestamp_ms=DAY_2024 + n * HOUR_MS // 3) for n in range(11)],
    ),
    "multipart": (
        {"flush.size": "3", "s3.part.size": str(5 * MIB)},
        [json_record(n, {"x": "y" * (3 * MIB)}) for n in range(6)],
    ),
    "on schedule": (
        {"flush.size": "100", "rotate.schedule.interval.ms": "60000", "timezone": "UTC",
         "partitioner.class": "FieldPartitioner", "partition.field.name": "f"},
        [json_record(n, {"f": n % 2}) for n in range(12)],
    ),
}  # fmt: skip


@pytest.fixture
def assassin(monkeypatch: pytest.MonkeyPatch) -> type[Assassin]:
    class Hired(Assassin):
        pass

    monkeypatch.setattr(sink, "open_bucket", lambda access: Hired(access, "write"))
    return Hired


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Half a minute passes with each look at it."""
    now_ms = DAY_2024

    def look() -> int:
        nonlocal now_ms
        now_ms += 30_000
        return now_ms

    monkeypatch.setattr(sink, "_now_ms", look)
    return look


def start(s3: Any, settings: Mapping[str, str], records: list[SinkRecord]) -> SinkDriver:
    log: dict[TopicPartition, list[SinkRecord]] = {}
    for record in records:
        log.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
    where = {"store.url": s3.endpoint, "s3.bucket.name": s3.create_bucket()}
    return SinkDriver({**where, **settings}, log)


def finish(run: SinkDriver) -> None:
    """Deliver all there is and let the clock go on for files that wait for it."""
    run.run()
    if run.config.rotates_on_schedule:
        while not run.is_caught_up:
            run.put([])
            run.run()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_any_step(
    s3: Any, assassin: type[Assassin], clock: Callable[[], int], scenario: str
) -> None:
    settings, records = SCENARIOS[scenario]
    undisturbed = start(s3, settings, records)
    finish(undisturbed)
    expected = objects(s3, undisturbed.config.bucket)
    written = {(f"{record.topic}+{record.partition}", record.offset) for record in records}
    for step in range(assassin.steps):
        assassin.steps_left = step
        run = start(s3, settings, records)
        with pytest.raises(Killed):
            finish(run)
        assassin.steps_left = None
        run.restart()
        finish(run)
        found = objects(s3, run.config.bucket)
        offsets = offsets_in(found)
        if scenario == "on schedule":
            assert sorted(offsets) == sorted(written), f"killed at step {step}"
        else:
            assert found == expected, f"killed at step {step}"
            assert len(offsets) == len(set(offsets))
        assert s3.client().list_multipart_uploads(Bucket=run.config.bucket).get("Uploads", []) == []
