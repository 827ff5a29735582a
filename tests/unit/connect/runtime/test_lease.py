"""A lease ends by itself, in the worker and in its tasks; where a worker says that it can be reached."""

import json
import os
import socket
from collections.abc import Callable

import pytest

from connect.api import ConfigError
from connect.runtime.addresses import advertised_url
from connect.runtime.config import WorkerConfig
from connect.runtime.lease import Lease, boottime_ms
from connect.runtime.task_channel import TaskChannel


def test_a_lease_holds_until_its_time() -> None:
    assert not Lease().holds
    assert Lease(boottime_ms() + 60_000).holds
    assert not Lease(boottime_ms() - 1).holds
    assert Lease(boottime_ms() - 1).seconds_left == 0.0


def exit_code(task: Callable[[TaskChannel], None], *messages: dict[str, object], lease_ms: int) -> int:
    """How a process ends that listens with this lease, gets these messages and does this."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        channel = TaskChannel(theirs)
        channel.listen(paused=False, heartbeat_s=60, lease_ms=lease_ms)
        task(channel)
        os._exit(0)
    theirs.close()
    with ours:
        for message in messages:
            ours.sendall(json.dumps(message).encode() + b"\n")
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def test_a_task_ends_by_itself_when_its_lease_is_over() -> None:
    def hang(channel: TaskChannel) -> None:
        channel.wait(60)

    assert exit_code(hang, lease_ms=boottime_ms() + 200) == 1


def test_a_task_whose_lease_is_over_does_nothing_more() -> None:
    def work(channel: TaskChannel) -> None:
        channel.check_lease()

    assert exit_code(work, lease_ms=boottime_ms() - 1) == 1


def test_a_task_whose_lease_is_extended_goes_on() -> None:
    def work(channel: TaskChannel) -> None:
        while not channel.wait(0.05):
            channel.check_lease()

    extended = {"type": "lease", "until_ms": boottime_ms() + 600_000}
    assert exit_code(work, extended, {"type": "stop"}, lease_ms=boottime_ms() + 30_000) == 0


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"listeners": "http://127.0.0.1:18083"}, "http://127.0.0.1:18083"),
        ({"listeners": "https://h:1,http://h:2"}, "http://h:2"),
        ({"listeners": "https://h:1,http://h:2", "rest.advertised.listener": "https"}, "https://h:1"),
        ({"listeners": "https://[::1]:1"}, "https://[::1]:1"),
        ({"listeners": "http://h:2", "rest.advertised.host.name": "a.example"}, "http://a.example:2"),
        ({"listeners": "http://h:2", "rest.advertised.port": "80"}, "http://h:80"),
        ({"listeners": "http://:2", "bootstrap.servers": "127.0.0.1:9092"}, "http://127.0.0.1:2"),
    ],
)
def test_where_a_worker_is_reached(settings: dict[str, str], url: str) -> None:
    assert advertised_url(WorkerConfig.parse(settings)) == url


def test_an_advertised_listener_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"rest\.advertised\.listener"):
        advertised_url(WorkerConfig.parse({"listeners": "http://h:2", "rest.advertised.listener": "https"}))
