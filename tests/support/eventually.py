"""Waiting for what has to happen, with a deadline instead of a time."""

import time
from collections.abc import Callable

DEADLINE_S = 60


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Ask until it holds; `what` is the failure's text."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
