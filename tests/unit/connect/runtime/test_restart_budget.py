"""A restart budget as JSON."""

import time

import pytest

from connect.herder.actions import Restarts
from connect.runtime.restart_budget import from_json, on_wall_clock, to_json

AT_MS = 1_795_521_603_250


@pytest.mark.parametrize(
    ("restarts", "json"),
    [
        (
            Restarts(2, 1000, AT_MS),
            {"failures": 2, "max_attempts": 1000, "next_at": "2026-11-24T12:00:03.250Z"},
        ),
        (Restarts(1, 0), {"failures": 1, "max_attempts": 0}),
    ],
)
def test_there_and_back(restarts: Restarts, json: dict[str, object]) -> None:
    assert to_json(restarts) == json
    assert from_json(json) == restarts


def test_times_on_the_wall_clock() -> None:
    moved = on_wall_clock(Restarts(1, 5, next_at_ms=7_500), now_ms=5_000)
    assert moved.next_at_ms is not None
    assert abs(moved.next_at_ms - time.time() * 1000 - 2_500) < 60_000
    assert on_wall_clock(Restarts(1, 5), now_ms=5_000) == Restarts(1, 5)
