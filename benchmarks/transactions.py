"""Transactions of ten records with librdkafka: Millstream, synced, beside Apache Kafka, in turns."""

import statistics
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.broker import timed
from benchmarks.measure import Usage, pss_bytes, tree
from benchmarks.report import Row, print_rows
from connect.testing.kafka import ApacheKafka, java_present
from connect.testing.millstream import Broker

TRANSACTIONS = 500
RECORDS = 10
VALUE = bytes(100)
SECONDS = 60


def write(producer: Producer, topic: str) -> None:
    """Each transaction is committed before the next begins."""
    for _ in range(TRANSACTIONS):
        producer.begin_transaction()
        for _ in range(RECORDS):
            producer.produce(topic, VALUE, partition=0)
        producer.commit_transaction(SECONDS)


def transform(producer: Producer, consumer: Consumer, topic: str) -> None:
    """The same, with an offset of a group in each."""
    group = consumer.consumer_group_metadata()
    for turn in range(TRANSACTIONS):
        producer.begin_transaction()
        for _ in range(RECORDS):
            producer.produce(topic, VALUE, partition=0)
        producer.send_offsets_to_transaction([TopicPartition(topic, 0, turn)], group, SECONDS)
        producer.commit_transaction(SECONDS)


def run_round(bootstrap: str, pid: int) -> tuple[Usage, Usage]:
    """(write, transform) into a fresh topic, which is deleted again."""
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic, "linger.ms": 0})
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic})
    try:
        producer.init_transactions(SECONDS)
        return (
            timed(pid, lambda: write(producer, topic)),
            timed(pid, lambda: transform(producer, consumer, topic)),
        )
    finally:
        consumer.close()
        admin.delete_topics([topic])[topic].result(30)


def main(rounds: int = 3) -> list[Row]:
    """Measure, print, and return the rows."""
    rows: list[Row] = []
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder:
        ours = stack.enter_context(Broker(Path(folder) / "millstream"))
        brokers = {"Millstream": (ours.bootstrap, ours.pid)}
        if java_present():
            kafka = stack.enter_context(ApacheKafka(Path(folder) / "kafka"))
            brokers["Apache Kafka"] = (kafka.bootstrap, kafka.child.pid)
        results: dict[str, list[tuple[Usage, Usage]]] = {name: [] for name in brokers}
        for _ in range(rounds):
            for name, (bootstrap, pid) in brokers.items():
                results[name].append(run_round(bootstrap, pid))
        for index, what in enumerate(("transaction of 10 records", "with a group's offset")):
            for name, usages in results.items():
                wall = statistics.median(pair[index].wall for pair in usages)
                cpu = statistics.median(pair[index].cpu for pair in usages)
                memory = pss_bytes(tree(brokers[name][1]))
                rows.append(Row(what, name, TRANSACTIONS / wall, "per s", cpu / TRANSACTIONS * 1e6, memory))
    print_rows("Transactions (one producer; CPU-s per million are µs of each)", rows)
    return rows


if __name__ == "__main__":
    main()
