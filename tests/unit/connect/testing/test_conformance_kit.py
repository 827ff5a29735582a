"""The conformance kit finds what is wrong with a connector: each of these has one bug.

A connector without bugs passes in tests/integration/connect/testing; here a planted bug must fail one test of
the kit, and only by its own assertion.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from connect.api import (
    Config,
    ConnectRecord,
    DataError,
    Header,
    SinkConnector,
    SinkRecord,
    SinkTask,
    SinkTaskContext,
    SourceConnector,
    SourceRecord,
    SourceTask,
    SourceTaskContext,
    TopicPartition,
    Transform,
    setting,
)
from connect.api.schemas import INT64, STRING
from connect.testing.conformance import (
    PluginTests,
    SinkConnectorTests,
    SourceConnectorTests,
    TransformTests,
)
from connect.testing.tasks import SinkRun, SourceRun

RECORDS = 6


class NumbersConfig(Config):
    bug: str = setting("bug", default="", doc="What is wrong.")
    count: int = setting("count", doc="How many numbers.")


class NumbersTask(SourceTask[NumbersConfig]):
    """The numbers from 0, two a poll; the offset is the next number."""

    def start(self, context: SourceTaskContext, config: NumbersConfig) -> None:
        self._context, self._config, self._bug = context, config, config.bug
        stored = context.offset({"numbers": 1})
        self._next = 0 if stored is None or self._bug == "starts over" else stored["next"]
        if stored is not None and self._bug == "skips one":
            self._next += 1
        self._offset: dict[str, Any] = {}

    def poll(self) -> Sequence[SourceRecord]:
        numbers = range(self._next, min(self._next + 2, self._config.count))
        if not numbers:
            if self._bug == "does not hear stop":
                time.sleep(0.3)
            if self._context.wait(5 if self._bug == "fails when it should stop" else 0.01) and self._bug:
                raise DataError("stopped")
        self._next = numbers.stop if numbers else self._next
        return [self._record(number) for number in numbers]

    def _record(self, number: int) -> SourceRecord:
        offset: dict[str, Any] = {"next": number + 1}
        if self._bug == "reuses its offset":
            self._offset["next"] = number + 1
            offset = self._offset
        schema = STRING if self._bug == "wrong schema" else INT64
        return SourceRecord({"numbers": 1}, offset, "numbers", number, value_schema=schema)


class Numbers(SourceConnector[NumbersConfig]):
    version = "1"
    config_class = NumbersConfig
    task_class = NumbersTask

    def task_configs(self, config: NumbersConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals] * (9 if config.bug == "too many tasks" else 1)


class NumbersKit(SourceConnectorTests):
    plugin = Numbers
    records_expected = RECORDS


class ImpatientNumbersKit(NumbersKit):
    deadline_seconds = 0.2
    answer_seconds = 0.1


def source(bug: str) -> SourceRun:
    return SourceRun(Numbers, {"count": str(RECORDS), "bug": bug})


SOURCE_BUGS: list[tuple[str, Callable[[NumbersKit, SourceRun], None]]] = [
    ("wrong schema", NumbersKit.test_records_are_well_formed),
    ("reuses its offset", NumbersKit.test_offsets_are_json_and_stay_as_they_are),
    ("starts over", lambda kit, run: kit.test_it_goes_on_at_the_stored_offset_wherever_it_stopped(run, True)),
    ("skips one", lambda kit, run: kit.test_it_goes_on_at_the_stored_offset_wherever_it_stopped(run, True)),
    ("starts over", NumbersKit.test_it_starts_again_when_all_is_stored),
    ("fails when it should stop", NumbersKit.test_it_stops_promptly_wherever_it_is),
    ("does not hear stop", NumbersKit.test_it_stops_promptly_wherever_it_is),
]


@pytest.mark.parametrize(("bug", "test"), SOURCE_BUGS, ids=[bug for bug, _ in SOURCE_BUGS])
def test_a_bug_of_a_source_is_found(bug: str, test: Callable[[NumbersKit, SourceRun], None]) -> None:
    test(NumbersKit(), source(""))
    bad = source(bug)
    with pytest.raises((AssertionError, DataError)):
        test(ImpatientNumbersKit(), bad)
    bad.stop()


def test_too_many_tasks_are_found() -> None:
    with pytest.raises(AssertionError):
        NumbersKit().test_it_splits_its_work_into_task_configs(
            {"count": str(RECORDS), "bug": "too many tasks"}
        )


class LinesConfig(Config):
    bug: str = setting("bug", default="", doc="What is wrong.")
    file: str = setting("file", doc="Where the lines go.")


class LinesTask(SinkTask[LinesConfig]):
    """Writes what it has buffered when it is flushed."""

    def start(self, context: SinkTaskContext, config: LinesConfig) -> None:
        self._config, self._lines = config, list[str]()
        self._seen: dict[TopicPartition, int] = {}

    def put(self, records: Sequence[SinkRecord]) -> None:
        for record in records:
            if record.value is None and self._config.bug == "dies of tombstones":
                raise TypeError("NoneType")
            if isinstance(record.value, str) and self._config.bug != "takes all":
                raise DataError("no text, please")
            self._lines.append(str(record.value))
            place = TopicPartition(record.original_topic, record.original_partition)
            self._seen[place] = record.offset + 1

    def pre_commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        if self._config.bug == "commits what others have":
            return {**offsets, TopicPartition("conformance", 7): 1}
        if self._config.bug == "commits too much":
            return {partition: offset + 1 for partition, offset in offsets.items()}
        return super().pre_commit(offsets)

    def flush(self, offsets: Mapping[TopicPartition, int]) -> None:
        lines, self._lines = self._lines, []
        if self._config.bug == "does not flush":
            lines = lines[:-1]
        with Path(self._config.file).open("a") as out:
            out.writelines(f"{line}\n" for line in lines)

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        if self._config.bug == "forgets nothing":
            self.flush({})
        self._lines.clear()


class Lines(SinkConnector[LinesConfig]):
    version = "1"
    config_class = LinesConfig
    task_class = LinesTask

    def task_configs(self, config: LinesConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals]


class LinesKit(SinkConnectorTests):
    plugin = Lines
    refused = ((STRING, "text"),)

    def expected(self, record: SinkRecord) -> Any:
        return str(record.value)

    def written(self, properties: Mapping[str, str]) -> Iterable[Any]:
        file = Path(properties["file"])
        return file.read_text().splitlines() if file.exists() else []


class StrictLinesKit(LinesKit):
    absorbs_replays = True


SINK_BUGS: list[tuple[type[LinesKit], str, str]] = [
    (LinesKit, "does not flush", "test_what_is_put_is_written"),
    (LinesKit, "does not flush", "test_nothing_is_lost_when_it_dies"),
    (LinesKit, "commits too much", "test_what_is_committed_is_written_at_every_moment"),
    (LinesKit, "commits what others have", "test_what_is_committed_is_written_at_every_moment"),
    (StrictLinesKit, "forgets nothing", "test_nothing_is_lost_when_it_dies"),
]


@pytest.mark.parametrize(("kit", "bug", "test"), SINK_BUGS)
def test_a_bug_of_a_sink_is_found(kit: type[LinesKit], bug: str, test: str, tmp_path: Path) -> None:
    check = getattr(kit(), test)
    if kit is LinesKit:
        check(*sink(tmp_path / "good", ""))
    with pytest.raises(AssertionError):
        check(*sink(tmp_path / "bad", bug))


def sink(file: Path, bug: str) -> tuple[SinkRun, Mapping[str, str]]:
    properties = {"file": str(file), "bug": bug}
    return SinkRun(Lines, properties, log()), properties


def log() -> dict[TopicPartition, list[SinkRecord]]:
    return {
        TopicPartition("conformance", p): [
            SinkRecord("conformance", p, n, {"n": 100 * p + n}) for n in range(12)
        ]
        for p in range(2)
    }


@pytest.mark.parametrize("bug", ["", "dies of tombstones", "takes all"])
def test_records_that_a_sink_cannot_take(bug: str, tmp_path: Path) -> None:
    records = log()
    run = SinkRun(Lines, {"file": str(tmp_path / "out"), "bug": bug}, records)
    if bug == "dies of tombstones":
        with pytest.raises(TypeError):
            LinesKit().test_null_values_are_taken_or_refused(run, records)
    else:
        LinesKit().test_null_values_are_taken_or_refused(run, records)
    if bug == "takes all":
        with pytest.raises(AssertionError, match="neither refused"):
            LinesKit().test_what_it_cannot_take_is_a_data_error(run, records)
    else:
        LinesKit().test_what_it_cannot_take_is_a_data_error(run, records)


class InPlace(Transform[Any]):
    """Changes the record that it was given."""

    def configure(self, properties: Mapping[str, str]) -> None:
        """There is nothing to set."""

    def apply(self, record: Any) -> Any:
        record.value["seen"] = True
        return record


class InPlaceKit(TransformTests):
    plugin = InPlace


def test_a_transform_that_changes_records_in_place_is_found() -> None:
    records: list[ConnectRecord] = [SinkRecord("t", 0, 0, {"a": 1}, headers=(Header("h", None, "x"),))]
    with pytest.raises(AssertionError, match="changed the record"):
        InPlaceKit().test_records_stay_as_they_are_and_results_are_well_formed(InPlace(), records)


class CarelessConfig(Config):
    limit: int = setting("limit")
    password: str = setting("db.password", default="", doc="Not declared as a secret.")


class Careless(Transform[Any]):
    config_class = CarelessConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        """Takes anything."""

    def apply(self, record: Any) -> Any:
        return record


class CarelessKit(TransformTests):
    plugin = Careless


@pytest.mark.parametrize(
    "test",
    [
        PluginTests.test_every_setting_is_documented,
        PluginTests.test_secrets_are_declared_as_secrets,
        lambda kit: kit.test_it_refuses_wrong_settings({"limit": "1"}),
    ],
)
def test_careless_settings_are_found(test: Callable[[PluginTests], None]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(CarelessKit())
