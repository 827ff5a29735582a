"""Kafka Connect as a child process, with Debezium and the file connectors, from Maven's packages: to run,
take over from and measure Millstream beside it.

Needs what `connect.testing.kafka` needs.
"""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from connect.testing.child import Child, Stoppable, free_ports
from connect.testing.kafka import KAFKA_VERSION, fetch_jars

DEBEZIUM_VERSION = "3.6.1.Final"

_READY_SECONDS = 120
_REBALANCE_SECONDS = 90
_RUNTIME = (
    ("org.apache.kafka", "connect-runtime", KAFKA_VERSION),
    ("org.apache.kafka", "connect-json", KAFKA_VERSION),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.3"),  # the worker's loggers REST needs log4j
)
_PLUGINS = {
    "file": (("org.apache.kafka", "connect-file", KAFKA_VERSION),),
    "debezium": (("io.debezium", "debezium-connector-postgres", DEBEZIUM_VERSION),),
}
# A plugin's folder must not bring what the worker's class path gives.
_WORKERS_OWN = (
    "connect-api-",
    "kafka-clients-",
    "slf4j-",
    "lz4-java-",
    "snappy-java-",
    "zstd-jni-",
    "jakarta.ws.rs-api-",
)
_LOGGING = """status = error
appender.console.type = Console
appender.console.name = STDOUT
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %X{{connector.context}}%m (%c:%L)%n
rootLogger.level = {level}
rootLogger.appenderRef.console.ref = STDOUT
"""


def _plugin_path(directory: Path) -> Path:
    for name, dependencies in _PLUGINS.items():
        target = directory / name
        target.mkdir(parents=True, exist_ok=True)
        for jar in fetch_jars(f"connect-{name}-{KAFKA_VERSION}", dependencies).glob("*.jar"):
            if not jar.name.startswith(_WORKERS_OWN) and not (target / jar.name).exists():
                (target / jar.name).symlink_to(jar)
    return directory


class _JavaWorker(Stoppable):
    """A worker that is ready when the constructor returns, and again on the same port, with the same
    settings, when `start` returns. `properties` is its file of settings; it is in `directory`, as is the log.
    """

    def __init__(
        self,
        directory: Path,
        main_class: str,
        settings: Mapping[str, str],
        connectors: Mapping[str, Mapping[str, str]],
        heap: str,
        log_level: str,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_ports(1)[0]
        self.properties = self._write(
            "worker",
            {
                "key.converter": "org.apache.kafka.connect.json.JsonConverter",
                "value.converter": "org.apache.kafka.connect.json.JsonConverter",
                "listeners": f"http://127.0.0.1:{self.port}",
                "plugin.path": str(_plugin_path(directory / "plugins")),
                **settings,
            },
        )
        files = [self._write(name, {"name": name, **config}) for name, config in connectors.items()]
        logging = directory / "log4j2.properties"
        logging.write_text(_LOGGING.format(level=log_level))
        self._command = [
            "java", *heap.split(), "-XX:+UseG1GC", f"-Dlog4j2.configurationFile={logging}",
            "-cp", f"{fetch_jars(f'connect-worker-{KAFKA_VERSION}', _RUNTIME)}/*",
            main_class, str(self.properties), *map(str, files),
        ]  # fmt: skip
        self.start()

    def _write(self, name: str, values: Mapping[str, str]) -> Path:
        file = self.directory / f"{name}.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return file

    def start(self) -> None:
        """Start again after `kill` or `stop`."""
        self.child = Child(self._command, self.directory / "connect.log")
        self.child.wait_until(self._answers, _READY_SECONDS, "Kafka Connect")

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/connectors").status_code == 200
        except httpx.TransportError:
            return False

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """One REST call, made again while a rebalance answers 409."""
        deadline = time.monotonic() + _REBALANCE_SECONDS
        while True:
            answer = httpx.request(method, self.url + path, json=body, timeout=90)
            rebalances = answer.status_code == 409 and "rebalance" in answer.text
            if not rebalances or time.monotonic() > deadline:
                return answer
            time.sleep(0.05)

    def log(self, lines: int = 30) -> str:
        """The end of its log."""
        return self.child.tail(lines)

    def kill(self) -> None:
        """SIGKILL: it stays a member of its group until its session is over."""
        self.child.stop(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, which lets it finish its tasks and leave its group."""
        self.child.stop()


class JavaConnect(_JavaWorker):
    """One distributed Kafka Connect worker, with whose `properties` Millstream may take over. Several form a
    cluster when they have one `bootstrap` and each a directory of its own."""

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        settings: Mapping[str, str] | None = None,
        heap: str = "-Xms256M -Xmx2G",
        log_level: str = "WARN",
    ) -> None:
        values = {
            "bootstrap.servers": bootstrap,
            "group.id": "java-connect",
            "config.storage.topic": "java-connect-configs",
            "offset.storage.topic": "java-connect-offsets",
            "status.storage.topic": "java-connect-status",
            "config.storage.replication.factor": "1",
            "offset.storage.replication.factor": "1",
            "status.storage.replication.factor": "1",
        } | dict(settings or {})
        main_class = "org.apache.kafka.connect.cli.ConnectDistributed"
        super().__init__(directory, main_class, values, {}, heap, log_level)


class JavaStandalone(_JavaWorker):
    """A standalone Kafka Connect worker with `connectors` by name; its offsets are in `offsets`."""

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        connectors: Mapping[str, Mapping[str, str]],
        settings: Mapping[str, str] | None = None,
        heap: str = "-Xms128M -Xmx1G",
        log_level: str = "WARN",
    ) -> None:
        self.offsets = directory / "connect.offsets"
        values = {"bootstrap.servers": bootstrap, "offset.storage.file.filename": str(self.offsets)}
        main_class = "org.apache.kafka.connect.cli.ConnectStandalone"
        super().__init__(directory, main_class, {**values, **(settings or {})}, connectors, heap, log_level)
