"""What is done from time to time, on the broker's loop: retention, compaction, checkpoints.

APScheduler asks `datetime.now(zone)` what time it is. The zone here answers with the monotonic clock: when
the wall clock jumps, nothing is missed and nothing comes too early.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

logger = structlog.get_logger(__name__)

# It warns of each run that is left out because the one before is not done yet: that is how it should be.
logging.getLogger("apscheduler").setLevel(logging.ERROR)

Work = Callable[[], Awaitable[None]]


class _MonotonicZone(tzinfo):
    """Begins as UTC, and then counts what really goes by."""

    def __init__(self) -> None:
        self._start = datetime.now(UTC).replace(tzinfo=None)
        self._start_s = time.monotonic()

    def fromutc(self, _wall_clock: datetime) -> datetime:
        passed = timedelta(seconds=time.monotonic() - self._start_s)
        return (self._start + passed).replace(tzinfo=self)

    def utcoffset(self, _time: datetime | None) -> timedelta:
        return timedelta(0)

    def dst(self, _time: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _time: datetime | None) -> str:
        return "monotonic"


class _Every(BaseTrigger):
    """An interval after the other. APScheduler's own converts times, which asks the zone for the present."""

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        following = (previous or now) + self._interval
        return following if following > now else now + self._interval


class Housekeeping:
    """Work that never overlaps with itself; a run that is late is made up for once, not as often as it was
    missed. What fails is logged, and tried again at the next time."""

    def __init__(self) -> None:
        late_is_fine = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone=_MonotonicZone(), job_defaults=late_is_fine)

    def every(self, interval_ms: int, work: Work) -> None:
        """Run `work` each time that so many milliseconds have gone by, for the first time after the first."""

        async def run() -> None:
            try:
                await work()
            except OSError as exc:
                logger.error("housekeeping failed", work=work.__name__, error=str(exc))
            except Exception:  # a mistake in one run must not be the last of all runs
                logger.exception("housekeeping failed", work=work.__name__)

        self._scheduler.add_job(run, _Every(timedelta(milliseconds=interval_ms)), name=work.__name__)

    def start(self) -> None:
        """From now on, on the running loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """No more runs; one that is under way is cancelled."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
