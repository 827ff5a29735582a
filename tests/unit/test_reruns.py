"""What a second attempt of a failed test gets, and what it does not forgive."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import sys
from pathlib import Path
import pytest
sys.path.insert(0, {tests!r})
from support.reruns import Reruns

started = []

def pytest_configure(config):
    config.pluginmanager.register(Reruns([Path(__file__).parent / "processes"]))

@pytest.fixture(scope="session")
def server():
    started.append({{"alive": True}})
    yield started[-1]
    if not started[-1]["alive"]:
        raise RuntimeError("a dead server does not stop")

@pytest.fixture(scope="session")
def dynamic(request):
    return request.getfixturevalue("server")

@pytest.fixture
def number_of_servers():
    return len(started)
"""
TESTS = """
import time
import pytest

def test_a_server_breaks(dynamic, number_of_servers):
    assert dynamic["alive"]
    dynamic["alive"] = number_of_servers > 1
    assert dynamic["alive"], "the first server broke"

def test_the_new_server_stays(server, number_of_servers):
    assert number_of_servers <= 2

def test_always_fails(server):
    assert 0

@pytest.mark.timeout(1)
def test_hangs():
    time.sleep(60)

@pytest.mark.timeout(1)
def test_hangs_the_second_time(tmp_path_factory):
    tried = tmp_path_factory.getbasetemp() / "tried"
    if tried.exists():
        time.sleep(60)
    tried.touch()
    assert 0
"""
OUTCOMES = ("FAIL", "PASS", "RERU")
ELSEWHERE = """
def test_elsewhere():
    assert 0
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_second_attempt(tmp_path: Path, workers: str) -> None:
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "conftest.py").write_text(CONFTEST.format(tests=str(Path(__file__).parents[1])))
    for folder, text in (("processes", TESTS), ("elsewhere", ELSEWHERE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"test_{folder}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfpR", "-n", workers]
    command += ["--rerun-show-tracebacks", f"--basetemp={tmp_path / 'base'}", "--dist=loadgroup"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    summary = done.stdout.splitlines()
    results = sorted(
        {tuple(line.split(" - ")[0].split()) for line in summary if "::" in line and line[:4] in OUTCOMES}
    )
    processes, elsewhere = "processes/test_processes.py::test_", "elsewhere/test_elsewhere.py::test_"
    assert results == [
        ("FAILED", f"{elsewhere}elsewhere"),
        ("FAILED", f"{processes}always_fails"),
        ("FAILED", f"{processes}hangs"),
        ("FAILED", f"{processes}hangs_the_second_time"),
        ("PASSED", f"{processes}a_server_breaks"),
        ("PASSED", f"{processes}the_new_server_stays"),
        ("RERUN", f"{processes}a_server_breaks"),
        ("RERUN", f"{processes}always_fails"),
        ("RERUN", f"{processes}hangs_the_second_time"),
    ], done.stdout
    assert "AssertionError: the first server broke" in done.stdout
    assert "closing server: RuntimeError('a dead server does not stop')" in done.stdout
