"""Date patterns against what `SimpleDateFormat` and Joda write, and against `datetime`."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.api.java_patterns import JavaPattern, civil_from_days, days_from_civil, time_zone

# 2024-02-29T13:51:30.123Z, a Thursday
INSTANT = 1_709_214_690_123
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2024-02-29T13:51:30.123"),
        ("EEEE dd/MM/yy HH:mm Z", "Thursday 29/02/24 13:51 +0000"),
        ("EEE, d MMM y", "Thu, 29 Feb 2024"),
        ("MMMM", "February"),
        ("h 'o''clock' a", "1 o'clock PM"),
        ("K k H", "1 13 13"),
        ("YYYY-ww W F u D", "2024-09 5 5 4 60"),
        ("G yyyyy", "AD 02024"),
        ("ss.SSSS", "30.0123"),
        ("X XX XXX z", "Z Z Z UTC"),
        ("''", "'"),
        ("'yyyy'", "yyyy"),
    ],
)
def test_simple_date_format(pattern: str, text: str) -> None:
    assert JavaPattern.simple_date_format(pattern).format(INSTANT) == text


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("'year'=YYYY/'month'=MM/'day'=dd/'hour'=HH", "year=2024/month=02/day=29/hour=14"),
        ("xxxx-'W'ww-e", "2024-W09-4"),
        ("ss.S SS SSSS", "30.1 12 1230"),
        ("Z ZZ ZZZ z", "+0100 +01:00 Europe/Berlin CET"),
        ("C yy YY", "20 24 24"),
    ],
)
def test_joda(pattern: str, text: str) -> None:
    assert JavaPattern.joda(pattern, time_zone("Europe/Berlin")).format(INSTANT) == text


def test_years_that_datetime_does_not_have() -> None:
    zone = ZoneInfo("Europe/Berlin")
    simple, joda = JavaPattern.simple_date_format("G yyyy-MM-dd", zone), JavaPattern.joda("yyyy YYYY G", zone)
    future = days_from_civil(12024, 2, 29) * 86_400_000
    assert (simple.format(future), joda.format(future)) == ("AD 12024-02-29", "12024 12024 AD")
    ides_of_march = days_from_civil(-43, 3, 15) * 86_400_000
    assert (simple.format(ides_of_march), joda.format(ides_of_march)) == ("BC 0044-03-15", "-0043 0044 BC")


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)))
def test_agrees_with_datetime(local: datetime) -> None:
    moment = local.replace(tzinfo=UTC)
    epoch_ms = (moment - EPOCH) // timedelta(milliseconds=1)
    text = JavaPattern.simple_date_format("yyyy-MM-dd'T'HH:mm:ss.SSS").format(epoch_ms)
    assert text == moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
    iso = moment.isocalendar()
    assert JavaPattern.joda("xxxx-ww-e").format(epoch_ms) == f"{iso.year:04d}-{iso.week:02d}-{iso.weekday}"
    us_week = int(moment.strftime("%U")) + (0 if datetime(local.year, 1, 1).isoweekday() == 7 else 1)
    year, week = JavaPattern.simple_date_format("YYYY ww").format(epoch_ms).split()
    assert (int(year), int(week)) in ((local.year, us_week), (local.year + 1, 1))


@given(st.integers(-(10**9), 10**9))
def test_days_and_dates_are_inverse(days: int) -> None:
    assert days_from_civil(*civil_from_days(days)) == days


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "+05:30"]),
)
def test_reads_back_what_it_wrote(local: datetime, zone: str) -> None:
    epoch_ms = (local.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
    # With the offset in the text also hours that occur twice are told apart.
    pattern = JavaPattern.simple_date_format("EEE yyyy-MMM-dd HH:mm:ss.SSS XXX", time_zone(zone))
    assert pattern.parse(pattern.format(epoch_ms)) == epoch_ms


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("yyyy-MM-dd", "2024-02-29T13:51", "2024-02-29T00:00:00"),
        ("yyyyMMddHHmmss", "20240229135130", "2024-02-29T13:51:30"),
        ("yyyy-MM-dd", "2024-14-01", "2025-02-01T00:00:00"),
        ("yyyy-MM-dd", "2024-02-30", "2024-03-01T00:00:00"),
        ("HH:mm", "25:61", "1970-01-02T02:01:00"),
        ("d MMM yyyy", "1 january 2024", "2024-01-01T00:00:00"),
        ("yyyy D", "2024 60", "2024-02-29T00:00:00"),
        ("hh:mm a", "12:05 AM", "1970-01-01T00:05:00"),
        ("hh:mm a", "12:05 pm", "1970-01-01T12:05:00"),
        ("yyyy-MM-dd HH:mm Z", "2024-02-29 13:51 +0130", "2024-02-29T12:21:00"),
        ("yyyy-MM-dd HH:mm z", "2024-02-29 13:51 GMT-2", "2024-02-29T15:51:00"),
        ("yy", "70", "1970-01-01T00:00:00"),
        ("G yyyy", "AD 2024", "2024-01-01T00:00:00"),
        ("yyyy  -MM", "2024  -  03", "2024-03-01T00:00:00"),
    ],
)
def test_reads_leniently(pattern: str, text: str, expected: str) -> None:
    epoch_ms = JavaPattern.simple_date_format(pattern).parse(text)
    assert (EPOCH + timedelta(milliseconds=epoch_ms)).replace(tzinfo=None).isoformat() == expected


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("yyyy-MM", "2024/02"), ("yyyy", "x"), ("MMM", "Foo"), ("X", "later"), ("HH:mm", "13:")],
)
def test_text_that_does_not_fit(pattern: str, text: str) -> None:
    with pytest.raises(ValueError, match=f'Unparseable date: "{text}"'):
        JavaPattern.simple_date_format(pattern).parse(text)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("bogus{", "Illegal pattern character 'b'"),
        ("yyyy'", "Unterminated quote"),
        ("XXXX", "invalid ISO 8601 format"),
        ("xxxx", "Illegal pattern character 'x'"),
    ],
)
def test_wrong_patterns(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JavaPattern.simple_date_format(pattern)


def test_hours_that_a_clock_change_skips_or_repeats() -> None:
    pattern = JavaPattern.simple_date_format("yyyy-MM-dd HH:mm", time_zone("Europe/Berlin"))
    assert pattern.format(pattern.parse("2024-03-31 02:30")) == "2024-03-31 03:30"
    assert pattern.format(pattern.parse("2024-10-27 02:30")) == "2024-10-27 02:30"


def test_zones() -> None:
    assert time_zone("utc") is UTC
    assert time_zone("GMT+2").utcoffset(None) == timedelta(hours=2)
    assert time_zone("-03:30").utcoffset(None) == -timedelta(hours=3, minutes=30)
    for name in ("Nowhere/City", "", "../etc/passwd", "+99:00"):
        with pytest.raises(ValueError, match="time zone"):
            time_zone(name)
