"""Log lines of a process: one form for structlog and the standard library."""

import json
import os
import subprocess
import sys
from typing import Any

PROGRAM = """
import logging, structlog
from connect.runtime.logs import configure_logging
configure_logging("INFO", connector="c", task=0)
structlog.get_logger("by.structlog").info("first", count=1)
logging.getLogger("by.logging").warning("second %s", 2)
structlog.get_logger("by.structlog").debug("never")
logging.getLogger("aiokafka.cluster").info("never")
def fail(password):
    raise ValueError("no")
try:
    fail("geheim")
except ValueError as exc:
    logging.getLogger("by.logging").error("third", exc_info=exc)
"""


def run(form: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MILLSTREAM_LOG_FORMAT": form},
    )
    assert done.stdout == ""
    return done.stderr


def test_json_lines_have_the_same_fields_whoever_logs() -> None:
    lines: list[Any] = [json.loads(line) for line in run("json").splitlines()]
    first, second, third = lines
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "first",
        "level": "info",
        "logger": "by.structlog",
        "connector": "c",
        "task": 0,
        "count": 1,
    }
    assert (second["event"], second["level"], second["logger"], second["connector"]) == (
        "second 2",
        "warning",
        "by.logging",
        "c",
    )
    assert third["exception"].endswith("ValueError: no")


def test_text_lines_show_no_local_variables() -> None:
    text = run("text")
    assert "ValueError: no" in text
    assert "geheim')" not in text
    assert "password = " not in text
    assert text.count("connector=c") == 3


def test_without_a_terminal_the_form_is_json() -> None:
    assert json.loads(run("").splitlines()[0])["event"] == "first"
