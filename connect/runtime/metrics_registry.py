"""What a worker knows of its tasks' metrics and counts of its own, as samples for Prometheus.

Names are those that the JMX exporter gives to Kafka Connect's: the attribute `put-batch-avg-time-ms` of
`kafka.connect:type=sink-task-metrics` is `kafka_connect_sink_task_metrics_put_batch_avg_time_ms`. Attributes
that are texts are labels of a sample `…_info`, the status is a label of `…_status`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from connect.herder.states import State, TaskId
from connect.runtime.service import ConnectorStatus, Labels, Sample

_STATES: Final = {
    State.RUNNING: "running", State.PAUSED: "paused", State.FAILED: "failed",
    State.RESTARTING: "restarting", State.UNASSIGNED: "unassigned", State.STOPPED: "stopped",
}  # fmt: skip
_COUNTED_STATES: Final = ("destroyed", "failed", "paused", "restarting", "running", "unassigned")
_COUNTERS: Final = ("total-", "deadletterqueue-")
_SHOWN: Final = {
    "bytes_total": ("millstream_task_bytes_total", "counter"),
    "lag": ("millstream_task_lag_records", "gauge"),
    "lag_ms": ("millstream_task_lag_milliseconds", "gauge"),
    "memory_bytes": ("millstream_task_memory_bytes", "gauge"),
    "cpu_seconds": ("millstream_task_cpu_seconds_total", "counter"),
}


class _Starts:
    """How often starting one kind of thing was tried, and how that went."""

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0

    def group(self, what: str) -> dict[str, float]:
        attempts = self.succeeded + self.failed
        share = 100 * self.succeeded / attempts if attempts else 0.0
        return {
            f"{what}-startup-attempts-total": attempts,
            f"{what}-startup-success-total": self.succeeded,
            f"{what}-startup-failure-total": self.failed,
            f"{what}-startup-success-percentage": share,
            f"{what}-startup-failure-percentage": 100 - share if attempts else 0.0,
        }


class _Task:
    """A task that this worker has run: what it told last, empty while it does not run."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.started = False
        self.failed = False
        self.restarts = 0  # after a failure


class MetricsRegistry:
    """Fed by the supervisor. `rebalance` gives connect-worker-rebalance-metrics, by Connect's names."""

    def __init__(self) -> None:
        self._tasks: dict[TaskId, _Task] = {}
        self._task_starts = _Starts()
        self._connector_starts = _Starts()
        self.rebalance: Callable[[], Mapping[str, float | str]] = dict

    # What happens

    def task_starting(self, task: TaskId) -> None:
        known = self._tasks.setdefault(task, _Task())
        known.restarts += known.failed
        known.told, known.started, known.failed = {}, False, False

    def task_running(self, task: TaskId) -> None:
        known = self._tasks[task]
        if not known.started:
            known.started = True
            self._task_starts.succeeded += 1

    def task_told(self, task: TaskId, message: Mapping[str, Any]) -> None:
        """What a task says of itself: `TaskMeter.snapshot`, and once `about`."""
        self._tasks[task].told |= message

    def task_exited(self, task: TaskId, failed: bool) -> None:
        known = self._tasks[task]
        known.told = {}
        known.failed = failed
        if failed and not known.started:
            self._task_starts.failed += 1

    def task_deleted(self, task: TaskId) -> None:
        self._tasks.pop(task, None)

    def connector_started(self, failed: bool) -> None:
        """Its tasks' configs were made, or that failed."""
        if failed:
            self._connector_starts.failed += 1
        else:
            self._connector_starts.succeeded += 1

    # What is shown

    def shown(self, task: TaskId) -> Mapping[str, float] | None:
        """What a status shows of a task; None if it does not run here, or has told nothing yet."""
        known = self._tasks.get(task)
        if known is None or "shown" not in known.told:
            return None
        return {**known.told["shown"], "restarts": known.restarts}

    def all_shown(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """The same of all tasks that run here: connector → task → fields."""
        found: dict[str, dict[str, Mapping[str, float]]] = {}
        for task in self._tasks:
            if (shown := self.shown(task)) is not None:
                found.setdefault(task.connector, {})[str(task.task)] = shown
        return found

    def samples(
        self, statuses: Iterable[ConnectorStatus], classes: Mapping[str, str], worker_id: str
    ) -> Iterator[Sample]:
        """Everything; of `statuses` what is this worker's. `classes` are those of the connectors."""
        connectors = tasks = 0
        for status in statuses:
            labels = {"connector": status.name}
            here = [task for task, one in status.tasks.items() if one.worker_id == worker_id]
            tasks += len(here)
            if status.connector.worker_id == worker_id:
                connectors += 1
                yield from _info("connector-metrics", labels, {
                    "connector-class": classes[status.name], "connector-type": status.type,
                    "connector-version": status.connector.version or "undefined",
                })  # fmt: skip
                yield _status("connector-metrics", labels, status.connector.state)
            states = Counter(_STATES[status.tasks[task].state] for task in here)
            counts: dict[str, float] = {
                f"connector-{state}-task-count": states[state] for state in _COUNTED_STATES
            }
            counts["connector-total-task-count"] = len(here)
            yield from _group("connect-worker-metrics", counts, labels)
            for number in sorted(here):
                task_labels = {**labels, "task": str(number)}
                yield _status("connector-task-metrics", task_labels, status.tasks[number].state)
                if known := self._tasks.get(TaskId(status.name, number)):
                    yield from _of_task(known, task_labels)
        worker: dict[str, float] = {"connector-count": connectors, "task-count": tasks}
        worker |= self._connector_starts.group("connector") | self._task_starts.group("task")
        yield from _group("connect-worker-metrics", worker, {})
        yield from _rebalance(self.rebalance())


def _of_task(known: _Task, labels: Labels) -> Iterator[Sample]:
    yield Sample("millstream_task_restarts_total", "counter", labels, known.restarts)
    about = known.told.get("about", {})
    for group, texts in about.items():
        for more, attributes in texts:
            yield from _info(group, {**labels, **more}, attributes)
    for group, values in known.told.get("groups", {}).items():
        yield from _group(group, values, labels)
    shown = known.told.get("shown", {})
    for name, (metric, kind) in _SHOWN.items():
        if name in shown:
            yield Sample(metric, kind, labels, shown[name])
    for metric, kind, own, value in known.told.get("own", ()):
        yield Sample(metric, kind, {**labels, **dict(own)}, value)


def _rebalance(values: Mapping[str, float | str]) -> Iterator[Sample]:
    group = "connect-worker-rebalance-metrics"
    yield from _group(group, {n: v for n, v in values.items() if not isinstance(v, str)}, {})
    if texts := {n: v for n, v in values.items() if isinstance(v, str)}:
        yield from _info(group, {}, texts)


def _group(group: str, values: Mapping[str, float], labels: Labels) -> Iterator[Sample]:
    for attribute, value in values.items():
        counter = attribute.endswith("-total") or attribute.startswith(_COUNTERS)
        yield Sample(_name(group, attribute), "counter" if counter else "gauge", labels, value)


def _status(group: str, labels: Labels, state: State) -> Sample:
    return Sample(_name(group, "status"), "gauge", {**labels, "status": _STATES[state]}, 1)


def _info(group: str, labels: Labels, texts: Mapping[str, str]) -> Iterator[Sample]:
    named = {attribute.replace("-", "_"): text for attribute, text in texts.items()}
    yield Sample(_name(group, "info"), "gauge", {**labels, **named}, 1)


def _name(group: str, attribute: str) -> str:
    return f"kafka_connect_{group}_{attribute}".replace("-", "_")
