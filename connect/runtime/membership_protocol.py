"""What workers tell each other through the group protocol: JSON in the metadata and the assignment.

The version is in the protocol's name, on which the members of a group must agree: a Java worker
(`compatible`, `sessioned`, `eager`) and a Millstream worker can therefore never be in one group at a time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from connect.herder.states import TaskId

PROTOCOL_TYPE: Final = "connect"
PROTOCOL: Final = "millstream-1"


@dataclass(frozen=True, slots=True)
class Introduction:
    """A worker at the beginning of a round. `configs` is the position up to which it has read the config
    topic; `machine` is the name of the machine that it runs on; `claims` and `ending` are the herder's."""

    worker_id: str
    url: str
    machine: str
    configs: int
    claims: frozenset[TaskId]
    ending: frozenset[TaskId]

    @property
    def may_run(self) -> frozenset[TaskId]:
        return self.claims | self.ending

    def encode(self) -> bytes:
        return orjson.dumps({
            "worker_id": self.worker_id, "url": self.url, "machine": self.machine, "configs": self.configs,
            "claims": _by_connector(self.claims), "ending": _by_connector(self.ending),
        })  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> "Introduction":
        """Raises ValueError (or KeyError, TypeError) for what is none."""
        told = orjson.loads(data)
        tasks = _tasks(told["claims"]), _tasks(told["ending"])
        return cls(told["worker_id"], told["url"], told["machine"], told["configs"], *tasks)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the leader decided for one worker, having read the config topic up to `configs`.

    `tasks` None: whatever tasks there are, for there is no other worker. `urls` are those of all workers by
    worker id. `moving`: a task is being given up by one worker to go to another in the next round.
    """

    leader_id: str
    configs: int
    tasks: frozenset[TaskId] | None
    urls: Mapping[str, str]
    moving: bool

    def encode(self) -> bytes:
        return orjson.dumps({
            "leader_id": self.leader_id, "configs": self.configs, "urls": dict(self.urls),
            "tasks": None if self.tasks is None else _by_connector(self.tasks), "moving": self.moving,
        })  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> "Assignment":
        told = orjson.loads(data)
        tasks = None if told["tasks"] is None else _tasks(told["tasks"])
        return cls(told["leader_id"], told["configs"], tasks, told["urls"], told["moving"])


def _by_connector(tasks: Iterable[TaskId]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for task in sorted(tasks):
        found.setdefault(task.connector, []).append(task.task)
    return found


def _tasks(told: Mapping[str, Iterable[Any]]) -> frozenset[TaskId]:
    return frozenset(TaskId(name, number) for name, numbers in told.items() for number in numbers)
