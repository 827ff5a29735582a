"""Workers of one cluster with many connectors, while workers and tasks are killed and stopped.

What must hold: no task runs twice at once, none is missing in the end, nothing outlives its worker, and no
record that was acknowledged is lost: every line of every source file is in its topic and in the sink's file.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from functools import partial
from pathlib import Path
from typing import Final

import httpx
from confluent_kafka import Consumer, Message, TopicPartition

from connect.testing.millstream import Broker, Worker, kill_quietly

from .exclusive_connectors import ENOUGH, VIOLATIONS, is_running
from .trials import Wrong

_TICK_S: Final = 0.05
_LOOK_S: Final = 0.5
_SETTLE_S: Final = 120
_NOTICE_S: Final = 1
_END_S: Final = 10  # for what a dead worker leaves behind
_TASK_TITLE: Final = "millstream task "
_STRINGS: Final = "org.apache.kafka.connect.storage.StringConverter"
_SETTINGS: Final = {
    "group.id": "cluster",
    "config.storage.topic": "cluster-configs",
    "offset.storage.topic": "cluster-offsets",
    "status.storage.topic": "cluster-status",
    "offset.flush.interval.ms": "500",
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "1000",
    "task.shutdown.graceful.timeout.ms": "2000",
    "millstream.task.restart.backoff.ms": "100",
    "millstream.task.restart.backoff.max.ms": "2000",
    "key.converter": _STRINGS,
    "value.converter": _STRINGS,
    "plugin.path": str(Path(__file__).parent),
}


class Trouble(StrEnum):
    KILL_WORKER = auto()  # SIGKILL
    END_WORKER = auto()  # SIGTERM
    FREEZE_WORKER = auto()  # SIGSTOP, its tasks go on
    FREEZE_TREE = auto()  # with its tasks, as when a machine stands still
    KILL_TASK = auto()
    FREEZE_TASK = auto()


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """`connectors` in all, of four kinds."""

    directory: Path
    workers: int
    connectors: int
    seed: int
    trouble_every_s: float = 2.0
    lines_per_tick: int = 2


@dataclass(slots=True)
class WorkerReport:
    records: int = 0
    repeated: int = 0
    troubles: Counter[Trouble] = field(default_factory=Counter)
    settled_s: float = 0.0
    tasks_each: list[int] = field(default_factory=list)  # of the workers, at the end

    def __str__(self) -> str:
        troubles = ", ".join(f"{trouble} {count}" for trouble, count in sorted(self.troubles.items()))
        return (
            f"{self.records} records, {self.repeated} of them repeated, "
            f"settled in {self.settled_s:.1f} s with {self.tasks_each} tasks; {troubles or 'no trouble'}"
        )


class _Member:
    """A worker that is killed, stopped and started."""

    def __init__(self, directory: Path, bootstrap: str) -> None:
        self.worker = Worker(directory, bootstrap, _SETTINGS)
        self.start_at: float | None = None

    @property
    def alive(self) -> bool:
        return self.start_at is None

    def tasks(self) -> dict[str, int]:
        """Its tasks' processes by name, those that have not ended."""
        titles = self.worker.processes() if self.alive else []
        return {
            title.removeprefix(_TASK_TITLE): pid for pid, title in titles if title.startswith(_TASK_TITLE)
        }


class WorkerTrial:
    """Everything in one thread: processes of `connect.testing` end with the thread that started them."""

    def __init__(self, setup: WorkerSetup) -> None:
        self.report = WorkerReport()
        self._setup = setup
        self._dice = random.Random(setup.seed)
        self._directory = setup.directory
        self._shared = setup.directory / "shared"
        self._shared.mkdir(parents=True)
        (self._shared / VIOLATIONS).touch()
        self._broker = Broker(setup.directory / "broker", {"group.initial.rebalance.delay.ms": "0"})
        self._members = [
            _Member(setup.directory / f"worker-{number}", self._broker.bootstrap)
            for number in range(setup.workers)
        ]
        self._configs = dict(self._connectors())
        self._lines = {name: 0 for name in self._configs if name.startswith("lines")}
        self._frozen: list[tuple[float, list[int]]] = []
        self._bag: list[Trouble] = []
        self._gone: list[tuple[float, int]] = []  # by when a process must have ended

    def run(self, seconds: float) -> WorkerReport:
        """Raises `Wrong`."""
        try:
            for name, config in self._configs.items():
                self._members[0].worker.request(
                    "PUT", f"/connectors/{name}/config", config
                ).raise_for_status()
            self._wait(self._all_running, "all tasks to run at first")
            self._disturb_for(seconds)
            self._calm()
            self._verify()
        finally:
            self.close()
        return self.report

    def close(self) -> None:
        for member in self._members:
            if member.alive:
                member.worker.kill()
        self._broker.kill()

    # Connectors

    def _connectors(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        file = "org.apache.kafka.connect.file.FileStream{}Connector"
        two_tasks = {"tasks.max": "2", "tasks": "2", "directory": str(self._shared)}
        kinds: list[Callable[[int], tuple[str, Mapping[str, str]]]] = [
            lambda n: (f"lines-{n}", {
                "connector.class": file.format("Source"), "topic": f"lines-{n}",
                "file": str(self._directory / f"lines-{n}.txt"),
            }),
            lambda n: (f"copy-{n}", {
                "connector.class": file.format("Sink"), "topics": f"lines-{n}",
                "file": str(self._directory / f"copy-{n}.txt"),
            }),
            lambda n: (f"numbers-{n}", {
                "connector.class": "exclusive_connectors:ExclusiveSource", "topic": f"numbers-{n}",
                "topic.creation.default.partitions": "2", "topic.creation.default.replication.factor": "1",
                **two_tasks,
            }),
            lambda n: (f"taken-{n}", {
                "connector.class": "exclusive_connectors:ExclusiveSink", "topics": f"numbers-{n}",
                "file": str(self._directory / f"taken-{n}.txt"), **two_tasks,
            }),
        ]  # fmt: skip
        for count in range(self._setup.connectors):
            yield kinds[count % 4](count // 4)

    @property
    def _wanted_tasks(self) -> set[str]:
        return {
            f"{name}-{number}"
            for name, config in self._configs.items()
            for number in range(int(config.get("tasks", "1")))
        }

    # Trouble

    def _disturb_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        next_trouble = next_look = time.monotonic()
        while (now := time.monotonic()) < end:
            self._write_lines()
            self._heal(now)
            if now >= next_trouble:
                self._disturb(now)
                next_trouble = now + self._dice.uniform(0, 2 * self._setup.trouble_every_s)
            if now >= next_look:
                self._look(now)
                next_look = now + _LOOK_S
            time.sleep(_TICK_S)

    def _write_lines(self) -> None:
        for name, count in self._lines.items():
            self._lines[name] = count + self._setup.lines_per_tick
            with (self._directory / f"{name}.txt").open("a") as file:
                file.writelines(f"{name} {number}\n" for number in range(count, self._lines[name]))

    def _disturb(self, now: float) -> None:
        frozen = {pid for _, pids in self._frozen for pid in pids}
        candidates = [m for m in self._members if m.alive and m.worker.pid not in frozen]
        if not candidates:
            return
        if not self._bag:
            self._bag = [*Trouble, Trouble.KILL_WORKER, Trouble.KILL_TASK]
            self._dice.shuffle(self._bag)
        trouble = self._bag.pop()
        member = self._dice.choice(candidates)
        processes = [pid for pid, _ in member.worker.processes()]
        self.report.troubles[trouble] += 1
        if trouble is Trouble.KILL_WORKER:
            os.kill(member.worker.pid, signal.SIGKILL)
            member.worker.child.process.wait()
            self._gone += [(now + _END_S, pid) for pid in processes]
            member.start_at = now + self._dice.choice([0, self._dice.uniform(0, 10)])
        elif trouble is Trouble.END_WORKER:
            member.worker.stop()
            self._gone += [(now + _END_S, pid) for pid in processes]
            member.start_at = now + self._dice.uniform(0, 5)
        elif trouble is Trouble.FREEZE_WORKER:
            self._freeze(now, [member.worker.pid])
        elif trouble is Trouble.FREEZE_TREE:
            self._freeze(now, processes)
        elif tasks := sorted(member.tasks().values()):
            task = self._dice.choice(tasks)
            if trouble is Trouble.KILL_TASK:
                kill_quietly(task)
            else:
                self._freeze(now, [task])

    def _freeze(self, now: float, pids: list[int]) -> None:
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        self._frozen.append((now + self._dice.choice([1, 3, 8, 14]), pids))

    def _heal(self, now: float) -> None:
        for until, pids in list(self._frozen):
            if now >= until:
                self._frozen.remove((until, pids))
                for pid in reversed(pids):
                    _signal(pid, signal.SIGCONT)
        for member in self._members:
            if member.start_at is not None and now >= member.start_at:
                member.worker.start()
                member.start_at = None

    def _look(self, now: float) -> None:
        self._look_for_leftovers(now)
        running: dict[str, int] = {}
        for member in self._members:
            for name, pid in member.tasks().items():
                other = running.setdefault(name, pid)
                if other != pid and _both_go_on(other, pid):
                    raise Wrong(f"task {name} runs as process {other} and as process {pid}")
        self._look_for_violations()

    def _look_for_violations(self) -> None:
        if found := (self._shared / VIOLATIONS).read_text():
            raise Wrong(found)

    def _look_for_leftovers(self, now: float) -> None:
        for deadline, pid in list(self._gone):
            if not Path(f"/proc/{pid}").exists():
                self._gone.remove((deadline, pid))
            elif now > deadline:
                raise Wrong(f"process {pid} outlived its worker: {Path(f'/proc/{pid}/cmdline').read_text()}")

    # The end

    def _calm(self) -> None:
        begin = time.monotonic()
        while self._frozen or not all(member.alive for member in self._members):
            self._heal(float("inf"))
        self._wait(self._all_running, "all tasks to run in the end")
        self.report.settled_s = time.monotonic() - begin
        self.report.tasks_each = [len(member.tasks()) for member in self._members]
        (self._shared / ENOUGH).touch()

    def _all_running(self) -> bool:
        """Every worker says so, and the processes are there."""
        counts = Counter(name for member in self._members for name in member.tasks())
        if counts != Counter(self._wanted_tasks):
            return False
        return all(self._says_all_running(member.worker) for member in self._members)

    def _says_all_running(self, worker: Worker) -> bool:
        try:
            answer = worker.request("GET", "/connectors?expand=status", timeout=10)
        except httpx.TransportError:
            return False
        if answer.status_code != 200:
            return False
        shown = {name: one["status"] for name, one in answer.json().items()}
        states = {
            f"{name}-{task['id']}": task["state"] for name, one in shown.items() for task in one["tasks"]
        }
        return states == dict.fromkeys(self._wanted_tasks, "RUNNING") and all(
            one["connector"]["state"] == "RUNNING" for one in shown.values()
        )

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SETTLE_S
        while not done():
            if time.monotonic() > deadline:
                raise Wrong(f"waited {_SETTLE_S} s for {what}; {self._shown()}")
            self._look(time.monotonic())
            time.sleep(_LOOK_S)

    def _shown(self) -> str:
        """What is not as it should be, for the report."""
        parts = []
        for number, member in enumerate(self._members):
            answer = member.worker.request("GET", "/connectors?expand=status", timeout=10)
            wrong = [
                f"{name}-{task['id']} {task['state']} at {task['worker_id']}"
                for name, one in answer.json().items()
                for task in one["status"]["tasks"]
                if task["state"] != "RUNNING"
            ]
            missing = sorted(self._wanted_tasks - set().union(*(m.tasks() for m in self._members)))
            parts.append(f"worker {number} says {wrong}; without a process: {missing}")
        return "\n".join(parts)

    def _verify(self) -> None:
        for topic in sorted({config["topic"] for config in self._configs.values() if "topic" in config}):
            self._wait(partial(self._is_complete, topic), f"all records in {topic}")
            records = read_all(self._broker.bootstrap, topic)
            self.report.records += len(records)
            self.report.repeated += len(records) - len({record.value() for record in records})
            sink = topic.replace("lines", "copy").replace("numbers", "taken")
            if sink in self._configs:
                wanted = {self._sink_line(record) for record in records}
                self._wait(partial(self._holds, sink, wanted), f"all records of {topic} in {sink}.txt")
        self._look_for_violations()

    def _is_complete(self, topic: str) -> bool:
        """Every line of the source's file is there, or the numbers without a gap."""
        values = {(record.value() or b"").decode() for record in read_all(self._broker.bootstrap, topic)}
        if topic in self._lines:
            wanted = {f"{topic} {number}" for number in range(self._lines[topic])}
        else:
            pairs = [(task, int(number)) for task, number in map(str.split, values)]
            ends = dict(sorted(pairs))  # the last number of each task
            wanted = {f"{task} {number}" for task, end in ends.items() for number in range(end)}
        return wanted <= values

    def _holds(self, sink: str, wanted: set[str]) -> bool:
        return wanted <= set((self._directory / f"{sink}.txt").read_text().splitlines())

    @staticmethod
    def _sink_line(record: Message) -> str:
        value = (record.value() or b"").decode()
        if value.startswith("lines"):
            return value
        return f"{record.partition()} {record.offset()} {value}"


def read_all(bootstrap: str, topic: str) -> list[Message]:
    """All records that are in a topic now."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "trial-reader", "enable.auto.commit": False}
    )
    try:
        ends: dict[int, int] = {}
        for number in consumer.list_topics(topic, timeout=30).topics[topic].partitions:
            ends[number] = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)[1]
        consumer.assign([TopicPartition(topic, number, 0) for number, end in ends.items() if end])
        found: list[Message] = []
        left = sum(ends.values())
        while left > 0:
            for message in consumer.consume(10_000, 0.5):
                offset, partition = message.offset(), message.partition()
                assert message.error() is None
                assert offset is not None
                assert partition is not None
                if offset < ends[partition]:
                    found.append(message)
                    left -= 1
        return found
    finally:
        consumer.close()


def _both_go_on(one: int, other: int) -> bool:
    """Whether two processes run, and not only for the moment that one needs to see that it was stopped for
    too long, and to end."""
    deadline = time.monotonic() + _NOTICE_S
    while time.monotonic() < deadline:
        if not (is_running(one) and is_running(other)):
            return False
        time.sleep(_TICK_S)
    return True


def _signal(pid: int, what: signal.Signals) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return
