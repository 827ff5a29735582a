"""What every seeded simulation needs: chance that is drawn from one seed, and events in the order of time."""

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Violation(AssertionError):
    """Something that must hold did not."""


class Dice:
    """`random.Random` with less ceremony: a simulation throws them all the time."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed).random

    def between(self, low: int, high: int) -> int:
        """Both ends included."""
        return low + int(self._random() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]


class Agenda:
    """Things to do, each at its time; those of one time in the order in which they were planned."""

    def __init__(self) -> None:
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def plan(self, at_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_ms, next(self._numbers), action))

    def next_ms(self) -> int | None:
        return self._events[0][0] if self._events else None

    def take(self) -> Callable[[], None]:
        """The first thing to do, which is taken off."""
        return heapq.heappop(self._events)[2]
