"""The S3 source with a queue of events: what AWS sends, over HTTP, and when messages are deleted."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus
from uuid import uuid4

import boto3
import pytest
from support.s3_source import SourceDriver, values

from connectors.s3.source import task
from connectors.s3.source.config import S3SourceConfig
from connectors.s3.source.events import NewObject, NotAnEvent, new_objects
from connectors.s3.source.plugin import S3SourceConnector

NEVER_LISTED = {"sqs.listing.interval.ms": str(3_600_000)}


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "_LONG_POLL_S", 0)


class Bench:
    """A bucket and a queue."""

    def __init__(self, s3: Any) -> None:
        self.s3, self.bucket = s3, s3.create_bucket()
        self.sqs = boto3.client(
            "sqs", endpoint_url=s3.endpoint, region_name=s3.region, aws_access_key_id=s3.access_key,
            aws_secret_access_key=s3.secret_key,
        )  # fmt: skip
        created = self.sqs.create_queue(QueueName=f"q-{uuid4().hex}")
        self.queue = f"{s3.endpoint}/{created['QueueUrl'].split('/', 3)[3]}"

    def put(self, key: str, *numbers: int) -> None:
        body = b"".join(b'{"o":%d}\n' % number for number in numbers)
        self.s3.client().put_object(Bucket=self.bucket, Key=key, Body=body)

    def send(self, body: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=text)

    def driver(self, **more: Any) -> SourceDriver:
        settings = {
            "mode": "GENERIC", "topic.regex.list": r"t:in/.*\.json", "format.class": "json", "topics.dir": "",
            "sqs.queue.url": self.queue, **NEVER_LISTED, **more.pop("settings", {}),
        }  # fmt: skip
        return SourceDriver(self.s3, self.bucket, settings, **more)

    def messages(self) -> int:
        """How many are in the queue, hidden ones too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return sum(map(int, found.values()))

    def show_again(self, driver: SourceDriver) -> None:
        """As if the time for which messages are hidden were over."""
        for waiting in driver.task._arrivals._waiting.values():
            self.sqs.change_message_visibility(
                QueueUrl=self.queue, ReceiptHandle=waiting.message.receipt, VisibilityTimeout=0
            )


@pytest.fixture
def bench(s3: Any) -> Bench:
    return Bench(s3)


def s3_event(bucket: str, *keys: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    """As S3 sends it to a queue."""
    return {
        "Records": [
            {
                "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-west-2",
                "eventTime": "2026-11-24T18:00:00.000Z", "eventName": name,
                "s3": {
                    "s3SchemaVersion": "1.0", "configurationId": "new",
                    "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                    "object": {"key": quote_plus(key, safe="/"), "size": 8, "eTag": "x", "sequencer": "0A"},
                },
            }
            for key in keys
        ]
    }  # fmt: skip


def by_sns(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:us-west-2:1:t",
        "Subject": "Amazon S3 Notification", "Message": json.dumps(event),
        "Timestamp": "2026-11-24T18:00:00.000Z", "SignatureVersion": "1", "Signature": "s",
    }  # fmt: skip


def by_eventbridge(bucket: str, key: str, what: str = "Object Created") -> dict[str, Any]:
    return {
        "version": "0", "id": "i", "detail-type": what, "source": "aws.s3", "account": "1",
        "time": "2026-11-24T18:00:00Z", "region": "us-west-2", "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0", "bucket": {"name": bucket}, "reason": "CompleteMultipartUpload",
            "object": {"key": key, "size": 8, "etag": "x", "sequencer": "0A"},
        },
    }  # fmt: skip


KEY = "in/a b+ü/x.json"
FORMS: dict[str, Callable[[str], Any]] = {
    "put": lambda bucket: s3_event(bucket, KEY),
    "parts": lambda bucket: s3_event(bucket, KEY, name="ObjectCreated:CompleteMultipartUpload"),
    "copy": lambda bucket: s3_event(bucket, KEY, name="s3:ObjectCreated:Copy"),
    "sns": lambda bucket: by_sns(s3_event(bucket, KEY)),
    "eventbridge": lambda bucket: by_eventbridge(bucket, KEY),
    "eventbridge by sns": lambda bucket: by_sns(by_eventbridge(bucket, KEY)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_event(form: str) -> None:
    assert new_objects(json.dumps(FORMS[form]("b"))) == [NewObject("b", KEY)]


@pytest.mark.parametrize(
    "body",
    [
        s3_event("b", KEY, name="ObjectRemoved:Delete"),
        by_eventbridge("b", KEY, "Object Deleted"),
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-11-24T18:00:00Z", "Bucket": "b"},
    ],
)
def test_events_of_something_else(body: Any) -> None:
    assert new_objects(json.dumps(body)) == []


NO_NAME = {"bucket": {"name": 1}, "object": {"key": "k"}}


@pytest.mark.parametrize(
    "body",
    [
        "", "hello", "[]", "{}", '{"Records":[{}]}', '{"Records":1}', '{"source":"aws.s3"}',
        '{"Type":"Notification","Message":"no"}',
        json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": NO_NAME}]}),
    ],
)  # fmt: skip
def test_what_is_no_event(body: str) -> None:
    with pytest.raises(NotAnEvent):
        new_objects(body)


def test_messages_are_deleted_when_the_offsets_are_stored(bench: Bench) -> None:
    driver = bench.driver()
    listed(driver)
    bench.put("in/2.json", 2)
    bench.put("in/1.json", 0, 1)
    bench.send(s3_event(bench.bucket, "in/2.json"))
    assert values(poll_until_some(driver)) == [{"o": 2}]
    bench.send(by_sns(s3_event(bench.bucket, "in/1.json")))  # out of order
    assert values(poll_until_some(driver)) == [{"o": 0}, {"o": 1}]
    assert bench.messages() == 2
    driver.commit()
    assert bench.messages() == 0


def test_after_a_crash_the_message_comes_again(bench: Bench) -> None:
    driver = bench.driver()
    listed(driver)
    bench.put("in/1.json", 1)
    bench.send(s3_event(bench.bucket, "in/1.json"))
    assert values(poll_until_some(driver)) == [{"o": 1}]
    bench.show_again(driver)
    driver.restart()  # the offset had been stored, and nobody had told the task
    listed(driver)
    for _ in range(3):
        assert driver.poll() == []
    assert bench.messages() == 0
    bench.put("in/2.json", 2)
    bench.send(s3_event(bench.bucket, "in/2.json"))
    fresh = bench.driver()  # finds both by listing, in their order, before it looks at events
    assert values(poll_until_some(fresh)) == [{"o": 1}, {"o": 2}]
    fresh.commit()
    for _ in range(3):
        assert fresh.poll() == []
    assert bench.messages() == 0


def test_a_message_that_comes_twice(bench: Bench) -> None:
    driver = bench.driver()
    listed(driver)
    bench.put("in/1.json", 1)
    for _ in range(2):
        bench.send(s3_event(bench.bucket, "in/1.json"))
    assert values(poll_until_some(driver)) == [{"o": 1}]
    bench.show_again(driver)
    for _ in range(5):
        assert driver.poll() == []
    assert bench.messages() == 2
    driver.commit()
    assert bench.messages() == 0


def test_what_is_not_to_be_read_is_deleted_and_what_is_strange_is_left(bench: Bench) -> None:
    driver = bench.driver()
    listed(driver)
    bench.put("out/1.json", 1)
    for key in ("out/1.json", "in/deleted.json"):
        bench.send(s3_event(bench.bucket, key))
    bench.send({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": bench.bucket})
    bench.send("hello")
    bench.send(s3_event("another-bucket", "in/1.json"))
    for _ in range(8):
        assert driver.poll() == []
    assert bench.messages() == 2


def test_a_message_of_several_objects_is_deleted_when_all_are_stored(bench: Bench) -> None:
    driver = bench.driver(settings={"record.batch.max.size": "1"})
    listed(driver)
    bench.put("in/1.json", 1)
    bench.put("in/2.json", 2)
    bench.send(s3_event(bench.bucket, "in/1.json", "in/2.json"))
    while not driver.has_uncommitted:
        driver.poll()
    driver.commit()
    assert bench.messages() == 1
    while not driver.has_uncommitted:
        driver.poll()
    driver.commit()
    assert bench.messages() == 0


def test_tasks_share_a_queue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.s3.source.arrivals._GIVE_BACK_AFTER_S", 0)
    drivers = [bench.driver(task=n, tasks=3) for n in range(3)]
    for driver in drivers:
        listed(driver)
    for n in range(12):
        bench.put(f"in/{n}.json", n)
        bench.send(s3_event(bench.bucket, f"in/{n}.json"))
    found: list[int] = []
    for _ in range(300):
        for driver in drivers:
            found += [value["o"] for value in values(driver.poll())]
            driver.commit()
        if bench.messages() == 0:
            break
    assert sorted(found) == list(range(12))
    assert bench.messages() == 0


def test_what_no_event_told_of_is_found_by_the_listing(bench: Bench) -> None:
    driver = bench.driver(settings={"sqs.listing.interval.ms": "1"})
    listed(driver)
    bench.put("in/1.json", 1)
    assert values(driver.next()) == [{"o": 1}]


def test_keys_and_headers_come_along(bench: Bench) -> None:
    driver = bench.driver(
        settings={"mode": "RESTORE_BACKUP", "topics.dir": "topics", "store.kafka.keys": "true"}
    )
    listed(driver)
    name = "topics/t/partition=3/t+3+0000000007"
    bench.put(f"{name}.json", 7)
    bench.send(s3_event(bench.bucket, f"{name}.json"))
    for _ in range(3):
        assert driver.poll() == []  # its keys are not there yet
    bench.s3.client().put_object(Bucket=bench.bucket, Key=f"{name}.keys.json", Body=b'"k"\n')
    bench.show_again(driver)
    [record] = poll_until_some(driver)
    assert (record.topic, record.partition, record.key) == ("t", 3, "k")
    driver.commit()
    assert bench.messages() == 0


def test_moto_itself_tells_of_objects(bench: Bench) -> None:
    """Events that are not of our own making."""
    arn = bench.sqs.get_queue_attributes(QueueUrl=bench.queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    bench.s3.client().put_bucket_notification_configuration(
        Bucket=bench.bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    driver = bench.driver()
    listed(driver)
    bench.put("in/1.json", 1)
    assert values(poll_until_some(driver)) == [{"o": 1}]
    driver.commit()
    assert bench.messages() == 0


def test_a_queue_that_is_not_there_is_told_by_validate(bench: Bench) -> None:
    config = bench.driver().config
    assert list(S3SourceConnector().check_connection(config)) == []
    missing = bench.queue.rsplit("/", 1)[0] + "/no-such-queue"
    config = S3SourceConfig.parse({**config.originals, "sqs.queue.url": missing})
    [problem] = S3SourceConnector().check_connection(config)
    assert (problem.name, problem.message) == (
        "sqs.queue.url", f"cannot read the queue {missing}: it does not exist",
    )  # fmt: skip


def listed(driver: SourceDriver) -> None:
    """Behind the listing at the start, which finds nothing."""
    while not driver.task.listing.scans:
        assert driver.poll() == []


def poll_until_some(driver: SourceDriver) -> list[Any]:
    """The records of the next polls, until there is nothing more to read."""
    found: list[Any] = []
    for _ in range(500):
        found += driver.poll()
        if found and not driver.task._reading:
            return found
    raise AssertionError("nothing comes")
