"""Files of deleted segments: renamed at once, removed when `file.delete.delay.ms` is over.

Those that a kill leaves behind are removed at the next start (recovery.py). Whoever is reading a segment
has its file open and is not disturbed either way.
"""

import time
from collections.abc import Collection, Iterable
from heapq import heappop, heappush
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)


class DeletedFiles:
    """What waits for its removal. Used from one event loop, but for `remove`."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, Path]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, paths: Iterable[Path], delay_ms: int) -> None:
        due = time.monotonic() + delay_ms / 1000
        for path in paths:
            heappush(self._waiting, (due, path))

    def take_due(self) -> list[Path]:
        """The files whose time is up; they are the caller's to `remove`."""
        due = []
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            due.append(heappop(self._waiting)[1])
        return due

    @staticmethod
    def remove(paths: Collection[Path]) -> None:
        """May be called in a thread: large files take their time."""
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as exc:  # the next start tries again
                logger.warning("file not removed", path=str(path), error=str(exc))
