"""What is wrong with an S3 connector's config is told by `validate`, at the setting to look at, over REST."""

import socket
from collections.abc import Mapping
from typing import Any

import pytest

from connect.testing.millstream import Millstream
from connect.testing.s3 import S3Server

CONFLUENT = "io.confluent.connect.s3.S3SinkConnector"
AIVEN = "io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector"
SOURCE = "io.confluent.connect.s3.source.S3SourceConnector"
AIVEN_SOURCE = "io.aiven.kafka.connect.s3.source.S3SourceConnector"
NAME = "file.name.template"

# Plugin, changes to a good config, the setting at which it is told, what is told.
FAULTS: list[tuple[str, Mapping[str, str], str, str]] = [
    (CONFLUENT, {"s3.bucket.name": "nowhere"}, "s3.bucket.name", "the bucket does not exist"),
    (CONFLUENT, {"s3.bucket.name": ""}, "s3.bucket.name", "must be non-empty"),
    (CONFLUENT, {"store.url": "DEAD"}, "store.url", "nothing answers at http://127.0.0.1"),
    (CONFLUENT, {"store.url": "s3.example"}, "store.url", "must begin with http"),
    (CONFLUENT, {"aws.secret.access.key": ""}, "aws.secret.access.key", "Set both"),
    (CONFLUENT, {"format.class": "xml"}, "format.class", "Format must be one of"),
    (CONFLUENT, {"flush.size": "0"}, "flush.size", "0"),
    (AIVEN, {"aws.s3.bucket.name": "nowhere"}, "aws.s3.bucket.name", "the bucket does not exist"),
    (AIVEN, {"aws.s3.bucket.name": ""}, "aws.s3.bucket.name", "bucket"),
    (AIVEN, {"aws.s3.endpoint": "DEAD"}, "aws.s3.endpoint", "nothing answers at http://127.0.0.1"),
    (AIVEN, {"aws.s3.endpoint": "ht tp:/x"}, "aws.s3.endpoint", "must be"),
    (AIVEN, {"aws.secret.access.key": ""}, "aws.secret.access.key", "Set both"),
    (AIVEN, {NAME: "{{topic}}"}, NAME, "unsupported set of template variables"),
    (AIVEN, {NAME: "{{topic}}-{{partition}}-{{start_offset:padding=maybe}}"}, NAME, "padding=true"),
    (AIVEN, {NAME: "{{topic}}-{{partition}}-{{start_offset}}-{{timestamp}}"}, NAME, "unit="),
    (AIVEN, {NAME: "{{topic}}-{{partition}}-{{start_offset}}-{{timestamp:unit=mm}}"}, NAME, "unit="),
    (AIVEN, {"format.output.envelope": "false", "format.output.fields": "key,value"},
     "format.output.fields", "one"),
    (AIVEN, {"kafka.retry.backoff.ms": "-5"}, "kafka.retry.backoff.ms", "-5"),
    (SOURCE, {"s3.bucket.name": "nowhere"}, "s3.bucket.name", "cannot read s3://nowhere"),
    (SOURCE, {"store.url": "DEAD"}, "store.url", "nothing answers at http://127.0.0.1"),
    (SOURCE, {"mode": "GENERIC"}, "topic.regex.list", "cannot be empty"),
    (AIVEN_SOURCE, {"aws.s3.bucket.name": "nowhere"}, "aws.s3.bucket.name", "the bucket does not exist"),
    (AIVEN_SOURCE, {"aws.s3.endpoint": "DEAD"}, "aws.s3.endpoint", "nothing answers at http://127.0.0.1"),
    (AIVEN_SOURCE, {NAME: "{{nothing}}"}, NAME, "there is no variable nothing"),
]  # fmt: skip


def good(plugin: str, s3: S3Server) -> dict[str, str]:
    keys = {"aws.access.key.id": s3.access_key, "aws.secret.access.key": s3.secret_key}
    shared = {"name": "told", "connector.class": plugin, "tasks.max": "1", **keys}
    if plugin in (CONFLUENT, SOURCE):
        shared |= {"store.url": s3.endpoint, "s3.bucket.name": s3.create_bucket(), "format.class": "json"}
    else:
        shared |= {"aws.s3.endpoint": s3.endpoint, "aws.s3.bucket.name": s3.create_bucket()}
    match plugin:
        case "io.confluent.connect.s3.S3SinkConnector":
            return {**shared, "topics": "t", "flush.size": "3"}
        case "io.aiven.kafka.connect.s3.AivenKafkaConnectS3SinkConnector":
            return {**shared, "topics": "t"}
        case "io.aiven.kafka.connect.s3.source.S3SourceConnector":
            return {**shared, "topic": "t", "file.name.template": ".*"}
    return shared


def told(millstream: Millstream, config: Mapping[str, str]) -> dict[str, list[str]]:
    """The errors by setting."""
    path = f"/connector-plugins/{config['connector.class']}/config/validate"
    answer = millstream.request("PUT", path, dict(config))
    assert answer.status_code == 200, answer.text
    found: list[Any] = [each["value"] for each in answer.json()["configs"]]
    return {value["name"]: value["errors"] for value in found if value["errors"]}


@pytest.mark.parametrize("plugin", [CONFLUENT, AIVEN, SOURCE, AIVEN_SOURCE])
def test_a_good_config(millstream: Millstream, s3: S3Server, plugin: str) -> None:
    assert told(millstream, good(plugin, s3)) == {}


@pytest.mark.parametrize(("plugin", "changes", "name", "why"), FAULTS)
def test_a_fault(
    millstream: Millstream, s3: S3Server, plugin: str, changes: Mapping[str, str], name: str, why: str
) -> None:
    with socket.socket() as bound:  # and it does not listen
        bound.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{bound.getsockname()[1]}"
        here = {key: dead if value == "DEAD" else value for key, value in changes.items()}
        config = {**good(plugin, s3), **here}
        errors = told(millstream, config)
        assert list(errors) == [name]
        assert why in " ".join(errors[name])
        answer = millstream.request("POST", "/connectors", {"name": "told", "config": config})
    assert answer.status_code == 400
    assert why in answer.text
