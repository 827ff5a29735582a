"""Sinks and sources behind a network that fails, with an S3 that checks signatures: nothing is lost, doubled
or truncated, and no upload is left."""

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.s3_proxy import Answer, Asked, Cut, Fault, Moment, S3Proxy, Step
from support.s3_signatures import signatures_checked
from support.s3_sink import SinkDriver, json_record, objects
from support.s3_source import SourceDriver, values

from connect.api import RetriableError, TopicPartition
from connect.testing.s3 import S3Server
from connectors.s3 import access
from connectors.s3.aiven.plugin import AivenS3SinkConnector
from connectors.s3.plugin import S3SinkConnector

MIB = 1 << 20
TP = TopicPartition("t", 0)
FAULTS = {
    "500": (Moment.BEFORE, Answer(500, "InternalError")),
    "slow down": (Moment.BEFORE, Answer(503, "SlowDown")),
    "clock skew": (Moment.BEFORE, Answer(403, "RequestTimeTooSkewed")),
    "reset half way": (Moment.MIDWAY, Cut.RESET),
    "end half way": (Moment.MIDWAY, Cut.END),
    "reset": (Moment.BEFORE, Cut.RESET),
    "answer lost": (Moment.AFTER, Cut.RESET),
    "500 although done": (Moment.AFTER, Answer(500, "InternalError")),
    "no answer": (Moment.BEFORE, Cut.SILENCE),
    "answer never comes": (Moment.AFTER, Cut.SILENCE),
}
TOLD = {
    "500": "told by the proxy",
    "slow down": "S3 asks for fewer requests",
    "clock skew": "this machine's clock differs too much from S3's",
    "reset half way": "onnection",
    "no answer": "did not answer in time",
}
SINKS = {"confluent": S3SinkConnector, "aiven": AivenS3SinkConnector}


class Trouble:
    """A rule that has one step fail `times` times."""

    def __init__(self, step: Step, fault: str, times: int) -> None:
        self._step = step
        self._moment, self._fault = FAULTS[fault]
        self._left = times
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        return self._left == 0

    def __call__(self, asked: Asked, moment: Moment) -> Fault | None:
        with self._lock:
            if not self._left or asked.step is not self._step or moment is not self._moment:
                return None
            self._left -= 1
            return self._fault


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return s3.create_bucket()


@pytest.fixture(scope="module", autouse=True)
def signed(s3: S3Server) -> Iterator[None]:
    with signatures_checked(s3):
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = access.make_client.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "read_timeout_s", 1.5)


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(s3.endpoint) as made:
        yield made


def sink(vendor: str, proxy: S3Proxy, s3: S3Server, bucket: str, retries: int, large: bool) -> SinkDriver:
    """Of six records, in two objects of several parts if they are large."""
    keys = {"aws.access.key.id": s3.access_key, "aws.secret.access.key": s3.secret_key}
    settings: Mapping[str, str] = {
        "store.url": proxy.endpoint, "s3.bucket.name": bucket, "s3.part.size": str(5 * MIB),
        "s3.part.retries": str(retries), "s3.retry.backoff.ms": "1", **keys,
    }  # fmt: skip
    if vendor == "aiven":
        settings = {
            "aws.s3.endpoint": proxy.endpoint, "aws.s3.bucket.name": bucket, "file.max.records": "3",
            "aws.s3.backoff.max.retries": str(retries), **keys,
        }  # fmt: skip
    text = "y" * (2 * MIB) if large else ""
    return SinkDriver(settings, {TP: [json_record(n, {"x": text}) for n in range(6)]}, SINKS[vendor])


def cases(vendor: str, step: Step, *faults: str) -> list[tuple[str, Step, str]]:
    return [(vendor, step, fault) for fault in faults]


@pytest.mark.parametrize(
    ("vendor", "step", "fault"),
    [
        *cases("confluent", Step.PUT, "500", "clock skew", "reset half way", "reset", "answer lost"),
        *cases("confluent", Step.CREATE, "answer lost"),
        *cases("confluent", Step.PART, "slow down", "clock skew", "reset half way", "answer lost"),
        *cases("confluent", Step.COMPLETE, "reset", "answer lost", "500 although done"),
        *cases("aiven", Step.PUT, "slow down", "clock skew", "reset half way", "500 although done"),
        *cases("aiven", Step.CREATE, "answer lost"),
        *cases("aiven", Step.PART, "500", "reset half way"),
        *cases("aiven", Step.COMPLETE, "clock skew", "answer lost"),
    ],
    ids=str,
)
def test_a_sink_goes_on(
    s3: S3Server, bucket: str, proxy: S3Proxy, vendor: str, step: Step, fault: str
) -> None:
    """Once within the tries of a request, then beyond them."""
    run = sink(vendor, proxy, s3, bucket, retries=1, large=step is not Step.PUT)
    proxy.rule = once = Trouble(step, fault, 1)
    run.deliver(3)
    run.commit()
    proxy.rule = often = Trouble(step, fault, 2)
    run.run()
    assert once.is_over
    assert often.is_over
    check(run, s3, bucket)


@pytest.mark.parametrize(
    ("vendor", "step", "fault"),
    [
        *cases("confluent", Step.PUT, "no answer"),
        *cases("confluent", Step.PART, "no answer"),
        *cases("aiven", Step.PUT, "answer never comes"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_sink_goes_on_after_a_time_out(
    s3: S3Server, bucket: str, proxy: S3Proxy, vendor: str, step: Step, fault: str
) -> None:
    run = sink(vendor, proxy, s3, bucket, retries=0, large=step is not Step.PUT)
    proxy.rule = trouble = Trouble(step, fault, 1)
    run.run()
    assert trouble.is_over
    check(run, s3, bucket)


def check(run: SinkDriver, s3: S3Server, bucket: str) -> None:
    """All six records are there once, and no upload is left."""
    run.task.stop()
    assert run.committed == {TP: 6}
    found = [data for _, data in sorted(objects(s3, bucket).items())]
    assert [json.loads(line)["o"] for data in found for line in data.splitlines()] == list(range(6))
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize(
    ("vendor", "fault"),
    [
        *(
            ("confluent", fault)
            for fault in ("500", "slow down", "clock skew", "reset half way", "no answer")
        ),
        ("aiven", "slow down"),
        ("aiven", "clock skew"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_sink_tells_it(s3: S3Server, bucket: str, proxy: S3Proxy, vendor: str, fault: str) -> None:
    """And leaves nothing of the object that it could not write."""
    run = sink(vendor, proxy, s3, bucket, retries=0, large=False)
    proxy.rule = Trouble(Step.PUT, fault, 99)
    with pytest.raises(RetriableError, match=rf"cannot write s3://{bucket}/.*{TOLD[fault]}"):
        write_all(run)
    proxy.rule = Trouble(Step.PUT, "reset", 99)
    run.task.stop()
    assert not any(run.committed.values())
    assert objects(s3, bucket) == {}


def write_all(run: SinkDriver) -> None:
    run.deliver(3)
    run.commit()
    run.put([])


ROWS = 700
LINES = b"".join(b'{"n":%d,"x":"%b"}\n' % (n, b"z" * 5000) for n in range(ROWS))


@pytest.mark.parametrize(
    ("vendor", "step", "fault"),
    [
        *cases("confluent", Step.GET, "500", "clock skew", "end half way", "reset", "no answer"),
        *cases("confluent", Step.LIST, "slow down", "answer lost"),
        *cases("aiven", Step.GET, "slow down", "end half way"),
        *cases("aiven", Step.LIST, "reset"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("impatient")
def test_a_source_goes_on(
    s3: S3Server, bucket: str, proxy: S3Proxy, vendor: str, step: Step, fault: str
) -> None:
    """Every record is there once, in order; an object whose connection broke is not read from its start."""
    s3.client().put_object(Bucket=bucket, Key="t-0-0", Body=LINES)
    settings = {
        "mode": "GENERIC", "topics.dir": "", "topic.regex.list": "t:.*", "format.class": "json",
        "store.url": proxy.endpoint, "s3.part.retries": "1", "record.batch.max.size": "50",
    }  # fmt: skip
    if vendor == "aiven":
        settings = {
            "input.format": "jsonl", "file.name.template": ".*", "topic": "t",
            "aws.s3.endpoint": proxy.endpoint, "aws.s3.backoff.max.retries": "1",
        }  # fmt: skip
    proxy.rule = trouble = Trouble(step, fault, 3)
    run: Any = SourceDriver(s3, bucket, settings, aiven=vendor == "aiven")
    found = []
    while len(found) < ROWS:
        found += values(run.poll())
    assert [row["n"] for row in found] == list(range(ROWS))
    assert trouble.is_over
    if fault == "end half way":
        starts = [asked.start for asked in proxy.asked if asked.step is Step.GET]
        assert starts[0] == 0
        assert min(starts[1:]) > 0
