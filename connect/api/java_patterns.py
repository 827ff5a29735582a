"""Date and time patterns as Java writes them: `SimpleDateFormat` and Joda.

    JavaPattern.joda("'year'=YYYY/'month'=MM/'day'=dd/'hour'=HH", time_zone("UTC")).format(epoch_ms)
    JavaPattern.simple_date_format("yyyy-MM-dd'T'HH:mm:ss.SSS").parse("2024-02-29T13:51:30.123")

Instants are milliseconds since 1970 and may lie before year 1 or beyond 9999. The calendar is the
proleptic Gregorian one, names of months and days are English, and weeks of `SimpleDateFormat` start on
Sunday, as in the locale en_US; Joda's are those of ISO 8601.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MS_PER_DAY: Final = 86_400_000
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_OFFSET_MINUTES_MAX: Final = 18 * 60
# The calendar repeats after 400 years, which are this many days.
_CYCLE_DAYS: Final = 146_097
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY: Final = (datetime(2, 1, 1, tzinfo=UTC) - _EPOCH).days
_LAST_DAY: Final = (datetime(9998, 12, 31, tzinfo=UTC) - _EPOCH).days


def time_zone(name: str) -> tzinfo:
    """The zone of an IANA name, `UTC`, `Z`, `+02:00` or `GMT+2`; raises `ValueError` for anything else."""
    if name.upper() in ("Z", "UTC", "GMT"):
        return UTC
    if (offset := re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?", name)) is not None:
        minutes = int(offset[2]) * 60 + int(offset[3] or 0)
        if minutes <= _OFFSET_MINUTES_MAX:
            return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"The time zone {name!r} is not known; use one like UTC, Europe/Berlin or +02:00"
        ) from None


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970 of a date, any year; months beyond 1 to 12 and any day roll over."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    cycles, year_in_cycle = divmod(year - 2000, 400)
    first = datetime(2000 + year_in_cycle, month, 1, tzinfo=UTC)
    return cycles * _CYCLE_DAYS + (first - _EPOCH).days + day - 1


def civil_from_days(days: int) -> tuple[int, int, int]:
    """Year, month and day of days since 1970. Year 0 is 1 BC."""
    cycles, day_in_cycle = divmod(days - 10_957, _CYCLE_DAYS)
    date = datetime.fromordinal(day_in_cycle + 730_120)
    return date.year + cycles * 400, date.month, date.day


def epoch_ms_of(moment: datetime) -> int:
    """Milliseconds since 1970, rounded down; a moment without a zone is in UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)


class _Moment:
    """An instant taken apart in a zone."""

    __slots__ = ("day", "days", "month", "ms_of_day", "offset_minutes", "year", "zone")

    def __init__(self, epoch_ms: int, zone: tzinfo) -> None:
        offset_ms = 0 if zone is UTC else _offset_ms(epoch_ms, zone)
        self.zone = zone
        self.offset_minutes = offset_ms // 60_000
        self.days, self.ms_of_day = divmod(epoch_ms + offset_ms, MS_PER_DAY)
        self.year, self.month, self.day = civil_from_days(self.days)

    @property
    def hour(self) -> int:
        return self.ms_of_day // 3_600_000

    @property
    def weekday(self) -> int:
        """Monday is 0."""
        return (self.days + 3) % 7

    @property
    def year_of_era(self) -> int:
        return self.year if self.year > 0 else 1 - self.year

    def week(self, first_weekday: int, minimal_days: int) -> tuple[int, int]:
        """Week-based year, and week in it."""
        # The week belongs to the year that has at least `minimal_days` of it, so to the year of this day:
        deciding = self.days - (self.weekday - first_weekday) % 7 + 7 - minimal_days
        year = civil_from_days(deciding)[0]
        return year, (deciding - days_from_civil(year, 1, 1)) // 7 + 1

    def zone_name(self) -> str:
        """The zone's abbreviation."""
        return _local(self.days, self.ms_of_day, self.zone).tzname() or ""


def _into_range(days: int) -> int:
    """The same day of the 400-year cycle, in years that `datetime` has."""
    if days < _FIRST_DAY:
        return days - (days - _FIRST_DAY) // _CYCLE_DAYS * _CYCLE_DAYS
    if days > _LAST_DAY:
        return days - ((days - _LAST_DAY) // _CYCLE_DAYS + 1) * _CYCLE_DAYS
    return days


def _local(days: int, ms_of_day: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(days=_into_range(days), milliseconds=ms_of_day)).replace(tzinfo=zone)


def _offset_ms(epoch_ms: int, zone: tzinfo) -> int:
    days, ms_of_day = divmod(epoch_ms, MS_PER_DAY)
    instant = _EPOCH + timedelta(days=_into_range(days), milliseconds=ms_of_day)
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None, "a datetime with a zone has an offset"
    return offset // timedelta(milliseconds=1)


def _instant_of(days: int, ms_of_day: int, zone: tzinfo) -> int:
    """Epoch milliseconds of a local time. A time that a clock change skips moves on by the gap."""
    local_ms = days * MS_PER_DAY + ms_of_day
    if zone is UTC:
        return local_ms
    offset = _local(*divmod(local_ms, MS_PER_DAY), zone).utcoffset()
    assert offset is not None, "a datetime with a zone has an offset"
    return local_ms - offset // timedelta(milliseconds=1)


def _sign(minutes: int, separator: str) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{separator}{abs(minutes) % 60:02d}"


def _two_digits_or(value: int, count: int) -> str:
    if count == 2:
        return f"{abs(value) % 100:02d}"
    return f"{'-' if value < 0 else ''}{abs(value):0{count}d}"


def _name(names: tuple[str, ...], index: int, *, whole: bool) -> str:
    return names[index] if whole else names[index][:3]


def _iso_offset(moment: _Moment, count: int) -> str:
    if moment.offset_minutes == 0:
        return "Z"
    text = _sign(moment.offset_minutes, ":" if count == 3 else "")
    return text[:3] if count == 1 else text


def _joda_offset(moment: _Moment, count: int) -> str:
    if count >= 3:
        return str(moment.zone)
    return _sign(moment.offset_minutes, ":" if count == 2 else "")


_Render = Callable[[_Moment, int], str]
_US_WEEK: Final = (6, 1)
_ISO_WEEK: Final = (0, 4)

# What both dialects have, by letter.
_COMMON: Final[Mapping[str, _Render]] = {
    "G": lambda m, n: "AD" if m.year > 0 else "BC",
    "M": lambda m, n: _name(_MONTHS, m.month - 1, whole=n >= 4) if n >= 3 else f"{m.month:0{n}d}",
    "d": lambda m, n: f"{m.day:0{n}d}",
    "D": lambda m, n: f"{m.days - days_from_civil(m.year, 1, 1) + 1:0{n}d}",
    "E": lambda m, n: _name(_WEEKDAYS, m.weekday, whole=n >= 4),
    "a": lambda m, n: "AM" if m.hour < 12 else "PM",
    "H": lambda m, n: f"{m.hour:0{n}d}",
    "k": lambda m, n: f"{m.hour or 24:0{n}d}",
    "K": lambda m, n: f"{m.hour % 12:0{n}d}",
    "h": lambda m, n: f"{m.hour % 12 or 12:0{n}d}",
    "m": lambda m, n: f"{m.ms_of_day // 60_000 % 60:0{n}d}",
    "s": lambda m, n: f"{m.ms_of_day // 1000 % 60:0{n}d}",
    "z": lambda m, n: m.zone_name(),
}
_SIMPLE: Final[Mapping[str, _Render]] = {
    **_COMMON,
    "L": _COMMON["M"],
    "y": lambda m, n: _two_digits_or(m.year_of_era, n),
    "Y": lambda m, n: _two_digits_or(m.week(*_US_WEEK)[0], n),
    "w": lambda m, n: f"{m.week(*_US_WEEK)[1]:0{n}d}",
    "W": lambda m, n: f"{(m.day - 1 + (m.weekday + 1 - m.day + 1) % 7) // 7 + 1:0{n}d}",
    "F": lambda m, n: f"{(m.day - 1) // 7 + 1:0{n}d}",
    "u": lambda m, n: f"{m.weekday + 1:0{n}d}",
    "S": lambda m, n: f"{m.ms_of_day % 1000:0{n}d}",
    "Z": lambda m, n: _sign(m.offset_minutes, ""),
    "X": _iso_offset,
}
_JODA: Final[Mapping[str, _Render]] = {
    **_COMMON,
    "C": lambda m, n: f"{m.year_of_era // 100:0{n}d}",
    "Y": lambda m, n: _two_digits_or(m.year_of_era, n),
    "y": lambda m, n: _two_digits_or(m.year, n),
    "x": lambda m, n: _two_digits_or(m.week(*_ISO_WEEK)[0], n),
    "w": lambda m, n: f"{m.week(*_ISO_WEEK)[1]:0{n}d}",
    "e": lambda m, n: f"{m.weekday + 1:0{n}d}",
    # Digits of the second's fraction, not a number of milliseconds as in SimpleDateFormat.
    "S": lambda m, n: f"{m.ms_of_day % 1000:03d}".ljust(n, "0")[:n],
    "Z": _joda_offset,
}
# Letters whose value is a number, M and L when there are fewer than three of them.
_NUMBERS: Final = frozenset("yYxCwWDdFueHkKhmsSML")
_READABLE: Final = frozenset("GyYMLdDEuaHkKhmsSzZX")
_OFFSET: Final = re.compile(r"(?:GMT|UTC)?([+-])(\d{1,2})(?::?(\d{2}))?|GMT|UTC|Z", re.IGNORECASE)


class _Part(NamedTuple):
    """A letter repeated `length` times, or (`letter` empty) text to copy."""

    letter: str
    length: int
    literal: str = ""

    @property
    def is_number(self) -> bool:
        return self.letter in _NUMBERS and not (self.letter in "ML" and self.length >= 3)


def _split(pattern: str) -> list[_Part]:
    parts: list[_Part] = []
    for token in re.finditer(
        r"(?P<letter>[A-Za-z])(?P=letter)*|'(?P<quoted>(?:[^']|'')*)'|(?P<plain>[^A-Za-z'])|'", pattern
    ):
        if token["letter"]:
            parts.append(_Part(token["letter"], len(token[0])))
        elif token["plain"]:
            parts.append(_Part("", 0, token["plain"]))
        elif token["quoted"] is not None:
            parts.append(_Part("", 0, token["quoted"].replace("''", "'") or "'"))
        else:
            raise ValueError(f"Unterminated quote in {pattern}")
    return parts


class JavaPattern:
    """A compiled pattern; immutable."""

    __slots__ = ("_parts", "_renders", "_zone", "pattern")

    def __init__(self, pattern: str, zone: tzinfo, letters: Mapping[str, _Render]) -> None:
        self.pattern = pattern
        self._zone = zone
        self._parts = _split(pattern)
        self._renders: list[tuple[_Render | None, int, str]] = []
        for part in self._parts:
            if part.letter and part.letter not in letters:
                raise ValueError(f"Illegal pattern character '{part.letter}'")
            if part.letter == "X" and part.length > 3:
                raise ValueError(f"invalid ISO 8601 format: length={part.length}")
            self._renders.append((letters.get(part.letter), part.length, part.literal))

    @classmethod
    def simple_date_format(cls, pattern: str, zone: tzinfo = UTC) -> "JavaPattern":
        """A pattern of `java.text.SimpleDateFormat`; `ValueError` for letters that it does not have."""
        return cls(pattern, zone, _SIMPLE)

    @classmethod
    def joda(cls, pattern: str, zone: tzinfo = UTC) -> "JavaPattern":
        """A pattern of `org.joda.time.format.DateTimeFormat`: `YYYY` is the year, not that of the week."""
        return cls(pattern, zone, _JODA)

    def format(self, epoch_ms: int) -> str:
        """The text for an instant."""
        moment = _Moment(epoch_ms, self._zone)
        return "".join(
            [literal if render is None else render(moment, count) for render, count, literal in self._renders]
        )

    def parse(self, text: str) -> int:
        """Epoch milliseconds of a text, read as `SimpleDateFormat` does: numbers beyond their range roll
        over, what follows the pattern is ignored, what the pattern lacks is that of 1970-01-01 00:00.
        Raises `ValueError`."""
        reader = _Reader(text)
        for index, part in enumerate(self._parts):
            following = self._parts[index + 1] if index + 1 < len(self._parts) else None
            reader.read(part, digits_max=part.length if following and following.is_number else None)
        return reader.instant(self._zone)


class _Reader:
    """Where a text is read, and what was found in it so far."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._found: dict[str, int] = {}
        self._offset_minutes: int | None = None

    def read(self, part: _Part, digits_max: int | None) -> None:
        if not part.letter:
            if not self._text.startswith(part.literal, self._position):
                raise self._failure()
            self._position += len(part.literal)
            return
        if part.letter not in _READABLE:
            raise ValueError(f"The pattern letter {part.letter} can be written, but not read")
        while self._text.startswith((" ", "\t"), self._position):
            self._position += 1
        if part.is_number:
            self._read_number(part, digits_max)
        elif part.letter in "zZX":
            self._read_offset()
        else:
            self._read_name(part.letter)

    def instant(self, zone: tzinfo) -> int:
        """What was found, as epoch milliseconds."""
        found = self._found
        year = found.get("y", 1970)
        if found.get("G") == 0:
            year = 1 - year
        if "D" in found and "M" not in found:
            days = days_from_civil(year, 1, found["D"])
        else:
            days = days_from_civil(year, found.get("M", 1), found.get("d", 1))
        hour = found.get("H", found.get("h", 0) + 12 * found.get("a", 0))
        minutes = hour * 60 + found.get("m", 0)
        ms_of_day = (minutes * 60 + found.get("s", 0)) * 1000 + found.get("S", 0)
        if self._offset_minutes is not None:
            return days * MS_PER_DAY + ms_of_day - self._offset_minutes * 60_000
        return _instant_of(days, ms_of_day, zone)

    def _read_number(self, part: _Part, digits_max: int | None) -> None:
        digits = re.compile(rf"\d{{1,{digits_max or ''}}}").match(self._text, self._position)
        if digits is None:
            raise self._failure()
        self._position = digits.end()
        value = int(digits[0])
        letter = {"Y": "y", "L": "M", "k": "H", "K": "h"}.get(part.letter, part.letter)
        if letter == "y" and part.length <= 2 and len(digits[0]) == 2:
            value = _in_this_century(value)
        elif part.letter == "k":
            value %= 24
        elif part.letter == "h":
            value %= 12
        self._found[letter] = value

    def _read_name(self, letter: str) -> None:
        names = {"M": _MONTHS, "L": _MONTHS, "E": _WEEKDAYS, "a": ("AM", "PM"), "G": ("BC", "AD")}[letter]
        rest = self._text[self._position :].lower()
        for index, name in enumerate(names):
            for spelling in (name, name[:3]):
                if rest.startswith(spelling.lower()):
                    self._position += len(spelling)
                    self._found["M" if letter == "L" else letter] = index + (letter in "ML")
                    return
        raise self._failure()

    def _read_offset(self) -> None:
        offset = _OFFSET.match(self._text, self._position)
        if offset is None:
            raise self._failure()
        self._position = offset.end()
        minutes = int(offset[2] or 0) * 60 + int(offset[3] or 0)
        self._offset_minutes = -minutes if offset[1] == "-" else minutes

    def _failure(self) -> ValueError:
        return ValueError(f'Unparseable date: "{self._text}"')


def _in_this_century(two_digits: int) -> int:
    """The year that a two-digit year means: from 80 years ago to 20 years ahead."""
    earliest = datetime.now(UTC).year - 80
    return earliest + (two_digits - earliest) % 100
