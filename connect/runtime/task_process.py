"""The worker's side of one task: its process and its control channel."""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from connect.api import ConnectError
from connect.herder.states import TaskId
from connect.runtime.errors import trace_of
from connect.runtime.forks import Child, ForkServer
from connect.runtime.lease import Lease
from connect.runtime.memory_watch import MemoryWatch
from connect.runtime.stacks import StackOffer, read_stacks
from connect.runtime.task_config import HANG_TIMEOUT, MEMORY_LIMIT, TaskConfig

_LOG = logging.getLogger(__name__)
_MESSAGE_BYTES_MAX: Final = 16 << 20
_HEARTBEAT_S: Final = 5.0
_HEARTBEAT_MIN_S: Final = 0.05
_LONG_S: Final = 300.0  # a call that takes longer is worth a warning, whatever the limit
_SILENT_BEATS: Final = 3
_MEMORY_LOOK_S: Final = 0.1
_STACKS_S: Final = 1.0  # for its Python stacks to come
_LATE_STACKS_S: Final = 0.2


class TaskEvents(Protocol):
    """Whom a task process tells what happens."""

    def on_running(self, task: TaskId, pid: int | None) -> None: ...

    def on_paused(self, task: TaskId) -> None: ...

    def on_retrying(self, task: TaskId, trace: str) -> None: ...

    def on_topic(self, task: TaskId, topic: str) -> None: ...

    def on_metrics(self, task: TaskId, metrics: Mapping[str, Any]) -> None: ...
    def on_offsets(self, task: TaskId, offsets: Sequence[tuple[Any, Any]]) -> None:
        """Stored in a topic of the connector's own; the worker's own topic is to have them too."""
        ...

    async def store_offsets(self, task: TaskId, offsets: Sequence[tuple[Any, Any]]) -> None:
        """Make them durable, in a worker that has no topic for them."""
        ...

    async def offsets_after_fencing(self, task: TaskId) -> Sequence[tuple[Any, Any]] | None:
        """What an exactly-once task goes on at; None: it is not wanted any more, and is being stopped."""
        ...


class TaskProcess:
    """One task, from fork to exit, within its limits and the worker's lease."""

    def __init__(
        self, task: TaskId, forks: ForkServer, events: TaskEvents, limits: TaskConfig, lease: Lease
    ) -> None:
        self.task = task
        self._forks = forks
        self._events = events
        self._limits = limits
        self._lease = lease
        self._hang_timeout_s = limits.hang_timeout_ms / 1000
        self._heartbeat_s = _HEARTBEAT_S
        if limits.hang_timeout_ms:
            self._heartbeat_s = max(_HEARTBEAT_MIN_S, min(_HEARTBEAT_S, self._hang_timeout_s / 2))
        self._child: Child | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._stop_told = False
        self._pause_told: bool | None = None
        self._trace: str | None = None
        self._pid: int | None = None
        self._stacks: StackOffer | None = None
        self._warned = False
        self._jobs: set[asyncio.Task[None]] = set()

    async def run(self, order: Callable[[], Awaitable[Mapping[str, Any]]]) -> str | None:
        """Start it with the order that `order` makes, and wait for its end: None, or why it failed."""
        message = await order()
        if self._stop_told:
            return None
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours, limit=_MESSAGE_BYTES_MAX)
        self._child = self._forks.fork("task", theirs)
        self._writer = writer
        try:
            # From here on `pause`, `resume` and `stop` reach the task; what came before is told now.
            paused = message["paused"] if self._pause_told is None else self._pause_told
            self._tell({
                "type": "start", "heartbeat_s": self._heartbeat_s, **message, "paused": paused,
                "lease_ms": self._lease.until_ms,
            })  # fmt: skip
            if self._stop_told:
                self._tell({"type": "stop"})
            self._pid = await self._child.pid
            if self._limits.memory_limit_bytes:
                self._spawn(self._watch_memory(self._pid, self._limits.memory_limit_bytes))
            await self._listen(reader)
            how = await self._child.exited
        finally:
            # Also when this coroutine is cancelled: no process stays without an owner.
            self._forks.kill(self._child)
            writer.close()
            self._writer = None
            for job in self._jobs:
                job.cancel()
        if self._trace is None and how.code != 0:
            self._trace = f"{ConnectError.java_class}: the task's process {how}"
        return self._trace

    def pause(self) -> None:
        self._pause_told = True
        self._tell({"type": "pause"})

    def resume(self) -> None:
        self._pause_told = False
        self._tell({"type": "resume"})

    def stop(self) -> None:
        self._stop_told = True
        self._tell({"type": "stop"})

    def extend_lease(self) -> None:
        self._tell({"type": "lease", "until_ms": self._lease.until_ms})

    def forget_topics(self) -> None:
        """Have it tell its topics again."""
        self._tell({"type": "forget_topics"})

    def kill(self) -> None:
        """End it; if it was told to stop, and did not in its time, say where it was."""
        if self._child is None:  # `run` waits for its order: there shall be no process
            self._stop_told = True
        elif self._stop_told:
            self._spawn(self._kill_late())
        else:
            self._kill_now()

    def _tell(self, message: Mapping[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Until the task closes its end, which it does by ending."""
        # Beats are counted, not seconds: if it is the worker that was stopped for a while, one is missing.
        silent = 0
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    line = await reader.readline()
            except TimeoutError:
                silent += 1
                if silent >= _SILENT_BEATS:
                    await self._check_silence(silent * self._heartbeat_s)
                continue
            except ConnectionError:
                return
            if not line:
                return
            silent = 0
            await self._take(json.loads(line))

    async def _take(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "running":
            self._events.on_running(self.task, self._pid)
        elif kind == "paused":
            self._events.on_paused(self.task)
        elif kind == "retrying":
            self._events.on_retrying(self.task, message["trace"])
        elif kind == "topic":
            self._events.on_topic(self.task, message["topic"])
        elif kind == "stacks":
            self._stacks = StackOffer.of(message)
        elif kind == "metrics":
            self._events.on_metrics(self.task, message)
        elif kind == "offsets":
            self._events.on_offsets(self.task, message["offsets"])
        elif kind == "store":
            self._spawn(self._store(message["number"], message["offsets"]))
        elif kind == "fenced":
            self._spawn(self._give_offsets())
        elif kind == "failed":
            self._trace = self._trace or message["trace"]
        elif kind == "heartbeat":
            await self._check_hang(message["stage_ms"] / 1000, message["stage"])

    async def _store(self, number: int, offsets: Sequence[tuple[Any, Any]]) -> None:
        error = None
        try:
            await self._events.store_offsets(self.task, offsets)
        except ConnectError as exc:
            error = str(exc)
        self._tell({"type": "stored", "number": number, "error": error})

    async def _give_offsets(self) -> None:
        try:
            offsets = await self._events.offsets_after_fencing(self.task)
        except Exception as exc:  # noqa: BLE001 - whatever kept it from going on is the task's failure
            self._trace = trace_of(exc)
            self._kill_now()
        else:
            if offsets is not None:
                self._tell({"type": "offsets", "offsets": list(offsets)})

    # Limits

    async def _check_hang(self, seconds: float, stage: str) -> None:
        if self._hang_timeout_s and seconds >= self._hang_timeout_s:
            await self._end(f"the task hung in {stage} for {seconds:.1f} s and was killed ({HANG_TIMEOUT})")
        else:
            await self._warn_of_long(seconds, f"has been in {stage}")

    async def _check_silence(self, seconds: float) -> None:
        """Not even its control thread runs: it is stopped, or C code holds Python's lock."""
        if self._hang_timeout_s and seconds >= self._hang_timeout_s:
            await self._end(
                f"the task gave no sign of life for {seconds:.1f} s and was killed ({HANG_TIMEOUT})"
            )
        else:
            await self._warn_of_long(seconds, "has given no sign of life")

    async def _warn_of_long(self, seconds: float, what: str) -> None:
        if seconds < _LONG_S:
            self._warned = False
        elif not self._warned:
            self._warned = True
            _LOG.warning(
                "task %s %s for %.0f s\n%s", self.task, what, seconds, await self._where_it_is(_STACKS_S)
            )

    async def _watch_memory(self, pid: int, limit_bytes: int) -> None:
        try:
            with MemoryWatch(pid) as watch:
                while (held_bytes := watch.resident_bytes()) <= limit_bytes:  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(_MEMORY_LOOK_S)
        except FileNotFoundError:
            return  # it has ended already
        await self._end(
            f"the task reached its memory limit of {limit_bytes} bytes ({MEMORY_LIMIT}): "
            f"it held {held_bytes} and was killed"
        )

    async def _end(self, why: str) -> None:
        """Kill it for a reason, which becomes its trace together with where it was."""
        if self._trace is None:
            self._trace = f"{ConnectError.java_class}: {why}"
            self._trace += f"\n{await self._where_it_is(_STACKS_S)}"
            self._kill_now()

    async def _kill_late(self) -> None:
        where = await self._where_it_is(_LATE_STACKS_S)
        _LOG.warning("task %s did not stop in time and is killed\n%s", self.task, where)
        self._kill_now()

    async def _where_it_is(self, seconds: float) -> str:
        if self._pid is None or self._stacks is None:
            return "There is no Python stack: the task's process was about to start."
        return await read_stacks(self._pid, self._stacks, seconds)

    def _kill_now(self) -> None:
        if self._child is not None:
            self._forks.kill(self._child)
