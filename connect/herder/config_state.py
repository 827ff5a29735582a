"""What the config topic says: a fold over its records, in their order.

Keys and values are Kafka Connect's (`KafkaConfigBackingStore`): `connector-NAME`, `task-NAME-N`,
`commit-NAME`, `tasks-fencing-NAME`, `target-state-NAME`, `restart-connector-NAME`. Task configs count from
the moment that their commit record arrives, so that a crash while they are written leaves the former set in
force.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from connect.herder.states import TargetState, TaskId

Properties = Mapping[str, str | None]

CONNECTOR_PREFIX = "connector-"
TASK_PREFIX = "task-"
COMMIT_PREFIX = "commit-"
TARGET_STATE_PREFIX = "target-state-"
RESTART_PREFIX = "restart-connector-"
FENCING_PREFIX = "tasks-fencing-"
LOGGER_PREFIX = "logger-cluster-"  # tells workers, not the herder


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """A connector was created or its config written (again)."""

    name: str


@dataclass(frozen=True, slots=True)
class ConnectorRemoved:
    name: str


@dataclass(frozen=True, slots=True)
class TasksChanged:
    """The committed task configs of a connector."""

    name: str


@dataclass(frozen=True, slots=True)
class TasksFenced:
    """The producers of all former tasks of a connector are fenced (KIP-618)."""

    name: str


@dataclass(frozen=True, slots=True)
class TargetChanged:
    name: str


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """KIP-745: restart the connector and, if asked, its tasks; all of them or those that failed."""

    name: str
    include_tasks: bool
    only_failed: bool


Change = ConfigChanged | ConnectorRemoved | TasksChanged | TasksFenced | TargetChanged | RestartRequested


@dataclass(slots=True)
class ConfigState:
    """The image of the config topic. Values that it does not understand are ignored, as Connect does."""

    connectors: dict[str, dict[str, str | None]] = field(default_factory=dict)
    targets: dict[str, TargetState] = field(default_factory=dict)
    tasks: dict[str, list[dict[str, str | None]]] = field(default_factory=dict)
    # KIP-618: how many tasks may have had transactional producers since the last fencing. It outlives the
    # connector: one of the same name has their transactional ids.
    fenced_tasks: dict[str, int] = field(default_factory=dict)
    # Connectors whose task configs are newer than that record. Exactly-once tasks do not start before it.
    to_fence: set[str] = field(default_factory=set)
    generations: dict[str, int] = field(default_factory=dict)  # counts sets of task configs
    _uncommitted: dict[str, dict[int, dict[str, str | None]]] = field(default_factory=dict)

    def target(self, name: str) -> TargetState:
        return self.targets.get(name, TargetState.STARTED)

    def task_count(self, name: str) -> int:
        """How many tasks of a connector are to run, or to wait paused."""
        if name not in self.connectors or self.target(name) is TargetState.STOPPED:
            return 0
        return len(self.tasks.get(name, ()))

    def wanted(self) -> Iterator[tuple[TaskId, Properties]]:
        """All these tasks, with their configs."""
        for name in self.connectors:
            for number in range(self.task_count(name)):
                yield TaskId(name, number), self.tasks[name][number]

    def wants(self, task: TaskId) -> bool:
        return task.task < self.task_count(task.connector)

    def apply(self, key: str, value: Any) -> Change | None:
        """Take one record; what it changed, if anything."""
        if key.startswith(TARGET_STATE_PREFIX):
            return self._apply_target(key.removeprefix(TARGET_STATE_PREFIX), value)
        if key.startswith(RESTART_PREFIX):
            return self._apply_restart(key.removeprefix(RESTART_PREFIX), value)
        if key.startswith(CONNECTOR_PREFIX):
            return self._apply_connector(key.removeprefix(CONNECTOR_PREFIX), value)
        if key.startswith(COMMIT_PREFIX):
            return self._apply_commit(key.removeprefix(COMMIT_PREFIX), value)
        if key.startswith(FENCING_PREFIX):
            return self._apply_fencing(key.removeprefix(FENCING_PREFIX), value)
        if key.startswith(TASK_PREFIX):
            self._apply_task(key.removeprefix(TASK_PREFIX), value)
        return None

    def _apply_connector(self, name: str, value: Any) -> Change | None:
        if value is None:
            known = self.connectors.pop(name, None) is not None
            self.tasks.pop(name, None)
            self._uncommitted.pop(name, None)
            return ConnectorRemoved(name) if known else None
        properties = _properties(value)
        if properties is None:
            return None
        self.connectors[name] = properties
        return ConfigChanged(name)

    def _apply_task(self, name_and_number: str, value: Any) -> None:
        name, _, number = name_and_number.rpartition("-")
        properties = _properties(value)
        if name and number.isdecimal() and properties is not None:
            self._uncommitted.setdefault(name, {})[int(number)] = properties

    def _apply_commit(self, name: str, value: Any) -> Change | None:
        count = value.get("tasks") if isinstance(value, Mapping) else None
        if not isinstance(count, int):
            return None
        written = self._uncommitted.pop(name, {})
        tasks = [written[number] for number in range(count) if number in written]
        if len(tasks) < count:
            # Compaction took part of an older set away: none of it counts, the herder makes a new one.
            tasks = []
        self.tasks[name] = tasks
        self.to_fence.add(name)
        self.generations[name] = self.generations.get(name, 0) + 1
        return TasksChanged(name)

    def _apply_fencing(self, name: str, value: Any) -> Change | None:
        count = value.get("task-count") if isinstance(value, Mapping) else None
        if not isinstance(count, int):
            return None
        self.fenced_tasks[name] = count
        self.to_fence.discard(name)
        return TasksFenced(name)

    def _apply_target(self, name: str, value: Any) -> Change | None:
        if value is None:
            self.targets.pop(name, None)
            return None
        # KIP-875: an older worker knows `state` only, where STOPPED is written as PAUSED.
        told = value.get("state.v2", value.get("state")) if isinstance(value, Mapping) else None
        if not isinstance(told, str) or told not in TargetState.__members__:
            return None
        self.targets[name] = TargetState(told)
        return TargetChanged(name)

    def _apply_restart(self, name: str, value: Any) -> Change | None:
        if not isinstance(value, Mapping) or name not in self.connectors:
            return None
        return RestartRequested(name, bool(value.get("include-tasks")), bool(value.get("only-failed")))


def _properties(value: Any) -> dict[str, str | None] | None:
    properties = value.get("properties") if isinstance(value, Mapping) else None
    return dict(properties) if isinstance(properties, Mapping) else None
