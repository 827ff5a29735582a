"""Configs as the documentation of Confluent, Aiven and AWS shows them deploy as they are, and work.

Only what belongs to somebody's machine is changed: bucket, topic, keys, and the endpoint, which is added.
"""

import io
from collections.abc import Mapping
from typing import Any

import fastavro
import pytest
from support.eventually import eventually

from connect.testing.deployments import Deployments
from connect.testing.millstream import Millstream
from connect.testing.s3 import S3Server
from connect.testing.topics import Topics

CONFLUENT = "io.confluent.connect.s3."
FORMAT = f"{CONFLUENT}format."
PARTITIONER = "io.confluent.connect.storage.partitioner."
AIVEN = "io.aiven.kafka.connect.s3."
BYTES = "org.apache.kafka.connect.converters.ByteArrayConverter"
STRING = "org.apache.kafka.connect.storage.StringConverter"
JSON = {
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "false",
}  # fmt: skip
RECORDS = 120

SINKS: Mapping[str, Mapping[str, Any]] = {
    "Confluent, quick start": {
        "name": "s3-sink", "connector.class": f"{CONFLUENT}S3SinkConnector", "tasks.max": "1",
        "topics": "s3_topic", "s3.region": "us-west-2", "s3.bucket.name": "confluent-connect-s3-testing",
        "s3.part.size": "5242880", "flush.size": "3", "storage.class": f"{CONFLUENT}storage.S3Storage",
        "format.class": f"{FORMAT}avro.AvroFormat",
        "schema.generator.class": "io.confluent.connect.storage.hive.schema.DefaultSchemaGenerator",
        "partitioner.class": f"{PARTITIONER}DefaultPartitioner", "schema.compatibility": "NONE",
    },
    "Confluent, time-based partitioner": {
        "connector.class": f"{CONFLUENT}S3SinkConnector", "tasks.max": "1", "topics": "orders",
        "s3.bucket.name": "analytics-bucket", "s3.region": "us-east-1",
        "storage.class": f"{CONFLUENT}storage.S3Storage", "format.class": f"{FORMAT}json.JsonFormat",
        "flush.size": "100", "partitioner.class": f"{PARTITIONER}TimeBasedPartitioner",
        "partition.duration.ms": "3600000", "path.format": "'year'=YYYY/'month'=MM/'day'=dd/'hour'=HH",
        "timezone": "UTC", "locale": "en-US", "timestamp.extractor": "Record",
    },
    "Confluent, field partitioner and Parquet": {
        "connector.class": f"{CONFLUENT}S3SinkConnector", "tasks.max": "1", "topics": "orders",
        "s3.bucket.name": "analytics-bucket", "s3.region": "us-east-1", "flush.size": "10",
        "storage.class": f"{CONFLUENT}storage.S3Storage", "parquet.codec": "snappy",
        "format.class": f"{FORMAT}parquet.ParquetFormat", "schema.compatibility": "FULL",
        "partitioner.class": f"{PARTITIONER}FieldPartitioner", "partition.field.name": "f",
        "confluent.topic.bootstrap.servers": "localhost:9092", "confluent.topic.replication.factor": "1",
        "confluent.license": "", "behavior.on.null.values": "ignore", **JSON,
    },
    "numbers that are no texts": {
        "connector.class": f"{CONFLUENT}S3SinkConnector", "tasks.max": 1, "topics": "pagila.public.address",
        "table.name.format": "${topic}", "s3.region": "us-east-1", "s3.bucket.name": "your-s3-bucket",
        "s3.part.size": 5242880, "flush.size": 100, "rotate.schedule.interval.ms": 60000, "timezone": "UTC",
        "storage.class": f"{CONFLUENT}storage.S3Storage", "format.class": f"{FORMAT}json.JsonFormat",
        "partitioner.class": f"{PARTITIONER}DefaultPartitioner", "schema.compatibility": "NONE",
    },
    "AWS, MSK Connect": {
        "connector.class": f"{CONFLUENT}S3SinkConnector", "s3.region": "us-east-1", "flush.size": "1",
        "format.class": f"{FORMAT}json.JsonFormat", "schema.compatibility": "NONE",
        "topics": "my-test-topic", "tasks.max": "2", "s3.bucket.name": "amzn-s3-demo-bucket",
        "partitioner.class": f"{PARTITIONER}DefaultPartitioner",
        "storage.class": f"{CONFLUENT}storage.S3Storage",
    },
    "Aiven, for Confluent's connector": {
        "name": "s3_sink_confluent", "connector.class": f"{CONFLUENT}S3SinkConnector", "tasks.max": "1",
        "topics": "my-topic", "key.converter": BYTES, "value.converter": BYTES,
        "format.class": f"{FORMAT}bytearray.ByteArrayFormat", "flush.size": "1",
        "s3.bucket.name": "my-bucket", "s3.region": "eu-central-1",
        "s3.credentials.provider.class": "io.aiven.kafka.connect.util.AivenAWSCredentialsProvider",
        "storage.class": f"{CONFLUENT}storage.S3Storage",
        "s3.credentials.provider.access_key_id": "<AWS_USER_ACCESS_KEY_ID>",
        "s3.credentials.provider.secret_access_key": "<AWS_USER_SECRET_ACCESS_KEY>",
    },
    "Aiven, how-to": {
        "name": "s3_sink", "connector.class": f"{AIVEN}AivenKafkaConnectS3SinkConnector", "tasks.max": "1",
        "topics": "my-topic", "aws.access.key.id": "AKIAXXXXXXXXXX", "aws.secret.access.key": "XXXXXXXXXXXXX",
        "aws.s3.bucket.name": "my-bucket", "aws.s3.region": "eu-central-1", "key.converter": BYTES,
        "value.converter": BYTES,
    },
    "Aiven, README": {
        "connector.class": f"{AIVEN}AivenKafkaConnectS3SinkConnector", "tasks.max": "1",
        "topics": "topic1,topic2", "key.converter": STRING, "aws.access.key.id": "", **JSON,
        "aws.s3.bucket.name": "my-bucket", "aws.s3.region": "us-east-1", "aws.secret.access.key": "",
        "format.output.type": "jsonl", "format.output.fields": "key,value,offset,timestamp",
        "file.compression.type": "gzip", "file.max.records": "100", "timestamp.timezone": "Europe/Berlin",
        "file.name.template": "{{topic}}-{{partition:padding=true}}-{{start_offset:padding=true}}.gz",
        "aws.s3.backoff.delay.ms": "100", "aws.s3.backoff.max.retries": "3",
    },
    "Aiven, old prefix with a date": {
        "connector.class": f"{AIVEN}AivenKafkaConnectS3SinkConnector", "tasks.max": "1", "topics": "my-topic",
        "key.converter": BYTES, "value.converter": BYTES, "aws_s3_bucket": "my-bucket",
        "aws_s3_region": "eu-west-1", "aws_access_key_id": "", "aws_secret_access_key": "",
        "aws_s3_prefix": "file-prefix-{{ utc_date }}/", "output_compression": "gzip",
        "output_fields": "value,key,timestamp",
    },
}  # fmt: skip

SOURCES: Mapping[str, Mapping[str, Any]] = {
    "Confluent, restore": {
        "tasks.max": "1", "connector.class": f"{CONFLUENT}source.S3SourceConnector", "s3.region": "us-east-1",
        "s3.bucket.name": "bucket", "format.class": f"{FORMAT}avro.AvroFormat",
        "confluent.license": "", "confluent.topic.bootstrap.servers": "broker:9092",
        "confluent.topic.replication.factor": "1", "transforms": "AddPrefix",
        "transforms.AddPrefix.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.AddPrefix.regex": ".*", "transforms.AddPrefix.replacement": "copy_of_$0",
    },
    "Confluent, any objects": {
        "connector.class": f"{CONFLUENT}source.S3SourceConnector", "tasks.max": "1", "mode": "GENERIC",
        "s3.bucket.name": "bucket", "s3.region": "us-west-2", "topics.dir": "topics",
        "topic.regex.list": "copy_of_TOPIC:.*", "format.class": f"{FORMAT}avro.AvroFormat",
        "confluent.topic.replication.factor": "1",
    },
    "Aiven, any objects": {
        "connector.class": f"{AIVEN}source.S3SourceConnector", "tasks.max": "1", "topic": "copy_of_TOPIC",
        "aws.access.key.id": "", "aws.secret.access.key": "", "aws.s3.bucket.name": "bucket",
        "aws.s3.region": "us-east-1", "aws.s3.prefix": "topics/", "file.name.template": ".*",
        "distribution.type": "object_hash", "input.format": "avro",
    },
    "Aiven, by partition": {
        "connector.class": f"{AIVEN}source.S3SourceConnector", "tasks.max": "1", "topic": "copy_of_TOPIC",
        "aws.access.key.id": "", "aws.secret.access.key": "", "aws.s3.bucket.name": "bucket",
        "aws.s3.region": "us-east-1", "distribution.type": "partition", "input.format": "avro",
        "file.name.template": ".*\\+{{partition}}\\+{{start_offset}}\\.avro",
    },
}  # fmt: skip


def localised(config: Mapping[str, Any], s3: S3Server, topic: str) -> dict[str, Any]:
    """With the bucket, topic, keys and endpoint that there are here."""
    bucket = s3.create_bucket()
    changed = dict(config)
    for name, value in config.items():
        if name in ("topic", "topic.regex.list"):
            changed[name] = value.replace("TOPIC", topic)
        elif name == "topics":
            changed[name] = topic
        elif "bucket" in name:
            changed[name] = bucket
        elif name.endswith(("access_key_id", "access.key.id")):
            changed[name] = s3.access_key
        elif name.endswith(("secret_access_key", "secret.access.key")):
            changed[name] = s3.secret_key
    if "s3.bucket.name" in config:
        changed["store.url"] = s3.endpoint
    else:
        changed["aws.s3.endpoint"] = s3.endpoint
    if not any("access" in name for name in config):  # where AWS's own variables are meant
        changed |= {"aws.access.key.id": s3.access_key, "aws.secret.access.key": s3.secret_key}
    return changed


def deploy(millstream: Millstream, deployments: Deployments, config: Mapping[str, Any], topic: str) -> None:
    """After `validate` has found nothing wrong."""
    plugin, name = config["connector.class"], f"documented-{topic}"
    answer = millstream.request(
        "PUT", f"/connector-plugins/{plugin}/config/validate", {**config, "name": name}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["error_count"] == 0, [
        c["value"]["errors"] for c in answer.json()["configs"] if c["value"]["errors"]
    ]
    deployments.deploy({**config, "name": name}, name, seconds=60)


@pytest.mark.parametrize("case", SINKS)
def test_a_sink(millstream: Millstream, s3: S3Server, kafka_topic: str, case: str) -> None:
    config = localised(SINKS[case], s3, kafka_topic)
    bucket = next(config[name] for name in config if "bucket" in name)
    Topics(millstream.bootstrap).produce(kafka_topic, [value(n, config) for n in range(RECORDS)], key=None)
    with Deployments(millstream) as deployments:
        deploy(millstream, deployments, config, kafka_topic)
        client: Any = s3.client()
        eventually(lambda: client.list_objects_v2(Bucket=bucket)["KeyCount"] > 0, "nothing is written")


def value(n: int, config: Mapping[str, Any]) -> str:
    """What the converter of the config, or else the worker's JsonConverter, takes."""
    payload = f'{{"n":{n},"f":"abc"}}'
    if "value.converter" in config:
        return payload
    fields = '{"field":"n","type":"int64","optional":false},{"field":"f","type":"string","optional":false}'
    return f'{{"schema":{{"type":"struct","optional":false,"fields":[{fields}]}},"payload":{payload}}}'


@pytest.mark.parametrize("case", SOURCES)
def test_a_source(millstream: Millstream, s3: S3Server, kafka_topic: str, case: str) -> None:
    config = localised(SOURCES[case], s3, kafka_topic)
    bucket = next(config[name] for name in config if "bucket" in name)
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema("string"), ["value1", "value2"])
    key = f"topics/{kafka_topic}/partition=0/{kafka_topic}+0+0000000000.avro"
    s3.client().put_object(Bucket=bucket, Key=key, Body=out.getvalue())
    with Deployments(millstream) as deployments:
        deploy(millstream, deployments, config, kafka_topic)
        found = Topics(millstream.bootstrap).read(f"copy_of_{kafka_topic}", 2, seconds=60)
    assert [b"value" in (record.value or b"") for record in found] == [True, True]
