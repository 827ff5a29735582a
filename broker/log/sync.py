"""Group commit: one sync for all that was written while the one before was under way.

A Produce with `acks=all` is answered when its window's sync has run. Windows follow each other: what
arrives during a sync waits for the next one and shares it with all that arrive meanwhile, so the disk
sets the pace and nobody waits longer than two syncs.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from broker.log.config import FOREVER_MS
from broker.log.partition_log import PartitionLog, SyncJob

SYNC_THREADS = 4
"""File systems merge the journal commits of syncs that run at the same time."""

Done = Callable[[], None]


class GroupCommit:
    """Lives on one event loop; the syncs run in threads of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="log-sync")
        self._logs: dict[PartitionLog, None] = {}
        self._waiting: list[Done] = []
        self._timers: dict[PartitionLog, asyncio.TimerHandle] = {}
        self._busy = False

    def after_sync(self, logs: Iterable[PartitionLog], done: Done | None = None) -> None:
        """Call `done` when all that is now written to `logs` is durable, or a log is offline (`failure`)."""
        for log in logs:
            self._logs[log] = None
        if done is not None:
            self._waiting.append(done)
        if not self._busy:
            self._busy = True
            # Not at once: the requests that came with this one shall be in the same window.
            self._loop.call_soon(self._start_window)

    def written(self, log: PartitionLog) -> None:
        """A batch was appended: sync when `flush.messages` or `flush.ms` asks for it, whatever the acks."""
        config = log.config
        if log.unsynced_records >= config.flush_messages:
            self.after_sync([log])
        elif config.flush_ms < FOREVER_MS and log not in self._timers:
            delay = config.flush_ms / 1000
            self._timers[log] = self._loop.call_later(delay, self._flush_time_is_up, log)

    def _flush_time_is_up(self, log: PartitionLog) -> None:
        del self._timers[log]
        if not log.is_synced:
            self.after_sync([log])

    async def sync(self, logs: Iterable[PartitionLog]) -> None:
        """Wait until all that is now written to `logs` is durable."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.after_sync(logs, lambda: None if future.done() else future.set_result(None))
        await future

    def close(self) -> None:
        """Wait for the threads; call it when no window is under way."""
        for timer in self._timers.values():
            timer.cancel()
        self._threads.shutdown()

    def _start_window(self) -> None:
        jobs = [log.begin_sync() for log in self._logs if not log.is_synced]
        done, self._waiting = self._waiting, []
        self._logs = {}
        if not jobs:
            self._finish_window(jobs, done)
            return
        shares = [jobs[start::SYNC_THREADS] for start in range(min(SYNC_THREADS, len(jobs)))]
        missing = len(shares)
        synced: set[Path] = set()

        def share_done() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                self._finish_window(jobs, done)

        def run(share: list[SyncJob]) -> None:
            for job in share:
                job.run(synced)
            self._loop.call_soon_threadsafe(share_done)

        for share in shares:
            self._threads.submit(run, share)

    def _finish_window(self, jobs: list[SyncJob], done: list[Done]) -> None:
        for job in jobs:
            job.log.finish_sync(job)
        for callback in done:
            callback()
        if self._logs or self._waiting:
            self._loop.call_soon(self._start_window)
        else:
            self._busy = False
