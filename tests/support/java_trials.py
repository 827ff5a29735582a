"""Java programs that copy, count or are counted, exactly once."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum, auto
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from connect.testing.child import Child

from .committed_reader import QUIET, CommittedReader, create_topics, write
from .java import JVM, class_path, kafka_jars, streams_jars
from .trials import TRANSACTION_TIMEOUT_MS, Program, Setup, Trial, Wrong


class Copiers(StrEnum):
    """Who copies: TransactionalMessageCopiers (of kafka-tools) as a classic group or each with a partition of
    its own, or programs of our own (Copier.java) as a group of the new protocol (KIP-848)."""

    CLASSIC = auto()
    ALONE = auto()
    MODERN = auto()


class CopierTrial(Trial):
    """Programs copy one topic to another by partitions, in transactions, and abort a third of them."""

    def __init__(self, setup: Setup, who: Copiers, *, copiers: int = 2, partitions: int = 3) -> None:
        super().__init__(setup)
        name, bootstrap = setup.name, setup.bootstrap
        self._input, self._output, self._group = f"{name}-input", f"{name}-output", f"{name}-group"
        self._partitions = partitions
        self._fed = [0] * partitions
        self._verified = [0] * partitions
        create_topics(bootstrap, [self._input, self._output], partitions)
        self._offsets = Consumer({"bootstrap.servers": bootstrap, "group.id": self._group} | QUIET)
        self._reader = CommittedReader(bootstrap, self._output, partitions)
        count = partitions if who is Copiers.ALONE else copiers
        self.programs = [self._copier(who, f"{name}-copier-{n}", n) for n in range(count)]

    def _copier(self, who: Copiers, transactional_id: str, number: int) -> Program:
        if who is Copiers.MODERN:
            command = [*JVM, "-cp", class_path(kafka_jars(), "Copier.java"), "Copier", self._setup.bootstrap]
            command += [self._input, self._output, self._group, transactional_id, str(TRANSACTION_TIMEOUT_MS)]
        else:
            command = self._kafkas_copier(transactional_id, number % self._partitions)
            if who is Copiers.CLASSIC:
                command += ["--group-mode", "--use-group-metadata"]
        return Program(transactional_id, command, self._setup.directory / f"{transactional_id}.log")

    def _kafkas_copier(self, transactional_id: str, partition: int) -> list[str]:
        arguments = {
            "--broker-list": self._setup.bootstrap,
            "--input-topic": self._input,
            "--input-partition": str(partition),
            "--output-topic": self._output,
            "--consumer-group": self._group,
            "--transactional-id": transactional_id,
            "--transaction-size": "50",
            "--transaction-timeout": str(TRANSACTION_TIMEOUT_MS),
        }
        command = [*JVM, "-cp", f"{kafka_jars()}/*", "org.apache.kafka.tools.TransactionalMessageCopier"]
        return [*command, *(word for pair in arguments.items() for word in pair), "--enable-random-aborts"]

    def close(self) -> None:
        self._reader.close()
        self._offsets.close()

    def feed(self, count: int) -> None:
        share = count // self._partitions

        def records() -> Iterator[tuple[int, str]]:
            for _ in range(share):
                for partition in range(self._partitions):
                    yield partition, f"{partition}:{self._fed[partition]}"
                    self._fed[partition] += 1

        write(self._setup.bootstrap, self._input, records())

    def is_done(self) -> bool:
        asked = [TopicPartition(self._input, partition) for partition in range(self._partitions)]
        try:
            committed = self._offsets.committed(asked, timeout=5)
        except KafkaException:
            return False  # an offset is part of an open transaction, or the broker has just started
        return [max(each.offset, 0) for each in committed] == self._fed

    def verify(self) -> None:
        for message in self._reader.read_all():
            partition, value = message.partition(), message.value()
            expected = f"{partition}:{self._verified[partition]}".encode()
            if value != expected:
                raise Wrong(
                    f"{self._output}-{partition} has {value!r} at {message.offset()}, not {expected!r}"
                )
            self._verified[partition] += 1
        if self._verified != self._fed:
            raise Wrong(f"{self._output} has {self._verified} of {self._fed} records")


class VerifiableTrial(Trial):
    """VerifiableProducers (of kafka-tools), which retry, and a group of VerifiableConsumers.

    What the producer was told is written is there once, at its offset; the consumers see all of it.
    """

    def __init__(self, setup: Setup, *, protocol: str, consumers: int = 2, partitions: int = 3) -> None:
        super().__init__(setup)
        self._topic, group = f"{setup.name}-topic", f"{setup.name}-{protocol}"
        self._partitions = partitions
        self._acked: dict[tuple[int, int], str] = {}
        self._producer: Child | None = None
        create_topics(setup.bootstrap, [self._topic], partitions)
        self._reader = CommittedReader(setup.bootstrap, self._topic, partitions)
        self._offsets = Consumer({"bootstrap.servers": setup.bootstrap, "group.id": group} | QUIET)
        self._retries = setup.directory / "retries.properties"
        self._retries.write_text("retries=2147483647\ndelivery.timeout.ms=120000\nenable.idempotence=true\n")
        options = ["--group-id", group, "--group-protocol", protocol, "--verbose"]
        if protocol == "classic":
            options += ["--session-timeout", "6000"]
        self._logs = [setup.directory / f"consumer-{n}.log" for n in range(consumers)]
        self.programs = [
            Program(log.stem, self._tool("VerifiableConsumer", *options), log) for log in self._logs
        ]

    def _tool(self, name: str, *options: str) -> list[str]:
        command = [*JVM, "-cp", f"{kafka_jars()}/*", f"org.apache.kafka.tools.{name}"]
        return [*command, "--bootstrap-server", self._setup.bootstrap, "--topic", self._topic, *options]

    def close(self) -> None:
        if self._producer is not None:
            self._producer.stop()
        self._reader.close()
        self._offsets.close()

    def feed(self, count: int) -> None:
        """Starts a producer, which is not killed; the broker is, while it writes."""
        log = self._setup.directory / f"producer-{self.report.rounds}.log"
        options = ["--max-messages", str(count), "--acks", "-1", "--throughput", str(count // 4)]
        options += ["--value-prefix", str(self.report.rounds), "--command-config", str(self._retries)]
        self._producer = Child(self._tool("VerifiableProducer", *options), log)

    def is_done(self) -> bool:
        assert self._producer is not None
        if self._producer.process.poll() is None:
            return False
        asked = [TopicPartition(self._topic, partition) for partition in range(self._partitions)]
        try:
            committed = self._offsets.committed(asked, timeout=5)
        except KafkaException:
            return False  # the broker has just started
        return sum(max(each.offset, 0) for each in committed) >= self._records_until_now

    @property
    def _records_until_now(self) -> int:
        return (self.report.rounds + 1) * self._setup.records_per_round

    def verify(self) -> None:
        assert self._producer is not None
        acked = {}
        for event in events(self._producer.log):
            if event["name"] == "producer_send_error":
                raise Wrong(f"the producer could not send: {event}")
            if event["name"] == "producer_send_success":
                acked[event["partition"], event["offset"]] = event["value"]
        read = {(m.partition(), m.offset()): (m.value() or b"").decode() for m in self._reader.read_all()}
        if read != acked:
            wrong = sorted(read.items() ^ acked.items())
            raise Wrong(f"{len(acked)} records acknowledged, {len(read)} there; not in both: {wrong[:6]}")
        self._acked |= acked
        seen = {
            (event["partition"], event["offset"]): event["value"]
            for log in self._logs
            for event in events(log)
            if event["name"] == "record_data"
        }
        if seen != self._acked:
            wrong = sorted(seen.items() ^ self._acked.items())
            raise Wrong(f"{len(self._acked)} records were there, {len(seen)} consumed: {wrong[:6]}")


def events(log: Path) -> Iterator[dict[str, Any]]:
    """What a verifiable client printed, a JSON object a line; what SIGKILL cut short is left out."""
    for line in log.read_text().splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield event


class StreamsTrial(Trial):
    """Two instances of a Kafka Streams application that counts records (streams/CountingStreams.java).

    `is_static`: members of its group are known by their instance and come back as what they were (KIP-345).
    """

    KEYS = 20

    def __init__(
        self, setup: Setup, *, is_static: bool = False, partitions: int = 2, session_timeout_ms: int = 6000
    ) -> None:
        super().__init__(setup)
        name, bootstrap = setup.name, setup.bootstrap
        application = f"{name}-streams"
        self.repartition_topic = f"{application}-by-value-repartition"
        self._input, outputs = f"{name}-words", (f"{name}-counts", f"{name}-hourly")
        self._partitions = partitions
        self._fed: Counter[str] = Counter()
        self._counts: dict[str, Counter[str]] = {output: Counter() for output in outputs}
        create_topics(bootstrap, [self._input, *outputs], partitions)
        self._readers = {output: CommittedReader(bootstrap, output, partitions) for output in outputs}
        command = [*JVM, "-cp", class_path(streams_jars(), "streams/CountingStreams.java"), "CountingStreams"]
        self.programs = []
        for instance in ("one", "two"):
            arguments = [bootstrap, application, str(setup.directory / f"state-{instance}")]
            arguments += [self._input, *outputs, str(session_timeout_ms)]
            if is_static:
                arguments.append(instance)
            log = setup.directory / f"{instance}.log"
            self.programs.append(Program(f"{application}-{instance}", [*command, *arguments], log))

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()

    def feed(self, count: int) -> None:
        words = [f"word-{self._dice.randrange(self.KEYS)}" for _ in range(count)]
        write(
            self._setup.bootstrap, self._input, ((n % self._partitions, word) for n, word in enumerate(words))
        )
        self._fed.update(words)

    def is_done(self) -> bool:
        for output, reader in self._readers.items():
            self._take(output, reader.read_stable())
        return all(sum_by_word(counts) == self._fed for counts in self._counts.values())

    def verify(self) -> None:
        for output, reader in self._readers.items():
            self._take(output, reader.read_all())
        if not self.is_done():
            raise Wrong(f"counted again after all was counted: {self._counts}, not {self._fed}")

    def _take(self, output: str, messages: Sequence[Message]) -> None:
        """The counts of a key follow each other."""
        counts = self._counts[output]
        for message in messages:
            key, value = (message.key() or b"").decode(), (message.value() or b"").decode()
            counts[key] += 1
            if value != str(counts[key]):
                where = f"{output}-{message.partition()} at {message.offset()}"
                raise Wrong(f"{where} counts {key} to {value}, not {counts[key]}")


def sum_by_word(counts: Mapping[str, int]) -> Counter[str]:
    """Counts by word and hour (`word@hour`) as counts by word."""
    total: Counter[str] = Counter()
    for key, count in counts.items():
        total[key.split("@")[0]] += count
    return total
