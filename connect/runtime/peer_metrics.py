"""What tasks do that run in other workers of the group, for a status that shows all of them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from connect.runtime.service import ConnectorStatus, ServiceError, State

_LOG = logging.getLogger(__name__)
_GOOD_S: Final = 1.0  # a task tells once a second
_SULK_S: Final = 5.0  # a worker that did not answer is not asked again for so long
_ANSWER_S: Final = 1.0
_ALIVE: Final = frozenset((State.RUNNING, State.PAUSED))

TASKS_PATH: Final = "/metrics/tasks"

Shown = Mapping[str, Mapping[str, Mapping[str, float]]]  # connector → task → fields of the status


class PeerMetrics:
    """`ask(worker id, path)` gets a peer's answer, and may raise `ServiceError`."""

    def __init__(self, own_id: str, ask: Callable[[str, str], Awaitable[Any]]) -> None:
        self._own_id = own_id
        self._ask = ask
        self._known: dict[str, tuple[float, Shown]] = {}  # until when it is good

    async def complete(self, statuses: Sequence[ConnectorStatus]) -> Sequence[ConnectorStatus]:
        """The same with the metrics of tasks elsewhere; of a worker that does not answer at once there are
        none."""
        elsewhere = {
            task.worker_id
            for status in statuses
            for task in status.tasks.values()
            if task.metrics is None and task.state in _ALIVE and task.worker_id != self._own_id
        }
        if not elsewhere:
            return statuses
        workers = sorted(elsewhere)
        answers = await asyncio.gather(*(self._of(worker) for worker in workers))
        shown = dict(zip(workers, answers, strict=True))
        return [_completed(status, shown) for status in statuses]

    async def _of(self, worker: str) -> Shown:
        until, known = self._known.get(worker, (0.0, {}))
        if time.monotonic() < until:
            return known
        found: Shown = {}
        good_s = _GOOD_S
        try:
            async with asyncio.timeout(_ANSWER_S):
                found = await self._ask(worker, TASKS_PATH)
        except (ServiceError, TimeoutError) as exc:
            _LOG.debug("no metrics of the tasks of worker %s: %s", worker, exc)
            good_s = _SULK_S
        self._known[worker] = time.monotonic() + good_s, found
        return found


def _completed(status: ConnectorStatus, shown: Mapping[str, Shown]) -> ConnectorStatus:
    tasks = dict(status.tasks)
    for number, task in tasks.items():
        if task.metrics is None and task.worker_id in shown:
            metrics = shown[task.worker_id].get(status.name, {}).get(str(number))
            tasks[number] = replace(task, metrics=metrics)
    return replace(status, tasks=tasks)
