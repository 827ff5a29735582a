"""The S3 sink under Aiven's name, in a whole Millstream."""

from typing import Any

import pytest
from support.eventually import eventually
from support.s3_sink import AIVEN_SETTINGS, objects

from connect.testing.deployments import Deployments
from connect.testing.millstream import Millstream
from connect.testing.topics import Topics

AIVEN = "io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector"
CONVERTERS = "org.apache.kafka.connect."


@pytest.fixture
def config(s3: Any, kafka_topic: str) -> dict[str, str]:
    return {
        **AIVEN_SETTINGS, "connector.class": AIVEN, "topics": kafka_topic, "aws.s3.endpoint": s3.endpoint,
        "aws.s3.bucket.name": s3.create_bucket(), "format.output.type": "csv",
        "key.converter": f"{CONVERTERS}storage.StringConverter",
        "value.converter": f"{CONVERTERS}converters.ByteArrayConverter",
    }  # fmt: skip


def test_files_at_each_commit_and_the_dead_letter_topic(
    millstream: Millstream, kafka_topic: str, s3: Any, config: dict[str, str]
) -> None:
    topics = Topics(millstream.bootstrap)
    dead = f"{kafka_topic}-dead"
    config |= {
        "format.output.type": "avro", "value.converter": f"{CONVERTERS}json.JsonConverter",
        "value.converter.schemas.enable": "false", "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": dead,
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
    }  # fmt: skip
    bucket = config["aws.s3.bucket.name"]
    topics.produce(kafka_topic, ['{"a":1}', "[1]", None, '{"a":2}'], key="k")
    with Deployments(millstream) as deployments:
        deployments.deploy(config)
        eventually(lambda: list(objects(s3, bucket)) == [f"{kafka_topic}-0-0.avro"], "there is no file")
        refused = topics.read(dead, 2)
        topics.produce(kafka_topic, ['{"a":3}'])
        eventually(lambda: f"{kafka_topic}-0-4.avro" in objects(s3, bucket), "there is no second file")
    assert [(record.key, record.value) for record in refused] == [(b"k", b"[1]"), (b"k", None)]
    why = [dict(record.headers)["__connect.errors.exception.message"] for record in refused]
    assert b"no JSON object with fields" in (why[0] or b"")
    assert b"has no value; drop such records with a Filter" in (why[1] or b"")


def test_a_bucket_that_is_gone_is_told_in_the_status_until_it_is_there(
    millstream: Millstream, kafka_topic: str, s3: Any, config: dict[str, str]
) -> None:
    bucket = config["aws.s3.bucket.name"]
    with Deployments(millstream) as deployments:
        name = deployments.deploy(config)
        s3.client().delete_bucket(Bucket=bucket)
        Topics(millstream.bootstrap).produce(kafka_topic, ["x"])
        why = f"cannot write s3://{bucket}/{kafka_topic}-0-0: the bucket does not exist"
        eventually(lambda: why in deployments.status(name)["tasks"][0].get("trace", ""), "it is not told")
        assert deployments.status(name)["tasks"][0]["state"] == "RUNNING"
        s3.create_bucket(bucket)
        eventually(lambda: objects(s3, bucket) == {f"{kafka_topic}-0-0": b"eA=="}, "it does not go on")
        eventually(lambda: "trace" not in deployments.status(name)["tasks"][0], "it is told for ever")


def test_a_missing_bucket_is_not_deployed(millstream: Millstream, config: dict[str, str]) -> None:
    config["aws.s3.bucket.name"] = "nowhere-to-be-found"
    answer = millstream.request("PUT", "/connectors/aiven-nowhere/config", config)
    assert answer.status_code == 400
    assert "cannot write s3://nowhere-to-be-found: the bucket does not exist" in answer.text
