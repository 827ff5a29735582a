"""What `millstream up` does with its two children; here they are small programs."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from connect.cli.supervisor import STOP_SECONDS

# Two children: PROGRAM of each is run with its name and a file to write to.
SUPERVISOR = """
import os, sys
from connect.cli import supervisor
from connect.cli.supervisor import Child, Supervisor, catch_signals
program, file, patience = sys.argv[1:]
supervisor.STOP_SECONDS = dict.fromkeys(("broker", "worker"), float(patience))
wakeup = catch_signals()
ready, ready_for_child = os.pipe()
def command(name):
    return [sys.executable, "-c", program, name, file, str(ready_for_child)]
children = [Child(name, command(name)) for name in ("broker", "worker")]
announce = lambda url: print(url, flush=True)
sys.exit(Supervisor(children, announce, wakeup, ready, ready_for_child).run())
"""
# Tells that it is ready (the worker once the broker is), and on SIGTERM writes its name and ends.
GOOD = """
import os, signal, sys, time
name, file, ready = sys.argv[1:]
def stop(*_):
    with open(file, "a") as out:
        out.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
if name == "broker":
    open(file + ".broker", "w").close()
else:
    while not os.path.exists(file + ".broker"):
        time.sleep(0.01)
    os.write(int(ready), b"ready\\n")
while True:
    signal.pause()
"""
# Hears SIGTERM and does not care.
STUBBORN = GOOD.replace("    sys.exit(0)\n", "    out.close()\n")
BROKEN = "import sys; sys.exit(1)"


class Run:
    def __init__(self, program: str, tmp_path: Path, patience: float = 20) -> None:
        self.file = tmp_path / "heard"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, program, str(self.file), str(patience)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def wait_for_heard(self, *names: str) -> None:
        deadline = time.monotonic() + 60
        while not self.file.exists() or self.file.read_text().split() != list(names):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self) -> tuple[int, list[Any]]:
        """The exit code and the log."""
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, [json.loads(line) for line in err.splitlines()]


def test_the_worker_is_stopped_before_the_broker(tmp_path: Path) -> None:
    run = Run(GOOD, tmp_path)
    run.wait_for_ready()
    run.process.send_signal(signal.SIGTERM)
    code, log = run.end()
    assert code == 0
    assert run.file.read_text().split() == ["worker", "broker"]
    assert [line["event"] for line in log] == ["ready", "stopped"]


def test_all_is_stopped_within_ten_seconds_whatever_the_children_do() -> None:
    assert sum(STOP_SECONDS.values()) < 10


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    run = Run(STUBBORN, tmp_path, patience=0.3)
    run.wait_for_ready()
    run.process.send_signal(signal.SIGINT)
    code, log = run.end()
    assert code == 1
    assert [line["event"] for line in log][1:] == [
        "the worker did not stop in time and was killed",
        "the broker did not stop in time and was killed",
        "stopped",
    ]


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    run = Run(STUBBORN, tmp_path, patience=60)
    run.wait_for_ready()
    for heard in (("worker",), ("worker", "broker")):
        run.process.send_signal(signal.SIGINT)
        run.wait_for_heard(*heard)
    run.process.send_signal(signal.SIGINT)
    assert run.end()[0] == 1


def test_who_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    code, log = Run(BROKEN, tmp_path).end()
    assert code == 1
    gave_up = [line for line in log if line["event"].endswith("does not start")]
    assert [(line["attempts"], line["ended"]) for line in gave_up] == [(3, "exit code 1")]


def test_a_usage_error_before_readiness_ends_all(tmp_path: Path) -> None:
    code, log = Run(BROKEN.replace("1", "2"), tmp_path).end()
    assert code == 2
    assert [line["event"] for line in log] == ["stopped"]  # the child has said what is wrong
