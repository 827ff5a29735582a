"""What is done from time to time: retention, checkpoints. One scheduler for all, on the broker's loop."""

from collections.abc import Awaitable, Callable
from datetime import UTC

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

logger = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[None]]


class Housekeeping:
    """Work that never overlaps with itself; a run that is late is made up for once, not as often as it was
    missed. What the disk refuses is logged, and tried again at the next time."""

    def __init__(self) -> None:
        late_is_fine = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=late_is_fine)

    def every(self, interval_ms: int, work: Work) -> None:
        """Run `work` each time that so many milliseconds have gone by, for the first time after the first."""

        async def run() -> None:
            try:
                await work()
            except OSError as exc:
                logger.error("housekeeping failed", work=work.__name__, error=str(exc))

        self._scheduler.add_job(run, "interval", seconds=interval_ms / 1000, name=work.__name__)

    def start(self) -> None:
        """From now on, on the running loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """No more runs; one that is under way is cancelled."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
