"""The fixtures that users get with Millstream."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connect.testing import pytest_plugin
from connect.testing.deployments import Deployments
from connect.testing.millstream import Broker, Worker
from connect.testing.pytest_plugin import MillstreamServers
from connect.testing.topics import Topics

FAILING = """
from connect.api import Config, ConnectError, SourceConnector, SourceTask, setting

class Settings(Config):
    topic: str = setting("topic", doc="")

class Task(SourceTask[Settings]):
    def start(self, context, config):
        raise ConnectError("there is nothing to read")

    def poll(self):
        return []

class Failing(SourceConnector[Settings]):
    config_class = Settings
    task_class = Task

    def task_configs(self, config, max_tasks):
        return [config.originals]
"""
USER_TEST = """
def test_it(millstream_connectors, millstream_topics, millstream_topic, tmp_path):
    (tmp_path / "in.txt").write_text("one\\n")
    config = {"file": str(tmp_path / "in.txt"), "topic": millstream_topic, "value.converter": "String"}
    millstream_connectors.deploy({"connector.class": "FileStreamSource", **config})
    assert [record.value for record in millstream_topics.read(millstream_topic, 1)] == [b"one"]

def test_failing(millstream_connectors, millstream_topic):
    millstream_connectors.deploy({"connector.class": "failing:Failing", "topic": millstream_topic})
"""


def run_pytest(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_users_project_has_broker_and_worker_and_finds_its_modules(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    (tmp_path / "test_mine.py").write_text(USER_TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    told = run_pytest(tmp_path)
    assert "1 failed, 1 passed" in told
    assert "is FAILED: org.apache.kafka.connect.errors.ConnectException: there is nothing to read" in told


def test_nothing_is_imported_for_a_run_that_uses_no_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    ours = {name for name in sys.modules if name.startswith(('connect', 'broker'))}\n"
        "    assert ours == {'connect', 'connect.testing', 'connect.testing.pytest_plugin'}\n"
        "    assert 'confluent_kafka' not in sys.modules and 'pydantic' not in sys.modules\n"
    )
    assert "1 passed" in run_pytest(tmp_path, "-p", "no:hypothesispytest", "-p", "no:xdist")


def test_all_names_are_told_apart_by_their_prefix(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.hasplugin("millstream"), "pip install -e . tells pytest of the plugin"
    marks = [
        name
        for name, value in vars(pytest_plugin).items()
        if getattr(value, "_pytestfixturefunction", None) is not None
        or type(value).__name__ == "FixtureFunctionDefinition"
    ]
    assert len(marks) == 8
    assert all(name.startswith("millstream_") for name in marks)


def test_servers_of_a_test_are_its_own_and_end_with_it(
    tmp_path_factory: pytest.TempPathFactory, millstream_broker: Broker
) -> None:
    servers = MillstreamServers(tmp_path_factory.mktemp, Path(__file__).parent)
    broker = servers.broker({"auto.create.topics.enable": "false"})
    worker = servers.worker(broker.bootstrap)
    assert broker.port != millstream_broker.port
    assert worker.request("GET", "/connectors").json() == []
    pids = [broker.pid, worker.pid]
    servers.stop()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_deployments_are_gone_after_the_block(
    millstream_worker: Worker, millstream_topic: str, tmp_path: Path
) -> None:
    config = {"connector.class": "FileStreamSource", "file": str(tmp_path / "f"), "topic": millstream_topic}
    with Deployments(millstream_worker) as deployments:
        name = deployments.deploy(config)
        assert deployments.status(name)["connector"]["state"] == "RUNNING"
        millstream_worker.request("PUT", f"/connectors/{name}/pause")
        deployments.wait_for_state(name, "PAUSED")
        deployments.deploy({**config, "batch.size": "7"}, f"{name}/2")
    assert millstream_worker.request("GET", f"/connectors/{name}").status_code == 404


def test_a_config_that_is_refused_fails_with_the_workers_words(
    millstream_connectors: Deployments,
) -> None:
    with pytest.raises(AssertionError, match='Missing required configuration "topic"'):
        millstream_connectors.deploy({"connector.class": "FileStreamSource"})


def test_topics(millstream_topics: Topics, millstream_topic: str) -> None:
    assert millstream_topics.create(millstream_topic, 2, cleanup_policy="compact") == millstream_topic
    millstream_topics.produce(millstream_topic, ["a", b"b", None], key="k")
    records = millstream_topics.read(millstream_topic, 3)
    told: list[Any] = [(r.offset, r.key, r.value) for r in records]
    assert told == [(0, b"k", b"a"), (1, b"k", b"b"), (2, b"k", None)]
    with pytest.raises(AssertionError, match="3 of 4 records came in 3 s"):
        millstream_topics.read(millstream_topic, 4, seconds=3)
    with pytest.raises(AssertionError, match="nobody has made the topic"):
        millstream_topics.read(f"{millstream_topic}-2", 1, seconds=0.2)
