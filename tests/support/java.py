"""Java programs for the tests: compiled on first use, and run many to a JVM or alone.

The sources are in `integration/clients/java`; the jars come from Maven (`connect.testing.kafka`).
"""

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connect.testing.child import Stoppable
from connect.testing.kafka import KAFKA_VERSION, fetch_jars

SOURCES = Path(__file__).parent.parent / "integration" / "clients" / "java"
# Short-lived programs: what saves CPU at the start counts, not what makes hours of running fast.
JVM = ("java", "-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_STREAMS = (("org.apache.kafka", "kafka-streams", KAFKA_VERSION), ("org.slf4j", "slf4j-nop", "1.7.36"))


def needs_java() -> pytest.MarkDecorator:
    """Skips where the JDK or Maven is not installed; CI installs them."""
    missing = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def kafka_jars() -> Path:
    """Apache Kafka's broker, clients and command-line tools."""
    return fetch_jars(f"kafka-{KAFKA_VERSION}")


def streams_jars() -> Path:
    return fetch_jars(f"kafka-streams-{KAFKA_VERSION}", _STREAMS)


def class_path(jars: Path, *sources: str) -> str:
    """The jars and the classes of some of our sources (`NAME.java`), compiled unless the cache has them."""
    files = [SOURCES / source for source in sources]
    digest = hashlib.sha256(jars.name.encode() + b"".join(file.read_bytes() for file in files)).hexdigest()
    classes = jars.parent / f"java-classes-{digest[:16]}"
    if not classes.exists():
        with tempfile.TemporaryDirectory(dir=jars.parent) as building:
            made = Path(building) / "classes"
            subprocess.run(
                ["javac", "-Xlint:-removal", "-cp", f"{jars}/*", "-d", str(made), *map(str, files)],
                check=True,
            )
            try:
                made.rename(classes)
            except OSError:
                if not classes.exists():  # else somebody else was faster: theirs are the same
                    raise
    return os.pathsep.join([str(classes), f"{jars}/*"])


@dataclass(frozen=True, slots=True)
class Ran:
    exit_code: int
    out: str
    err: str


class Tool:
    """A tool that runs in the JVM of `JavaTools`."""

    def __init__(self, tools: "JavaTools", tool_id: int) -> None:
        self._tools = tools
        self._id = tool_id
        self.ended: Future[Ran] = Future()

    def stop(self) -> None:
        """What SIGTERM would do: run its shutdown hooks."""
        self._tools.send({"stop": self._id})

    def written(self) -> str:
        """Its standard output so far."""
        asked = self._tools.read(self._id)
        return self.ended.result().out if self.ended.done() else asked.result(60)


class JavaTools(Stoppable):
    """One JVM that runs the main methods of many classes, several at once (ToolRunner.java)."""

    def __init__(self) -> None:
        path = class_path(kafka_jars(), *(file.name for file in sorted(SOURCES.glob("*.java"))))
        self._process = subprocess.Popen(
            [*JVM, "-XX:+DisplayVMOutputToStderr", "--add-opens", "java.base/java.lang=ALL-UNNAMED",
             "-cp", path, "ToolRunner"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._ids = itertools.count()
        self._tools: dict[int, Tool] = {}
        self._reads: dict[int, list[Future[str]]] = {}
        self._sending = threading.Lock()
        self._reader = threading.Thread(target=self._take_answers, daemon=True)
        self._reader.start()

    def start(self, main_class: str, arguments: Sequence[str], stdin: str = "") -> Tool:
        """Start a tool and leave it running."""
        tool_id = next(self._ids)
        tool = self._tools[tool_id] = Tool(self, tool_id)
        self.send({"id": tool_id, "class": main_class, "args": list(arguments), "stdin": stdin})
        return tool

    def run(self, main_class: str, arguments: Sequence[str], stdin: str = "", seconds: float = 60) -> Ran:
        """Run a tool to its end; TimeoutError if it has not ended in time."""
        return self.start(main_class, arguments, stdin).ended.result(seconds)

    def send(self, request: dict[str, object]) -> None:
        assert self._process.stdin is not None
        with self._sending:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def read(self, tool_id: int) -> Future[str]:
        """What a tool has written so far, if it has not ended yet."""
        asked: Future[str] = Future()
        self._reads.setdefault(tool_id, []).append(asked)
        self.send({"read": tool_id})
        return asked

    def _take_answers(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._take(json.loads(line))
        finally:
            unanswered = [tool.ended for tool in self._tools.values()]
            for future in [*unanswered, *itertools.chain(*self._reads.values())]:
                future.set_exception(ChildProcessError("the JVM of the tools has ended"))

    def _take(self, answer: dict[str, Any]) -> None:
        if "exit" in answer:
            ran = Ran(answer["exit"], answer["out"], answer["err"])
            self._tools.pop(answer["id"]).ended.set_result(ran)
        for asked in self._reads.pop(answer["id"], []):
            asked.set_result(answer["out"])

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._reader.join(60)
