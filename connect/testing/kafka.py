"""Apache Kafka as a child process, from Maven's packages: to run and measure Millstream beside it.

Needs Java 17 or later and `mvn`; the jars are fetched once, into a folder of the user's cache.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from connect.testing.child import Child, Stoppable, free_ports

KAFKA_VERSION = "4.3.1"

_POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>millstream</groupId><artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_TOOLS = ("java", "mvn")
_BROKER = (
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
    ("org.slf4j", "slf4j-nop", "2.0.17"),
)


class MissingTool(RuntimeError):
    """Java or Maven is not installed."""


def java_present() -> bool:
    """Whether what this module needs is installed."""
    return all(shutil.which(tool) for tool in _TOOLS)


def fetch_jars(name: str, dependencies: tuple[tuple[str, str, str], ...] = _BROKER) -> Path:
    """The folder with the jars of (group, artifact, version) and all they need, fetched on first use."""
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise MissingTool(f"{tool} is not installed; Debian: apt-get install default-jre-headless maven")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "millstream"
    jars = cache / name
    if jars.exists():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f"{name}.") as fetching:
        pom = Path(fetching) / "pom.xml"
        wanted = "".join(_DEPENDENCY.format(*each) for each in dependencies)
        pom.write_text(_POM.format(name=name, dependencies=wanted))
        target = Path(fetching) / "jars"
        subprocess.run(
            ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
             f"-DoutputDirectory={target}", "-DincludeScope=runtime"],
            check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        with contextlib.suppress(OSError):  # somebody else was faster: theirs are the same
            target.rename(jars)
    return jars


class ApacheKafka(Stoppable):
    """One KRaft node on a free port of 127.0.0.1, data under `directory`; ready when this returns."""

    def __init__(
        self, directory: Path, settings: Mapping[str, str] | None = None, heap: str = "-Xms1G -Xmx1G"
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.jars = fetch_jars(f"kafka-{KAFKA_VERSION}")
        self.port, controller = free_ports(2)
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(directory / "data"),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
        } | dict(settings or {})
        self._file = directory / "server.properties"
        self._file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        subprocess.run(
            [*self._java("-Xmx256M", "kafka.tools.StorageTool"), "format", "--standalone",
             "-t", "bWlsbHN0cmVhbS1wZWVyLTE", "-c", str(self._file)],
            check=True, capture_output=True,
        )  # fmt: skip
        self.child = Child(
            [*self._java(*heap.split(), "-XX:+UseG1GC", "kafka.Kafka"), str(self._file)],
            directory / "server.log",
        )
        self.child.wait_until(self._answers, 60, "Apache Kafka")

    def _java(self, *arguments: str) -> list[str]:
        return ["java", "-cp", f"{self.jars}/*", *arguments]

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def tool(self, main_class: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of Kafka's command-line classes."""
        return subprocess.run(
            [*self._java("-Xmx256M", main_class), *arguments],
            input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def stop(self) -> None:
        self.child.stop()
