"""What the runtime relies on in a source connector and its tasks."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import orjson
import pytest

from connect.api import SourceConnector, SourceRecord, SourceTask
from connect.testing.conformance.plugin import ConnectorTests
from connect.testing.conformance.values import assert_well_formed
from connect.testing.tasks import SourceRun, partition_key


class SourceConnectorTests(ConnectorTests):
    """`records_expected` is how many records the source holds with the fixture `properties`; at least 3.

    `resumes_exactly` is False for a source that may hand out again what lies before the stored offset.
    `deadline_seconds` is how long records may take to come, `answer_seconds` how long a call may take that is
    told to return: the runtime kills a task after `task.shutdown.graceful.timeout.ms`, by default 5000.
    """

    plugin: ClassVar[type[SourceConnector[Any]]]
    records_expected: ClassVar[int] = 10
    resumes_exactly: ClassVar[bool] = True
    deadline_seconds: ClassVar[float] = 30.0
    answer_seconds: ClassVar[float] = 5.0

    def identity(self, record: SourceRecord) -> Any:
        """What makes it the same record when it comes again; override it where a value holds, say, the time
        at which it was read. Here: topic, key and value."""
        return record.topic, record.key, record.value

    @pytest.fixture
    def run(self, properties: Mapping[str, str]) -> Iterator[SourceRun]:
        """The connector's tasks, not yet started."""
        run = SourceRun(self.plugin, properties, self.tasks_max)
        yield run
        run.stop()

    def read(self, run: SourceRun, count: int) -> list[SourceRecord]:
        """Poll until there are at least `count` records."""
        return run.read(count, self.deadline_seconds)

    def test_its_tasks_are_source_tasks(self) -> None:
        assert issubclass(self.plugin.task_class, SourceTask)

    def test_it_gives_the_records_that_are_there(self, run: SourceRun) -> None:
        run.start()
        records = self.read(run, self.records_expected)
        assert len(records) == self.records_expected
        assert len({repr(self.identity(record)) for record in records}) == self.records_expected
        assert run.poll() == [], "there is nothing more, so poll returns nothing after a while"

    def test_records_are_well_formed(self, run: SourceRun) -> None:
        """Schemas are valid, values fit them, and JsonConverter can write both."""
        run.start()
        for record in self.read(run, self.records_expected):
            assert type(record) is SourceRecord
            assert_well_formed(record)

    def test_offsets_are_json_and_stay_as_they_are(self, run: SourceRun) -> None:
        """The offsets topic holds JSON, and records may share an offset's parts until they are written."""
        run.start()
        told: list[tuple[SourceRecord, bytes]] = []
        while len(told) < self.records_expected:
            told += [(record, _offset_json(record)) for record in self.read(run, 1)]
        for record, text in told:
            assert _offset_json(record) == text, "the offset of a record was changed after it was handed out"
            partition, offset = orjson.loads(text)
            assert (partition, offset) == (dict(record.source_partition), dict(record.source_offset))

    @pytest.mark.parametrize("tell", [True, False], ids=["told", "not told of its commits"])
    def test_it_goes_on_at_the_stored_offset_wherever_it_stopped(self, run: SourceRun, tell: bool) -> None:
        """No record is lost; none before the stored offset comes again (`resumes_exactly`).

        Each round polls, has the offsets of one record more stored than the round before, and stops: what
        was handed out beyond is lost with the task. Without `tell` it dies before it hears that an offset is
        durable.
        """
        done: list[str] = []
        rounds = 0
        while len(set(done)) < self.records_expected:
            rounds += 1
            assert rounds <= self.records_expected, (
                f"after {rounds} rounds only {len(set(done))} records came"
            )
            run.start()
            records = self.read(run, 1)
            while len(records) < rounds and (more := run.poll()):
                records += more
            kept = records[:rounds]
            run.store(kept, tell=tell)
            done += [repr(self.identity(record)) for record in kept]
            run.stop()
        if self.resumes_exactly:
            assert len(done) == len(set(done)), "records from before the stored offset came again"

    def test_it_starts_again_when_all_is_stored(self, run: SourceRun) -> None:
        run.start()
        run.store(self.read(run, self.records_expected))
        run.stop()
        run.start()
        again = run.poll()
        assert again == [] or not self.resumes_exactly, "what is stored came again"

    def test_it_stops_promptly_wherever_it_is(self, run: SourceRun) -> None:
        """`poll` returns when `context.stopping`, whether records come or not; `stop` ends."""
        for polls in (0, 1, self.records_expected):
            run.start()
            if polls:
                self.read(run, polls)
            polling = _Call(run.poll)
            for context in run.contexts:
                context.stop()
            polling.returns_within(self.answer_seconds, "poll did not return although the task should stop")
            _Call(run.stop).returns_within(self.answer_seconds, "stop did not return")

    def test_it_stops_before_its_first_poll(self, run: SourceRun) -> None:
        run.start()
        _Call(run.stop).returns_within(self.answer_seconds, "stop did not return")

    def test_a_commit_of_nothing_new_does_no_harm(self, run: SourceRun) -> None:
        run.start()
        records = self.read(run, 3)
        run.store(records[:2])
        run.store(records[:2])
        run.store(())
        assert (
            len(records) + len(self.read(run, self.records_expected - len(records))) == self.records_expected
        )

    def test_a_user_may_set_and_forget_its_own_offsets(
        self, run: SourceRun, properties: Mapping[str, str]
    ) -> None:
        """`alter_offsets` takes what the connector itself has stored, and None for each."""
        run.start()
        run.store(self.read(run, self.records_expected))
        config = self.plugin.config_class.parse(properties)
        for partition, offset in run.offsets.values():
            assert partition_key(partition) in run.offsets
            assert isinstance(self.plugin().alter_offsets(config, [(partition, offset)]), bool)
            assert isinstance(self.plugin().alter_offsets(config, [(partition, None)]), bool)


class _Call:
    """A call in a thread of its own, so that one that hangs fails a test instead of stopping all."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def returns_within(self, seconds: float, complaint: str) -> None:
        """Wait for it; raises what it raised."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"{complaint} within {seconds:g} s"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._call()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the test raises it
            self._failure = exc


def _offset_json(record: SourceRecord) -> bytes:
    return orjson.dumps([record.source_partition, record.source_offset])
