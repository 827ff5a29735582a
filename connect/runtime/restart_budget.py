"""How a restart budget looks in the status topic and in REST; here its times are on the wall clock."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from connect.herder.actions import Restarts


def on_wall_clock(restarts: Restarts, now_ms: int) -> Restarts:
    """The same with its time told on the wall clock instead of the herder's, on which it is `now_ms`."""
    if restarts.next_at_ms is None:
        return restarts
    wall_ms = time.time_ns() // 1_000_000 + restarts.next_at_ms - now_ms
    return replace(restarts, next_at_ms=wall_ms)


def to_json(restarts: Restarts) -> dict[str, Any]:
    """`{"failures": 2, "max_attempts": 1000, "next_at": "2026-11-24T12:00:03.250Z"}`, the last one if any."""
    found: dict[str, Any] = {"failures": restarts.failures, "max_attempts": restarts.attempts_max}
    if restarts.next_at_ms is not None:
        at = datetime.fromtimestamp(restarts.next_at_ms / 1000, UTC)
        found["next_at"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return found


def from_json(value: Mapping[str, Any]) -> Restarts:
    """Raises KeyError or ValueError for what `to_json` did not make."""
    next_at = value.get("next_at")
    next_at_ms = None if next_at is None else round(datetime.fromisoformat(next_at).timestamp() * 1000)
    return Restarts(value["failures"], value["max_attempts"], next_at_ms)
