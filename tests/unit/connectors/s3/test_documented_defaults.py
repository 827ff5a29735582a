"""Names and defaults of settings as the vendors document them."""

from typing import Any

import pytest

from connect.api import Config
from connectors.s3.aiven.config import AivenS3SinkConfig
from connectors.s3.config import S3SinkConfig
from connectors.s3.source.aiven_config import AivenS3SourceConfig

DEFAULTS: list[tuple[type[Config], dict[str, Any]]] = [
    (S3SinkConfig, {
        "rotate.interval.ms": -1, "rotate.schedule.interval.ms": -1, "rotate.file.on.partition.change": True,
        "schema.compatibility": "NONE", "filename.offset.zero.pad.width": 10, "retry.backoff.ms": 5000,
        "avro.codec": "null", "parquet.codec": "snappy", "topics.dir": "topics", "directory.delim": "/",
        "file.delim": "+", "store.url": None, "timestamp.extractor": "Wallclock",
        "timestamp.field": "timestamp", "s3.region": "us-west-2", "s3.part.size": 26214400,
        "s3.part.retries": 3, "s3.retry.backoff.ms": 200, "s3.compression.type": "none",
        "s3.path.style.access.enabled": True, "s3.object.tagging": False, "enable.conditional.writes": True,
        "behavior.on.null.values": "fail", "store.kafka.keys": False, "store.kafka.headers": False,
        "format.bytearray.extension": ".bin", "json.decimal.format": "BASE64", "timezone": "", "locale": "",
    }),
    (AivenS3SinkConfig, {
        "file.max.records": 0, "format.output.type": "csv", "format.output.envelope": True,
        "format.output.fields.value.encoding": "base64", "aws.s3.part.size.bytes": 5242880,
        "aws.s3.backoff.delay.ms": 100, "aws.s3.backoff.max.delay.ms": 20000, "aws.s3.backoff.max.retries": 3,
    }),
    (AivenS3SourceConfig, {
        "input.format": "bytes", "distribution.type": "object_hash", "max.poll.records": 500,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("config", "defaults"), DEFAULTS, ids=["Confluent", "Aiven", "Aiven's source"])
def test_defaults(config: type[Config], defaults: dict[str, Any]) -> None:
    assert {name: config.definitions()[name].default for name in defaults} == defaults


def test_what_must_be_set() -> None:
    needed = {name for name, each in S3SinkConfig.definitions().items() if each.required}
    assert needed >= {"s3.bucket.name", "format.class", "flush.size"}
