"""Several workers of one group as processes, and whether their tasks run once each."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from support.eventually import eventually
from support.workers import worker_settings

from connect.testing.millstream import Worker, descendants

SESSION_MS = 6_000


def cluster_settings(bootstrap: str, **more: str) -> dict[str, str]:
    """One group's settings, all of whose workers get the same."""
    return worker_settings(bootstrap, session_timeout_ms=str(SESSION_MS), heartbeat_interval_ms="500", **more)


def tasks_of(worker: Worker) -> dict[str, int]:
    """Process ids of the tasks that a worker runs now, by `NAME-N`; those that are stopped (SIGSTOP) too."""
    titles = {title: pid for pid, title in descendants(worker.pid)}
    prefix = "millstream task "
    return {title.removeprefix(prefix): pid for title, pid in titles.items() if title.startswith(prefix)}


def status(worker: Worker, name: str) -> dict[str, Any]:
    answer = worker.request("GET", f"/connectors/{name}/status")
    found: dict[str, Any] = answer.json() if answer.status_code == 200 else {"tasks": []}
    return found


def all_running(workers: Sequence[Worker], counts: Mapping[str, int]) -> bool:
    """Whether every worker says that all tasks run, so many of each connector."""
    try:
        told = [status(worker, name)["tasks"] for worker in workers for name in counts]
    except httpx.TransportError:
        return False
    return [[task["state"] for task in tasks] for tasks in told] == [
        ["RUNNING"] * count for _ in workers for count in counts.values()
    ]


def until_running(workers: Sequence[Worker], counts: Mapping[str, int]) -> None:
    eventually(lambda: all_running(workers, counts), f"not all of {counts} are running")


def until_even(workers: Sequence[Worker], total: int) -> None:
    """Until these workers run all tasks, even within one."""

    def is_even() -> bool:
        loads = [len(tasks_of(worker)) for worker in workers]
        return sum(loads) == total and max(loads) - min(loads) <= 1

    eventually(is_even, "the tasks are not spread evenly")


def leader(workers: Sequence[Worker], name: str) -> Worker:
    """The one that shows the status of connectors."""
    worker_id = status(workers[0], name)["connector"]["worker_id"]
    return next(worker for worker in workers if worker.url.endswith(worker_id))


def leads(workers: Sequence[Worker], name: str) -> bool:
    """Whether one of these shows the status of connectors."""
    worker_id = status(workers[0], name)["connector"]["worker_id"]
    return any(worker.url.endswith(worker_id) for worker in workers)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end, for those that live."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)


class Watch:
    """Looks all the time for tasks that run more than once at once; what is stopped does not run.

    A process that goes on after SIGCONT sees within milliseconds that its time is over, so only what is seen
    twice in a row counts.
    """

    LOOK_S = 0.1

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.doubles: set[str] = set()

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        before: set[tuple[str, int]] = set()
        while not self._done.wait(self.LOOK_S):
            now = {
                (title, pid)
                for worker in self._workers
                for title, pid in tasks_of(worker).items()
                if _runs(pid)
            }
            count = Counter(title for title, _ in now & before)
            self.doubles |= {title for title, number in count.items() if number > 1}
            before = now


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
