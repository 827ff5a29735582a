"""Keeps a task at its share of a core."""

import time
from collections.abc import Callable
from typing import Final

_SAVED_S: Final = 0.5  # of the wall clock: what a task that rested may use at once
_REST_MIN_S: Final = 0.005


class Pace:
    """Says how long to rest after a piece of work, so that this process uses no more than `share` of a core.

    It counts the CPU time of all threads, those of C libraries too. What one piece of work used too much is
    made good by resting afterwards; the work itself is not interrupted.
    """

    def __init__(
        self,
        share: float,
        used_s: Callable[[], float] = time.process_time,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = share
        self._used_s = used_s
        self._now_s = now_s
        self._full_s = used_s() + _SAVED_S * share  # CPU time that may be used up to now
        self._seen_s = now_s()

    def rest_s(self) -> float:
        """How long to rest now; 0: not at all."""
        now_s, used_s = self._now_s(), self._used_s()
        earned_s = (now_s - self._seen_s) * self._share
        self._full_s = min(self._full_s + earned_s, used_s + _SAVED_S * self._share)
        self._seen_s = now_s
        rest_s = (used_s - self._full_s) / self._share
        return rest_s if rest_s >= _REST_MIN_S else 0.0
