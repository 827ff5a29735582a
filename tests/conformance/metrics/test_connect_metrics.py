"""Every metric of a Java worker is there, by the name that the JMX exporter gives it."""

import csv
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.eventually import eventually

from connect.testing.millstream import Millstream

DECLARED = Path(__file__).parents[2] / "golden" / "metrics" / "connect_metrics.tsv"
STRING = "org.apache.kafka.connect.storage.StringConverter"
LINE = re.compile(r'(\w+)(?:\{((?:\w+="[^"]*",?)*)\})? (\S+)')
LINES = 1_000


def declared() -> list[tuple[str, frozenset[str], str]]:
    """Group, tags, attribute."""
    with DECLARED.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [(row["group"], frozenset(filter(None, row["tags"].split(","))), row["attribute"]) for row in rows]


class Scrape:
    """What `/metrics` answered."""

    def __init__(self, text: str) -> None:
        self.samples: list[tuple[str, dict[str, str], float]] = []
        for line in text.splitlines():
            if not line.startswith("#"):
                match = LINE.fullmatch(line)
                assert match, line
                labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                self.samples.append((match[1], labels, float(match[3])))

    def has(self, group: str, tags: frozenset[str], attribute: str) -> bool:
        prefix, name = f"kafka_connect_{group}_".replace("-", "_"), attribute.replace("-", "_")
        for metric, labels, _ in self.samples:
            if metric == prefix + name and labels.keys() - {"status"} == tags:
                return True
            if metric == f"{prefix}info" and name in labels and tags <= labels.keys():
                return True
        return False

    def value(self, metric: str, **labels: str) -> float:
        [found] = [v for name, has, v in self.samples if name == metric and labels.items() <= has.items()]
        return found


@pytest.fixture(scope="module")
def names(millstream: Millstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A source and the sink of what it writes, both of which have told what they have done."""
    directory, unique = tmp_path_factory.mktemp("metrics"), uuid.uuid4().hex[:8]
    source, sink = f"source-{unique}", f"sink-{unique}"
    (directory / "in").write_text("".join(f"line {number}\n" for number in range(LINES)))
    common = {"tasks.max": "1", "key.converter": STRING, "value.converter": STRING}
    create(millstream, source, {
        **common, "connector.class": "FileStreamSource", "file": str(directory / "in"), "topic": unique,
        "transforms": "drop", "transforms.drop.type": "Filter", "transforms.drop.predicate": "dead",
        "predicates": "dead",
        "predicates.dead.type": "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
    })  # fmt: skip
    create(millstream, sink, {
        **common, "connector.class": "FileStreamSink", "file": str(directory / "out"), "topics": unique,
        "consumer.override.auto.offset.reset": "earliest",
    })  # fmt: skip
    for name in (source, sink):
        eventually(lambda name=name: _is_done(millstream, name), f"{name} does not tell that it is done")  # type: ignore[misc]
    yield source, sink
    for name in (source, sink):
        millstream.request("DELETE", f"/connectors/{name}")


def create(millstream: Millstream, name: str, config: dict[str, str]) -> None:
    response = millstream.request("POST", "/connectors", {"name": name, "config": config})
    assert response.status_code == 201, response.text


def _is_done(millstream: Millstream, name: str) -> bool:
    response = millstream.request("GET", f"/connectors/{name}/status")
    metrics = [task.get("metrics") for task in response.json().get("tasks", [])]
    return bool(metrics and metrics[0] and metrics[0]["records_total"] == LINES and metrics[0]["bytes_total"])


def scrape(millstream: Millstream) -> Scrape:
    response = millstream.request("GET", "/metrics")
    assert response.status_code == 200
    return Scrape(response.text)


def test_every_declared_metric_is_there(millstream: Millstream, names: tuple[str, str]) -> None:
    found = scrape(millstream)
    missing = [attribute for group, tags, attribute in declared() if not found.has(group, tags, attribute)]
    assert missing == []


def test_totals_are_exact(millstream: Millstream, names: tuple[str, str]) -> None:
    source, sink = names
    found = scrape(millstream)
    prefix = "kafka_connect_source_task_metrics_source_record"
    assert found.value(f"{prefix}_poll_total", connector=source, task="0") == LINES
    assert found.value(f"{prefix}_write_total", connector=source, task="0") == LINES
    prefix = "kafka_connect_sink_task_metrics_sink_record"
    assert found.value(f"{prefix}_read_total", connector=sink, task="0") == LINES
    assert found.value(f"{prefix}_send_total", connector=sink, task="0") == LINES
    written = sum(len(f"line {number}") for number in range(LINES))

    def are_counted() -> bool:
        return scrape(millstream).value("millstream_task_bytes_total", connector=sink, task="0") == written

    eventually(are_counted, "bytes are counted every two seconds")
    assert found.value("millstream_task_lag_records", connector=sink, task="0") == 0
    status = "kafka_connect_connector_task_metrics_status"
    assert found.value(status, connector=sink, task="0", status="running") == 1


def test_a_status_has_rates_and_lag(millstream: Millstream, names: tuple[str, str]) -> None:
    [task] = millstream.request("GET", f"/connectors/{names[1]}/status").json()["tasks"]
    shown = task["metrics"]
    assert shown.keys() == {
        "records_per_second", "bytes_per_second", "records_total", "bytes_total", "lag", "errors",
        "memory_bytes", "cpu_percent", "cpu_seconds", "restarts",
    }  # fmt: skip
    assert (shown["lag"], shown["errors"], shown["restarts"]) == (0, 0, 0)
    assert shown["memory_bytes"] > 1 << 20
    assert shown["cpu_seconds"] > 0
