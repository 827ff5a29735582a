"""The three internal topics, each a thin store over a `TopicMap`, with Kafka Connect's keys and values."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from connect.herder import config_state
from connect.herder.actions import Status
from connect.herder.states import TargetState, TaskId
from connect.runtime.offset_format import offset_key
from connect.runtime.topic_map import TopicMap

MakeMap = Callable[[Callable[[str, Any], None]], TopicMap]

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
    """The config topic: what the user wants."""

    def __init__(self, make_map: MakeMap, on_record: Callable[[str, Any], None]) -> None:
        self.map = make_map(on_record)
        # Writes that belong together are not mixed with others of the same connector.
        self._turns: dict[str, asyncio.Lock] = {}

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())

    async def put_connector(self, name: str, config: Mapping[str, str | None]) -> None:
        await self.map.put(f"{config_state.CONNECTOR_PREFIX}{name}", {"properties": config})

    async def remove_connector(self, name: str) -> None:
        async with self._turn(name):
            await self.map.put(f"{config_state.CONNECTOR_PREFIX}{name}", None)
            await self.map.put(f"{config_state.TARGET_STATE_PREFIX}{name}", None)

    async def put_tasks(
        self, name: str, tasks: Sequence[Mapping[str, str | None]], still_wanted: Callable[[], bool]
    ) -> None:
        """The task configs, unless it turns out that they are not wanted any more when their turn comes."""
        async with self._turn(name):
            if still_wanted():
                await self._put_tasks(name, tasks)

    async def put_stopped(self, name: str) -> None:
        """No tasks, and the target state that keeps it so."""
        async with self._turn(name):
            await self._put_tasks(name, [])
            await self.put_target(name, TargetState.STOPPED)

    async def _put_tasks(self, name: str, tasks: Sequence[Mapping[str, str | None]]) -> None:
        """The task configs, then the record that puts them in force."""
        for number, config in enumerate(tasks):
            await self.map.put(f"{config_state.TASK_PREFIX}{name}-{number}", {"properties": config})
        await self.map.put(f"{config_state.COMMIT_PREFIX}{name}", {"tasks": len(tasks)})

    async def put_target(self, name: str, target: TargetState) -> None:
        value = {"state": _OLD_STATE[target], "state.v2": target.value}
        await self.map.put(f"{config_state.TARGET_STATE_PREFIX}{name}", value)

    async def put_restart(self, name: str, include_tasks: bool, only_failed: bool) -> None:
        value = {"include-tasks": include_tasks, "only-failed": only_failed}
        await self.map.put(f"{config_state.RESTART_PREFIX}{name}", value)

    async def put_log_level(self, namespace: str, level: str) -> None:
        await self.map.put(f"{config_state.LOGGER_PREFIX}{namespace}", {"level": level})


class OffsetStore:
    """The offsets topic: how far each source partition has been read. Key `["NAME",{partition}]`."""

    def __init__(self, make_map: MakeMap) -> None:
        self._offsets: dict[str, dict[str, tuple[Any, Any]]] = {}
        self.map = make_map(self._take)

    def offsets(self, name: str) -> list[tuple[Any, Any]]:
        """The (source partition, source offset) pairs of a connector."""
        return list(self._offsets.get(name, {}).values())

    async def put(self, name: str, partition: Mapping[str, Any], offset: Mapping[str, Any] | None) -> None:
        """Set one offset; None forgets it."""
        await self.map.put(self._known_key(name, partition) or offset_key(name, partition), offset)

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


class StatusStore:
    """The status topic: what is known of connectors, tasks and their topics, for every worker to read."""

    def __init__(self, make_map: MakeMap, worker_id: str) -> None:
        self._worker_id = worker_id
        self._topics: dict[str, dict[str, int]] = {}  # connector → topic → task
        self._connectors: set[str] = set()
        self._tasks: set[TaskId] = set()
        self.map = make_map(self._take)

    def topics(self, name: str) -> Sequence[str]:
        return list(self._topics.get(name, {}))

    @property
    def connectors(self) -> frozenset[str]:
        """Those with a status in the topic, alive or not."""
        return frozenset(self._connectors)

    @property
    def tasks(self) -> frozenset[TaskId]:
        return frozenset(self._tasks)

    def show_connector(self, name: str, status: Status | None, version: str | None) -> None:
        self.map.post(f"{_STATUS_CONNECTOR}{name}", self._value(status, version))

    def show_task(self, task: TaskId, status: Status | None, version: str | None) -> None:
        self.map.post(f"{_STATUS_TASK}{task}", self._value(status, version))

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

    def _value(self, status: Status | None, version: str | None) -> Mapping[str, Any] | None:
        if status is None:
            return None
        return {
            "state": status.state.value, "trace": status.trace, "worker_id": self._worker_id,
            "generation": 0, "version": version,
        }  # fmt: skip

    def _take(self, key: str, value: Any) -> None:
        if key.startswith(_STATUS_TOPIC):
            topic, _, name = key.removeprefix(_STATUS_TOPIC).partition(_TOPIC_CONNECTOR)
            if value is None:
                self._topics.get(name, {}).pop(topic, None)
            else:
                self._topics.setdefault(name, {})[topic] = value["topic"]["task"]
        elif key.startswith(_STATUS_CONNECTOR):
            _keep(self._connectors, key.removeprefix(_STATUS_CONNECTOR), value is not None)
        elif key.startswith(_STATUS_TASK):
            name, _, number = key.removeprefix(_STATUS_TASK).rpartition("-")
            if number.isdecimal():
                _keep(self._tasks, TaskId(name, int(number)), value is not None)


def _keep(known: set[Any], item: Any, present: bool) -> None:
    if present:
        known.add(item)
    else:
        known.discard(item)
