"""Decides what runs here: desired state (config topic, restart requests), this worker's part in the cluster
and actual state (task processes) in, actions out. No I/O and no clock; whoever drives it feeds events and
then asks `decide(now_ms)`.

The leader does what a connector needs once: it makes its task configs and shows its status. Every worker runs
the tasks that it was assigned.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from connect.herder.actions import (
    Action,
    AskRestart,
    FenceTasks,
    KillTask,
    MakeTaskConfigs,
    PauseTask,
    Restarts,
    ResumeTask,
    ShowConnector,
    ShowTask,
    StartTask,
    Status,
    StopTask,
    WriteTaskConfigs,
)
from connect.herder.backoff import RestartPolicy
from connect.herder.config_state import (
    ConfigChanged,
    ConfigState,
    ConnectorRemoved,
    Properties,
    RestartRequested,
    TargetChanged,
    TasksFenced,
)
from connect.herder.states import State, TargetState, TaskId


class Phase(StrEnum):
    """Where a task's process is."""

    WAITING = "WAITING"  # no process; to be started
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPING = "STOPPING"
    FAILED = "FAILED"  # no process; to be started after a while


TRANSITIONS: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.WAITING: frozenset({Phase.STARTING}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.PAUSED, Phase.STOPPING, Phase.WAITING, Phase.FAILED}),
    Phase.RUNNING: frozenset({Phase.PAUSED, Phase.STOPPING, Phase.WAITING, Phase.FAILED}),
    Phase.PAUSED: frozenset({Phase.RUNNING, Phase.STOPPING, Phase.WAITING, Phase.FAILED}),
    Phase.STOPPING: frozenset({Phase.WAITING}),
    Phase.FAILED: frozenset({Phase.WAITING}),
}
_WITH_PROCESS: Final = frozenset({Phase.STARTING, Phase.RUNNING, Phase.PAUSED})


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker does in its cluster until the next round. `tasks` None: whatever tasks there are.

    `elsewhere`, which the leader knows, are the tasks that other workers may be running.
    """

    leads: bool
    tasks: frozenset[TaskId] | None
    elsewhere: frozenset[TaskId] = frozenset()


ALONE: Final = Part(leads=True, tasks=None)
NO_PART: Final = Part(leads=False, tasks=frozenset())


@dataclass(slots=True)
class _Task:
    id: TaskId
    phase: Phase = Phase.WAITING
    config: Mapping[str, str | None] | None = None  # of the process, or of the one before
    generation: int = 0  # of the task configs that it was started with
    told_to_pause: bool = False
    restart_requested: bool = False
    failures: int = 0
    healthy_at_ms: int | None = None  # when its failures are forgotten
    restart_at_ms: int | None = None
    kill_at_ms: int | None = None
    fenced: bool = False  # another worker may run it by now: its status is not ours to write
    status: Status | None = None

    def become(self, phase: Phase) -> None:
        assert phase in TRANSITIONS[self.phase], f"task {self.id}: {self.phase} -> {phase}"
        self.phase = phase


@dataclass(slots=True)
class _Fencing:
    """Of a connector's former tasks; `generation`, while it is being done, is that of the new ones."""

    generation: int | None = None
    failures: int = 0
    retry_at_ms: int | None = None
    given_up: bool = False


@dataclass(slots=True)
class _Connector:
    revision: int = 1  # counts what makes new task configs necessary
    made_revision: int = 0  # that the task configs were made for
    asked_revision: int = 0  # that they were asked for
    failures: int = 0
    retry_at_ms: int | None = None
    reload_at_ms: int | None = None  # when a value of a config provider runs out
    fencing: _Fencing = field(default_factory=_Fencing)
    status: Status | None = None


class Herder:
    """The decisions for one worker, which has no part in its cluster at first. `policy_of` reads the restart
    policy from a connector's config; `is_exactly_once` says whether its tasks write in transactions."""

    def __init__(
        self,
        policy_of: Callable[[Properties], RestartPolicy],
        stop_timeout_ms: int,
        is_exactly_once: Callable[[Properties], bool] = lambda config: False,
    ) -> None:
        self.config = ConfigState()
        self._is_exactly_once = is_exactly_once
        self._policy_of = policy_of
        self._stop_timeout_ms = stop_timeout_ms
        self._connectors: dict[str, _Connector] = {}
        self._tasks: dict[TaskId, _Task] = {}
        self._actions: list[Action] = []
        self._part = NO_PART
        self._task_counts: dict[str, int] = {}  # tasks to run, by connector
        self._shutting_down = False

    # What is known

    def connector_status(self, name: str) -> Status | None:
        connector = self._connectors.get(name)
        return connector.status if connector is not None else None

    def task_status(self, task_id: TaskId) -> Status | None:
        task = self._tasks.get(task_id)
        return task.status if task is not None else None

    def tasks_of(self, name: str) -> list[TaskId]:
        return sorted(task for task in self._tasks if task.connector == name)

    @property
    def leads(self) -> bool:
        return self._part.leads

    @property
    def processes(self) -> list[TaskId]:
        """The tasks that have a process now, or one that is about to end."""
        return [task.id for task in self._tasks.values() if task.phase not in (Phase.WAITING, Phase.FAILED)]

    @property
    def claims(self) -> frozenset[TaskId]:
        """The tasks that are this worker's to run."""
        return frozenset(task for task, _ in self._desired())

    @property
    def ending(self) -> frozenset[TaskId]:
        """The tasks that are not, but still have a process."""
        return frozenset(self.processes) - self.claims

    def may_run(self, name: str) -> bool:
        """Whether a task of a connector may still be running anywhere; the leader knows."""
        return bool(self.tasks_of(name)) or any(task.connector == name for task in self._part.elsewhere)

    def wants(self, task_id: TaskId) -> bool:
        """Whether this worker is to run it as it runs now."""
        task = self._tasks.get(task_id)
        if task is None or task.fenced or task.phase not in _WITH_PROCESS:
            return False
        return not self._is_outdated(task, dict(self._desired()).get(task_id))

    def wants_fencing(self, name: str, generation: int) -> bool:
        """Whether what was fenced for this generation of task configs should still be noted."""
        return self.leads and self.config.generations.get(name) == generation and self._must_fence(name)

    # Events

    def introduce(self) -> tuple[frozenset[TaskId], frozenset[TaskId]]:
        """A round begins: the claims and what is ending. Until a round is over for this worker it starts no
        task that it did not claim, for others may be given it, whether this worker hears of it or not."""
        claims, ending = self.claims, self.ending
        self._part = replace(self._part, tasks=claims)
        return claims, ending

    def on_part(self, part: Part) -> None:
        """A round is over, and this is what this worker does from now on."""
        if part.leads is not self._part.leads:
            self._connectors.clear()  # a new leader looks at every connector anew
        self._part = part

    def on_fenced(self) -> None:
        """The cluster goes on without this worker: what it runs is killed, others may run it by now."""
        self._connectors.clear()
        self._part = NO_PART
        with_process = self.processes
        self._tasks = {task_id: self._tasks[task_id] for task_id in with_process}
        for task in self._tasks.values():
            task.fenced = True

    def on_config_record(self, key: str, value: Any) -> bool:
        """A record of the config topic; whether there are other tasks to run now than before."""
        former = dict(self.config.targets)
        change = self.config.apply(key, value)
        if change is None:
            return False
        if isinstance(change, ConfigChanged):
            self._renew(change.name)
        elif isinstance(change, TargetChanged):
            now = self.config.target(change.name)
            if now is TargetState.STARTED and former.get(change.name, now) is not now:
                self._renew(change.name)
        elif isinstance(change, TasksFenced):
            self._on_fenced_tasks(change.name)
        elif isinstance(change, RestartRequested):
            self.restart_connector(change.name, change.include_tasks, change.only_failed)
        elif isinstance(change, ConnectorRemoved) and self.leads:
            self.on_leftover(change.name)
        count = self.config.task_count(change.name)
        is_other = count != self._task_counts.get(change.name, 0)
        self._task_counts[change.name] = count
        return is_other

    def on_leftover(self, name: str) -> None:
        """A connector that was deleted still has a status, which goes once none of its tasks runs."""
        self._connectors.setdefault(name, _Connector())

    def restart_connector(self, name: str, include_tasks: bool, only_failed: bool) -> None:
        """Ask the connector anew for its task configs; restart its tasks here where `include_tasks`."""

        def matches(status: Status | None) -> bool:
            return not only_failed or (status is not None and status.state is State.FAILED)

        if matches(self.connector_status(name)):
            self._renew(name)
        for task_id in self.tasks_of(name):
            if include_tasks and matches(self.task_status(task_id)):
                self.restart_task(task_id)

    def show_connector_again(self, name: str) -> None:
        """Somebody wrote over its status."""
        connector = self._connectors.get(name)
        if connector is not None and connector.status is not None:
            self._actions.append(ShowConnector(name, connector.status))

    def show_task_again(self, task_id: TaskId) -> None:
        """The same of a task, if it is this worker's."""
        task = self._tasks.get(task_id)
        if task is not None and task.status is not None and not task.fenced and task_id in self.claims:
            self._actions.append(ShowTask(task_id, task.status))

    def restart_task(self, task_id: TaskId) -> None:
        """Of this worker; raises KeyError."""
        task = self._tasks[task_id]
        task.restart_requested = True
        task.failures = 0
        self._show_task(task, Status(State.RESTARTING))

    def on_task_configs(
        self,
        name: str,
        revision: int,
        tasks: Sequence[Mapping[str, str | None]],
        reload_at_ms: int | None = None,
    ) -> None:
        """The answer to `MakeTaskConfigs`; at `reload_at_ms` connector and tasks must read their configs
        again."""
        connector = self._connectors.get(name)
        if connector is None or connector.revision != revision or name not in self.config.connectors:
            return
        connector.made_revision = revision
        connector.failures = 0
        if self.config.target(name) is not TargetState.STARTED:
            connector.asked_revision = connector.made_revision = 0
            return
        # Tasks that run on hold what was looked up before: an earlier time stays.
        if reload_at_ms is not None and connector.reload_at_ms is not None:
            reload_at_ms = min(reload_at_ms, connector.reload_at_ms)
        connector.reload_at_ms = reload_at_ms
        if list(tasks) != self.config.tasks.get(name, []):
            self._actions.append(WriteTaskConfigs(name, tasks, revision))
        self._show_connector(name, connector, Status(State.RUNNING))

    def wants_tasks(self, name: str, revision: int) -> bool:
        """Whether task configs that were made for this revision should still be written."""
        connector = self._connectors.get(name)
        current = connector is not None and connector.revision == revision
        return current and name in self.config.connectors and self.config.target(name) is TargetState.STARTED

    def on_connector_failed(self, name: str, revision: int, trace: str, now_ms: int) -> None:
        """The connector could not say its task configs, or they could not be written."""
        connector = self._connectors.get(name)
        if connector is None or connector.revision != revision:
            return
        connector.failures += 1
        policy = self._policy_of(self.config.connectors.get(name, {}))
        delay_ms = policy.delay_ms(connector.failures)
        connector.made_revision = connector.asked_revision = 0
        connector.retry_at_ms = None if delay_ms is None else now_ms + delay_ms
        if delay_ms is None:
            connector.made_revision = connector.revision
        note = _restart_note("connector", connector.failures, policy, delay_ms)
        restarts = Restarts(connector.failures, policy.attempts_max, connector.retry_at_ms)
        self._show_connector(name, connector, Status(State.FAILED, f"{trace}\n{note}", restarts))

    def on_fencing_failed(self, name: str, generation: int, trace: str, now_ms: int) -> None:
        """The producers of a connector's former tasks could not be fenced, or it could not be noted."""
        connector = self._connectors.get(name)
        if connector is None or connector.fencing.generation != generation:
            return
        fencing = connector.fencing
        fencing.generation = None
        fencing.failures += 1
        policy = self._policy_of(self.config.connectors.get(name, {}))
        delay_ms = policy.delay_ms(fencing.failures)
        fencing.given_up = delay_ms is None
        fencing.retry_at_ms = None if delay_ms is None else now_ms + delay_ms
        note = _restart_note("connector", fencing.failures, policy, delay_ms)
        restarts = Restarts(fencing.failures, policy.attempts_max, fencing.retry_at_ms)
        self._show_connector(name, connector, Status(State.FAILED, f"{trace}\n{note}", restarts))

    def on_task_running(self, task_id: TaskId, now_ms: int) -> None:
        task = self._tasks.get(task_id)
        if task is not None and task.phase in (Phase.STARTING, Phase.PAUSED):
            task.become(Phase.RUNNING)
            task.healthy_at_ms = now_ms + self._policy_of(task.config or {}).longest_ms
            self._show_running(task)
        elif task is not None and task.phase is Phase.RUNNING:  # what it retried has worked
            self._show_running(task)

    def on_task_retrying(self, task_id: TaskId, trace: str) -> None:
        """A call that may work later is tried again for as long as it takes; `trace` says why."""
        task = self._tasks.get(task_id)
        if task is not None and task.phase is Phase.RUNNING:
            self._show_running(task, trace)

    def _show_running(self, task: _Task, trace: str | None = None) -> None:
        attempts_max = self._policy_of(task.config or {}).attempts_max
        restarts = Restarts(task.failures, attempts_max) if task.failures else None
        self._show_task(task, Status(State.RUNNING, trace, restarts))

    def on_task_paused(self, task_id: TaskId) -> None:
        task = self._tasks.get(task_id)
        if task is not None and task.phase in (Phase.STARTING, Phase.RUNNING):
            task.become(Phase.PAUSED)
            self._show_task(task, Status(State.PAUSED))

    def on_task_exited(self, task_id: TaskId, trace: str | None, now_ms: int) -> None:
        """The process of a task is gone; `trace` says why unless it ended as it should."""
        task = self._tasks[task_id]
        policy = self._policy_of(self.config.connectors.get(task_id.connector, {}))
        was_healthy = _is_due(task.healthy_at_ms, now_ms)
        task.healthy_at_ms = task.kill_at_ms = None
        if task.phase is Phase.STOPPING or task.fenced or trace is None:
            task.become(Phase.WAITING)
            if self._shutting_down and not task.fenced:
                self._show_task(task, Status(State.UNASSIGNED))
            return
        task.failures = 1 if was_healthy else task.failures + 1
        delay_ms = policy.delay_ms(task.failures)
        task.restart_at_ms = None if delay_ms is None else now_ms + delay_ms
        task.become(Phase.FAILED)
        note = _restart_note("task", task.failures, policy, delay_ms)
        restarts = Restarts(task.failures, policy.attempts_max, task.restart_at_ms)
        self._show_task(task, Status(State.FAILED, f"{trace}\n{note}", restarts))

    def shut_down(self) -> None:
        """From now on nothing is started and everything is stopped."""
        self._shutting_down = True

    # Decisions

    def decide(self, now_ms: int) -> list[Action]:
        """What is to be done now."""
        self._reload_due(now_ms)
        self._forget_failures(now_ms)
        desired = dict(self._desired())
        for task_id in desired:
            self._tasks.setdefault(task_id, _Task(task_id))
        for task in list(self._tasks.values()):
            self._decide_task(task, desired.get(task.id), now_ms)
        if self.leads and not self._shutting_down:
            for name in list(self._connectors.keys() | self.config.connectors.keys()):
                self._decide_connector(name, now_ms)
        actions, self._actions = self._actions, []
        return actions

    def next_wakeup_ms(self) -> int | None:
        """When `decide` is due even if nothing happens."""
        times = [task.kill_at_ms for task in self._tasks.values() if task.phase is Phase.STOPPING]
        times += [task.restart_at_ms for task in self._tasks.values() if task.phase is Phase.FAILED]
        times += [task.healthy_at_ms for task in self._tasks.values() if task.failures]
        times += [c.retry_at_ms for c in self._connectors.values() if c.made_revision != c.revision]
        times += [c.fencing.retry_at_ms for name, c in self._connectors.items() if self._may_fence(name)]
        times += [c.reload_at_ms for name, c in self._connectors.items() if self._may_reload(name)]
        return min((time for time in times if time is not None), default=None)

    def _may_reload(self, name: str) -> bool:
        """Not while it is paused: then it is done when it goes on."""
        return name in self.config.connectors and self.config.target(name) is TargetState.STARTED

    def _reload_due(self, now_ms: int) -> None:
        """`config.action.reload`: restart connectors with values that have run out."""
        for name, connector in self._connectors.items():
            if self._may_reload(name) and _is_due(connector.reload_at_ms, now_ms):
                connector.reload_at_ms = None
                self._actions.append(AskRestart(name))

    def _forget_failures(self, now_ms: int) -> None:
        """Of tasks that have run well for long enough."""
        for task in self._tasks.values():
            if task.failures and _is_due(task.healthy_at_ms, now_ms):
                task.failures = 0
                if task.status is not None and not task.fenced:
                    self._show_task(task, replace(task.status, restarts=None))

    def _desired(self) -> Iterator[tuple[TaskId, Mapping[str, str | None]]]:
        if self._shutting_down:
            return
        assigned = self._part.tasks
        for task, config in self.config.wanted():
            if assigned is None or task in assigned:
                yield task, config

    def _decide_connector(self, name: str, now_ms: int) -> None:
        connector = self._connectors.setdefault(name, _Connector())
        if name not in self.config.connectors:
            if not self.may_run(name):
                del self._connectors[name]
                self._actions.append(ShowConnector(name, None))
            return
        self._decide_fencing(name, connector, now_ms)
        target = self.config.target(name)
        if target is not TargetState.STARTED:
            state = State.STOPPED if target is TargetState.STOPPED else State.PAUSED
            self._show_connector(name, connector, Status(state))
            return
        if connector.status == Status(State.PAUSED):  # its tasks go on at once
            self._show_connector(name, connector, Status(State.RUNNING))
        if connector.made_revision == connector.revision or connector.asked_revision == connector.revision:
            return
        if connector.retry_at_ms is None or now_ms >= connector.retry_at_ms:
            connector.asked_revision = connector.revision
            connector.retry_at_ms = None
            self._actions.append(MakeTaskConfigs(name, self.config.connectors[name], connector.revision))

    def _decide_fencing(self, name: str, connector: _Connector, now_ms: int) -> None:
        fencing, generation = connector.fencing, self.config.generations.get(name, 0)
        if not self._may_fence(name) or fencing.given_up or fencing.generation == generation:
            return
        if fencing.retry_at_ms is None or now_ms >= fencing.retry_at_ms:
            fencing.generation, fencing.retry_at_ms = generation, None
            former, tasks = self.config.fenced_tasks.get(name, 0), self.config.task_count(name)
            if former == tasks == 1:
                former = 0  # the one that starts fences the one before by itself
            self._actions.append(FenceTasks(name, self.config.connectors[name], former, tasks, generation))

    def _may_fence(self, name: str) -> bool:
        """Whether the former tasks are to be fenced now: not while one of them is being stopped here, which
        need not be cut off."""
        if not self._must_fence(name) or not self.config.task_count(name):
            return False
        return not any(task.connector == name for task in self.processes)

    def _must_fence(self, name: str) -> bool:
        return name in self.config.to_fence and self._is_exactly_once(self.config.connectors.get(name, {}))

    def _on_fenced_tasks(self, name: str) -> None:
        connector = self._connectors.get(name)
        if connector is None:
            return
        if connector.fencing.failures and connector.made_revision == connector.revision:
            self._show_connector(name, connector, Status(State.RUNNING))
        connector.fencing = _Fencing()

    def _is_outdated(self, task: _Task, want: Mapping[str, str | None] | None) -> bool:
        """Whether its process is not what is wanted. A new set of exactly-once tasks replaces all of the
        former set, which is fenced."""
        if want != task.config:
            return True
        name = task.id.connector
        return task.generation != self.config.generations.get(name, 0) and self._is_exactly_once(want or {})

    def _decide_task(self, task: _Task, want: Mapping[str, str | None] | None, now_ms: int) -> None:
        changed = self._is_outdated(task, want) or task.restart_requested
        if task.phase in _WITH_PROCESS:
            if task.fenced:
                task.become(Phase.STOPPING)
                self._actions.append(KillTask(task.id))
            elif want is None or changed:
                task.become(Phase.STOPPING)
                task.kill_at_ms = now_ms + self._stop_timeout_ms
                self._actions.append(StopTask(task.id))
            else:
                self._decide_pause(task)
        elif task.phase is Phase.STOPPING:
            if task.kill_at_ms is not None and (task.fenced or now_ms >= task.kill_at_ms):
                task.kill_at_ms = None
                self._actions.append(KillTask(task.id))
        elif want is None:
            if not self._shutting_down:
                del self._tasks[task.id]
                self._give_up(task)
        elif self._must_fence(task.id.connector):
            return
        elif task.phase is Phase.WAITING or changed or _is_due(task.restart_at_ms, now_ms):
            self._start(task, want)

    def _give_up(self, task: _Task) -> None:
        if task.fenced:
            return
        if self.config.wants(task.id):  # for another worker to start
            self._show_task(task, Status(State.UNASSIGNED))
        else:
            self._actions.append(ShowTask(task.id, None))

    def _start(self, task: _Task, config: Mapping[str, str | None]) -> None:
        if task.phase is Phase.FAILED:
            task.become(Phase.WAITING)
        if config != task.config:
            task.failures = 0
        task.become(Phase.STARTING)
        task.fenced = False
        task.config = config
        task.generation = self.config.generations.get(task.id.connector, 0)
        task.restart_requested = False
        task.restart_at_ms = None
        task.told_to_pause = self.config.target(task.id.connector) is TargetState.PAUSED
        self._actions.append(StartTask(task.id, config, task.told_to_pause))

    def _decide_pause(self, task: _Task) -> None:
        pause = self.config.target(task.id.connector) is TargetState.PAUSED
        if pause is not task.told_to_pause:
            task.told_to_pause = pause
            self._actions.append(PauseTask(task.id) if pause else ResumeTask(task.id))

    def _renew(self, name: str) -> None:
        if not self.leads:
            return
        connector = self._connectors.setdefault(name, _Connector())
        connector.revision += 1
        connector.failures = 0
        connector.retry_at_ms = None
        # What is being fenced now goes on: another fencing, later, would hit the tasks that start meanwhile.
        connector.fencing = _Fencing(connector.fencing.generation)

    def _show_connector(self, name: str, connector: _Connector, status: Status) -> None:
        if connector.status != status:
            connector.status = status
            self._actions.append(ShowConnector(name, status))

    def _show_task(self, task: _Task, status: Status) -> None:
        if task.status != status:
            task.status = status
            self._actions.append(ShowTask(task.id, status))


def _is_due(time_ms: int | None, now_ms: int) -> bool:
    return time_ms is not None and now_ms >= time_ms


def _restart_note(what: str, failures: int, policy: RestartPolicy, delay_ms: int | None) -> str:
    if delay_ms is None:
        return f"The {what} failed {failures} times in a row and is not restarted any more."
    return f"Restart {failures} of at most {policy.attempts_max} in {delay_ms / 1000:g} s."
