"""What is imported when, because it decides how fast a command starts and how much stays in memory."""

import json
import subprocess
import sys

import pytest

HEAVY = ("aiokafka", "asyncio", "confluent_kafka", "fastapi", "httpx", "rich", "structlog", "uvicorn")


def imported(module: str) -> set[str]:
    """Which of the heavy modules importing this one brings in."""
    code = f"import json, sys, {module}; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("module", ["connect.cli.main", "connect.cli.supervisor"])
def test_the_command_and_the_supervisor_import_nothing_heavy(module: str) -> None:
    assert imported(module) == set()


def test_the_worker_leaves_librdkafka_to_its_tasks() -> None:
    assert "confluent_kafka" not in imported("connect.cli.worker_service")
