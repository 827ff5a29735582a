"""The Java pair to compare with: Kafka Connect with Debezium and the file connectors, from Maven."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from connect.testing.child import Child, Stoppable, free_ports
from connect.testing.kafka import KAFKA_VERSION, fetch_jars

DEBEZIUM_VERSION = "3.6.1.Final"

_RUNTIME = (
    ("org.apache.kafka", "connect-runtime", KAFKA_VERSION),
    ("org.apache.kafka", "connect-json", KAFKA_VERSION),
    ("org.slf4j", "slf4j-nop", "2.0.17"),
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


def java_present() -> bool:
    return shutil.which("java") is not None and shutil.which("mvn") is not None


def _plugin_path(directory: Path) -> Path:
    for name, dependencies in _PLUGINS.items():
        target = directory / name
        target.mkdir(parents=True, exist_ok=True)
        for jar in fetch_jars(f"connect-{name}-{KAFKA_VERSION}", dependencies).glob("*.jar"):
            if not jar.name.startswith(_WORKERS_OWN) and not (target / jar.name).exists():
                (target / jar.name).symlink_to(jar)
    return directory


class JavaConnect(Stoppable):
    """One distributed Kafka Connect worker; ready when this returns."""

    def __init__(
        self,
        directory: Path,
        bootstrap: str,
        settings: Mapping[str, str] | None = None,
        heap: str = "-Xms256M -Xmx2G",
    ) -> None:
        jars = fetch_jars(f"connect-{KAFKA_VERSION}", _RUNTIME)
        self.port = free_ports(1)[0]
        properties = {
            "bootstrap.servers": bootstrap,
            "group.id": "java-connect",
            "config.storage.topic": "java-connect-configs",
            "offset.storage.topic": "java-connect-offsets",
            "status.storage.topic": "java-connect-status",
            "config.storage.replication.factor": "1",
            "offset.storage.replication.factor": "1",
            "status.storage.replication.factor": "1",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "listeners": f"http://127.0.0.1:{self.port}",
            "plugin.path": str(_plugin_path(directory / "plugins")),
        } | dict(settings or {})
        file = directory / "worker.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        self.child = Child(
            ["java", *heap.split(), "-XX:+UseG1GC", "-cp", f"{jars}/*", main, str(file)],
            directory / "connect.log",
        )
        self.child.wait_until(self._answers, 120, "Kafka Connect")

    @property
    def pid(self) -> int:
        return self.child.pid

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/connectors").status_code == 200
        except httpx.TransportError:
            return False

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """One REST call, made again while a rebalance answers 409."""
        while True:
            answer = httpx.request(method, f"http://127.0.0.1:{self.port}{path}", json=body, timeout=90)
            if answer.status_code != 409 or "rebalance" not in answer.text:
                return answer

    def stop(self) -> None:
        self.child.stop()
