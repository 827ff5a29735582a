"""A worker's right to run tasks, which ends by itself.

The broker takes a worker for dead a session timeout after its last heartbeat, and others then run its tasks.
So a heartbeat that was answered gives the right to run tasks for a session timeout from the moment that it
was sent, which is earlier than the broker's own count: a worker or task that was stopped (SIGSTOP), suspended
or cut off sees by the clock alone that its time is over. The clock counts on while the machine sleeps.
"""

import time
from typing import Final

FOREVER: Final = 1 << 62


def boottime_ms() -> int:
    """The same for all processes of a machine."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Lease:
    """`until_ms` by `boottime_ms`; none at first."""

    __slots__ = ("until_ms",)

    def __init__(self, until_ms: int = 0) -> None:
        self.until_ms = until_ms

    @property
    def holds(self) -> bool:
        return boottime_ms() < self.until_ms

    @property
    def seconds_left(self) -> float:
        return max(0.0, (self.until_ms - boottime_ms()) / 1000)
