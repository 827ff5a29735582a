"""An S3 sink task driven as the runtime drives it: delivery, redelivery, rewind, commit, crash."""

import gzip
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
from support.task_contexts import SinkContext

from connect.api import JsonPayload, RetriableError, SinkConnector, SinkRecord, TopicPartition
from connectors.s3.aiven.plugin import AivenS3SinkConnector
from connectors.s3.plugin import S3SinkConnector

SETTINGS = {
    "format.class": "JsonFormat",
    "flush.size": "3",
    "aws.access.key.id": "millstream",
    "aws.secret.access.key": "millstream-secret",
    "s3.retry.backoff.ms": "1",
}
AIVEN_SETTINGS = {
    "format.output.type": "jsonl",
    "format.output.fields": "value",
    "format.output.envelope": "false",
    "file.compression.type": "none",
    "aws.access.key.id": "millstream",
    "aws.secret.access.key": "millstream-secret",
    "aws.s3.backoff.delay.ms": "1",
}


def json_record(
    offset: int, value: Any = None, *, topic: str = "t", partition: int = 0, timestamp_ms: int | None = 0
) -> SinkRecord:
    """A record whose value is `{"o": offset}` and more, as JSON text as it comes from a topic."""
    text = orjson.dumps({"o": offset, **(value or {})})
    payload = JsonPayload(text, orjson.loads)
    return SinkRecord(topic, partition, offset, payload, timestamp_ms=timestamp_ms)


class SinkDriver:
    """A task, the log that it reads, and the offsets that it has committed.

    `settings` are added to `SETTINGS`, or `AIVEN_SETTINGS`. A crash loses the task and what was not
    committed.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        log: Mapping[TopicPartition, Sequence[SinkRecord]] | None = None,
        connector: type[SinkConnector[Any]] = S3SinkConnector,
    ) -> None:
        defaults = AIVEN_SETTINGS if connector is AivenS3SinkConnector else SETTINGS
        self._connector = connector
        self.config = connector.config_class.parse({**defaults, **settings})
        self.log = {partition: list(records) for partition, records in (log or {}).items()}
        self.committed: dict[TopicPartition, int] = {}
        self.restart()

    def restart(self) -> None:
        """A new task that begins at the committed offsets; the old one is just gone."""
        self.context = SinkContext(*self.log)
        self.task = self._connector.task_class()
        self.task.start(self.context, self.config)
        self.task.open(list(self.log))
        self.positions = {partition: self.committed.get(partition, 0) for partition in self.log}
        self._again: list[SinkRecord] = []

    @property
    def behind(self) -> list[TopicPartition]:
        """The partitions that have records which the task has not got."""
        return [
            partition
            for partition, records in self.log.items()
            if records and self.positions[partition] <= records[-1].offset
        ]

    @property
    def is_caught_up(self) -> bool:
        """Whether every record is committed."""
        return all(
            self.committed.get(partition) == records[-1].offset + 1
            for partition, records in self.log.items()
            if records
        )

    def deliver(self, count: int, *partitions: TopicPartition) -> None:
        """Put the next `count` records of each of the partitions (all that are behind), or those again that
        the task could not take."""
        if not self._again:
            for partition in partitions or self.behind:
                records = [r for r in self.log[partition] if r.offset >= self.positions[partition]][:count]
                if records:
                    self.positions[partition] = records[-1].offset + 1
                self._again += records
        self.put(self._again)
        self._again = []

    def put(self, records: Sequence[SinkRecord]) -> None:
        self.task.put(records)
        self._follow_rewinds()

    def commit(self) -> None:
        self.committed.update(self.task.pre_commit(dict(self.positions)))
        self._follow_rewinds()

    def _follow_rewinds(self) -> None:
        self.positions.update(self.context.rewound)
        self.context.rewound.clear()

    def run(self, batch: int = 4, tries: int = 1000) -> None:
        """Deliver all there is and commit, whatever has to be tried again."""
        for _ in range(tries):
            if not self.behind and not self._again:
                return self.commit()
            with suppress(RetriableError):
                self.deliver(batch)
            self.commit()
        raise AssertionError("the task does not get on")


def objects(s3: Any, bucket: str) -> dict[str, bytes]:
    """The objects of a bucket, decompressed, by key."""
    client = s3.client()
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            data = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            found[entry["Key"]] = gzip.decompress(data) if entry["Key"].endswith(".gz") else data
    return found


def offsets_in(found: Mapping[str, bytes]) -> list[tuple[str, int]]:
    """(topic+partition, offset) of every record in the objects, each object's in its order."""
    told = []
    for key, data in sorted(found.items()):
        source = key.rsplit("/", 1)[1].rsplit("+", 1)[0]
        told += [(source, orjson.loads(line)["o"]) for line in data.splitlines()]
    return told
