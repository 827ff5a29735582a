"""What is said of a Java cluster's connectors, from the internal topics that a real one left."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.java_topics import recorded

from connect.herder.states import TargetState
from connect.rest.settings import RestSettings
from connect.runtime import group_offsets
from connect.runtime.config import WorkerConfig
from connect.runtime.java_cluster import JavaCluster, TopicRecord
from connect.runtime.plugins import Plugins
from connect.runtime.secret_names import hide
from connect.runtime.takeover import ConnectorReport, Level, Takeover
from connect.runtime.takeover_worker import check_worker, check_worker_plugins
from connect.version import __version__

WORKER = WorkerConfig.parse({})
FILE_SOURCE = {"connector.class": "FileStreamSource", "file": "in.txt", "topic": "t"}
POSTGRES = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "database.hostname": "db", "database.user": "u", "database.password": "hunter22", "database.dbname": "d",
    "topic.prefix": "p",
}  # fmt: skip


def cluster_of(*records: tuple[str, str, Any]) -> JavaCluster:
    """A cluster from (topic, key, value); the value is written as JSON, None is a tombstone."""
    cluster = JavaCluster()
    for topic, key, value in records:
        data = None if value is None else json.dumps(value).encode()
        cluster.take(WORKER, topic, [TopicRecord(key.encode(), data)])
    return cluster


def replayed(story: str) -> JavaCluster:
    cluster = JavaCluster()
    for each in recorded(story):
        value = None if each.value is None else each.value.encode()
        cluster.take(WORKER, each.topic, [TopicRecord(each.key.encode(), value)])
    return cluster


def reports(cluster: JavaCluster, worker: WorkerConfig = WORKER) -> dict[str, ConnectorReport]:
    found = Takeover(worker, Plugins.discover(), cluster, look_outside=False).reports()
    return {report.name: report for report in found}


def report_on(config: Mapping[str, str], *offsets: tuple[Any, Any]) -> ConnectorReport:
    """What is said of connector `c` with these (source partition, source offset) pairs."""
    stored = [("connect-offsets", json.dumps(["c", partition]), offset) for partition, offset in offsets]
    return reports(cluster_of(("connect-configs", "connector-c", {"properties": config}), *stored))["c"]


def said(report: ConnectorReport, level: Level) -> dict[str, str]:
    return {each.where: each.message for each in report.findings if each.level is level}


def test_a_recorded_file_source_goes_on_at_its_offset() -> None:
    cluster = replayed("life_cycle")
    report = reports(cluster)["lc"]
    assert cluster.unreadable == {}
    assert report.works, report.findings
    assert (report.type, report.target, report.tasks) == ("source", TargetState.STARTED, 1)
    assert [partition for partition, _ in report.offsets or ()] == [{"filename": "lc.txt"}]


def test_recorded_debezium_connectors_go_on_at_their_offsets() -> None:
    found = reports(replayed("debezium"))
    assert {name: report.works for name, report in found.items()} == {"dz": True, "dz2": True}
    assert [offset["lsn"] for _, offset in found["dz"].offsets or ()] == [2470960312]


def test_target_states_tombstones_and_statuses_are_those_of_the_last_records() -> None:
    config = {"properties": FILE_SOURCE}
    cluster = cluster_of(
        ("connect-configs", "connector-c", config),
        ("connect-configs", "connector-gone", config),
        ("connect-configs", "connector-gone", None),
        ("connect-configs", "task-c-0", config),
        ("connect-configs", "commit-c", {"tasks": 1}),
        ("connect-configs", "target-state-c", {"state": "PAUSED", "state.v2": "STOPPED"}),
        ("connect-configs", "session-key", {"key": "k", "algorithm": "HmacSHA256", "creation-timestamp": 1}),
        ("connect-configs", "logger-cluster-root", {"level": "DEBUG"}),
        ("connect-configs", "restart-connector-c", {"include-tasks": True, "only-failed": False}),
        ("connect-configs", "tasks-fencing-c", {"task-count": 1}),
        ("connect-status", "status-connector-c", {"state": "RUNNING"}),
        ("connect-status", "status-task-c-0", {"state": "FAILED"}),
        ("connect-offsets", '["c",{"filename":"in.txt"}]', {"position": 1}),
        ("connect-offsets", '["c",{"filename":"old.txt"}]', {"position": 1}),
        ("connect-offsets", '["c",{"filename":"old.txt"}]', None),
    )
    found = reports(cluster)
    assert list(found) == ["c"]
    assert cluster.unreadable == {}
    report = found["c"]
    assert (report.target, report.last_state, report.tasks) == (TargetState.STOPPED, "RUNNING", 1)
    assert report.offsets == [({"filename": "in.txt"}, {"position": 1})]
    assert said(report, Level.NOTE)["status"].startswith("c-0 FAILED")


def test_records_that_are_not_connects_json_are_counted() -> None:
    cluster = cluster_of(
        ("connect-configs", "connector-c", {"schema": None, "payload": {"properties": {}}}),
        ("connect-configs", "connector-d", {"properties": {"tasks.max": 1}}),
        ("connect-offsets", "no json", {}),
        ("connect-status", "status-connector-c", "RUNNING"),
    )
    cluster.take(WORKER, "connect-configs", [TopicRecord(None, b"{}"), TopicRecord(b"commit-c", b"\xff")])
    assert cluster.unreadable == {"connect-configs": 4, "connect-offsets": 1, "connect-status": 1}
    assert reports(cluster) == {}


def test_pinned_versions_of_java_go_on_in_ours_and_are_told() -> None:
    converter = "org.apache.kafka.connect.storage.StringConverter"
    pinned = {
        "connector.plugin.version": "4.3.1",
        "value.converter": converter, "value.converter.plugin.version": "[4.3,5)",
        "transforms": "t", "transforms.t.type": "org.apache.kafka.connect.transforms.Filter",
        "transforms.t.plugin.version": "4.3.1",
        "transforms.t.predicate": "p", "predicates": "p",
        "predicates.p.type": "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
        "predicates.p.plugin.version": "(4.3,)",
    }  # fmt: skip
    report = report_on({**FILE_SOURCE, **pinned})
    assert report.works
    warned = said(report, Level.WARNING)
    assert warned.keys() == {name for name in pinned if name.endswith("plugin.version")}
    assert "asks for version [4.3,5)" in warned["value.converter.plugin.version"]
    assert f"version {__version__}, Millstream's own" in warned["connector.plugin.version"]
    assert said(report_on({**FILE_SOURCE, "connector.plugin.version": "[0,100)"}), Level.WARNING) == {}


def test_a_pinned_version_of_the_workers_converters_is_told() -> None:
    worker = WorkerConfig.parse({"value.converter.plugin.version": "4.3.1"})
    (finding,) = check_worker_plugins(worker, Plugins.discover())
    assert (finding.level, finding.where) == (Level.WARNING, "value.converter.plugin.version")


def test_every_plugin_of_an_unknown_connector_is_looked_up_too() -> None:
    errors = said(
        report_on({
            "connector.class": "com.example.S3SinkConector",
            "value.converter": "io.confluent.connect.avro.AvroConverter",
            "transforms": "cast,route",
            "transforms.cast.type": "org.apache.kafka.connect.transforms.Caste$Value",
            "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
            "predicates": "p",
        }),
        Level.ERROR,
    )  # fmt: skip
    assert set(errors) == {"connector.class", "value.converter", "transforms.cast.type", "predicates.p.type"}
    assert "the nearest is io.confluent.connect.s3.S3SinkConnector" in errors["connector.class"]
    assert "Cast$Value" in errors["transforms.cast.type"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("header.converter", "com.example.Headers"),
        ("batch.size", "many"),
        ("tasks.max", "0"),
        ("transforms", "t"),
        ("exactly.once.support", "required"),
        ("producer.override.ssl.keystore.type", "JKS"),
        ("topic", "${vault:kafka:topic}"),
        ("file", "${file:/does/not/exist.properties:file}"),
        ("file", "${env:MILLSTREAM_NOT_SET}"),
    ],
)
def test_a_setting_that_does_not_work_is_named(setting: str, value: str) -> None:
    report = report_on({**FILE_SOURCE, setting: value})
    assert not report.works
    assert any(setting.startswith(where) or where.startswith(setting) for where in said(report, Level.ERROR))


def test_an_unknown_setting_is_a_warning_with_the_nearest_one() -> None:
    report = report_on({**FILE_SOURCE, "batch.sise": "1"})
    assert report.works
    assert 'did you mean "batch.size"' in said(report, Level.WARNING)["batch.sise"]


@pytest.mark.parametrize(
    ("config", "offset", "why"),
    [
        (FILE_SOURCE, ({"filename": "in.txt"}, {"position": "x"}), "position"),
        (FILE_SOURCE, ({}, {"position": 1}), "filename"),
        (FILE_SOURCE, ([1], 2), "shape"),
        (POSTGRES, (None, {"lsn": 1}), "shape"),
        (POSTGRES, ({"server": "p"}, {"bogus": True}), "has no lsn"),
        (POSTGRES, ({"server": "other"}, {"lsn": 1}), "not this connector's"),
    ],
)
def test_offsets_that_the_connector_cannot_go_on_from(
    config: Mapping[str, str], offset: tuple[Any, Any], why: str
) -> None:
    report = report_on(config, offset)
    assert not report.works
    assert why in said(report, Level.ERROR)["offsets"]


def test_a_connector_looks_outside_only_when_it_may() -> None:
    config = {**POSTGRES, "database.hostname": "127.0.0.1", "database.port": "1"}
    cluster = cluster_of(("connect-configs", "connector-c", {"properties": config}))
    assert reports(cluster)["c"].works
    (report,) = Takeover(WORKER, Plugins.discover(), cluster, look_outside=True).reports()
    assert "database.hostname" in said(report, Level.ERROR)


def test_a_strange_offset_beside_its_own_is_a_warning() -> None:
    report = report_on(POSTGRES, ({"server": "other"}, {"lsn": 1}), ({"server": "p"}, {"lsn": 2, "txId": 1}))
    assert report.works
    assert "not this connector's" in said(report, Level.WARNING)["offsets"]


def test_a_snapshot_that_was_not_finished_is_told() -> None:
    offset = {"lsn": 2, "txId": 1, "snapshot": "INITIAL", "snapshot_completed": False}
    report = report_on(POSTGRES, ({"server": "p"}, offset))
    assert report.works
    assert "begins anew" in said(report, Level.WARNING)["offsets"]


def test_a_sink_has_the_offsets_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, Any]] = []

    def read(request: Mapping[str, Any]) -> list[tuple[str, int, int]]:
        asked.append(request)
        return [("t", 0, 7)]

    monkeypatch.setattr(group_offsets, "read", read)
    report = report_on({"connector.class": "FileStreamSink", "file": "out.txt", "topics": "t"})
    assert report.works
    assert report.offsets == [("t", 0, 7)]
    assert asked[0]["connector"] == "c"
    elsewhere = {"connector.class": "FileStreamSink", "file": "out.txt", "topics": "t",
                 "admin.override.bootstrap.servers": "other:9092"}  # fmt: skip
    report = report_on(elsewhere)
    assert report.offsets is None
    assert len(asked) == 1
    assert "--connect" in said(report, Level.NOTE)["offsets"]


def test_no_finding_shows_a_secret(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.properties"
    secrets.write_text("port=sesame99\n")
    for config in (
        {**POSTGRES, "snapshot.mode": "hunter22"},
        {**POSTGRES, "database.port": f"${{file:{secrets}:port}}"},
    ):
        report = report_on(config)
        assert not report.works
        assert "[hidden]" in " ".join(said(report, Level.ERROR).values())
        assert not any(secret in repr(report.findings) for secret in ("hunter22", "sesame99"))


def test_a_short_secret_is_hidden_where_it_is_a_word() -> None:
    assert hide("invalid value ab for table", ["ab"]) == "invalid value [hidden] for table"


def test_the_workers_settings() -> None:
    worker, findings = check_worker({
        "bootstrap.servers": "127.0.0.1:1", "exactly.once.source.support": "enabled", "group.id": "g",
        "inter.worker.key.size": "1", "offset.flush.intervall.ms": "1", "plugin.discovery": "only_scan",
        "producer.ssl.keystore.type": "JKS", "ssl.key.password": "${file:/f:k}",
        "metrics.num.samples": "0", "rest.advertised.hostname": "h", "access.control.allow.origin": "*",
    }, RestSettings.definitions())  # fmt: skip
    assert worker is not None
    assert worker.group_id == "g"
    errors = {each.where for each in findings if each.level is Level.ERROR}
    warnings = {each.where: each.message for each in findings if each.level is Level.WARNING}
    assert errors == {
        "producer.*", "ssl.key.password", "metrics.num.samples",
    }  # fmt: skip
    assert set(warnings) == {
        "inter.worker.key.size", "offset.flush.intervall.ms", "plugin.discovery", "metrics.num.samples",
        "rest.advertised.hostname",
    }  # fmt: skip
    assert "entry points" in warnings["plugin.discovery"]
    assert 'did you mean "rest.advertised.host.name"' in warnings["rest.advertised.hostname"]
    assert 'did you mean "offset.flush.interval.ms"' in warnings["offset.flush.intervall.ms"]


def test_the_workers_converters_and_config_providers() -> None:
    settings = {"value.converter": "com.example.Avro", "config.providers": "v,file",
                "config.providers.v.class": "com.example.Vault"}  # fmt: skip
    found = check_worker_plugins(WorkerConfig.parse(settings), Plugins.discover())
    assert [each.where for each in found] == ["value.converter", "config.providers.v.class"]
    assert check_worker_plugins(WORKER, Plugins.discover()) == []
