"""Topic configs against what Apache Kafka 4.3.1 answered to the same values."""

import json
from pathlib import Path

import pytest

from broker.catalog.config_types import ConfigSource, InvalidConfig
from broker.catalog.topic_config import DEFINITIONS, TopicConfigs
from broker.catalog.topics import Topic, TopicsImage, topic_name_problem

INVALID = [
    ("cleanup.policy", "foo", "foo", "String must be one of: compact, delete"),
    ("compression.gzip.level", "0", "0", "Value must be between 1 and 9 or equal to -1"),
    ("compression.gzip.level", "x", "x", "Not a number of type INT"),
    ("compression.lz4.level", "18", "18", "Value must be no more than 17"),
    ("compression.zstd.level", "-200000", "-200000", "Value must be at least -131072"),
    (
        "compression.type",
        "none",
        "none",
        "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
    ),
    ("flush.messages", "9223372036854775808", "9223372036854775808", "Not a number of type LONG"),
    ("index.interval.bytes", "2147483648", "2147483648", "Not a number of type INT"),
    ("min.cleanable.dirty.ratio", "1.1", "1.1", "Value must be no more than 1"),
    ("min.cleanable.dirty.ratio", "-1", "-1.0", "Value must be at least 0"),
    ("min.cleanable.dirty.ratio", "x", "x", "Not a number of type DOUBLE"),
    ("preallocate", "maybe", "maybe", "Expected value to be either true or false"),
    ("retention.ms", "-2", "-2", "Value must be at least -1"),
    ("retention.ms", "1.5", "1.5", "Not a number of type LONG"),
    ("retention.ms", "", "", "Not a number of type LONG"),
    ("segment.bytes", "1048575", "1048575", "Value must be at least 1048576"),
    ("segment.index.bytes", "3", "3", "Value must be at least 4"),
    ("segment.ms", "-1", "-1", "Value must be at least 1"),
    ("local.retention.ms", "-3", "-3", "Value must be at least -2"),
    # The text as it was sent when it is no number at all, the number when it is out of range.
    ("retention.ms", " x ", " x ", "Not a number of type LONG"),
    ("preallocate", " 5\n", " 5\n", "Expected value to be either true or false"),
    ("min.cleanable.dirty.ratio", "2147483648", "2.147483648E9", "Value must be no more than 1"),
    ("min.cleanable.dirty.ratio", "-Infinity", "-Infinity", "Value must be at least 0"),
    ("min.cleanable.dirty.ratio", "NaN", "NaN", "Not a number of type DOUBLE"),
    (
        "leader.replication.throttled.replicas",
        "x, *",
        "[x, *]",
        "leader.replication.throttled.replicas must be the literal '*' or a list of replicas "
        "in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
    ),
]
"""Config, what was sent, the value that the answer names, and what it says of it."""

REFUSED = [
    ("retention.ms", None, "Null value not supported for topic configs: retention.ms"),
    (
        "remote.storage.enable",
        "true",
        "Tiered Storage functionality is disabled in the broker. "
        "Topic cannot be configured with remote log storage.",
    ),
    ("foo", "x", "Unknown topic config name: foo"),
    ("cleanup.policy", "compact,", "Configuration 'cleanup.policy' values must not be empty."),
    ("cleanup.policy", ",", "Configuration 'cleanup.policy' values must not be empty."),
    ("message.format.version", "1", "Unknown topic config name: message.format.version"),
]

ACCEPTED = [
    ("cleanup.policy", "", ()),
    ("cleanup.policy", "compact, delete", ("compact", "delete")),
    ("cleanup.policy", "compact,delete,compact", ("compact", "delete")),
    ("compression.gzip.level", "-1", -1),
    ("retention.ms", "+5", 5),
    ("min.cleanable.dirty.ratio", "0.5f", 0.5),
    ("leader.replication.throttled.replicas", "*", ("*",)),
    ("leader.replication.throttled.replicas", "0:1,", ("0:1", "")),
    ("preallocate", "TRUE", True),
    ("retention.bytes", " 5 ", 5),
    ("retention.bytes", "-2", -2),
    ("segment.bytes", "1048576", 1048576),
    ("min.cleanable.dirty.ratio", "1e-1", 0.1),
    ("leader.replication.throttled.replicas", "0:1,2:3", ("0:1", "2:3")),
]


@pytest.mark.parametrize(("name", "text", "value", "why"), INVALID)
def test_invalid_in_kafkas_words(name: str, text: str, value: str, why: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        TopicConfigs().validate({name: text})
    assert str(caught.value) == f"Invalid value {value} for configuration {name}: {why}"


@pytest.mark.parametrize(("name", "text", "message"), REFUSED)
def test_refused_in_kafkas_words(name: str, text: str | None, message: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        TopicConfigs().validate({name: text})
    assert str(caught.value) == message


@pytest.mark.parametrize(("name", "text", "value"), ACCEPTED)
def test_accepted(name: str, text: str, value: object) -> None:
    configs = TopicConfigs()
    stored = configs.validate({name: text})
    assert stored == {name: text}
    assert configs.values(stored)[name] == value


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("retention.ms", " +5 ", "5"),
        ("min.cleanable.dirty.ratio", "1", "1.0"),
        ("min.cleanable.dirty.ratio", "1e-1", "0.1"),
        ("min.cleanable.dirty.ratio", "1e-5", "1.0E-5"),
        ("min.cleanable.dirty.ratio", "0.00012345", "1.2345E-4"),
        ("preallocate", "TRUE", "true"),
        ("compression.type", " gzip ", "gzip"),
        ("cleanup.policy", "compact , compact", "compact"),
        ("leader.replication.throttled.replicas", "0:1, 1:2,0:1", "0:1,1:2,0:1"),
    ],
)
def test_a_value_is_shown_as_kafka_understands_it(name: str, text: str, shown: str) -> None:
    configs = TopicConfigs()
    assert configs.text(name, {name: text}) == shown
    assert configs.sources(name, {name: text})[0].text == shown


def test_all_nulls_and_unknown_names_are_told_before_bad_values() -> None:
    configs = TopicConfigs()
    with pytest.raises(InvalidConfig, match=r"^Null value not supported for topic configs: flush\.ms,foo$"):
        configs.validate({"retention.ms": "x", "flush.ms": None, "foo": None})
    with pytest.raises(InvalidConfig, match=r"^Unknown topic config name: foo$"):
        configs.validate({"retention.ms": "x", "foo": "1"})


def test_compaction_lags_are_checked_together() -> None:
    with pytest.raises(
        InvalidConfig, match=r"min\.compaction\.lag\.ms \(10\) > max\.compaction\.lag\.ms \(5\)"
    ):
        TopicConfigs().validate({"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"})


def test_every_default_is_valid_and_described() -> None:
    configs = TopicConfigs()
    assert list(DEFINITIONS) == sorted(DEFINITIONS)
    for name, definition in DEFINITIONS.items():
        assert configs.text(name, {}) == definition.default
        assert definition.doc.endswith(".")
        assert configs.source(name, {}) is ConfigSource.DEFAULT


@pytest.mark.parametrize(
    ("settings", "retention_ms"),
    [
        ({}, 604_800_000),
        ({"log.retention.hours": "1"}, 3_600_000),
        ({"log.retention.hours": "1", "log.retention.minutes": "1"}, 60_000),
        ({"log.retention.hours": "1", "log.retention.minutes": "1", "log.retention.ms": "5"}, 5),
        ({"log.retention.hours": "-1"}, -1),
    ],
)
def test_broker_settings_are_the_defaults_the_finest_unit_first(
    settings: dict[str, str], retention_ms: int
) -> None:
    configs = TopicConfigs(settings)
    assert configs.values({})["retention.ms"] == retention_ms
    assert configs.text("retention.ms", {}) == str(retention_ms)
    assert configs.values({"retention.ms": "7"})["retention.ms"] == 7


def test_sources_name_all_places_the_one_in_force_first() -> None:
    configs = TopicConfigs({"log.segment.bytes": "2097152"})
    assert [
        (s.name, s.text, s.source.name)
        for s in configs.sources("segment.bytes", {"segment.bytes": "1048576"})
    ] == [
        ("segment.bytes", "1048576", "TOPIC"),
        ("log.segment.bytes", "2097152", "STATIC_BROKER"),
        ("log.segment.bytes", "1073741824", "DEFAULT"),
    ]


def test_a_bad_broker_setting_is_named() -> None:
    with pytest.raises(InvalidConfig, match=r"setting log\.segment\.bytes=5: Invalid value 5 "):
        TopicConfigs({"log.segment.bytes": "5"})
    with pytest.raises(InvalidConfig, match=r"setting log\.retention\.hours=x: not a whole number"):
        TopicConfigs({"log.retention.hours": "x"})


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "Topic name is invalid: the empty string is not allowed"),
        ("..", "Topic name is invalid: '..' is not allowed"),
        (
            "a" * 250,
            f"Topic name is invalid: the length of '{'a' * 250}' is longer than the max allowed length 249",
        ),
        (
            "ü",
            "Topic name is invalid: 'ü' contains one or more characters other than ASCII alphanumerics, "
            "'.', '_' and '-'",
        ),
        ("a" * 249, None),
        ("A.b_c-9", None),
    ],
)
def test_topic_names(name: str, problem: str | None) -> None:
    assert topic_name_problem(name) == problem


def test_names_that_metrics_cannot_tell_apart_collide() -> None:
    import uuid

    image = TopicsImage([Topic("a.b", uuid.uuid4(), 1)])
    assert image.colliding("a_b") == "a.b"
    assert image.colliding("a.b") is None
    assert image.colliding("ab") is None
    assert image.colliding("c.d", ["c_d"]) == "c_d"


GOLDEN = Path(__file__).parents[3] / "golden" / "broker" / "topic_configs.json"
"""What Apache Kafka 4.3.1 answered when a topic was to be created with these configs; no error: accepted."""

DIFFERENT = {
    ("min.cleanable.dirty.ratio", "NaN"),
    ("internal.segment.bytes", "5"),
    ("internal.segment.bytes", "1"),
}
"""Refused here: a ratio that is none, and a config that Kafka has for its own tests."""


def test_each_value_of_each_config_is_judged_as_by_kafka() -> None:
    recorded = json.loads(GOLDEN.read_text())
    cases = [
        ({name: value}, error and error.replace("{name}", name).replace("{value}", value))
        for error, of in ((entry["error"], entry["of"]) for entry in recorded["single"])
        for group in of
        for name in group["names"]
        for value in group["values"]
    ]
    cases += [(entry["set"], entry["error"]) for entry in recorded["together"]]
    assert len(cases) > 2000
    assert {name for configs, _ in cases for name in configs} >= set(DEFINITIONS)
    configs = TopicConfigs()
    for asked, error in cases:
        if DIFFERENT.isdisjoint(asked.items()):
            assert judged(configs, asked) == error, asked


def judged(configs: TopicConfigs, asked: dict[str, str | None]) -> str | None:
    try:
        configs.validate(asked)
    except InvalidConfig as exc:
        return str(exc)
    return None
