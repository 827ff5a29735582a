"""Writing records from a shell."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, Message

from connect.cli import kafka_client
from connect.cli.failure import USAGE, Failure
from connect.cli.output import Format, show

Record = tuple[bytes | None, bytes]


def records_of(
    values: Sequence[str] | None, file: Path | None, key: str | None, separator: str | None
) -> Iterator[Record]:
    """Key and value of each line of the file, of each argument, or of each line of stdin."""
    if values:
        lines: Iterable[bytes] = (value.encode() for value in values)
    else:
        lines = _lines(file)
    fixed = None if key is None else key.encode()
    for line in lines:
        if separator is None:
            yield fixed, line
            continue
        own, found, value = line.partition(separator.encode())
        if not found:
            raise Failure(f"no key separator {separator!r} in line {line.decode(errors='replace')!r}", USAGE)
        yield own, value


def _lines(file: Path | None) -> Iterator[bytes]:
    source = sys.stdin.buffer if file is None else file.open("rb")
    with source:
        for line in source:
            yield line.rstrip(b"\n").removesuffix(b"\r")


@dataclass(slots=True)
class _Written:
    records: int = 0
    first_offset: int = -1
    last_offset: int = -1


@dataclass(slots=True)
class Production:
    """One run of `millstream produce`."""

    bootstrap: str
    settings: Iterable[str]
    topic: str
    partition: int | None
    header_texts: Iterable[str]
    written: dict[int, _Written] = field(default_factory=dict)
    error: KafkaError | None = None

    def run(self, records: Iterator[Record]) -> None:
        """Write all, and wait until the broker has them."""
        config = kafka_client.settings(self.bootstrap, self.settings, **{"enable.idempotence": True})
        client = kafka_client.producer(config)
        headers: list[tuple[str, str | bytes | None]] = [_header(text) for text in self.header_texts]
        kafka_client.metadata(client, self.bootstrap, self.topic)
        place: dict[str, Any] = {} if self.partition is None else {"partition": self.partition}
        for key, value in records:
            while self.error is None:
                try:
                    client.produce(
                        self.topic, value, key, headers=headers, on_delivery=self._delivered, **place
                    )
                except BufferError:
                    client.poll(1)  # the queue is full: wait until something in it is delivered
                else:
                    break
            if self.error is not None:
                break
            client.poll(0)
        client.flush()
        if self.error is not None:
            raise Failure(f"topic {self.topic}: {self.error.str()} ({self.error.name()})")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            self.error = self.error or error
            return
        written = self.written.setdefault(partition, _Written(first_offset=offset))
        written.records += 1
        written.last_offset = max(written.last_offset, offset)
        written.first_offset = min(written.first_offset, offset)

    def report(self, output: Format) -> None:
        partitions = [
            {
                "partition": partition,
                "records": written.records,
                "first_offset": written.first_offset,
                "last_offset": written.last_offset,
            }
            for partition, written in sorted(self.written.items())
        ]
        total = sum(written.records for written in self.written.values())
        document = {"topic": self.topic, "records": total, "partitions": partitions}
        columns = ("PARTITION", "RECORDS", "FIRST OFFSET", "LAST OFFSET")
        show(output, document, columns, (one.values() for one in partitions))


def _header(text: str) -> tuple[str, bytes]:
    name, separator, value = text.partition("=")
    if not separator:
        raise Failure(f"--header {text}: write NAME=VALUE", USAGE)
    return name, value.encode()
