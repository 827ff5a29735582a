"""Other people's tools work against a worker: kafka-connect-py for real, others by the calls they make."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from kafka_connect import KafkaConnect
from requests.exceptions import HTTPError
from support.rest_tools import PLUGIN, SEQUENCES, Call, misfits
from support.workers import worker_settings

from connect.testing.millstream import Broker, Worker

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def worker(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    directory = tmp_path_factory.mktemp("tools")
    with Worker(directory, broker.bootstrap, worker_settings(broker.bootstrap)) as running:
        yield running


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def filled(body: Any, name: str) -> bytes | None:
    if body is None or body == "":
        return body if body is None else b""
    return json.dumps(body).replace("{c}", name).encode()


def runs(client: httpx.Client, name: str) -> bool:
    answer = client.get(f"/connectors/{name}/status")
    return (
        answer.is_success
        and bool(tasks := answer.json()["tasks"])
        and all(task["state"] == "RUNNING" for task in tasks)
    )


def make(client: httpx.Client, call: Call, name: str) -> None:
    """A call, and what must be true before the tool's user would make the next one."""
    body = filled(call.body, name)
    headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": call.type})
    path = call.path.replace("{c}", name)
    answer = client.request(call.method, path, content=body, headers=headers)
    assert answer.status_code == call.status, f"{call.method} {path}: {answer.status_code} {answer.text}"
    if call.shape is not None:
        assert misfits(answer.json(), call.shape, name) == [], f"{call.method} {path}: {answer.text[:2000]}"
    if call.deploys:
        until(lambda: runs(client, name))


@pytest.mark.parametrize("tool", list(SEQUENCES))
def test_the_calls_of_a_tool(worker: Worker, kafka_topic: str, tool: str) -> None:
    with httpx.Client(base_url=worker.url, timeout=120) as client:
        for call in SEQUENCES[tool]:
            make(client, call, kafka_topic)


def test_kafka_connect_py(worker: Worker, kafka_topic: str, tmp_path: Path) -> None:
    client, name = KafkaConnect(worker.url), kafka_topic
    config = {
        "connector.class": PLUGIN,
        "file": str(tmp_path / "in.txt"),
        "topic": kafka_topic,
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    }
    (tmp_path / "in.txt").write_text("a\n")
    assert client.get_cluster_info()["kafka_cluster_id"]
    assert PLUGIN in [plugin["class"] for plugin in client.list_connector_plugins()]
    assert client.validate_connector_config(PLUGIN, {**config, "name": name})["error_count"] == 0
    assert client.create_connector({"name": name, "config": config})["name"] == name
    until(lambda: client.get_connector_status(name)["tasks"] != [])
    until(lambda: client.get_connector_task_status(name, 0)["state"] == "RUNNING")
    assert client.list_connectors(pattern=name, state="running") == [name]
    assert list(client.list_connectors(expand="info", pattern=name)) == [name]
    assert client.get_connector(name)["type"] == "source"
    assert client.get_connector_config(name)["topic"] == kafka_topic
    assert client.list_connector_tasks(name)[0]["id"] == {"connector": name, "task": 0}
    until(lambda: client.list_connector_topics(name)[name]["topics"] == [kafka_topic])
    client.reset_connector_topics(name)
    assert client.update_connector(name, {**config, "batch.size": "7"})["config"]["batch.size"] == "7"
    for include_tasks in (False, True):
        client.restart_connector(name, include_tasks=include_tasks)
    client.restart_connector_task(name, 0)
    client.pause_connector(name)
    until(lambda: client.get_connector_task_status(name, 0)["state"] == "PAUSED")
    client.resume_all_connectors(pattern=name)
    until(lambda: client.get_connector_task_status(name, 0)["state"] == "RUNNING")
    client.stop_connector(name)
    client.delete_connector(name)
    with pytest.raises(HTTPError):
        client.get_connector(name)


def test_the_command_of_kafka_connect_py(worker: Worker) -> None:
    command = [
        sys.executable,
        "-c",
        "from kafka_connect.cli import cli; cli()",
        "--url",
        worker.url,
        "list-plugins",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert PLUGIN in ran.stdout
