"""The three internal topics, each a thin store over a `TopicMap`, with Kafka Connect's keys and values."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from connect.herder import config_state
from connect.herder.actions import Restarts, Status
from connect.herder.states import State, TargetState, TaskId
from connect.runtime import restart_budget
from connect.runtime.leader_producer import LeaderProducer
from connect.runtime.offset_format import offset_key
from connect.runtime.topic_map import RecordMap

MakeMap = Callable[[Callable[[str, Any], None]], RecordMap]

_STATUS_CONNECTOR: Final = "status-connector-"
_STATUS_TASK: Final = "status-task-"
_STATUS_TOPIC: Final = "status-topic-"
_TOPIC_CONNECTOR: Final = ":connector-"

# KIP-875: a worker that knows `state` only must not start a STOPPED connector.
_OLD_STATE: Final = {
    TargetState.STARTED: "STARTED",
    TargetState.PAUSED: "PAUSED",
    TargetState.STOPPED: "PAUSED",
}


class ConfigStore:
    """The config topic: what the user wants. With a `leader`, what only a leader writes goes through it."""

    def __init__(
        self, make_map: MakeMap, on_record: Callable[[str, Any], None], leader: LeaderProducer | None = None
    ) -> None:
        self.map = make_map(on_record)
        self.leader = leader
        # Writes that belong together are not mixed with others of the same connector.
        self._turns: dict[str, asyncio.Lock] = {}

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())

    async def _write(self, *records: tuple[str, Any]) -> None:
        """As the leader: in this order, and all or none with a `leader`."""
        if self.leader is not None:
            await self.map.reach(await self.leader.write(records))
            return
        for key, value in records:
            await self.map.put(key, value)

    async def put_connector(self, name: str, config: Mapping[str, str | None]) -> None:
        await self._write((f"{config_state.CONNECTOR_PREFIX}{name}", {"properties": config}))

    async def remove_connector(self, name: str) -> None:
        async with self._turn(name):
            await self._write(
                (f"{config_state.CONNECTOR_PREFIX}{name}", None),
                (f"{config_state.TARGET_STATE_PREFIX}{name}", None),
            )

    async def put_tasks(
        self, name: str, tasks: Sequence[Mapping[str, str | None]], still_wanted: Callable[[], bool]
    ) -> None:
        """The task configs, unless it turns out that they are not wanted any more when their turn comes."""
        async with self._turn(name):
            if still_wanted():
                await self._write(*_task_records(name, tasks))

    async def put_fenced(self, name: str, tasks: int, still_wanted: Callable[[], bool]) -> None:
        """That all producers of former tasks are fenced, and there will be so many now (KIP-618)."""
        async with self._turn(name):
            if still_wanted():
                await self._write((f"{config_state.FENCING_PREFIX}{name}", {"task-count": tasks}))

    async def put_stopped(self, name: str) -> None:
        """No tasks, and the target state that keeps it so."""
        async with self._turn(name):
            await self._write(*_task_records(name, []))
            await self.put_target(name, TargetState.STOPPED)

    async def put_target(self, name: str, target: TargetState) -> None:
        value = {"state": _OLD_STATE[target], "state.v2": target.value}
        await self.map.put(f"{config_state.TARGET_STATE_PREFIX}{name}", value)

    async def put_restart(self, name: str, include_tasks: bool, only_failed: bool) -> None:
        value = {"include-tasks": include_tasks, "only-failed": only_failed}
        await self._write((f"{config_state.RESTART_PREFIX}{name}", value))

    async def put_log_level(self, namespace: str, level: str) -> None:
        await self.map.put(f"{config_state.LOGGER_PREFIX}{namespace}", {"level": level})


def _task_records(name: str, tasks: Sequence[Mapping[str, str | None]]) -> list[tuple[str, Any]]:
    """The task configs, then the record that puts them in force."""
    configs: list[tuple[str, Any]] = [
        (f"{config_state.TASK_PREFIX}{name}-{number}", {"properties": config})
        for number, config in enumerate(tasks)
    ]
    return [*configs, (f"{config_state.COMMIT_PREFIX}{name}", {"tasks": len(tasks)})]


class OffsetStore:
    """The offsets topic: how far each source partition has been read. Key `["NAME",{partition}]`."""

    def __init__(self, make_map: MakeMap) -> None:
        self._offsets: dict[str, dict[str, tuple[Any, Any]]] = {}
        self.map = make_map(self._take)

    def offsets(self, name: str) -> list[tuple[Any, Any]]:
        """The (source partition, source offset) pairs of a connector."""
        return list(self._offsets.get(name, {}).values())

    async def put(self, name: str, offsets: Iterable[tuple[Mapping[str, Any], Any]]) -> None:
        """Set offsets; None forgets one."""
        await self.map.put_all({
            self._known_key(name, partition) or offset_key(name, partition): offset
            for partition, offset in offsets
        })  # fmt: skip

    def post(self, name: str, offsets: Iterable[tuple[Mapping[str, Any], Any]]) -> None:
        """Have offsets written soon."""
        for partition, offset in offsets:
            self.map.post(self._known_key(name, partition) or offset_key(name, partition), offset)

    def _known_key(self, name: str, partition: Mapping[str, Any]) -> str | None:
        """The key under which this partition stands already, whatever the order of its fields there."""
        for key, (known, _) in self._offsets.get(name, {}).items():
            if known == partition:
                return key
        return None

    def _take(self, key: str, value: Any) -> None:
        try:
            name, partition = orjson.loads(key)
        except ValueError:
            return
        if not isinstance(name, str):
            return
        if value is None:
            self._offsets.get(name, {}).pop(key, None)
        else:
            self._offsets.setdefault(name, {})[key] = (partition, value)


@dataclass(frozen=True, slots=True)
class Shown:
    """A status as it stands in the topic: whoever wrote it, in which generation of the group."""

    state: State
    trace: str | None
    worker_id: str
    generation_id: int
    version: str | None
    restarts: Restarts | None = None


# Another worker wrote the status of a connector, or of its task, or deleted it.
OnForeign = Callable[[str, TaskId | None, Shown | None], None]


class StatusStore:
    """The status topic: what is known of connectors, tasks and their topics, for every worker to read.

    What this worker writes is seen here at once; what others write, once it has come through the topic.
    """

    def __init__(self, make_map: MakeMap, worker_id: str) -> None:
        self.generation_id = 0  # of the group, as this worker knows it
        self._worker_id = worker_id
        self._topics: dict[str, dict[str, int]] = {}  # connector → topic → task
        self._shown: dict[str, dict[str, Shown]] = {}  # connector → key → status
        self._own: dict[str, dict[str, Shown | None]] = {}  # the same, posted and not yet come back
        self.on_topics_reset: Callable[[str], None] = lambda name: None
        self.on_foreign: OnForeign = lambda name, task, shown: None
        self.map = make_map(self._take)

    def topics(self, name: str) -> Sequence[str]:
        return list(self._topics.get(name, {}))

    @property
    def connectors(self) -> frozenset[str]:
        """Those with a status of their own, alive or not."""
        return frozenset(name for name in self._names() if self.connector(name) is not None)

    @property
    def tasks(self) -> Mapping[TaskId, Shown]:
        return {
            TaskId(name, number): shown
            for name in self._names()
            for number, shown in self.tasks_of(name).items()
        }

    def connector(self, name: str) -> Shown | None:
        return self._current(name, f"{_STATUS_CONNECTOR}{name}")

    def task(self, task: TaskId) -> Shown | None:
        return self._current(task.connector, f"{_STATUS_TASK}{task}")

    def tasks_of(self, name: str) -> Mapping[int, Shown]:
        found = {}
        for key in self._shown.get(name, {}).keys() | self._own.get(name, {}).keys():
            number = key.removeprefix(f"{_STATUS_TASK}{name}-")
            shown = self._current(name, key)
            if shown is not None and number.isdecimal():
                found[int(number)] = shown
        return found

    def show_connector(self, name: str, status: Status | None, version: str | None) -> None:
        self._show(name, f"{_STATUS_CONNECTOR}{name}", status, version)

    def show_task(self, task: TaskId, status: Status | None, version: str | None) -> None:
        self._show(task.connector, f"{_STATUS_TASK}{task}", status, version)

    def withdraw(self) -> None:
        """Write nothing more of what was to be written: other workers may know better by now."""
        for posted in self._own.values():
            for key in posted:
                self.map.forget_post(key)
        self._own.clear()

    def add_topic(self, task: TaskId, topic: str, now_ms: int) -> None:
        """A task wrote to or read from this topic for the first time (KIP-558)."""
        self._topics.setdefault(task.connector, {})[topic] = task.task
        value = {
            "name": topic, "connector": task.connector, "task": task.task, "discoverTimestamp": now_ms,
        }  # fmt: skip
        self.map.post(f"{_STATUS_TOPIC}{topic}{_TOPIC_CONNECTOR}{task.connector}", {"topic": value})

    def forget_topics(self, name: str) -> None:
        for topic in self._topics.pop(name, {}):
            self.map.post(f"{_STATUS_TOPIC}{topic}{_TOPIC_CONNECTOR}{name}", None)

    def _current(self, name: str, key: str) -> Shown | None:
        own = self._own.get(name, {})
        return own[key] if key in own else self._shown.get(name, {}).get(key)

    def _names(self) -> set[str]:
        return self._shown.keys() | self._own.keys()

    def _show(self, name: str, key: str, status: Status | None, version: str | None) -> None:
        shown = None
        if status is not None:
            shown = Shown(
                status.state, status.trace, self._worker_id, self.generation_id, version, status.restarts
            )  # fmt: skip
        self._own.setdefault(name, {})[key] = shown

        def still_true() -> bool:
            """Kafka Connect's rule: a worker that lost a task must not write over what its new owner says."""
            if shown is None or shown.state not in _WRITTEN_WITH_CARE:
                return True
            known = self._shown.get(name, {}).get(key)
            if known is None or known.worker_id == self._worker_id:
                return True
            if known.generation_id <= shown.generation_id:
                return True
            self._own.get(name, {}).pop(key, None)
            return False

        self.map.post(key, None if shown is None else _value(shown), still_true)

    def _take(self, key: str, value: Any) -> None:
        if key.startswith(_STATUS_TOPIC):
            topic, _, name = key.removeprefix(_STATUS_TOPIC).partition(_TOPIC_CONNECTOR)
            if value is not None:
                self._topics.setdefault(name, {})[topic] = value["topic"]["task"]
            elif self._topics.get(name, {}).pop(topic, None) is not None:
                self.on_topics_reset(name)
        elif key.startswith(_STATUS_CONNECTOR):
            name = key.removeprefix(_STATUS_CONNECTOR)
            self._take_status(name, None, key, value)
        elif key.startswith(_STATUS_TASK):
            name, _, number = key.removeprefix(_STATUS_TASK).rpartition("-")
            if number.isdecimal():
                self._take_status(name, TaskId(name, int(number)), key, value)

    def _take_status(self, name: str, task: TaskId | None, key: str, value: Any) -> None:
        shown = None if value is None else _shown(value)
        own = self._own.get(name, {})
        is_echo = key in own and own[key] == shown
        if is_echo:
            del own[key]
            if not own:
                del self._own[name]
        if shown is not None:
            self._shown.setdefault(name, {})[key] = shown
        elif self._shown.get(name, {}).pop(key, None) is not None and not self._shown[name]:
            del self._shown[name]
        if not is_echo and (shown is None or shown.worker_id != self._worker_id):
            self.on_foreign(name, task, shown)


_WRITTEN_WITH_CARE: Final = frozenset({State.UNASSIGNED, State.FAILED})


def _value(shown: Shown) -> Mapping[str, Any]:
    value = {
        "state": shown.state.value, "trace": shown.trace, "worker_id": shown.worker_id,
        "generation": shown.generation_id, "version": shown.version,
    }  # fmt: skip
    # A field of Millstream's own, which Kafka Connect does not look at.
    return value if shown.restarts is None else {**value, "restarts": restart_budget.to_json(shown.restarts)}


def _shown(value: Mapping[str, Any]) -> Shown:
    budget = value.get("restarts")
    return Shown(
        State(value["state"]), value.get("trace"), str(value["worker_id"]), int(value.get("generation") or 0),
        value.get("version"), None if budget is None else restart_budget.from_json(budget),
    )  # fmt: skip
