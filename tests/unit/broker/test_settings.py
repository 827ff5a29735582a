"""The broker's settings and the files they come from."""

from pathlib import Path

import pytest

from broker.config import SettingsError, load_settings
from broker.properties import PropertiesError, read_properties


def test_defaults_are_kafkas() -> None:
    settings, warnings = load_settings({})
    assert warnings == []
    assert str(settings.listeners[0]) == "PLAINTEXT://127.0.0.1:9092"
    assert (settings.num_partitions, settings.log_segment_bytes) == (1, 1 << 30)
    assert (settings.retention_ms, settings.segment_ms) == (604_800_000, 604_800_000)


def test_kafkas_names_and_text_values_are_taken() -> None:
    settings, _ = load_settings(
        {
            "listeners": "PLAINTEXT://:0, EXTRA://[::1]:9094".replace("EXTRA", "plaintext"),
            "auto.create.topics.enable": "FALSE",
            "log.cleanup.policy": "compact, delete",
            "broker.id": "7",
            "log.dir": "/data",
        }
    )
    assert [(one.host, one.port) for one in settings.listeners] == [("", 0), ("::1", 9094)]
    assert not settings.auto_create_topics_enable
    assert settings.log_cleanup_policy == ("compact", "delete")
    assert (settings.node_id, settings.data_dir) == (7, Path("/data"))


@pytest.mark.parametrize(
    ("properties", "retention_ms"),
    [
        ({"log.retention.hours": "1"}, 3_600_000),
        ({"log.retention.hours": "1", "log.retention.minutes": "2"}, 120_000),
        ({"log.retention.minutes": "2", "log.retention.ms": "3"}, 3),
        ({"log.retention.ms": "-1"}, -1),
        ({"log.retention.minutes": "-1"}, -1),
        ({"log.retention.hours": "-1"}, -1),
    ],
)
def test_the_finest_retention_wins(properties: dict[str, str], retention_ms: int) -> None:
    assert load_settings(properties)[0].retention_ms == retention_ms


def test_unknown_settings_are_warned_about_with_the_nearest_name() -> None:
    _, warnings = load_settings({"num.partition": "3", "zookeeper.connect": "x"})
    assert warnings == [
        "setting num.partition is not known to this broker and is ignored; did you mean num.partitions?",
        "setting zookeeper.connect is not known to this broker and is ignored",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num.partitions", "0"),
        ("num.partitions", "x"),
        ("auto.create.topics.enable", "yes"),
        ("listeners", "localhost:9092"),
        ("listeners", "PLAINTEXT://h:70000"),
        ("log.message.timestamp.type", "Now"),
        ("group.consumer.assignors", "uniform,mine"),
        ("group.consumer.migration.policy", "sometimes"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: value})
    assert str(caught.value).startswith(f"{name}={value}: ")


@pytest.mark.parametrize(
    "properties",
    [
        {"listeners": ""},
        {"listeners": "SSL://h:1"},
        {"listeners": "PLAINTEXT://h:1,PLAINTEXT://h:2"},
        {"advertised.listeners": "OTHER://h:1"},
        {"group.min.session.timeout.ms": "9", "group.max.session.timeout.ms": "8"},
        {"group.consumer.session.timeout.ms": "44999"},
        {"group.consumer.heartbeat.interval.ms": "15001"},
        {"group.consumer.assignment.interval.ms": "15001"},
        {"group.consumer.session.timeout.ms": "5000", "group.consumer.min.session.timeout.ms": "1"},
    ],
)
def test_settings_that_do_not_go_together_are_refused(properties: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        load_settings(properties)


def test_properties_files_are_read_as_java_reads_them(tmp_path: Path) -> None:
    text = "\n".join(
        [
            "# comment", "! comment", "", "a=1", "b : 2", "c 3", "  d\t=  four words  ", "e=", "f",
            "g=one\\", "   two\\", "#three", "h\\:\\=\\ i=j", "k=\\u0041\\t\\q", "l=even\\\\", "a=last",
        ]
    )  # fmt: skip
    file = tmp_path / "a.properties"
    file.write_text(text)
    assert read_properties(file) == {
        "a": "last", "b": "2", "c": "3", "d": "four words  ", "e": "", "f": "",
        "g": "onetwo#three", "h:= i": "j", "k": "A\tq", "l": "even\\",
    }  # fmt: skip


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PropertiesError, match=r"none\.properties"):
        read_properties(tmp_path / "none.properties")


def test_a_file_with_a_broken_escape_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.properties"
    file.write_text("a=\\u12")
    with pytest.raises(PropertiesError, match=r"bad\.properties: Invalid"):
        read_properties(file)
