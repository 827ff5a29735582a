"""The S3 sink's settings: Confluent's names and defaults, what is refused, and what is only warned of."""

from typing import Any

import pytest

from connect.api import Config, ConfigError
from connectors.s3.config import DAILY_PARTITIONER, S3SinkConfig
from connectors.s3.confluent import BYTES_FORMAT, JSON_FORMAT
from connectors.s3.plugin import S3SinkConnector

REQUIRED = {"format.class": JSON_FORMAT, "flush.size": "3", "s3.bucket.name": "b"}

DEFAULTS: dict[str, Any] = {
    "rotate.interval.ms": -1, "rotate.schedule.interval.ms": -1, "rotate.file.on.partition.change": True,
    "schema.compatibility": "NONE", "filename.offset.zero.pad.width": 10, "retry.backoff.ms": 5000,
    "avro.codec": "null", "parquet.codec": "snappy", "topics.dir": "topics", "directory.delim": "/",
    "file.delim": "+", "store.url": None, "timestamp.extractor": "Wallclock", "timestamp.field": "timestamp",
    "partitioner.class": "io.confluent.connect.storage.partitioner.DefaultPartitioner",
    "partition.field.name": [], "partition.duration.ms": -1, "path.format": "", "locale": "", "timezone": "",
    "s3.region": "us-west-2", "s3.part.size": 26214400, "s3.part.retries": 3, "s3.retry.backoff.ms": 200,
    "s3.compression.type": "none", "s3.compression.level": -1, "s3.path.style.access.enabled": True,
    "aws.access.key.id": "", "aws.secret.access.key": None, "s3.ssea.name": "", "s3.sse.kms.key.id": "",
    "s3.sse.customer.key": None, "s3.acl.canned": None, "s3.proxy.url": "", "s3.proxy.user": None,
    "s3.proxy.password": None, "s3.object.tagging": False, "s3.object.tagging.key.value.pairs": [],
    "enable.conditional.writes": True, "behavior.on.null.values": "fail", "store.kafka.keys": False,
    "store.kafka.headers": False, "format.bytearray.extension": ".bin", "format.bytearray.separator": None,
    "json.decimal.format": "BASE64", "tombstone.encoded.partition": "tombstone",
}  # fmt: skip


def errors(**changes: str) -> dict[str, str]:
    given = {**REQUIRED, **{name.replace("__", "."): value for name, value in changes.items()}}
    _, found = S3SinkConfig.examine(given)
    return {error.name: error.message for error in found}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_is_confluents(name: str) -> None:
    assert S3SinkConfig.definitions()[name].default == DEFAULTS[name]


def test_what_is_required() -> None:
    _, found = S3SinkConfig.examine({})
    assert [error.name for error in found] == list(REQUIRED)


def test_a_config_of_defaults_needs_no_more() -> None:
    config = S3SinkConfig.parse(REQUIRED)
    assert list(config.check()) == list(config.warnings()) == []
    assert config.format == JSON_FORMAT


@pytest.mark.parametrize("alias", [JSON_FORMAT, "JsonFormat", "json", "JSON"])
def test_a_format_has_short_names(alias: str) -> None:
    assert S3SinkConfig.parse({**REQUIRED, "format.class": alias}).format == JSON_FORMAT


def test_other_classes_have_short_names_too() -> None:
    names = {"format.class": "ByteArrayFormat", "partitioner.class": "DailyPartitioner", "timezone": "UTC"}
    config = S3SinkConfig.parse({**REQUIRED, **names})
    assert (config.format, config.partitioner) == (BYTES_FORMAT, DAILY_PARTITIONER)


def test_an_unknown_format_is_refused() -> None:
    assert "Format must be one of" in errors(format__class="org.example.Format")["format.class"]


@pytest.mark.parametrize(
    ("changes", "name", "why"),
    [
        ({"flush.size": "0"}, "flush.size", "Value must be at least 1"),
        ({"s3.part.size": "100"}, "s3.part.size", "Part size must be at least: 5242880 bytes (5MB)"),
        ({"s3.bucket.name": ""}, "s3.bucket.name", "String must be non-empty"),
        ({"s3.compression.type": "zip"}, "s3.compression.type", "Value must be one of: none, gzip, zstd"),
        ({"s3.compression.level": "23"}, "s3.compression.level", "Value must be no more than 22"),
        ({"s3.compression.type": "gzip", "s3.compression.level": "10"}, "s3.compression.level",
         "gzip has the levels 0 to 9"),
        ({"s3.compression.type": "zstd", "s3.compression.level": "0"}, "s3.compression.level",
         "zstd has the levels 1 to 22"),
        ({"s3.upload.threads": "0"}, "s3.upload.threads", "Value must be at least 1"),
        ({"timezone": "Mars/Base"}, "timezone", "The time zone 'Mars/Base' is not known"),
        ({"partitioner.class": "org.example.P"}, "partitioner.class", "Partitioner must be one of"),
        ({"timestamp.extractor": "Guess"}, "timestamp.extractor", "String must be one of: Wallclock, Record"),
        ({"aws.access.key.id": "k"}, "aws.secret.access.key", "Set both"),
        ({"aws.secret.access.key": "k"}, "aws.access.key.id", "Set both"),
        ({"store.url": "localhost:9000"}, "store.url", "must begin with http:// or https://"),
        ({"behavior.on.null.values": "write", "format.class": "bytes"}, "format.class", "Format must be"),
        ({"behavior.on.null.values": "write", "format.class": "bytearray"}, "behavior.on.null.values",
         "Only JsonFormat can write them"),
        ({"partitioner.class": "FieldPartitioner"}, "partition.field.name", "at least one field"),
        ({"partitioner.class": "HourlyPartitioner"}, "timezone", "Timezone cannot be empty"),
        ({"rotate.schedule.interval.ms": "1000"}, "timezone", "Timezone cannot be empty"),
    ],
)  # fmt: skip
def test_a_bad_value_is_told_with_its_name(changes: dict[str, str], name: str, why: str) -> None:
    found = errors(**changes)
    assert list(found) == [name]
    assert why in found[name]


TIME_BASED = {"partitioner.class": "TimeBasedPartitioner", "timezone": "UTC"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ["partition.duration.ms", "path.format"]),
        ({"partition.duration.ms": "1000", "path.format": "/"}, ["path.format"]),
        ({"partition.duration.ms": "1000", "path.format": "YYYY/QQ"}, ["path.format"]),
        ({"partition.duration.ms": "1000", "path.format": "YYYY/MMM", "locale": "fr-FR"}, ["locale"]),
        ({"partition.duration.ms": "1000", "path.format": "'MMM'YYYY/MM", "locale": "fr-FR"}, []),
        ({"partition.duration.ms": "1000", "path.format": "YYYY/MMM", "locale": "en-GB"}, []),
    ],
)
def test_the_time_based_partitioners_settings(changes: dict[str, str], found: list[str]) -> None:
    assert list(errors(**TIME_BASED, **changes)) == found


def test_settings_without_effect_are_warned_of() -> None:
    changes = {"rotate.interval.ms": "1000", "avro.codec": "deflate", "parquet.codec": "zstd"}
    config = S3SinkConfig.parse({**REQUIRED, **changes})
    assert [warning.name for warning in config.warnings()] == list(changes)


def test_secrets_are_hidden() -> None:
    given = {**REQUIRED, "aws.access.key.id": "k", "aws.secret.access.key": "very-secret"}
    config = S3SinkConfig.parse(given)
    assert "very-secret" not in repr(config)
    definition = S3SinkConfig.definitions()["aws.secret.access.key"]
    assert definition.show(config.secret_access_key) == "[hidden]"


def test_each_task_gets_the_whole_config() -> None:
    config = S3SinkConfig.parse(REQUIRED)
    assert S3SinkConnector().task_configs(config, 3) == [REQUIRED] * 3
    assert issubclass(S3SinkConnector.config_class, Config)
    with pytest.raises(ConfigError, match=r'"flush\.size" which has no default value'):
        S3SinkConfig.parse({})
