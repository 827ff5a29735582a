"""`millstream connectors` against a running worker."""

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.cli import COMMAND, Ran
from support.cli import millstream as run_millstream

from connect.testing.child import free_ports
from connect.testing.millstream import Millstream

Cli = Callable[..., Ran]
DEADLINE_SECONDS = 60


@pytest.fixture
def cli(millstream: Millstream) -> Cli:
    def run(*arguments: str, **rest: Any) -> Ran:
        return run_millstream(
            "connectors", *arguments, environment={"MILLSTREAM_URL": millstream.url}, **rest
        )

    return run


@pytest.fixture
def name(millstream: Millstream) -> Iterator[str]:
    """The name of a connector that the test may create; deleted in the end."""
    name = f"cli/{uuid.uuid4().hex[:8]}"
    yield name
    millstream.request("DELETE", f"/connectors/{quote(name, safe='')}")


def connector(name: str, directory: Path, **more: Any) -> str:
    """A file that describes a file source."""
    config = {
        "connector.class": "FileStreamSource",
        "file": str(directory / "lines.txt"),
        "topic": f"t-{name.replace('/', '-')}",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    }
    file = directory / "connector.json"
    file.write_text(json.dumps({"name": name, "config": {**config, **more}}))
    return str(file)


def eventually(millstream: Millstream, name: str, wanted: Callable[[Any], bool]) -> None:
    """Wait until the status of a connector is as wanted."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not wanted(status := answer(millstream, name, "status")):
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


def answer(millstream: Millstream, name: str, what: str) -> Any:
    """By REST: to ask again and again by the command takes a process each time."""
    return millstream.request("GET", f"/connectors/{quote(name, safe='')}/{what}").json()


def running(status: Any) -> bool:
    return [task["state"] for task in status["tasks"]] == ["RUNNING"]


def test_apply_creates_and_updates(cli: Cli, name: str, tmp_path: Path, millstream: Millstream) -> None:
    (tmp_path / "lines.txt").write_text("one\n")
    file = connector(name, tmp_path)
    assert cli("apply", file, "-o", "json").json == [{"name": name, "result": "created"}]
    assert cli("apply", file, "-o", "json").json == [{"name": name, "result": "unchanged"}]
    connector(name, tmp_path, **{"batch.size": 10})
    assert cli("apply", file, "-o", "json").json == [{"name": name, "result": "updated"}]
    eventually(millstream, name, running)
    (status,) = cli("status", name, "-o", "json").json
    assert running(status)
    listed = cli("list", "-o", "json").json[name]
    assert listed["info"]["config"]["batch.size"] == "10"
    row = next(line.split() for line in cli("list").out.splitlines() if line.startswith(name))
    assert row == [name, "source", "RUNNING", "1", "RUNNING", "FileStreamSource"]


def test_the_life_of_a_connector(cli: Cli, name: str, tmp_path: Path, millstream: Millstream) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("one\ntwo\n")
    cli("apply", connector(name, tmp_path))
    eventually(millstream, name, running)
    position = {"offsets": [{"partition": {"filename": str(lines)}, "offset": {"position": 8}}]}
    deadline = time.monotonic() + DEADLINE_SECONDS
    while answer(millstream, name, "offsets") != position:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert cli("offsets", "get", name, "-o", "json").json == position
    assert cli("pause", name).out == f"{name} paused\n"
    eventually(millstream, name, lambda status: status["connector"]["state"] == "PAUSED")
    refused = cli("offsets", "reset", name)
    assert refused.code == 1
    assert "must be in the STOPPED state" in refused.err
    assert cli("stop", name, "-o", "json").json == {"name": name, "result": "stopped"}
    eventually(millstream, name, lambda status: status["connector"]["state"] == "STOPPED")
    position["offsets"][0]["offset"]["position"] = 4
    assert cli("offsets", "alter", name, "-", stdin=json.dumps(position)).code == 0
    assert cli("offsets", "get", name, "-o", "json").json == position
    assert cli("offsets", "reset", name).code == 0
    assert cli("offsets", "get", name, "-o", "json").json == {"offsets": []}
    assert cli("resume", name).code == 0
    eventually(millstream, name, running)
    assert cli("restart", name, "--tasks").out == f"{name} restarted\n"
    assert cli("delete", name).out == f"{name} deleted\n"
    gone = cli("delete", name)
    assert (gone.code, gone.err) == (1, f"millstream: Connector {name} not found\n")


def test_a_failed_task_is_exit_code_3_and_says_why(
    cli: Cli, name: str, tmp_path: Path, millstream: Millstream
) -> None:
    sink = {
        "connector.class": "FileStreamSink",
        "topics": f"t-{name.replace('/', '-')}",
        "file": str(tmp_path / "no" / "such" / "directory"),
        "millstream.task.restart.backoff.ms": "300000",
    }
    file = tmp_path / "sink.json"
    file.write_text(json.dumps({"name": name, "config": sink}))
    assert cli("apply", str(file)).code == 0
    eventually(millstream, name, lambda status: [task["state"] for task in status["tasks"]] == ["FAILED"])
    shown = cli("status", name)
    assert shown.code == 3
    assert "FAILED" in shown.out
    assert "directory" in shown.out
    assert re.search(r"\d+ of 1000, next \d\d:\d\d:\d\d", shown.out)


def test_a_refused_config_is_the_workers_own_sentence(cli: Cli, name: str, tmp_path: Path) -> None:
    refused = cli("apply", connector(name, tmp_path, **{"batch.size": "many"}))
    assert refused.code == 1
    assert "Invalid value many for configuration batch.size: Not a number of type INT" in refused.err


def test_a_bad_file_stops_apply_before_anything_is_touched(cli: Cli, name: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    ran = cli("apply", connector(name, tmp_path), str(bad))
    assert ran.code == 2
    assert ran.err.startswith(f"millstream: {bad} is not JSON")
    assert cli("status", name).err == f"millstream: No status found for connector {name}\n"


def test_no_worker_is_one_sentence() -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    ran = run_millstream("connectors", "list", "--url", nobody)
    assert ran.code == 1
    assert ran.err.startswith(f"millstream: no worker answers at {nobody}")
    assert ran.err.count("\n") == 1


@contextmanager
def growing(file: Path) -> Iterator[None]:
    """Lines come all the time, so that there is a rate whenever somebody looks."""
    stopping = threading.Event()

    def grow() -> None:
        while not stopping.wait(0.05):
            with file.open("a") as lines:
                lines.write("line\n")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def moved(cli: Cli, name: str) -> Any:
    """The row of a connector once its task has told what it did."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        [row] = cli("top", "--once", "-o", "json", name).json
        if row["records_per_second"] and row["tasks"][0]["records_total"] >= 1_000:
            return row
        assert time.monotonic() < deadline, row
        time.sleep(0.1)


def test_top_shows_what_a_connector_does(cli: Cli, name: str, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("line\n" * 1_000)
    cli("apply", connector(name, tmp_path))
    with growing(tmp_path / "lines.txt"):
        row = moved(cli, name)
    assert (row["name"], row["type"], row["state"]) == (name, "source", "RUNNING")
    assert (row["errors"], row["restarts"], row["lag"]) == (0, 0, None)
    assert row["memory_bytes"] > 1 << 20
    [task] = row["tasks"]
    assert (task["id"], task["state"]) == (0, "RUNNING")

    lines = cli("top", "--once", "--tasks", name).out.splitlines()
    assert lines[0].split() == [
        "CONNECTOR", "TYPE", "STATE", "TASKS", "RECORDS/S", "MB/S", "LAG", "ERRORS", "RESTARTS", "MEMORY",
        "CPU",
    ]  # fmt: skip
    assert lines[1].split()[:4] == [name, "source", "RUNNING", "1/1"]
    assert lines[2].split()[:4] == ["task", "0", "RUNNING", task["worker_id"]]


def test_top_says_what_has_failed(cli: Cli, name: str, tmp_path: Path, millstream: Millstream) -> None:
    never = {"millstream.task.restart.max.attempts": "0"}
    cli("apply", connector(name, tmp_path, file=str(tmp_path), **never))
    eventually(millstream, name, lambda status: [task["state"] for task in status["tasks"]] == ["FAILED"])
    row = cli("top", "--once", name).out.splitlines()[1].split()
    assert row[2:6] == ["RUNNING", "0/1", "1", "FAILED"]
    assert row[6:8] == ["-", "-"]


def test_top_of_a_connector_that_is_not_there(cli: Cli) -> None:
    done = cli("top", "--once", "no-such", "nor-this")
    assert (done.code, done.err) == (1, "millstream: there is no connector no-such, nor-this\n")


def test_top_in_a_pipe_writes_a_line_of_json_each_time(millstream: Millstream, cli: Cli, name: str) -> None:
    command = [*COMMAND, "connectors", "top", "-o", "json", "-i", "0.1", "--url", millstream.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        looks = [json.loads(running.stdout.readline()) for _ in range(3)]
        running.send_signal(signal.SIGINT)
        assert running.wait(DEADLINE_SECONDS) == 0
    assert all(isinstance(look, list) for look in looks)


def test_top_on_a_terminal_is_a_live_table(
    millstream: Millstream, cli: Cli, name: str, tmp_path: Path
) -> None:
    cli("apply", connector(name, tmp_path))
    ours, theirs = pty.openpty()
    command = [*COMMAND, "connectors", "top", "-i", "0.1", "--url", millstream.url]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as running:
        os.close(theirs)
        seen = b""
        while seen.count(name.encode()) < 3:  # it is drawn again and again
            seen += os.read(ours, 65_536)
        running.send_signal(signal.SIGINT)
        while True:  # until it has left the terminal as it was
            try:
                seen += os.read(ours, 65_536)
            except OSError:
                break
        assert running.wait(DEADLINE_SECONDS) == 0
    os.close(ours)
    assert b"RECORDS/S" in seen
    assert b"Traceback" not in seen
