"""What of the shop arrived where: PostgreSQL, the topics, the objects in S3 and the file, compared."""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition
from psycopg.rows import dict_row
from shop import FIRST_ROWS, TABLES, Writer

BUCKET = "shop-events"
# A row as both sides can say it; PostgreSQL's types as Debezium's default handling modes encode them.
SELECT = {
    "customers": "SELECT id, email, name, since - date '1970-01-01' AS since, vip FROM customers",
    "products": "SELECT id, name, price, stock, attributes::text AS attributes FROM products",
    "orders": """SELECT id, customer_id, product_id, quantity, state,
                 to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS placed_at
                 FROM orders""",
}


@dataclass
class Topic:
    """All events of one table's topic: `events` counts each distinct value, tombstones apart."""

    events: Counter[bytes] = field(default_factory=Counter)
    changes: Counter[tuple[int, str]] = field(
        default_factory=Counter
    )  # (source.lsn, key) of changes after the snapshot
    snapshot_rows: set[str] = field(default_factory=set)
    state: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, key: bytes, value: bytes | None) -> None:
        if value is None:  # a tombstone follows each delete
            return
        self.events[value] += 1
        event = json.loads(value)
        row_key = key.decode()
        if event["op"] == "r":
            self.snapshot_rows.add(row_key)
        else:
            self.changes[event["source"]["lsn"], row_key] += 1
        if event["op"] == "d":
            self.state.pop(row_key, None)
        else:
            self.state[row_key] = event["after"]


@dataclass(frozen=True)
class Verdict:
    """One line of the demo's table."""

    table: str
    rows: int
    events: int
    rebuilt: int | None
    same: bool
    in_s3: int | None
    in_file: int | None
    lost: int
    duplicated: int


def read_records(bootstrap: str, names: Iterable[str]) -> Iterator[Message]:
    """Every record of the topics that exist, from the first to the present end."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "demo-check", "enable.auto.commit": False}
    )
    try:
        pending = {place: end for place, end in _ends(consumer, names).items() if end > 0}
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in pending])
        while pending:
            for message in consumer.consume(5000, timeout=1.0):
                if message.error():
                    raise RuntimeError(message.error())
                yield message
                place = (message.topic(), message.partition())
                if message.offset() + 1 >= pending.get(place, 0):
                    pending.pop(place, None)
    finally:
        consumer.close()


def read_topics(bootstrap: str, names: Iterable[str]) -> dict[str, Topic]:
    """The events of each topic."""
    found = {name: Topic() for name in names}
    for message in read_records(bootstrap, found):
        found[message.topic()].add(message.key(), message.value())
    return found


def read_lines(bootstrap: str, name: str) -> Counter[bytes]:
    """The values of a topic of text lines."""
    return Counter(message.value() for message in read_records(bootstrap, [name]))


def end_offsets(bootstrap: str, names: Iterable[str]) -> dict[tuple[str, int], int]:
    """(topic, partition) → high watermark of those topics that exist."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "demo-check", "enable.auto.commit": False}
    )
    try:
        return _ends(consumer, names)
    finally:
        consumer.close()


def _ends(consumer: Consumer, names: Iterable[str]) -> dict[tuple[str, int], int]:
    metadata = consumer.list_topics(timeout=10).topics
    return {
        (name, partition): consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=10)[1]
        for name in names
        if name in metadata
        for partition in metadata[name].partitions
    }


def committed(bootstrap: str, group: str, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """(topic, partition) → what a sink's group has committed."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        found = consumer.committed([TopicPartition(*place) for place in places], timeout=10)
        return {(p.topic, p.partition): max(p.offset, 0) for p in found if p.offset > OFFSET_END}
    finally:
        consumer.close()


def read_objects(client: Any, folder: Path) -> dict[str, Counter[bytes]]:
    """The lines of all objects by table; a copy of each object goes into `folder`."""
    lines: dict[str, Counter[bytes]] = {table: Counter() for table in TABLES}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", ()):
            body = client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
            copy = folder / item["Key"]
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(body)
            table = item["Key"].split("/")[1].rsplit(".", 1)[1]
            lines[table].update(gzip.decompress(body).splitlines())
    return lines


def read_file(path: Path) -> dict[str, Counter[bytes]]:
    """The lines of the file sink by table."""
    lines: dict[str, Counter[bytes]] = {table: Counter() for table in TABLES}
    for line in path.read_bytes().splitlines():
        lines[json.loads(line)["source"]["table"]][line] += 1
    return lines


def judge_till(bootstrap: str, path: Path) -> Verdict:
    """The verdict on the file source: every line of the till's log is in the topic."""
    written, found = Counter(path.read_bytes().splitlines()), read_lines(bootstrap, "till-log")
    lost, duplicated = (written - found).total(), (found - written).total()
    return Verdict(path.name, written.total(), found.total(), None, not lost, None, None, lost, duplicated)


def missing(topic: Topic, table: str, writer: Writer) -> int:
    """How many rows of the snapshot and committed changes have no event (yet)."""
    expected = FIRST_ROWS[table] + writer.changes[table]
    return max(expected - len(topic.snapshot_rows) - len(topic.changes), 0)


def judge(
    conninfo: str, topics: dict[str, Topic], writer: Writer,
    in_s3: dict[str, Counter[bytes]], in_file: dict[str, Counter[bytes]],
) -> list[Verdict]:  # fmt: skip
    """One verdict a table. Lost: a committed change without an event, or an event that a sink does not have.
    Duplicated: an event, object line or file line that is there more than once."""
    verdicts = []
    with psycopg.connect(conninfo, row_factory=dict_row) as connection:
        for table in TABLES:
            topic = topics[f"shop.public.{table}"]
            rows = {
                json.dumps({"id": row["id"]}, separators=(",", ":")): _wire(row)
                for row in connection.execute(SELECT[table])
            }
            lost = missing(topic, table, writer)
            lost += (topic.events - in_s3[table]).total() + (topic.events - in_file[table]).total()
            once = Counter(dict.fromkeys(topic.events, 1))
            duplicated = topic.changes.total() - len(topic.changes)
            duplicated += (in_s3[table] - once).total() + (in_file[table] - once).total()
            in_sinks = in_s3[table].total(), in_file[table].total()
            counts = len(rows), topic.events.total(), len(topic.state)
            verdicts.append(Verdict(table, *counts, topic.state == rows, *in_sinks, lost, duplicated))
    return verdicts


def _wire(row: dict[str, Any]) -> dict[str, Any]:
    """A row of PostgreSQL as the event's JSON says it: decimals are the Base64 of their unscaled integer."""
    return {name: _decimal(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _decimal(value: Decimal) -> str:
    unscaled = int(value.scaleb(2))
    return base64.b64encode(unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)).decode()
