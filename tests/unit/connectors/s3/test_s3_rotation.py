"""When files are completed."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from connectors.s3.rotation import Rotation, RotationRules, Schedule

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_a_file_takes_so_many_records() -> None:
    rotation = Rotation(RotationRules(3))
    places = ["a", "b", "a", "a"]
    assert rotation.take(places, None, 0) == 3
    assert rotation.is_full
    rotation.reset()
    assert rotation.take(places, None, 3) == 4
    assert not rotation.is_full


def test_the_record_that_is_late_must_wait() -> None:
    rotation = Rotation(RotationRules(100, 10))
    places = ["a"] * 5
    times = [100, 50, 109, 110, 111]  # an older record does not move the start
    assert rotation.take(places, times, 0) == 3
    assert rotation.take(places, times, 3) == 3
    rotation.reset()
    assert rotation.take(places, times, 3) == 5


def test_a_change_of_place_ends_the_file_only_if_asked_for() -> None:
    places, times = ["a", "a", "b"], [0, 0, 0]
    assert Rotation(RotationRules(100, 10, True)).take(places, times, 0) == 2
    assert Rotation(RotationRules(100, 10, False)).take(places, times, 0) == 3
    assert Rotation(RotationRules(100, None, True)).take(places, times, 0) == 3


def test_overdue_only_with_an_open_file() -> None:
    rotation = Rotation(RotationRules(100, 10))
    assert not rotation.is_overdue(1000)
    rotation.take(["a"], [5], 0)
    assert not rotation.is_overdue(14)
    assert rotation.is_overdue(15)


@pytest.mark.parametrize(
    ("now", "interval_ms", "zone", "following"),
    [
        ("2024-02-29T10:00:00", HOUR_MS, UTC, "2024-02-29T11:00:00"),
        ("2024-02-29T10:59:59.999", HOUR_MS, UTC, "2024-02-29T11:00:00"),
        ("2024-02-29T23:30:00", 7 * HOUR_MS, UTC, "2024-03-01T00:00:00"),  # midnight always is one
        ("2024-02-29T10:00:00", 48 * HOUR_MS, UTC, "2024-03-01T00:00:00"),
        ("2024-02-29T10:00:00", 24 * HOUR_MS, BERLIN, "2024-02-29T23:00:00"),
        ("2024-03-31T00:30:00", 24 * HOUR_MS, BERLIN, "2024-03-31T22:00:00"),  # a day of 23 hours
        ("2024-10-27T00:30:00", 24 * HOUR_MS, BERLIN, "2024-10-27T22:00:00"),  # of 25: 24 hours, then
        ("2024-10-27T22:00:00", 24 * HOUR_MS, BERLIN, "2024-10-27T23:00:00"),  # the rest until midnight
    ],
)
def test_the_schedule_counts_from_midnight(
    now: str, interval_ms: int, zone: ZoneInfo, following: str
) -> None:
    schedule = Schedule(interval_ms, zone, ms(now))
    assert schedule.next_ms == ms(following)
    assert not schedule.is_due(ms(following) - 1)
    assert schedule.is_due(ms(following))
    assert not schedule.is_due(ms(following))
