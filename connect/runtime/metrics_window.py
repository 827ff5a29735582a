"""Averages, maxima and rates over a window of time, as Kafka's metrics have them (`metrics.sample.window.ms`
of 30 s, `metrics.num.samples` of 2)."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Final

WINDOW_S: Final = 30.0


class _Sample:
    __slots__ = ("count", "largest", "since", "smallest", "total")

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.total = 0.0
        self.largest = -math.inf
        self.smallest = math.inf


class Sampled:
    """What one thread adds and another may read: the values of the last 30 to 60 s, NaN where there are none.

    `now` is a monotonic time in seconds.
    """

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        # Replaced as a whole, so that a reader never sees one sample twice.
        self._samples = _Sample(-math.inf), _Sample(-math.inf)

    def add(self, value: float, now: float) -> None:
        sample = self._samples[0]
        if now - sample.since >= WINDOW_S:
            before, sample = sample, _Sample(now)
            self._samples = sample, before
        sample.count += 1
        sample.total += value
        if value > sample.largest:
            sample.largest = value
        if value < sample.smallest:
            sample.smallest = value

    def average(self, now: float) -> float:
        samples = self._recent(now)
        count = sum(sample.count for sample in samples)
        return sum(sample.total for sample in samples) / count if count else math.nan

    def maximum(self, now: float) -> float:
        return max((sample.largest for sample in self._recent(now)), default=math.nan)

    def minimum(self, now: float) -> float:
        return min((sample.smallest for sample in self._recent(now)), default=math.nan)

    def _recent(self, now: float) -> list[_Sample]:
        return [sample for sample in self._samples if now - sample.since < 2 * WINDOW_S]


class Rates:
    """Rates of totals that are noted now and then, by the thread that reads them."""

    __slots__ = ("_noted",)

    def __init__(self, began: float) -> None:
        """All totals are 0 at the beginning."""
        self._noted: deque[tuple[float, Mapping[str, float]]] = deque([(began, {})])

    def note(self, totals: Mapping[str, float], now: float) -> None:
        """The totals as they are now; what is older than the window goes."""
        self._noted.append((now, totals))
        while now - self._noted[0][0] > WINDOW_S:
            self._noted.popleft()

    def per_second(self, name: str, seconds: float = WINDOW_S) -> float:
        """The rate of about the last `seconds`."""
        now, totals = self._noted[-1]
        then, earlier = next(
            ((at, noted) for at, noted in reversed(self._noted) if now - at >= seconds), self._noted[0]
        )
        return (totals.get(name, 0.0) - earlier.get(name, 0.0)) / (now - then) if now > then else 0.0
