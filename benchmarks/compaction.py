"""Compaction of one log: MB/s, CPU and memory of the process that does it.

    python -m benchmarks.compaction [--keys N] [--records N] [--value-bytes N] [--map-mb N]

The log lies in a temporary directory; it has `records` records with random ones of `keys` keys.
"""

import argparse
import asyncio
import os
import random
import resource
import tempfile
import time
import uuid
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path

import psutil
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from broker.log.cleaner import Cleaner, CleanerSettings
from broker.log.config import LogConfig
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog

BATCH_RECORDS = 150

_peak_mb = 0.0


def fill(log: PartitionLog, *, keys: int, records: int, value_bytes: int) -> None:
    """Every key once, in any order, then random ones."""
    dice = random.Random(1)
    order = list(range(keys))
    dice.shuffle(order)
    value = dice.randbytes(value_bytes)
    for start in range(0, records, BATCH_RECORDS):
        builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
        for number in range(start, min(start + BATCH_RECORDS, records)):
            key = order[number] if number < keys else dice.randrange(keys)
            builder.append(number - start, 1000, b"user-%012d" % key, value, [])
        log.append(memoryview(bytearray(builder.build())), 1000)
    log.roll(1000)
    job = log.begin_sync()
    job.run(set())
    log.finish_sync(job)


async def measure(arguments: argparse.Namespace, data_dir: Path) -> None:
    logs = LogManager(data_dir)
    config = LogConfig(segment_bytes=256 << 20)
    log = logs.create("t", uuid.uuid4(), 0, config)
    logs.finish_start()
    fill(log, keys=arguments.keys, records=arguments.records, value_bytes=arguments.value_bytes)
    size = log.size
    # Only now: what is appended to a compacted log is looked into.
    log.reconfigure(replace(config, compact=True, delete=False, min_cleanable_dirty_ratio=0.0))
    cleaner = Cleaner(logs, data_dir, CleanerSettings(dedupe_buffer_bytes=arguments.map_mb << 20))
    idle = await _loop_delays(asyncio.sleep(2))
    started, cpu_before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    busy = await _loop_delays(cleaner.run())
    seconds = time.monotonic() - started
    own = resource.getrusage(resource.RUSAGE_SELF)
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = child.ru_utime + child.ru_stime
    print(
        f"{arguments.records:,} records, {arguments.keys:,} keys, "
        f"{size / 1e6:.0f} MB -> {log.size / 1e6:.0f} MB: "
        f"{seconds:.1f} s, {size / 1e6 / seconds:.0f} MB/s of log; CPU {cpu:.1f} s, "
        f"{cpu / arguments.records * 1e6:.2f} us a record; peak memory {_peak_mb:.0f} MB"
    )
    print(
        f"broker: {own.ru_utime + own.ru_stime - cpu_before.ru_utime - cpu_before.ru_stime:.2f} s of CPU, "
        f"its event loop came late by {busy} (with nothing to do: {idle})"
    )


def _note_memory() -> None:
    """The peak of the child; the one that wait() tells includes this process, of which it was a copy."""
    global _peak_mb
    for child in psutil.Process().children():
        lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
        _peak_mb = max(_peak_mb, peak / 1024)


async def _loop_delays(work: Coroutine[object, object, None]) -> str:
    """How late the loop wakes up while `work` runs: p50, p99 and the worst."""
    task, delays = asyncio.create_task(work), []
    while not task.done():
        started = time.monotonic()
        await asyncio.sleep(0.001)
        delays.append((time.monotonic() - started - 0.001) * 1000)
        if len(delays) % 200 == 0:
            _note_memory()
    await task
    delays.sort()
    p50, p99 = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    return f"{p50:.1f}, {p99:.1f}, {delays[-1]:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--map-mb", type=int, default=128)
    arguments = parser.parse_args()
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parent.parent))
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(arguments, Path(directory)))


if __name__ == "__main__":
    main()
