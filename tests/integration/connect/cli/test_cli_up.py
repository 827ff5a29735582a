"""`millstream up`: broker and worker together, and what happens when something is wrong or dies."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from confluent_kafka import Producer
from support.cli import COMMAND, millstream

from connect.testing.millstream import Broker, Millstream

DEADLINE_SECONDS = 60


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not what():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return httpx.get(url + "/health", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def child(running: Millstream, module: str) -> int:
    return next(pid for pid, command in running.processes() if f"-m {module} " in command)


def produce(bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce("up-check", b"x")
    assert producer.flush(DEADLINE_SECONDS) == 0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Millstream]:
    with Millstream(tmp_path_factory.mktemp("up") / "data") as up:
        yield up


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_up_tells_its_ports_and_stops_cleanly(tmp_path: Path, how: signal.Signals) -> None:
    told = tmp_path / "data" / "ports.json"
    command = [*COMMAND, "up", "--data-dir", str(told.parent), "--kafka-port", "0", "--rest-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        eventually(lambda: told.exists() or up.poll() is not None)
        ports = json.loads(told.read_text())
        produce(f"127.0.0.1:{ports['kafka']}")
        assert answers(f"http://127.0.0.1:{ports['rest']}")
        everyone = psutil.Process(up.pid).children(recursive=True)
        up.send_signal(how)
        out, err = up.communicate(timeout=DEADLINE_SECONDS)
    assert up.returncode == 0, err
    assert out.splitlines() == [
        f"Kafka  127.0.0.1:{ports['kafka']}",
        f"REST   http://127.0.0.1:{ports['rest']}",
    ]
    assert not told.exists()
    assert psutil.wait_procs(everyone, timeout=DEADLINE_SECONDS)[1] == []
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert {"timestamp", "level", "event", "logger"} <= set(events[-1])
    assert events[-1]["event"] == "stopped"


def test_a_second_up_on_the_same_data_is_refused_and_harms_nothing(running: Millstream) -> None:
    second = millstream("up", "--data-dir", str(running.data_dir), "--kafka-port", "0", "--rest-port", "0")
    assert second.code == 2
    assert re.fullmatch(
        rf"millstream: data directory {running.data_dir} is in use by `millstream up` with process id "
        rf"{running.pid}: stop that one, or choose another directory with --data-dir\n",
        second.err,
    )
    assert json.loads((running.data_dir / "ports.json").read_text())["rest"] == running.rest_port


@pytest.mark.parametrize("option", ["--kafka-port", "--rest-port"])
def test_a_port_in_use_is_one_sentence(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"--kafka-port": "0", "--rest-port": "0", option: port}
        ran = millstream(
            "up", "--data-dir", str(tmp_path), *(word for pair in ports.items() for word in pair)
        )
    assert ran.code == 2
    assert ran.err == (
        f"millstream: port {port} of 127.0.0.1 is in use: end what listens there, or choose another port "
        f"with {option} (0 takes any free one)\n"
    )


def test_data_that_a_broker_alone_has_is_refused(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as alone:
        ran = millstream("up", "--data-dir", str(tmp_path), "--kafka-port", "0", "--rest-port", "0")
        assert ran.code == 2
        assert f"is in use by process {alone.pid}" in ran.err


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        ("--broker-config", "num.partitions=none\n", "num.partitions"),
        ("--worker-config", "offset.flush.interval.ms=soon\n", "offset.flush.interval.ms"),
    ],
)
def test_a_bad_setting_ends_all_with_exit_code_2(
    tmp_path: Path, option: str, text: str, sentence: str
) -> None:
    file = tmp_path / "bad.properties"
    file.write_text(text)
    ran = millstream(
        "up", "--data-dir", str(tmp_path / "data"), "--kafka-port", "0", "--rest-port", "0", option, str(file)
    )
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "data" / "ports.json").exists()


def test_the_workers_file_says_where_rest_listens(tmp_path: Path) -> None:
    file, told = tmp_path / "worker.properties", tmp_path / "millstream-data" / "ports.json"
    file.write_text("listeners=http://localhost:0\nresponse.http.headers.config=set X-Of:the-file\n")
    command = [*COMMAND, "up", "--kafka-port", "0", "--worker-config", str(file)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as up:
        eventually(lambda: told.exists() or up.poll() is not None)
        url = json.loads(told.read_text())["rest_url"]
        assert httpx.get(url, timeout=30).headers["x-of"] == "the-file"
        ran = millstream("connectors", "list", directory=tmp_path)
        up.send_signal(signal.SIGTERM)
        out, err = up.communicate(timeout=DEADLINE_SECONDS)
    assert up.returncode == 0, err
    assert out.decode().splitlines()[1] == f"REST   {url}"
    assert ran.code == 0, ran.err


def test_bad_options_are_refused(tmp_path: Path) -> None:
    assert millstream("up", "--kafka-port", "70000").code == 2
    assert millstream("up", "--broker-config", str(tmp_path / "none")).code == 2


@pytest.mark.parametrize("module", ["broker.app", "connect.cli.worker_process"])
def test_a_killed_child_is_started_again_on_its_port(running: Millstream, module: str) -> None:
    before = child(running, module)
    os.kill(before, signal.SIGKILL)
    eventually(
        lambda: any(f"-m {module} " in command for pid, command in running.processes() if pid != before)
    )
    produce(running.bootstrap)
    eventually(lambda: answers(running.url))
    assert child(running, module) != before
    assert "it is started again" in running.log(200)


def test_nobody_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with Millstream(tmp_path) as up:
        everyone = psutil.Process(up.pid).children(recursive=True)
        assert len(everyone) >= 2
        os.kill(up.pid, signal.SIGKILL)
        assert psutil.wait_procs(everyone, timeout=DEADLINE_SECONDS)[1] == []


def test_up_again_after_a_kill_on_the_same_data_and_ports(tmp_path: Path) -> None:
    with Millstream(tmp_path) as up:
        produce(up.bootstrap)
        ports = (up.kafka_port, up.rest_port)
        up.kill()
        up.start()
        assert (up.kafka_port, up.rest_port) == ports
        seen = millstream("topics", "describe", "up-check", "-o", "json", "-b", up.bootstrap).json
        assert sum(one["end_offset"] for one in seen["partitions"]) == 1


def test_a_directory_of_connectors_is_applied_and_kept(tmp_path: Path) -> None:
    connectors = tmp_path / "connectors"
    connectors.mkdir()
    lines = tmp_path / "lines.txt"
    lines.write_text("one\n")
    config = {
        "connector.class": "FileStreamSource",
        "file": str(lines),
        "topic": "from-file",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    }
    (connectors / "lines.json").write_text(json.dumps(config))
    (connectors / "bad.json").write_text("{")
    with Millstream(tmp_path / "data", arguments=["--connectors", str(connectors)]) as up:
        eventually(lambda: "from-file" in millstream("topics", "list", "-b", up.bootstrap).out)
        read = millstream("consume", "from-file", "--from-beginning", "-n", "1", "--json", "-b", up.bootstrap)
        assert read.json["value"] == "one"
        assert f"{connectors / 'bad.json'} is not JSON" in up.log(300)
        (connectors / "more.json").write_text(json.dumps({**config, "topic": "more"}))
        eventually(lambda: up.request("GET", "/connectors").json() == ["lines", "more"])
