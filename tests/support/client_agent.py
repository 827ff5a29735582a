"""Agents: small programs in other languages, one per Kafka client, that do what a test tells them.

An agent reads one JSON object a line, `{"op": NAME, …}`, and answers `{"ok": RESULT}` or
`{"error": {"code": NUMBER | null, "message": TEXT}}`; `tests/integration/clients/agents/README.md` lists
the operations. So a scenario is written once, in a test, and every client goes through it.
"""

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from connect.lifeline import end_with_parent

ANSWER_SECONDS = 60

Record = dict[str, Any]
Partitions = list[list[Any]]
Polled = dict[str, Any]


class ClientError(Exception):
    """A client reported an error; `code` is Kafka's number, or the client's own, or None."""

    def __init__(self, agent: str, op: str, code: int | None, message: str) -> None:
        super().__init__(f"{agent}.{op}: {code}: {message}")
        self.code = code


class Agent:
    """One running agent, connected to one cluster."""

    def __init__(self, name: str, command: Sequence[str], log: Path, bootstrap: str) -> None:
        self.name = name
        self._command, self._bootstrap = command, bootstrap
        self.codecs: Sequence[str] = ()
        self.features: frozenset[str] = frozenset()
        self.revoked: dict[str, Partitions] = {}
        self._groups: dict[str, str] = {}
        """Of its consumers."""
        self._log = log
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=partial(end_with_parent, os.getpid()),
            )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=[self._process, self._answers], daemon=True).start()
        self.call("connect", bootstrap=self._bootstrap)

    def restart(self) -> None:
        """Kill it with all that it has open, and start it again."""
        self.stop()
        self._start()

    @staticmethod
    def _read(process: subprocess.Popen[str], answers: queue.SimpleQueue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.put(line)
        answers.put("")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def call(self, op: str, **arguments: Any) -> Any:
        """The result of an operation; raises `ClientError`. An agent that does not answer is killed."""
        self.send(op, **arguments)
        return self.receive(op)

    def send(self, op: str, **arguments: Any) -> None:
        """Tell it without waiting; `receive` must follow."""
        if "group" in arguments:
            self._groups[arguments.get("handle", "")] = arguments["group"]
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self._process.stdin.flush()

    def receive(self, op: str) -> Any:
        try:
            line = self._answers.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            self.stop()
            raise AssertionError(f"{self.name} is stuck in {op}\n{self._tail()}") from None
        if not line:
            raise AssertionError(f"{self.name} ended during {op}\n{self._tail()}")
        answer = json.loads(line)
        if "error" in answer:
            error = answer["error"]
            raise ClientError(self.name, op, error["code"], error["message"])
        return answer["ok"]

    def create_topic(self, topic: str, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        """It is there when this returns: an Apache Kafka answers before it is."""
        self.call("create_topic", topic=topic, partitions=partitions, configs=configs or {})
        deadline = time.monotonic() + 60
        while "describe_topic" in self.features:
            with contextlib.suppress(ClientError):
                leaders = self.call("describe_topic", topic=topic)["leaders"]
                if len([leader for leader in leaders if leader >= 0]) == partitions:
                    return
            assert time.monotonic() < deadline, f"{self.name}: {topic} is not there"

    def poll(self, *consumers: str) -> list[Polled]:
        """What each has got, and its assignment; `revoked` gathers what was taken from it."""
        polled: list[Polled]
        if len(consumers) > 1 and "poll_all" in self.features:
            polled = self.call("poll_all", handles=consumers)
        else:
            polled = [self.call("poll", handle=consumer) for consumer in consumers]
        for consumer, one in zip(consumers, polled, strict=True):
            self.revoked.setdefault(consumer, []).extend(one["revoked"])
        return polled

    def read(self, consumer: str, count: int, seconds: float = 60) -> list[Record]:
        """At least `count` records of a consumer, in the order they came."""
        records: list[Record] = []
        deadline = time.monotonic() + seconds
        while len(records) < count:
            records += self.poll(consumer)[0]["records"]
            assert time.monotonic() < deadline, f"{self.name}: {len(records)} of {count} after {seconds} s"
        return records

    def read_for(self, consumer: str, seconds: float) -> list[Record]:
        """What comes within `seconds`: for what must not come."""
        records: list[Record] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            records += self.poll(consumer)[0]["records"]
        return records

    def settle(
        self, consumers: Sequence[str], wanted: Callable[[list[Partitions]], bool], seconds: float = 60
    ) -> list[Partitions]:
        """Poll the members of a group until their assignments are as wanted."""
        deadline = time.monotonic() + seconds
        while True:
            assignments = [polled["assignment"] for polled in self.poll(*consumers)]
            if wanted(assignments):
                return assignments
            if time.monotonic() > deadline:
                groups = {self._groups[consumer] for consumer in consumers}
                told = [self.call("describe_group", group=group) for group in groups]
                raise AssertionError(f"{self.name}: {assignments} after {seconds} s; the groups: {told}")

    def reset(self) -> None:
        """Close what a test has opened."""
        self.revoked.clear()
        self._groups.clear()
        self.call("reset")

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
