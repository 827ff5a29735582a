"""The two platforms side by side: Millstream, and Apache Kafka with Kafka Connect."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.measure import Usage, cpu_seconds, pss_bytes, tree
from connect.testing.java_connect import JavaConnect
from connect.testing.kafka import ApacheKafka, java_present
from connect.testing.millstream import Millstream

WORKER = {"offset.flush.interval.ms": "1000"}
JSON_WITHOUT_SCHEMAS = {
    f"{part}.converter{more}": value
    for part in ("key", "value")
    for more, value in (("", "org.apache.kafka.connect.json.JsonConverter"), (".schemas.enable", "false"))
}


class Rest(Protocol):
    """Whoever answers Connect's REST calls."""

    def request(self, method: str, path: str, body: Any = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Platform:
    """A Kafka cluster with a connector runtime; `pid` is the runtime's and the broker's topmost process."""

    name: str
    bootstrap: str
    rest: Rest
    pids: tuple[int, ...]

    def deploy(self, name: str, config: dict[str, str]) -> None:
        """Create or change a connector."""
        self.rest.request("PUT", f"/connectors/{name}/config", config).raise_for_status()

    def remove(self, name: str) -> None:
        self.rest.request("DELETE", f"/connectors/{name}").raise_for_status()

    def target(self, name: str, state: str) -> None:
        """pause, resume or stop."""
        self.rest.request("PUT", f"/connectors/{name}/{state}").raise_for_status()

    def wait_running(self, name: str, seconds: float = 60) -> None:
        """Until the connector and its tasks are RUNNING."""

        def running() -> bool:
            answer = self.rest.request("GET", f"/connectors/{name}/status")
            if answer.status_code != 200:
                return False
            tasks = answer.json()["tasks"]
            if any(task["state"] == "FAILED" for task in tasks):
                raise RuntimeError(answer.text)
            return bool(tasks) and all(task["state"] == "RUNNING" for task in tasks)

        wait_for(running, seconds, f"{self.name}: {name} to run")

    def processes(self) -> list[int]:
        return [pid for top in self.pids for pid in tree(top)]

    def memory(self) -> int:
        return pss_bytes(self.processes())


@contextmanager
def platforms() -> Iterator[list[Platform]]:
    """Millstream, and the Java pair where Java and Maven are installed."""
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder:
        ours = stack.enter_context(Millstream(Path(folder) / "millstream", worker=WORKER))
        found = [Platform("Millstream", ours.bootstrap, ours, (ours.pid,))]
        if java_present():
            kafka = stack.enter_context(ApacheKafka(Path(folder) / "kafka"))
            connect = stack.enter_context(JavaConnect(Path(folder) / "connect", kafka.bootstrap, WORKER))
            found.append(Platform("Java", kafka.bootstrap, connect, (kafka.child.pid, connect.pid)))
        yield found


def wait_for(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until `done`; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def filled(platform: Platform, topic: str, records: int, seconds: float = 300) -> Usage:
    """Wait until the topic has `records`; wall clock from its first record on, and CPU of all processes.

    The time before the first record (a connector's start) is left out of both.
    """
    consumer = Consumer({"bootstrap.servers": platform.bootstrap, "group.id": "bench-watch"})

    def size() -> int:
        try:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=5)[1])
        except KafkaException:
            return 0  # not there yet

    try:
        wait_for(lambda: size() > 0, seconds, f"{platform.name}: the first record of {topic}")
        begin, cpu = time.perf_counter(), cpu_seconds(platform.processes())
        wait_for(lambda: size() >= records, seconds, f"{platform.name}: {records} records in {topic}")
        return Usage(time.perf_counter() - begin, cpu_seconds(platform.processes()) - cpu)
    finally:
        consumer.close()
