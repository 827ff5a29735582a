"""When the open files of a Kafka partition are completed: Confluent's rules, as a machine without I/O.

All files of a Kafka partition are completed together, after `flush.size` records, after `rotate.bytes` of
records (Millstream's own setting), when a record's time is `rotate.interval.ms` after that of the first, when
a record belongs elsewhere than the one before it, and when the wall clock passes a multiple of
`rotate.schedule.interval.ms` of the day. A record whose time or
place ends a set of files is the first of the next set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class RotationRules:
    """`interval_ms` is None where records' times do not count, `bytes_max` where their sizes do not."""

    records_max: int
    interval_ms: int | None = None
    on_place_change: bool = False
    bytes_max: int | None = None


class Rotation:
    """What is known of the files that are open now."""

    def __init__(self, rules: RotationRules) -> None:
        self._rules = rules
        self.reset()

    def reset(self) -> None:
        """All files are completed (or dropped)."""
        self.count = 0
        self._bytes = 0
        self._first_time: int | None = None
        self._last_place: str | None = None

    @property
    def is_full(self) -> bool:
        if self._rules.bytes_max is not None and self._bytes >= self._rules.bytes_max:
            return True
        return self.count >= self._rules.records_max

    def take(
        self,
        places: Sequence[str],
        times: Sequence[int] | None,
        start: int,
        sizes: Sequence[int] | None = None,
    ) -> int:
        """Take records from index `start` on; the index of the first one that must wait for a rotation,
        or how many there are. `sizes` (bytes) are needed with `bytes_max`."""
        assert not self.is_full, "rotate first"
        end = min(len(places), start + self._rules.records_max - self.count)
        if self._rules.interval_ms is not None:
            assert times is not None, "rotation by time needs times"
            end = self._take_by_time(places, times, start, end)
        if self._rules.bytes_max is not None:
            assert sizes is not None, "rotation by bytes needs sizes"
            end = self._take_by_bytes(sizes, start, end, self._rules.bytes_max)
        self.count += end - start
        return end

    def _take_by_bytes(self, sizes: Sequence[int], start: int, end: int, bytes_max: int) -> int:
        for index in range(start, end):
            self._bytes += sizes[index]
            if self._bytes >= bytes_max:
                return index + 1
        return end

    def is_overdue(self, now_ms: int) -> bool:
        """Whether the files are as old as they may get, if `now_ms` is what records' times are made of."""
        if self._first_time is None or self._rules.interval_ms is None:
            return False
        return now_ms - self._first_time >= self._rules.interval_ms

    def _take_by_time(self, places: Sequence[str], times: Sequence[int], start: int, end: int) -> int:
        assert self._rules.interval_ms is not None, "asked for by take alone"
        if self._first_time is None:
            self._first_time, self._last_place = times[start], places[start]
        due_ms, place = self._first_time + self._rules.interval_ms, self._last_place
        for index in range(start, end):
            if times[index] >= due_ms:
                return index
            if self._rules.on_place_change and places[index] != place:
                return index
        return end


class Schedule:
    """The moments of the wall clock at which files are completed."""

    def __init__(self, interval_ms: int, zone: tzinfo, now_ms: int) -> None:
        self._interval_ms = interval_ms
        self._zone = zone
        self.next_ms = self._after(now_ms)

    def is_due(self, now_ms: int) -> bool:
        """True once for each moment that has come."""
        if now_ms < self.next_ms:
            return False
        self.next_ms = self._after(now_ms)
        return True

    def _after(self, now_ms: int) -> int:
        """The next multiple of the interval since midnight; midnight itself always is one."""
        today = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(self._zone).date()
        midnight_ms, next_midnight_ms = self._start_of(today), self._start_of(today + timedelta(days=1))
        passed = (now_ms - midnight_ms) // self._interval_ms
        return min(midnight_ms + (passed + 1) * self._interval_ms, next_midnight_ms)

    def _start_of(self, day: date) -> int:
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return (midnight - _EPOCH) // _MILLISECOND
