"""Times of Debezium's types in another time zone, for every year that a database has."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from connect.api import DataError

_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_ORDINAL: Final = _EPOCH.toordinal()
_DAY: Final = 86_400
# The Gregorian calendar repeats itself after 400 years, the days of the week too.
_CYCLE_DAYS: Final = 146_097
_CYCLE: Final = _CYCLE_DAYS * _DAY
_CYCLE_START: Final = date(400, 1, 1).toordinal()
# Seconds since 1970 whose offsets are asked for as they are; those of later years by a cycle that is in it.
_FIRST: Final = (datetime(2, 1, 1) - _EPOCH) // timedelta(seconds=1)
_AFTER_LAST: Final = (datetime(9998, 1, 1) - _EPOCH) // timedelta(seconds=1)
_INT64: Final = range(-(1 << 63), 1 << 63)
# What PostgreSQL's infinity and -infinity are as texts and numbers: no zone has another one.
_INFINITE: Final = frozenset((
    "infinity", "-infinity", 9223372036825200000, -9223372036832400000, 9223372036825200, -9223372036832400,
    (1 << 63) - 1, -(1 << 63),
))  # fmt: skip

_OFFSET: Final = r"(?P<offset>Z|[+-]\d\d:\d\d(?::\d\d)?)"
_TIME: Final = r"(?P<h>\d\d):(?P<mi>\d\d)(?::(?P<s>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
_ZONED_TIME: Final = re.compile(_TIME + _OFFSET, re.ASCII)
_ZONED_TIMESTAMP: Final = re.compile(
    rf"(?P<y>\d{{4}}|-\d{{4,9}}|\+\d{{5,9}})-(?P<mo>\d\d)-(?P<d>\d\d)T{_TIME}{_OFFSET}",
    re.ASCII | re.IGNORECASE,
)
_FIXED: Final = re.compile(r"(?P<sign>[+-])(?P<h>\d\d):(?P<m>\d\d)(?::(?P<s>\d\d))?", re.ASCII)
_HOURS_MAX: Final = 18


class Zone:
    """A time zone: `Europe/Berlin`, `+08:00`. Raises `ValueError` for what is none."""

    def __init__(self, name: str) -> None:
        fixed = _FIXED.fullmatch(name)
        self._fixed = None if fixed is None else _seconds_of(fixed)
        if fixed is None:
            try:
                self._rules = ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
                raise ValueError(f"there is no time zone {name!r}") from exc

    def offset_at(self, second: int) -> int:
        """Seconds east of UTC at that second since 1970."""
        if self._fixed is not None:
            return self._fixed
        moment = (_EPOCH + timedelta(seconds=_representable(second))).replace(tzinfo=UTC)
        return _whole_seconds(moment.astimezone(self._rules).utcoffset())

    def offset_of_local(self, second: int) -> int:
        """Seconds east of UTC when the clocks there show that second since 1970: where they are put back, the
        first time; where they are put forward, the offset before."""
        if self._fixed is not None:
            return self._fixed
        local = (_EPOCH + timedelta(seconds=_representable(second))).replace(tzinfo=self._rules)
        return _whole_seconds(local.utcoffset())

    def timestamp(self, text: str) -> str:
        """A ZonedTimestamp with the zone's offset: `2024-07-01T12:00:00Z` → `2024-07-01T14:00:00+02:00`.

        As in Debezium the offset is the one at which the clocks there show what the text shows: within hours
        of a change of the clocks it may be the other one. The moment is the same.
        """
        match = _ZONED_TIMESTAMP.fullmatch(text)
        if match is None:
            return _unless_infinite(text)
        cycles, year = divmod(int(match["y"]), 400)
        try:
            ordinal = date(year + 400, int(match["mo"]), int(match["d"])).toordinal()
        except ValueError as exc:
            raise DataError(f"Text '{text}' could not be parsed: {exc}") from None
        days = ordinal + (cycles - 1) * _CYCLE_DAYS - _EPOCH_ORDINAL
        local = days * _DAY + _second_of_day(match)
        offset = self.offset_of_local(local)
        days, second = divmod(local - _offset_in(match) + offset, _DAY)
        return f"{_date_text(days)}T{_time_text(second, match['fraction'], offset)}"

    def time(self, text: str, now: int) -> str:
        """A ZonedTime with the offset that the zone has now, in seconds since 1970."""
        match = _ZONED_TIME.fullmatch(text)
        if match is None:
            return _unless_infinite(text)
        offset = self.offset_at(now)
        second = (_second_of_day(match) - _offset_in(match) + offset) % _DAY
        return _time_text(second, match["fraction"], offset)

    def instant(self, local: int, per_second: int) -> int:
        """What was taken for UTC, but is what the clocks there show, as an instant. Units since 1970."""
        if local in _INFINITE:
            return local
        moved = local - self.offset_of_local(local // per_second) * per_second
        return moved if moved in _INT64 else local

    def shown(self, instant: int, per_second: int) -> int:
        """What the clocks there show at an instant, as if it was UTC. Units since 1970."""
        moved = instant + self.offset_at(instant // per_second) * per_second
        return moved if moved in _INT64 else instant


def _seconds_of(fixed: re.Match[str]) -> int:
    hours, minutes, seconds = int(fixed["h"]), int(fixed["m"]), int(fixed["s"] or 0)
    total = hours * 3600 + minutes * 60 + seconds
    if minutes > 59 or seconds > 59 or total > _HOURS_MAX * 3600:
        raise ValueError(f"the offset {fixed[0]} is not between -18:00 and +18:00")
    return -total if fixed["sign"] == "-" else total


def _representable(second: int) -> int:
    """The second itself, or one with the same offset in a year that `datetime` has."""
    if second < _FIRST:
        return _FIRST
    return second if second < _AFTER_LAST else second % _CYCLE + _CYCLE


def _whole_seconds(offset: timedelta | None) -> int:
    assert offset is not None, "asked of a time with a zone"
    return offset // timedelta(seconds=1)


def _offset_in(match: re.Match[str]) -> int:
    fixed = _FIXED.fullmatch(match["offset"])
    try:
        return 0 if fixed is None else _seconds_of(fixed)
    except ValueError as exc:
        raise DataError(f"Text '{match[0]}' could not be parsed: {exc}") from None


def _second_of_day(match: re.Match[str]) -> int:
    hours, minutes, seconds = int(match["h"]), int(match["mi"]), int(match["s"] or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise DataError(f"Text '{match[0]}' could not be parsed: there is no such time of the day")
    return hours * 3600 + minutes * 60 + seconds


def _date_text(days: int) -> str:
    cycles, day = divmod(days + _EPOCH_ORDINAL - _CYCLE_START, _CYCLE_DAYS)
    found = date.fromordinal(day + _CYCLE_START)
    year = found.year + cycles * 400
    sign = "-" if year < 0 else "+" if year > 9999 else ""
    return f"{sign}{abs(year):04}-{found.month:02}-{found.day:02}"


def _time_text(second: int, fraction: str | None, offset: int) -> str:
    digits = (fraction or "").rstrip("0")
    time = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}" + (f".{digits}" if digits else "")
    if offset == 0:
        return f"{time}Z"
    east, rest = divmod(abs(offset), 3600)
    seconds = f":{rest % 60:02}" if rest % 60 else ""
    return f"{time}{'-' if offset < 0 else '+'}{east:02}:{rest // 60:02}{seconds}"


def _unless_infinite(text: str) -> str:
    if text in _INFINITE:
        return text
    raise DataError(f"Text '{text}' could not be parsed as a time with an offset")
