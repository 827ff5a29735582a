"""What happens to records before they reach a file: each gets its item, its place and its time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from connect.api import DataError, SinkRecord
from connectors.s3.config import S3SinkConfig
from connectors.s3.fields import where
from connectors.s3.partitioners import Partitioner
from connectors.s3.timestamps import TimestampExtractor
from connectors.s3.views import Views


@dataclass(slots=True)
class Batch:
    """Records of one Kafka partition that are to be written, and at the same index what is known of each.
    `times` (ms) are there where the partitioner is time-based."""

    records: list[SinkRecord] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    times: list[int] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def slice(self, start: int, end: int) -> "Batch":
        """Some of them, in their order."""
        if start == 0 and end == len(self.records):
            return self
        times = None if self.times is None else self.times[start:end]
        return Batch(self.records[start:end], self.items[start:end], self.places[start:end], times)


class Intake:
    """Sorts out what cannot or need not be written; `report` is told of each record that cannot."""

    def __init__(
        self,
        config: S3SinkConfig,
        views: Views,
        partitioner: Partitioner,
        extractor: TimestampExtractor | None,
        report: Callable[[SinkRecord, Exception], None],
    ) -> None:
        self._null_values = config.null_values.lower()
        self._tombstone_place = config.tombstone_partition
        self._views = views
        self._partitioner = partitioner
        self._extractor = extractor
        self.report = report

    def take(self, records: Sequence[SinkRecord], now_ms: int) -> Batch:
        """The records (of one Kafka partition, at least one) that are to be written."""
        try:
            if None not in [record.raw_value for record in records]:
                return self._placed(records, now_ms)
        except DataError:
            pass  # which one is found below, where it is reported
        batch = Batch(times=None if self._extractor is None else [])
        for record in records:
            try:
                one = self._null(record) if record.raw_value is None else self._placed([record], now_ms)
            except DataError as exc:
                self.report(record, exc)
                continue
            batch.records += one.records
            batch.items += one.items
            batch.places += one.places
            if batch.times is not None:
                batch.times += one.times or []
        return batch

    def _placed(self, records: Sequence[SinkRecord], now_ms: int) -> Batch:
        times = None if self._extractor is None else list(self._extractor.times(records, now_ms))
        places = list(self._partitioner.places(records, times))
        return Batch(list(records), self._views.items(records), places, times)

    def _null(self, record: SinkRecord) -> Batch:
        if self._null_values == "ignore":
            return Batch()
        if self._null_values == "fail":
            raise DataError(
                f"{where(record)} has no value; set behavior.on.null.values to ignore or write to go on"
            )
        if self._extractor is not None and record.timestamp_ms is None:
            raise DataError(f"{where(record)} has neither value nor timestamp")
        times = None if self._extractor is None else [record.timestamp_ms or 0]
        return Batch([record], self._views.items([record]), [self._tombstone_place], times)
