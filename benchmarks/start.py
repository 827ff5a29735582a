"""A start of `millstream up`: until it is ready, until a connector delivers, and what it costs."""

import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.connectors import SETTINGS, configs
from benchmarks.measure import cpu_seconds, pss_bytes, tree
from benchmarks.platforms import wait_for
from connect.testing.millstream import Millstream

ROUNDS = 5
CONNECTORS = 5
SETTLED_S = 3.0


def measure(folder: Path) -> tuple[float, float, float, float]:
    """Seconds until ready, of CPU until then, and until a connector delivers; memory with all connectors."""
    begin = time.perf_counter()
    with Millstream(folder / "data", worker=SETTINGS) as up:
        ready_s, cpu_s = time.perf_counter() - begin, cpu_seconds(tree(up.pid))
        wanted = dict(list(configs(folder).items())[:CONNECTORS])
        for name, config in wanted.items():
            up.request("PUT", f"/connectors/{name}/config", config).raise_for_status()
        out = Path(wanted["sink-0"]["file"])
        wait_for(lambda: out.exists() and out.stat().st_size > 0, 60, "the first record")
        delivering_s = time.perf_counter() - begin
        time.sleep(SETTLED_S)
        return ready_s, cpu_s, delivering_s, pss_bytes(tree(up.pid)) / 1e6


def main() -> None:
    """Measure and print the medians."""
    found = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder:
            found.append(measure(Path(folder)))
    ready_s, cpu_s, delivering_s, memory = (statistics.median(column) for column in zip(*found, strict=True))
    table = Table(title=f"Start of broker and worker, median of {ROUNDS}", title_justify="left")
    for title in ("ready", "CPU until then", "first record at a sink", f"memory, {CONNECTORS} connectors"):
        table.add_column(title, justify="right")
    table.add_row(f"{ready_s:.2f} s", f"{cpu_s:.2f} s", f"{delivering_s:.2f} s", f"{memory:.0f} MB")
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
