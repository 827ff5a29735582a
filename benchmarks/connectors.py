"""Fifty connectors in one worker: how long until they deliver, what REST does meanwhile, what they cost."""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.measure import cpu_seconds, pss_bytes, tree
from benchmarks.platforms import Rest, wait_for
from connect.testing.java_connect import JavaConnect
from connect.testing.kafka import ApacheKafka, java_present
from connect.testing.millstream import Broker, Worker

CONNECTORS = 50
IDLE_S = 10
STRING = "org.apache.kafka.connect.storage.StringConverter"
FILE = "org.apache.kafka.connect.file.FileStream{}Connector"
SETTINGS = {"key.converter": STRING, "value.converter": STRING, "offset.flush.interval.ms": "1000"}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A worker and its processes."""

    name: str
    rest: Rest
    url: Callable[[], str]
    pids: Callable[[], list[int]]


class Calls:
    """A thread that asks REST again and again; `latencies_ms` are what it waited."""

    def __init__(self, url: str) -> None:
        self.latencies_ms: list[float] = []
        self._url = url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Calls":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stopping.wait(0.01):
                begin = time.perf_counter()
                client.get("/connectors")
                self.latencies_ms.append((time.perf_counter() - begin) * 1000)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextmanager
def runtimes() -> Iterator[list[Runtime]]:
    """Millstream's worker with its broker, and the Java pair where Java and Maven are installed."""
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="millstream-bench-") as name:
        folder = Path(name)
        broker = stack.enter_context(Broker(folder / "broker"))
        worker = stack.enter_context(Worker(folder / "worker", broker.bootstrap, SETTINGS))
        found = [Runtime("Millstream", worker, lambda: worker.url, lambda: tree(worker.pid))]
        if java_present():
            kafka = stack.enter_context(ApacheKafka(folder / "kafka"))
            (folder / "connect").mkdir()
            java = stack.enter_context(JavaConnect(folder / "connect", kafka.bootstrap, SETTINGS))
            found.append(
                Runtime(
                    "Kafka Connect", java, lambda: f"http://127.0.0.1:{java.port}", lambda: tree(java.pid)
                )
            )
        yield found


def configs(folder: Path) -> dict[str, dict[str, str]]:
    """A source and a sink for each of the files."""
    found = {}
    for number in range(CONNECTORS // 2):
        (folder / f"{number}.txt").write_text("a line\n")
        found[f"source-{number}"] = {
            "connector.class": FILE.format("Source"), "file": str(folder / f"{number}.txt"),
            "topic": f"lines-{number}",
        }  # fmt: skip
        found[f"sink-{number}"] = {
            "connector.class": FILE.format("Sink"), "file": str(folder / f"{number}.out"),
            "topics": f"lines-{number}",
        }  # fmt: skip
    return found


def measure(runtime: Runtime, folder: Path) -> list[str]:
    """The cells of its row."""
    wanted = configs(folder)

    def running() -> bool:
        shown = runtime.rest.request("GET", "/connectors?expand=status").json()
        return len(shown) == CONNECTORS and all(
            one["status"]["tasks"] and all(task["state"] == "RUNNING" for task in one["status"]["tasks"])
            for one in shown.values()
        )

    def delivering() -> bool:
        outs = [folder / f"{number}.out" for number in range(CONNECTORS // 2)]
        return all(out.exists() and out.stat().st_size for out in outs)

    begin = time.perf_counter()
    with Calls(runtime.url()) as calls:
        for name, config in wanted.items():
            runtime.rest.request("PUT", f"/connectors/{name}/config", config).raise_for_status()
        posted_s = time.perf_counter() - begin
        wait_for(running, 120, f"{runtime.name}: all to run")
        running_s = time.perf_counter() - begin
        wait_for(delivering, 120, f"{runtime.name}: all to deliver")
        delivering_s = time.perf_counter() - begin
    cpu_s, begin = cpu_seconds(runtime.pids()), time.perf_counter()
    time.sleep(IDLE_S)
    idle = (cpu_seconds(runtime.pids()) - cpu_s) / (time.perf_counter() - begin)
    return [
        runtime.name,
        f"{posted_s:.1f} s",
        f"{running_s:.1f} s",
        f"{delivering_s:.1f} s",
        f"{statistics.median(calls.latencies_ms):.0f} ms",
        f"{calls.percentile(0.99):.0f} ms",
        f"{pss_bytes(runtime.pids()) / 1e6:.0f} MB",
        f"{idle:.1%}",
    ]


def main() -> None:
    """Measure and print."""
    table = Table(title=f"{CONNECTORS} file connectors in one worker", title_justify="left")
    for name in ("", "all accepted", "RUNNING", "delivering", "REST p50", "p99", "memory", "CPU when idle"):
        table.add_column(name, justify="right" if name else "left")
    with tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder, runtimes() as found:
        for runtime in found:
            own = Path(folder) / runtime.name.split()[0]
            own.mkdir()
            table.add_row(*measure(runtime, own))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
