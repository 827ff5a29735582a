"""Asking other workers what their tasks do: once each, not too often, and without waiting for one."""

import asyncio
from typing import Any

from connect.runtime.peer_metrics import TASKS_PATH, PeerMetrics
from connect.runtime.service import ConnectorStatus, InstanceStatus, ServiceError, State


def status(name: str, *workers: str, state: State = State.RUNNING) -> ConnectorStatus:
    tasks = {number: InstanceStatus(state, worker) for number, worker in enumerate(workers)}
    return ConnectorStatus(name, InstanceStatus(State.RUNNING, "here"), tasks, "source")


class Others:
    """The other workers; `silent` do not answer."""

    def __init__(self, *silent: str) -> None:
        self._silent = silent
        self.asked: list[tuple[str, str]] = []

    async def ask(self, worker: str, path: str) -> Any:
        self.asked.append((worker, path))
        if worker in self._silent:
            raise ServiceError("no answer")
        return {"a": {"0": {"lag": 1}, "1": {"lag": 2}}, "b": {"0": {"lag": 3}}}


def complete(peers: PeerMetrics, *statuses: ConnectorStatus) -> list[list[Any]]:
    found = asyncio.run(peers.complete(statuses))
    return [[task.metrics for task in each.tasks.values()] for each in found]


def test_each_worker_is_asked_once_and_its_answer_is_good_for_a_while() -> None:
    others = Others()
    peers = PeerMetrics("here", others.ask)
    statuses = status("a", "there", "here"), status("b", "there"), status("c", "there")
    assert complete(peers, *statuses) == [[{"lag": 1}, None], [{"lag": 3}], [None]]
    assert complete(peers, *statuses) == [[{"lag": 1}, None], [{"lag": 3}], [None]]
    assert others.asked == [("there", TASKS_PATH)]


def test_a_worker_that_does_not_answer_is_left_alone() -> None:
    others = Others("dead")
    peers = PeerMetrics("here", others.ask)
    for _ in range(2):
        assert complete(peers, status("a", "dead", "there")) == [[None, {"lag": 2}]]
    assert others.asked == [("dead", TASKS_PATH), ("there", TASKS_PATH)]


def test_nobody_is_asked_about_tasks_that_do_not_run() -> None:
    others = Others()
    peers = PeerMetrics("here", others.ask)
    assert complete(peers, status("a", "there", state=State.FAILED), status("b", "here")) == [[None], [None]]
    assert others.asked == []
