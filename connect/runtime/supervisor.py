"""Carries out what the herder decides: a loop that waits for events, asks for decisions, performs them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from connect.api import ConfigError, ConnectError
from connect.herder.actions import (
    Action,
    AskRestart,
    FenceTasks,
    KillTask,
    MakeTaskConfigs,
    PauseTask,
    ResumeTask,
    ShowConnector,
    ShowTask,
    StartTask,
    Status,
    StopTask,
    WriteTaskConfigs,
)
from connect.herder.herder import Herder
from connect.herder.states import TaskId
from connect.runtime import restart_budget
from connect.runtime.catalog import PluginCatalog
from connect.runtime.client_overrides import FENCING_S, overrides, sink_client_id, sink_group
from connect.runtime.config import WorkerConfig
from connect.runtime.errors import trace_of
from connect.runtime.forks import ForkServer
from connect.runtime.group_members import GroupMembers
from connect.runtime.lease import Lease
from connect.runtime.metrics_registry import MetricsRegistry
from connect.runtime.plugin_hosts import PluginFailed, PluginHosts
from connect.runtime.state_changes import StateChanges
from connect.runtime.stores import ConfigStore, OffsetStore, StatusStore
from connect.runtime.task_config import TaskConfig
from connect.runtime.task_process import TaskProcess

_LOG = logging.getLogger(__name__)
_KILLED_S: Final = 2.0  # for the kernel to end what was killed
_RETRY_S: Final = 1.0
_RELOAD_MIN_MS: Final = 1_000  # between two reloads, whatever a config provider says


def now_ms() -> int:
    """A monotonic clock for the herder."""
    return time.monotonic_ns() // 1_000_000


class Guard(Protocol):
    """Whether this worker still has a say, and who takes note of what it did."""

    def check_lease(self) -> None: ...

    def on_decided(self) -> None: ...


class Supervisor:
    """Owns the task processes. Herder, stores and lease belong to the worker, which sets `guard`."""

    guard: Guard

    def __init__(
        self,
        worker: WorkerConfig,
        herder: Herder,
        configs: ConfigStore,
        offsets: OffsetStore,
        statuses: StatusStore,
        forks: ForkServer,
        hosts: PluginHosts,
        catalog: PluginCatalog,
        members: GroupMembers,
        lease: Lease,
    ) -> None:
        self._worker = worker
        self._herder = herder
        self._configs = configs
        self._offsets = offsets
        self._statuses = statuses
        self._forks = forks
        self._hosts = hosts
        self._catalog = catalog
        self._members = members
        self._lease = lease
        self.metrics = MetricsRegistry()
        self._changes = StateChanges()
        self._processes: dict[TaskId, TaskProcess] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._event = asyncio.Event()
        self._settled = asyncio.Condition()
        self._loop: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name="supervisor")

    async def stop(self, seconds: float) -> None:
        """Stop all tasks in parallel, kill those that take longer."""
        self._herder.shut_down()
        self.wake()
        with contextlib.suppress(TimeoutError):
            await self.wait_until(lambda: not self._processes, seconds)
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        for process in self._processes.values():
            process.kill()
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=_KILLED_S)
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    def wake(self) -> None:
        """Something happened: decide again."""
        self._event.set()

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a state of things; raises `TimeoutError`."""
        async with asyncio.timeout(seconds), self._settled:
            await self._settled.wait_for(condition)

    def extend_lease(self) -> None:
        """Tell the tasks how long they may run now."""
        for process in self._processes.values():
            process.extend_lease()

    def forget_topics(self, name: str) -> None:
        for task, process in self._processes.items():
            if task.connector == name:
                process.forget_topics()

    # Events of task processes

    def on_running(self, task: TaskId, pid: int | None) -> None:
        _LOG.info("task %s is running as process %s", task, pid)
        self.metrics.task_running(task)
        self._herder.on_task_running(task, now_ms())
        self.wake()

    def on_paused(self, task: TaskId) -> None:
        self._herder.on_task_paused(task)
        self.wake()

    def on_metrics(self, task: TaskId, metrics: Mapping[str, Any]) -> None:
        self.metrics.task_told(task, metrics)

    def on_retrying(self, task: TaskId, trace: str) -> None:
        self._herder.on_task_retrying(task, trace)
        self.wake()

    def on_topic(self, task: TaskId, topic: str) -> None:
        if self._worker.topic_tracking_enable and topic not in self._statuses.topics(task.connector):
            self._statuses.add_topic(task, topic, time.time_ns() // 1_000_000)

    def on_offsets(self, task: TaskId, offsets: Sequence[tuple[Any, Any]]) -> None:
        self._offsets.post(task.connector, offsets)

    async def store_offsets(self, task: TaskId, offsets: Sequence[tuple[Any, Any]]) -> None:
        await self._offsets.put(task.connector, offsets)

    async def offsets_after_fencing(self, task: TaskId) -> Sequence[tuple[Any, Any]] | None:
        # Whoever made a new generation of tasks fenced this one's producer, or did so before it was made:
        # the config topic says it.
        await self._configs.map.barrier()
        if not self._herder.wants(task):
            return None
        await self._offsets.map.barrier()
        return self._offsets.offsets(task.connector)

    # The loop

    async def _run(self) -> None:
        try:
            while True:
                self._event.clear()
                self.guard.check_lease()
                for action in self._herder.decide(now_ms()):
                    self._perform(action)
                self.guard.on_decided()
                async with self._settled:
                    self._settled.notify_all()
                await self._wait()
        except Exception as exc:
            self.failure = exc
            _LOG.exception("the worker's supervision failed")
            raise

    async def _wait(self) -> None:
        due_ms = self._herder.next_wakeup_ms()
        timeout = None if due_ms is None else max(0.0, (due_ms - now_ms()) / 1000)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()

    def _perform(self, action: Action) -> None:
        if isinstance(action, StartTask):
            self._start(action)
        elif isinstance(action, StopTask):
            self._processes[action.task].stop()
        elif isinstance(action, KillTask):
            self._processes[action.task].kill()
        elif isinstance(action, PauseTask):
            self._processes[action.task].pause()
        elif isinstance(action, ResumeTask):
            self._processes[action.task].resume()
        elif isinstance(action, MakeTaskConfigs):
            self._spawn(self._make_task_configs(action))
        elif isinstance(action, WriteTaskConfigs):
            self._spawn(self._write_task_configs(action))
        elif isinstance(action, FenceTasks):
            self._spawn(self._fence_tasks(action))
        elif isinstance(action, AskRestart):
            self._spawn(self._ask_restart(action.name))
        elif isinstance(action, ShowTask):
            self._show_task(action)
        else:
            self._show_connector(action)

    def _show_task(self, action: ShowTask) -> None:
        self._changes.tell(action.task.connector, action.task.task, action.status)
        if action.status is None:
            self.metrics.task_deleted(action.task)
        version = self._version(action.task.connector)
        self._statuses.show_task(action.task, _on_wall_clock(action.status), version)

    def _show_connector(self, action: ShowConnector) -> None:
        self._changes.tell(action.name, None, action.status)
        if action.status is None:
            self._statuses.forget_topics(action.name)
        self._statuses.show_connector(action.name, _on_wall_clock(action.status), self._version(action.name))

    def _version(self, name: str) -> str | None:
        config = self._herder.config.connectors.get(name)
        return self._catalog.version(config.get("connector.class")) if config else None

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    # Tasks

    def _start(self, action: StartTask) -> None:
        # As in Kafka Connect, a connector need not repeat in its tasks' configs what its own config says:
        # class, converters, transforms, limits.
        connector = self._herder.config.connectors.get(action.task.connector, {})
        action = replace(action, config={**connector, **action.config})
        limits = task_config(self._worker, action.config)
        process = TaskProcess(action.task, self._forks, self, limits, self._lease)
        self._processes[action.task] = process
        self.metrics.task_starting(action.task)
        self._spawn(self._run_task(action, process))

    async def _run_task(self, action: StartTask, process: TaskProcess) -> None:
        async def order() -> Mapping[str, Any]:
            class_name = action.config.get("connector.class")
            await self._catalog.know(class_name or "")
            self._catalog.preload(self._forks, class_name)
            offsets: list[tuple[Any, Any]] = []
            if self._catalog.type_of(class_name) == "sink":
                await self._evict_leftovers(action)
            elif not self._worker.exactly_once:  # else the task asks, once its predecessors are fenced
                # What the task before wrote must have been read.
                await self._offsets.map.barrier()
                offsets = self._offsets.offsets(action.task.connector)
            return {
                "connector": action.task.connector, "task": action.task.task, "config": action.config,
                "worker": self._worker.originals, "paused": action.paused, "offsets": offsets,
            }  # fmt: skip

        try:
            trace = await process.run(order)
        except Exception as exc:  # noqa: BLE001 - whatever kept it from starting is the task's failure
            trace = trace_of(exc)
        del self._processes[action.task]
        self.metrics.task_exited(action.task, trace is not None)
        self.guard.check_lease()
        self._herder.on_task_exited(action.task, trace, now_ms())
        self.wake()

    async def _evict_leftovers(self, action: StartTask) -> None:
        """Of a sink task that was killed, so that this one need not wait for its session to time out."""
        name, task = action.task.connector, action.task.task
        consumer = {**self._worker.client("consumer"), **overrides("consumer", action.config)}
        if "client.id" not in consumer:  # one that the user gave need not be this task's alone
            await self._members.evict(sink_group(name, action.config), sink_client_id(name, task))

    # Connectors

    async def _make_task_configs(self, action: MakeTaskConfigs) -> None:
        try:
            answer = await self._hosts.ask("task_configs", connector=action.name, config=action.config)
        except PluginFailed as exc:
            self.metrics.connector_started(failed=True)
            self._herder.on_connector_failed(action.name, action.revision, exc.trace, now_ms())
        except ConnectError as exc:
            self.metrics.connector_started(failed=True)
            self._herder.on_connector_failed(action.name, action.revision, trace_of(exc), now_ms())
        else:
            self.metrics.connector_started(failed=False)
            reload_ms = answer["reload_ms"]
            reload_at_ms = None if reload_ms is None else now_ms() + max(reload_ms, _RELOAD_MIN_MS)
            self._herder.on_task_configs(action.name, action.revision, answer["tasks"], reload_at_ms)
        self.wake()

    async def _fence_tasks(self, action: FenceTasks) -> None:
        name, generation = action.name, action.generation
        try:
            if action.former:
                _LOG.info("connector %s: fencing the producers of %d former tasks", name, action.former)
                await self._hosts.ask(
                    "fence", timeout_s=FENCING_S, connector=name, config=action.config, tasks=action.former
                )
            await self._configs.put_fenced(
                name, action.tasks, lambda: self._herder.wants_fencing(name, generation)
            )
        except ConnectError as exc:
            trace = exc.trace if isinstance(exc, PluginFailed) else trace_of(exc)
            self._herder.on_fencing_failed(name, generation, trace, now_ms())
        self.wake()

    async def _ask_restart(self, name: str) -> None:
        while self._herder.leads:
            try:
                await self._configs.put_restart(name, include_tasks=True, only_failed=False)
            except ConnectError as exc:
                _LOG.warning("connector %s will be restarted later: %s", name, exc)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _write_task_configs(self, action: WriteTaskConfigs) -> None:
        try:
            await self._configs.put_tasks(
                action.name, action.tasks, lambda: self._herder.wants_tasks(action.name, action.revision)
            )
        except ConnectError as exc:
            self._herder.on_connector_failed(action.name, action.revision, trace_of(exc), now_ms())
        self.wake()


def _on_wall_clock(status: Status | None) -> Status | None:
    if status is None or status.restarts is None:
        return status
    return replace(status, restarts=restart_budget.on_wall_clock(status.restarts, now_ms()))


def task_config(worker: WorkerConfig, connector: Mapping[str, str | None]) -> TaskConfig:
    """What is in force for a connector. A value that cannot be read fails its tasks, which say so; for the
    worker its own settings hold then."""
    try:
        return TaskConfig.of(worker.originals, connector)
    except ConfigError:
        return worker
