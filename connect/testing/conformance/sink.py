"""What the runtime relies on in a sink connector and its tasks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import pytest

from connect.api import (
    DataError,
    Schema,
    SchemaAndValue,
    SinkConnector,
    SinkRecord,
    SinkTask,
    TopicPartition,
)
from connect.api.schemas import STRING
from connect.testing.conformance.plugin import ConnectorTests
from connect.testing.conformance.values import json_converter
from connect.testing.tasks import SinkRun

_TOPIC: Final = "conformance"
_START_MS: Final = 1_700_000_000_000


class SinkConnectorTests(ConnectorTests):
    """`written` must be overridden: it tells what stands outside.

    `records_per_partition` of each of two partitions are put. `absorbs_replays` is True for a sink that
    writes a record once although it comes again. `refused` are (schema, value) that it cannot take.
    """

    plugin: ClassVar[type[SinkConnector[Any]]]
    records_per_partition: ClassVar[int] = 12
    absorbs_replays: ClassVar[bool] = False
    refused: ClassVar[Sequence[tuple[Schema | None, Any]]] = ()

    def value(self, number: int) -> SchemaAndValue[Any]:
        """The value of a record; every number's is different. Override it for a sink that needs others."""
        return SchemaAndValue(None, {"number": number})

    def expected(self, record: SinkRecord) -> Any:
        """What `written` tells of this record."""
        return record.value

    def written(self, properties: Mapping[str, str]) -> Iterable[Any]:
        """What stands outside now, one item for each record in any order; twice what was written twice."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `written`: what stands outside now")

    # Set-up

    @pytest.fixture
    def log(self) -> dict[TopicPartition, list[SinkRecord]]:
        """The records that the tests put: two partitions, as JsonConverter reads them from a topic."""
        count = self.records_per_partition
        return {
            TopicPartition(_TOPIC, partition): [
                self.record(partition, offset, self.value(partition * count + offset))
                for offset in range(count)
            ]
            for partition in range(2)
        }

    def record(self, partition: int, offset: int, value: SchemaAndValue[Any]) -> SinkRecord:
        """A record with this value."""
        converter = json_converter(schemas=value.schema is not None)
        read = converter.to_connect(_TOPIC, converter.from_connect(_TOPIC, value.schema, value.value))
        return SinkRecord(
            _TOPIC, partition, offset, read.value, value_schema=read.schema,
            key=f"{partition}-{offset}", key_schema=STRING, timestamp_ms=_START_MS + offset,
        )  # fmt: skip

    @pytest.fixture
    def run(
        self, properties: Mapping[str, str], log: Mapping[TopicPartition, Sequence[SinkRecord]]
    ) -> Iterator[SinkRun]:
        """A task, not yet started."""
        run = SinkRun(self.plugin, properties, log)
        yield run
        run.abandon()

    def assert_committed_is_written(self, run: SinkRun, properties: Mapping[str, str]) -> None:
        """Every record below a committed offset stands outside: from there on the topic may forget it."""
        safe = [r for p, records in run.log.items() for r in records if r.offset < run.committed.get(p, 0)]
        there = Counter(repr(item) for item in self.written(properties))
        missing = Counter(repr(self.expected(record)) for record in safe) - there
        assert not missing, f"committed, and not written: {sorted(missing)[:5]}"

    def assert_all_is_written(self, run: SinkRun, properties: Mapping[str, str]) -> None:
        """All records are committed and stand outside; once, if the sink absorbs replays."""
        assert run.committed == {p: records[-1].offset + 1 for p, records in run.log.items()}
        self.assert_committed_is_written(run, properties)
        there = Counter(repr(item) for item in self.written(properties))
        wanted = Counter(repr(self.expected(record)) for records in run.log.values() for record in records)
        assert there.keys() == wanted.keys(), "something was written that was never put"
        if self.absorbs_replays:
            assert there == wanted, "records were written twice"

    # Tests

    def test_its_tasks_are_sink_tasks(self) -> None:
        assert issubclass(self.plugin.task_class, SinkTask)

    def test_what_is_put_is_written(self, run: SinkRun, properties: Mapping[str, str]) -> None:
        run.start()
        run.finish()
        run.stop()
        self.assert_all_is_written(run, properties)

    def test_what_is_committed_is_written_at_every_moment(
        self, run: SinkRun, properties: Mapping[str, str]
    ) -> None:
        """Offsets are of open partitions, never beyond what was put, never going back."""
        run.start()
        before: dict[TopicPartition, int] = {}
        more = True
        while more:
            more = run.deliver(2)
            for partition, offset in run.commit().items():
                assert partition in run.positions, f"{partition} is not assigned"
                assert type(offset) is int
                assert before.get(partition, 0) <= offset <= run.positions[partition]
                before[partition] = offset
            self.assert_committed_is_written(run, properties)

    def test_nothing_is_lost_when_it_dies(self, run: SinkRun, properties: Mapping[str, str]) -> None:
        """After a crash records come again from the committed offsets."""
        for delivered in (1, 3, 5):
            run.start()
            run.deliver(delivered)
            run.commit()
            run.deliver(2)
            run.abandon()
            self.assert_committed_is_written(run, properties)
        run.start()
        run.finish()
        run.stop()
        self.assert_all_is_written(run, properties)

    def test_all_may_come_again(self, run: SinkRun, properties: Mapping[str, str]) -> None:
        """A user may reset the offsets, and a commit may be lost."""
        run.start()
        run.finish()
        run.stop()
        run.committed.clear()
        run.start()
        run.finish()
        run.stop()
        self.assert_all_is_written(run, properties)

    def test_partitions_come_and_go(self, run: SinkRun, properties: Mapping[str, str]) -> None:
        """A rebalance takes a partition, another member has it meanwhile, and it comes back."""
        first, second = run.log
        run.start(first)
        run.deliver(3)
        run.open(second)
        run.deliver(2)
        run.close(first)
        self.assert_committed_is_written(run, properties)
        run.deliver(2)
        run.open(first)
        run.deliver(2)
        run.lose(second)
        run.open(second)
        run.finish()
        run.stop()
        self.assert_all_is_written(run, properties)

    def test_it_may_have_nothing_to_do(self, run: SinkRun, properties: Mapping[str, str]) -> None:
        """`put` without records, commits without news, no partitions at all."""
        run.start()
        task = run.task
        assert task is not None
        task.put([])
        run.commit()
        run.close(*run.log)
        task.put([])
        assert run.commit() == {}
        run.stop()
        assert list(self.written(properties)) == []

    def test_null_values_are_taken_or_refused(
        self, run: SinkRun, log: dict[TopicPartition, list[SinkRecord]]
    ) -> None:
        """Tombstones come too. A sink that has no use for them says so with a `DataError`, in `put` or by
        `report_errant`; any other error would stop the task for good."""
        partition = next(iter(log))
        log[partition] = [
            SinkRecord(partition.topic, partition.partition, 0, None, key="k", key_schema=STRING)
        ]
        run.start(partition)
        try:
            run.deliver(1)
            run.commit()
        except DataError:
            return

    def test_what_it_cannot_take_is_a_data_error(
        self, run: SinkRun, log: dict[TopicPartition, list[SinkRecord]]
    ) -> None:
        partition = next(iter(log))
        for schema, value in self.refused:
            log[partition] = [SinkRecord(*partition, 0, value, value_schema=schema)]
            run.committed.clear()
            run.start(partition)
            try:
                run.deliver(1)
                run.commit()
            except DataError:
                told = True
            else:
                told = any(isinstance(error, DataError) for _, error in run.context.errant)
            assert told, f"{value!r} was neither refused in put nor reported as errant"
            run.abandon()
