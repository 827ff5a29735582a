"""Broker: produce and consume with librdkafka, Millstream beside Apache Kafka, in alternating rounds."""

import itertools
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.measure import Usage, cpu_seconds, pss_bytes, tree
from benchmarks.report import Row, print_rows
from connect.testing.kafka import ApacheKafka, java_present
from connect.testing.millstream import Broker


@dataclass(frozen=True, slots=True)
class Load:
    """What one round writes and reads."""

    name: str
    record_bytes: int
    batch_bytes: int
    records: int


LOADS = (
    Load("1 KB records, 1 MB batches", 1000, 1_000_000, 400_000),
    Load("1 KB records, 16 KB batches", 1000, 16_384, 150_000),
    Load("100 B records, 1 MB batches", 100, 1_000_000, 1_500_000),
)


def produce(bootstrap: str, topic: str, load: Load, values: Iterable[bytes] | None = None) -> None:
    """Write `values`, or the load's records, with acks=all; returns when the last is acknowledged."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "linger.ms": 5,
            "batch.size": load.batch_bytes,
            "batch.num.messages": 1_000_000,
            "message.max.bytes": 1_048_576,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 512 * 1024,
            "delivery.report.only.error": True,
        }
    )
    for value in values or itertools.repeat(bytes(load.record_bytes), load.records):
        while True:
            try:
                producer.produce(topic, value)
                break
            except BufferError:
                producer.poll(0.01)
    if producer.flush(120):
        raise RuntimeError(f"{topic}: not all records were acknowledged")


def consume(bootstrap: str, topic: str, load: Load) -> None:
    """Read them all from the start."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
            "fetch.max.bytes": 64 << 20,
            "max.partition.fetch.bytes": 8 << 20,
            "queued.max.messages.kbytes": 256 * 1024,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    left = load.records
    while left > 0:
        for message in consumer.consume(100_000, timeout=1.0):
            if message.error():
                raise RuntimeError(message.error())
            left -= 1
    consumer.close()


def timed(pid: int, job: Callable[[], None]) -> Usage:
    """Wall clock of the job and CPU of the broker's processes meanwhile."""
    pids = tree(pid)
    cpu, begin = cpu_seconds(pids), time.perf_counter()
    job()
    return Usage(time.perf_counter() - begin, cpu_seconds(pids) - cpu)


def run_round(bootstrap: str, pid: int, load: Load) -> tuple[Usage, Usage]:
    """(produce, consume) of a fresh topic, which is deleted again."""
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    try:
        written = timed(pid, lambda: produce(bootstrap, topic, load))
        read = timed(pid, lambda: consume(bootstrap, topic, load))
    finally:
        admin.delete_topics([topic])[topic].result(30)
    return written, read


def main(rounds: int = 3) -> list[Row]:
    """Measure, print, and return the rows."""
    rows: list[Row] = []
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder:
        ours = stack.enter_context(Broker(Path(folder) / "millstream"))
        brokers = {"Millstream": (ours.bootstrap, ours.pid)}
        if java_present():
            kafka = stack.enter_context(ApacheKafka(Path(folder) / "kafka"))
            brokers["Apache Kafka"] = (kafka.bootstrap, kafka.child.pid)
        idle = {name: pss_bytes(tree(pid)) for name, (_, pid) in brokers.items()}
        for load in LOADS:
            results: dict[str, list[tuple[Usage, Usage]]] = {name: [] for name in brokers}
            for _ in range(rounds):
                for name, (bootstrap, pid) in brokers.items():
                    results[name].append(run_round(bootstrap, pid, load))
            megabytes = load.records * load.record_bytes / 1e6
            for index, what in enumerate(("produce", "consume")):
                for name, usages in results.items():
                    wall = statistics.median(pair[index].wall for pair in usages)
                    cpu = statistics.median(pair[index].cpu for pair in usages)
                    rows.append(
                        Row(f"{what} {load.name}", name, megabytes / wall, "MB/s", cpu / load.records * 1e6,
                            pss_bytes(tree(brokers[name][1])))
                    )  # fmt: skip
        rows.extend(Row("idle", name, 0, "", 0, size) for name, size in idle.items())
    print_rows("Broker", rows)
    return rows


if __name__ == "__main__":
    main()
