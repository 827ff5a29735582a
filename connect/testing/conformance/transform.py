"""What the runtime relies on in transforms and predicates."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from connect.api import ConnectRecord, DataError, Header, Predicate, SinkRecord, SourceRecord, Transform
from connect.api.schemas import INT64, STRING, struct
from connect.testing.conformance.plugin import PluginTests, expect_configure_refuses
from connect.testing.conformance.values import assert_well_formed

_VALUE: Mapping[str, Any] = {"id": 1, "name": "a"}
_SCHEMA = struct({"id": INT64, "name": STRING}, name="conformance")


class _RecordPluginTests(PluginTests):
    """Both see records. Override `records` for a plugin that needs certain ones."""

    @pytest.fixture
    def records(self) -> Sequence[ConnectRecord]:
        """Records that it can take: from a source and for a sink, with schema and without."""
        headers = (Header("source", STRING, "test"),)
        return [
            SourceRecord({"p": 1}, {"o": 1}, "conformance", dict(_VALUE), value_schema=_SCHEMA, key=1,
                         key_schema=INT64, timestamp_ms=0, headers=headers),
            SourceRecord({"p": 1}, {"o": 2}, "conformance", dict(_VALUE), timestamp_ms=1),
            SinkRecord("conformance", 0, 7, dict(_VALUE), value_schema=_SCHEMA, timestamp_ms=0),
            SinkRecord("conformance", 0, 8, dict(_VALUE), key="k", timestamp_ms=1, headers=headers),
        ]  # fmt: skip

    @pytest.fixture
    def tombstone(self) -> ConnectRecord:
        """A record without a value."""
        return SinkRecord("conformance", 0, 9, None, key="k", key_schema=STRING)

    def test_it_refuses_wrong_settings(self, properties: Mapping[str, str]) -> None:
        expect_configure_refuses(self.plugin, properties)


class TransformTests(_RecordPluginTests):
    """For transforms."""

    plugin: ClassVar[type[Transform[Any]]]

    @pytest.fixture
    def transform(self, properties: Mapping[str, str]) -> Transform[Any]:
        """The transform, configured."""
        transform = self.plugin()
        transform.configure(properties)
        return transform

    def test_records_stay_as_they_are_and_results_are_well_formed(
        self, transform: Transform[Any], records: Sequence[ConnectRecord]
    ) -> None:
        """A record may be needed again, for a retry or a dead letter topic: a changed one is a copy."""
        for record in records:
            before = _frozen(record)
            result = transform.apply(record)
            assert _frozen(record) == before, "the transform changed the record that it was given"
            if result is not None:
                assert type(result) is type(record)
                assert_well_formed(result)
                assert _place(result) == _place(record), "what says where a record stands was changed"

    def test_the_same_record_gives_the_same_result(
        self, transform: Transform[Any], records: Sequence[ConnectRecord]
    ) -> None:
        for record in records:
            first, second = transform.apply(record), transform.apply(record)
            assert (first and _frozen(first)) == (second and _frozen(second))

    def test_tombstones_are_taken_or_refused(
        self, transform: Transform[Any], tombstone: ConnectRecord
    ) -> None:
        try:
            transform.apply(tombstone)
        except DataError:
            return

    def test_it_can_be_closed(self, transform: Transform[Any], records: Sequence[ConnectRecord]) -> None:
        transform.apply(records[0])
        transform.close()
        self.plugin().close()  # also before it was configured


class PredicateTests(_RecordPluginTests):
    """For predicates. Override the fixture `told_apart`."""

    plugin: ClassVar[type[Predicate[Any]]]

    @pytest.fixture
    def told_apart(self) -> tuple[ConnectRecord, ConnectRecord]:
        """A record that it is true for, and one that it is false for. Override it."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture `told_apart`: (true for, false for)"
        )

    def test_it_tells_records_apart(
        self, properties: Mapping[str, str], told_apart: tuple[ConnectRecord, ConnectRecord]
    ) -> None:
        predicate = self._predicate(properties)
        assert [predicate.test(record) for record in told_apart] == [True, False]

    def test_the_answer_is_a_bool_and_records_stay_as_they_are(
        self, properties: Mapping[str, str], records: Sequence[ConnectRecord], tombstone: ConnectRecord
    ) -> None:
        predicate = self._predicate(properties)
        for record in (*records, tombstone):
            before = _frozen(record)
            assert type(predicate.test(record)) is bool
            assert _frozen(record) == before

    def _predicate(self, properties: Mapping[str, str]) -> Predicate[Any]:
        predicate = self.plugin()
        predicate.configure(properties)
        return predicate


def _frozen(record: ConnectRecord) -> str:
    """All of a record, to compare with later."""
    return repr((
        type(record).__name__, record.topic, record.partition, record.key_schema, record.key,
        record.value_schema, record.value, record.timestamp_ms, list(record.headers), _place(record),
    ))  # fmt: skip


def _place(record: ConnectRecord) -> tuple[Any, ...]:
    """Where a record comes from, which no transform may touch."""
    if isinstance(record, SourceRecord):
        return dict(record.source_partition), dict(record.source_offset)
    assert isinstance(record, SinkRecord)
    return record.original_topic, record.original_partition, record.offset
