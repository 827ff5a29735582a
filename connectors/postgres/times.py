"""PostgreSQL's text of dates, times and intervals → the JSON of Debezium's types.

The sessions use DateStyle ISO, TimeZone UTC and IntervalStyle postgres, in the snapshot and in the
stream, so that one text form comes in: `2024-02-29 13:51:30.123789[+00][ BC]`, `infinity`, `-infinity`
(https://www.postgresql.org/docs/current/datatype-datetime.html). Years run past 9999 and before 1.
"""

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY_US: Final = 86_400_000_000
_STAMP: Final = re.compile(
    r"(?P<year>\d{4,})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?: (?P<time>\d\d:\d\d:\d\d(?:\.\d{1,6})?))?(?:\+00)?(?P<bc> BC)?"
)
_ZONED_TIME: Final = re.compile(r"(\d\d:\d\d:\d\d(?:\.\d+)?)([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?")
_INTERVAL: Final = re.compile(
    r"(?:(?P<years>[+-]?\d+) years? ?)?(?:(?P<months>[+-]?\d+) mons? ?)?(?:(?P<days>[+-]?\d+) days? ?)?"
    r"(?:(?P<sign>[+-]?)(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?"
)
INT64_MAX: Final = (1 << 63) - 1
INT64_MIN: Final = -(1 << 63)
# What PostgreSQL's JDBC driver makes of infinity, in milliseconds; consumers know these numbers.
_INFINITE_MS: Final = {"infinity": 9223372036825200, "-infinity": -9223372036832400}
_INFINITE_DAYS: Final = {"infinity": -2147472692, "-infinity": -2147472691}
_MEAN_MONTH_DAYS: Final = 30.4375


@lru_cache(4096)
def days(text: str) -> int:
    """Days since 1970 of a date."""
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        pass
    if text in _INFINITE_DAYS:
        return _INFINITE_DAYS[text]
    found = _stamp(text)
    return _civil_days(_year(found), int(found["month"]), int(found["day"]))


def date_days(text: str) -> str:
    """JSON of `io.debezium.time.Date`."""
    return str(days(text))


def _stamp(text: str) -> re.Match[str]:
    found = _STAMP.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no date or timestamp in ISO style")
    return found


def _year(found: re.Match[str]) -> int:
    """The astronomical year, in which 1 BC is 0."""
    return 1 - int(found["year"]) if found["bc"] else int(found["year"])


def _civil_days(year: int, month: int, day: int) -> int:
    """Days since 1970 in the proleptic Gregorian calendar, for any year."""
    shifted = year % 400 + 400
    return date(shifted, month, day).toordinal() - _EPOCH_ORDINAL + (year - shifted) // 400 * 146_097


def time_us(text: str) -> int:
    """Microseconds of the day of `13:51:30.123789`; 24:00:00 is a day."""
    seconds = int(text[0:2]) * 3600 + int(text[3:5]) * 60 + int(text[6:8])
    return seconds * 1_000_000 + (int(text[9:].ljust(6, "0")) if len(text) > 8 else 0)


def timestamp_us(text: str) -> int:
    """Microseconds since 1970 of a finite timestamp."""
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except ValueError:
        found = _stamp(text)
        clock = time_us(found["time"]) if found["time"] else 0
        return _civil_days(_year(found), int(found["month"]), int(found["day"])) * _DAY_US + clock


def timestamp_scaled(multiplier: int, divisor: int) -> Callable[[str], str]:
    """JSON of a timestamp as an integer: microseconds × `multiplier` ÷ `divisor`."""
    infinite = {
        "infinity": min(_INFINITE_MS["infinity"] * 1000 * multiplier // divisor, INT64_MAX),
        "-infinity": max(_INFINITE_MS["-infinity"] * 1000 * multiplier // divisor, INT64_MIN),
    }

    def scaled(text: str) -> str:
        if text in infinite:
            return str(infinite[text])
        value = timestamp_us(text) * multiplier // divisor
        return str(value) if INT64_MIN <= value <= INT64_MAX else "null"

    return scaled


def timestamp_micros(text: str) -> str:
    """JSON of `io.debezium.time.MicroTimestamp`."""
    try:
        return str((datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND)
    except ValueError:
        # The last 30 years that PostgreSQL knows (up to 294276) do not fit.
        return str(_INFINITE_MS[text] * 1000 if text in _INFINITE_MS else min(timestamp_us(text), INT64_MAX))


def time_scaled(multiplier: int, divisor: int) -> Callable[[str], str]:
    """JSON of a time as an integer: microseconds × `multiplier` ÷ `divisor`."""
    return lambda text: str(time_us(text) * multiplier // divisor)


def _iso_date(text: str) -> str:
    """The date as ISO 8601 writes it: years of 4 digits, others with a sign."""
    if len(text) == 10:
        return text
    found = _stamp(text)
    year = _year(found)
    shown = f"{year:04d}" if 0 <= year <= 9999 else f"{year:+06d}" if year > 0 else f"{year:05d}"
    return f"{shown}-{found['month']}-{found['day']}"


def _trimmed(clock: str) -> str:
    return clock.rstrip("0").rstrip(".") if "." in clock else clock


def iso_date(text: str) -> str:
    """JSON of `io.debezium.time.IsoDate`."""
    return f'"{text}"' if text in _INFINITE_MS else f'"{_iso_date(text)}Z"'


def iso_time(text: str) -> str:
    """JSON of `io.debezium.time.IsoTime`. The end of a day has no notation of its own there."""
    return '"00:00:00Z"' if text.startswith("24:") else f'"{_trimmed(text)}Z"'


def iso_timestamp(text: str) -> str:
    """JSON of `io.debezium.time.IsoTimestamp`: as many digits of the second as there are."""
    if text in _INFINITE_MS:
        return f'"{text}"'
    bc = " BC" if text.endswith(" BC") else ""
    day, _, clock = text.removesuffix(" BC").partition(" ")
    return f'"{_iso_date(day + bc)}T{_trimmed(clock)}Z"'


def zoned_timestamp(precision: int) -> Callable[[str], str]:
    """JSON of `io.debezium.time.ZonedTimestamp` with `precision` digits of the second, in UTC."""
    whole_chars = 22  # 2024-02-29 13:51:30+00
    full_chars = whole_chars + precision + 1
    zeros = "." + "0" * precision if precision else ""

    def zoned(text: str) -> str:
        length = len(text)
        if text[-3:] == "+00":
            if length == full_chars:
                return f'"{text[:10]}T{text[11:-3]}Z"'
            if length == whole_chars:
                return f'"{text[:10]}T{text[11:-3]}{zeros}Z"'
        if text in _INFINITE_MS:
            return f'"{text}"'
        bc = " BC" if text.endswith(" BC") else ""
        day, _, clock = text.removesuffix(" BC").removesuffix("+00").partition(" ")
        clock = clock + zeros if len(clock) == 8 else clock.ljust(9 + precision, "0")
        return f'"{_iso_date(day + bc)}T{clock}Z"'

    return zoned


def zoned_time(text: str) -> str:
    """JSON of `io.debezium.time.ZonedTime`, in UTC."""
    found = _ZONED_TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time with a zone")
    clock, sign, hours, minutes, seconds = found.groups(default="0")
    shift = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 1_000_000
    utc = (time_us(clock) - (shift if sign == "+" else -shift)) % _DAY_US
    whole, fraction = divmod(utc, 1_000_000)
    shown = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{fraction:06d}"
    return f'"{_trimmed(shown)}Z"'


def _interval(text: str) -> tuple[int, int, int]:
    """(months, days, microseconds)."""
    found = _INTERVAL.fullmatch(text)
    if found is None or not text:
        raise ValueError(f"{text!r} is no interval in postgres style")
    part = found.groupdict(default="0")
    micros = (int(part["hours"]) * 3600 + int(part["minutes"]) * 60 + int(part["seconds"])) * 1_000_000
    micros += int(part["fraction"].ljust(6, "0"))
    return (
        int(part["years"]) * 12 + int(part["months"]),
        int(part["days"]),
        -micros if part["sign"] == "-" else micros,
    )


def interval_micros(text: str) -> str:
    """JSON of `io.debezium.time.MicroDuration`, a month counted as 365.25 / 12 days."""
    if text in _INFINITE_MS:
        return str(INT64_MAX if text == "infinity" else INT64_MIN)
    months, interval_days, micros = _interval(text)
    total = months * round(_MEAN_MONTH_DAYS * _DAY_US) + interval_days * _DAY_US + micros
    return str(max(INT64_MIN, min(total, INT64_MAX)))


def interval_iso(text: str) -> str:
    """JSON of `io.debezium.time.Interval`: `P1Y2M3DT4H5M6.789012S`."""
    if text in _INFINITE_MS:
        return f'"{text}"'
    months, interval_days, micros = _interval(text)
    years, months = (
        (abs(months) // 12, abs(months) % 12) if months >= 0 else (-(-months // 12), -(-months % 12))
    )
    seconds, fraction = divmod(abs(micros), 1_000_000)
    parts = (str(seconds // 3600), str(seconds // 60 % 60), _trimmed(f"{seconds % 60}.{fraction:06d}"))
    hour, minute, second = (f"-{part}" if micros < 0 and part != "0" else part for part in parts)
    return f'"P{years}Y{months}M{interval_days}DT{hour}H{minute}M{second}S"'
