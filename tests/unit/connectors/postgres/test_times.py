"""Texts of dates, times and intervals, as PostgreSQL writes them, into Debezium's numbers and strings."""

from datetime import UTC, datetime, timedelta

import pytest

from connectors.postgres import times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01", 0), ("1969-12-31", -1), ("2024-02-29", 19782), ("0044-03-15 BC", -735160),
        ("4713-01-01 BC", -2440550), ("10000-01-01", 2932897), ("5874897-12-31", 2145042905),
        ("infinity", -2147472692), ("-infinity", -2147472691),
    ],
)  # fmt: skip
def test_days(text: str, expected: int) -> None:
    assert times.date_days(text) == str(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01 00:00:00", 0), ("1969-12-31 23:59:59.999999", -1),
        ("2024-02-29 13:51:30.1", 1709214690100000),
        ("0044-03-15 12:00:00 BC", -63517780800000000), ("10000-01-01 00:00:00", 253402300800000000),
        ("infinity", 9223372036825200000), ("-infinity", -9223372036832400000),
        ("294276-12-31 23:59:59.999999", 9223372036854775807),
    ],
)  # fmt: skip
def test_timestamps_in_microseconds(text: str, expected: int) -> None:
    assert times.timestamp_micros(text) == str(expected)


def test_timestamps_in_other_units() -> None:
    millis, nanos = times.timestamp_scaled(1, 1000), times.timestamp_scaled(1000, 1)
    assert millis("1969-12-31 23:59:59.999999") == "-1"
    assert nanos("2024-01-01 00:00:00") == "1704067200000000000"
    assert nanos("2400-01-01 00:00:00") == "null"
    assert millis("infinity") == "9223372036825200"
    assert nanos("-infinity") == "-9223372036854775808"


@pytest.mark.parametrize(
    ("text", "precision", "expected"),
    [
        ("2024-02-29 11:51:30.123789+00", 6, "2024-02-29T11:51:30.123789Z"),
        ("2024-02-29 11:51:30.1+00", 6, "2024-02-29T11:51:30.100000Z"),
        ("2024-02-29 11:51:30+00", 6, "2024-02-29T11:51:30.000000Z"),
        ("2024-02-29 11:51:30.124+00", 3, "2024-02-29T11:51:30.124Z"),
        ("2024-02-29 11:51:30+00", 0, "2024-02-29T11:51:30Z"),
        ("0044-03-15 12:00:00+00 BC", 6, "-0043-03-15T12:00:00.000000Z"),
        ("294276-12-31 23:59:59.999999+00", 6, "+294276-12-31T23:59:59.999999Z"),
        ("infinity", 6, "infinity"),
    ],
)
def test_zoned_timestamps(text: str, precision: int, expected: str) -> None:
    assert times.zoned_timestamp(precision)(text) == f'"{expected}"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("13:51:30.123789+02:30", "11:21:30.123789Z"), ("00:00:00-12", "12:00:00Z"),
        ("23:59:59.999999+14", "09:59:59.999999Z"), ("24:00:00+00", "00:00:00Z"),
        ("01:00:00+02", "23:00:00Z"),
    ],
)  # fmt: skip
def test_zoned_times(text: str, expected: str) -> None:
    assert times.zoned_time(text) == f'"{expected}"'


def test_times() -> None:
    assert times.time_us("24:00:00") == 86_400_000_000
    assert times.time_us("13:51:30.5") == 49_890_500_000
    assert times.iso_time("10:11:12.100000") == '"10:11:12.1Z"'
    assert times.iso_timestamp("2024-01-01 00:00:00") == '"2024-01-01T00:00:00Z"'
    assert times.iso_date("0044-03-15 BC") == '"-0043-03-15Z"'


@pytest.mark.parametrize(
    ("text", "micros", "iso"),
    [
        ("1 year 2 mons 3 days 04:05:06.789012", 37091106789012, "P1Y2M3DT4H5M6.789012S"),
        ("-1 years -2 mons +3 days -04:05:06.000001", -36572706000001, "P-1Y-2M3DT-4H-5M-6.000001S"),
        ("00:00:00", 0, "P0Y0M0DT0H0M0S"),
        ("178 years 1 day", 5617339200000000, "P178Y0M1DT0H0M0S"),
        ("-00:00:00.5", -500000, "P0Y0M0DT0H0M-0.5S"),
        ("178000000 years", 9223372036854775807, "P178000000Y0M0DT0H0M0S"),
    ],
)
def test_intervals(text: str, micros: int, iso: str) -> None:
    assert times.interval_micros(text) == str(micros)
    assert times.interval_iso(text) == f'"{iso}"'


@pytest.mark.parametrize(
    "read", [times.date_days, times.timestamp_micros, times.zoned_time, times.interval_micros]
)
def test_nonsense_is_refused(read: object) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match="nonsense"):
        read("nonsense")


def test_every_day_of_a_leap_cycle() -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    for offset in range(366 * 5):
        day = epoch + timedelta(days=offset)
        assert times.date_days(day.strftime("%Y-%m-%d")) == str(offset)
