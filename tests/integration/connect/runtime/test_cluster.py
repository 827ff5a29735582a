"""Three workers with one group.id: tasks are spread, move when a worker goes, and run once each."""

import os
import signal
from collections.abc import Iterator

import pytest
from support.clusters import (
    Watch,
    cluster_settings,
    leader,
    leads,
    status,
    stopped,
    tasks_of,
    until_even,
    until_running,
)
from support.eventually import eventually
from support.workers import read_topic

from connect.testing.millstream import Broker, Worker
from connect.testing.pytest_plugin import MillstreamServers

SOURCE = "fault_connectors:CountingSource"
COUNTS = {"a": 2, "b": 2, "c": 2}


def pids(workers: list[Worker], *tasks: str) -> set[int]:
    return {pid for worker in workers for task, pid in tasks_of(worker).items() if task in tasks}


@pytest.fixture(scope="module")
def workers(millstream_session_servers: MillstreamServers, broker: Broker) -> list[Worker]:
    """A group of three with connectors a, b and c of two tasks each."""
    settings = cluster_settings(broker.bootstrap)
    workers = [millstream_session_servers.worker(broker.bootstrap, settings) for _ in range(3)]
    for number, name in enumerate(COUNTS):
        config = {
            "connector.class": SOURCE,
            "topic": f"numbers-{settings['group.id']}",
            "tasks": "2",
            "tasks.max": "2",
        }
        answer = workers[number].request("POST", "/connectors", {"name": name, "config": config})
        assert answer.status_code == 201, answer.text
    return workers


@pytest.fixture(autouse=True)
def watch(workers: list[Worker]) -> Iterator[Watch]:
    """All is well before a test, and no task ran twice at once in it."""
    until_running(workers, COUNTS)
    until_even(workers, 6)
    with Watch(workers) as watch:
        yield watch
    assert not watch.doubles


def test_tasks_are_spread_and_every_worker_tells_the_same(workers: list[Worker]) -> None:
    told = [{name: status(worker, name) for name in COUNTS} for worker in workers]
    assert told[0].keys() == told[1].keys() == told[2].keys()
    owners = [task["worker_id"] for name in COUNTS for task in told[0][name]["tasks"]]
    assert sorted(owners) == sorted(2 * [worker.url.removeprefix("http://") for worker in workers])
    for name in COUNTS:
        assert (
            len({repr([(t["id"], t["worker_id"], t["state"]) for t in each[name]["tasks"]]) for each in told})
            == 1
        )


def test_a_status_has_the_metrics_of_tasks_in_all_workers(workers: list[Worker]) -> None:
    def is_told_of_all(worker: Worker) -> bool:
        found = worker.request("GET", "/connectors?expand=status").json()
        tasks = [task for name in COUNTS for task in found[name]["status"]["tasks"]]
        return all("records_per_second" in task.get("metrics", {}) for task in tasks)

    for worker in workers:
        eventually(lambda worker=worker: is_told_of_all(worker), f"{worker.url} does not know all")  # type: ignore[misc]
        own = worker.request("GET", "/metrics/tasks").json()
        assert sum(len(tasks) for tasks in own.values()) == 2  # each tells of its own alone
        scraped = worker.request("GET", "/metrics").text
        assert scraped.count("millstream_task_memory_bytes{") == 2
        assert "kafka_connect_connect_worker_rebalance_metrics_rebalancing 0.0" in scraped


def test_a_new_connector_stops_no_task(workers: list[Worker]) -> None:
    before = [tasks_of(worker) for worker in workers]
    config = {"connector.class": SOURCE, "topic": "more", "tasks": "3", "tasks.max": "3"}
    assert workers[0].request("PUT", "/connectors/d/config", config).status_code == 201
    until_running(workers, {**COUNTS, "d": 3})
    until_even(workers, 9)
    now = [tasks_of(worker) for worker in workers]
    assert all(old.items() <= new.items() for old, new in zip(before, now, strict=True))
    assert workers[1].request("DELETE", "/connectors/d").status_code == 204
    assert not any("d-" in task for worker in workers for task in tasks_of(worker))
    eventually(
        lambda: all(w.request("GET", "/connectors/d/status").status_code == 404 for w in workers), "d stays"
    )


def test_a_worker_that_stops_hands_over_and_gets_its_share_again(workers: list[Worker]) -> None:
    stopping = workers[0]
    assert stopping.stop() == 0
    until_running(workers[1:], COUNTS)
    until_even(workers[1:], 6)
    stopping.start()
    until_even(workers, 6)


def test_a_worker_that_is_killed_loses_its_tasks_to_others(workers: list[Worker]) -> None:
    killed = leader(workers, "a")
    others = [worker for worker in workers if worker is not killed]
    os.kill(killed.pid, signal.SIGKILL)
    killed.child.process.wait()
    until_running(others, COUNTS)
    until_even(others, 6)
    eventually(lambda: leads(others, "a"), "nobody took the lead")
    killed.start()
    until_even(workers, 6)


@pytest.mark.parametrize("with_tasks", [False, True])
def test_a_worker_that_is_paused_is_fenced_and_comes_back(workers: list[Worker], with_tasks: bool) -> None:
    paused = workers[2]
    others = workers[:2]
    pids = [pid for pid, _ in paused.processes()] if with_tasks else [paused.pid]
    with stopped(*pids):
        until_running(others, COUNTS)
        until_even(others, 6)
        if not with_tasks:  # they saw by themselves that their time was over
            eventually(lambda: not tasks_of(paused), "tasks run on")
    until_even(workers, 6)


def test_a_task_that_is_restarted_is_found_wherever_it_runs(workers: list[Worker]) -> None:
    for worker in workers:
        before = pids(workers, "b-1")
        assert worker.request("POST", "/connectors/b/tasks/1/restart").status_code == 204
        eventually(lambda old=before: not old & pids(workers, "b-1"), "b-1 runs on")  # type: ignore[misc]
        until_running(workers, COUNTS)


def test_a_restart_of_all_tasks_reaches_every_worker(workers: list[Worker]) -> None:
    before = pids(workers, "a-0", "a-1")
    answer = workers[1].request("POST", "/connectors/a/restart?includeTasks=true")
    assert answer.status_code == 202
    assert [task["state"] for task in answer.json()["tasks"]] == ["RESTARTING", "RESTARTING"]
    eventually(lambda: not before & pids(workers, "a-0", "a-1"), "tasks of a run on")


def test_a_broker_that_restarts_is_survived(millstream_servers: MillstreamServers) -> None:
    own = millstream_servers.broker()
    settings = cluster_settings(own.bootstrap)
    workers = [millstream_servers.worker(own.bootstrap, settings) for _ in range(2)]
    config = {"connector.class": SOURCE, "topic": "numbers", "tasks": "2", "tasks.max": "2", "limit": "200"}
    workers[1].request("PUT", "/connectors/n/config", config)
    until_running(workers, {"n": 2})
    before = [tasks_of(worker) for worker in workers]
    own.kill()
    own.start()
    workers[0].request("PUT", "/connectors/n/config", {**config, "limit": "300"})
    until_running(workers, {"n": 2})
    until_even(workers, 2)
    assert [sorted(tasks_of(worker)) for worker in workers] == [sorted(each) for each in before]

    def numbers() -> set[int]:
        return {int(message.value() or b"") for message in read_topic(own.bootstrap, "numbers")}

    eventually(lambda: numbers() == set(range(300)), "numbers are lost")
