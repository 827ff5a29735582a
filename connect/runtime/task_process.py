"""The worker's side of one task: its process and its control channel."""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from connect.api import ConnectError
from connect.herder.states import TaskId
from connect.runtime.forks import Child, ForkServer

_LOG = logging.getLogger(__name__)
_MESSAGE_BYTES_MAX: Final = 16 << 20
_HEARTBEAT_S: Final = 5.0
_SILENT_BEATS: Final = 6


class TaskEvents(Protocol):
    """Whom a task process tells what happens."""

    def on_running(self, task: TaskId, pid: int | None) -> None: ...

    def on_paused(self, task: TaskId) -> None: ...

    def on_topic(self, task: TaskId, topic: str) -> None: ...


class TaskProcess:
    """One task, from fork to exit. `hang_timeout_s` 0: it may hang as long as it likes."""

    def __init__(self, task: TaskId, forks: ForkServer, events: TaskEvents, hang_timeout_s: float) -> None:
        self.task = task
        self._forks = forks
        self._events = events
        self._hang_timeout_s = hang_timeout_s
        self._heartbeat_s = min(_HEARTBEAT_S, hang_timeout_s / 2) if hang_timeout_s else _HEARTBEAT_S
        self._child: Child | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._stop_told = False
        self._pause_told: bool | None = None
        self._trace: str | None = None
        self._pid: int | None = None

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
            self._tell({"type": "start", "heartbeat_s": self._heartbeat_s, **message, "paused": paused})
            if self._stop_told:
                self._tell({"type": "stop"})
            self._pid = await self._child.pid
            await self._listen(reader)
            how = await self._child.exited
        finally:
            # Also when this coroutine is cancelled: no process stays without an owner.
            self._forks.kill(self._child)
            writer.close()
            self._writer = None
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

    def forget_topics(self) -> None:
        """Have it tell its topics again."""
        self._tell({"type": "forget_topics"})

    def kill(self) -> None:
        if self._child is not None:
            self._forks.kill(self._child)

    def _tell(self, message: Mapping[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Until the task closes its end, which it does by ending."""
        silent = 0
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    line = await reader.readline()
            except TimeoutError:
                silent += 1
                if silent == _SILENT_BEATS:
                    _LOG.warning("task %s gives no sign of life", self.task)
                    self._check_hang(silent * self._heartbeat_s, "code that holds Python's lock")
                continue
            except ConnectionError:
                return
            if not line:
                return
            silent = 0
            self._take(json.loads(line))

    def _take(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "running":
            self._events.on_running(self.task, self._pid)
        elif kind == "paused":
            self._events.on_paused(self.task)
        elif kind == "topic":
            self._events.on_topic(self.task, message["topic"])
        elif kind == "failed":
            self._trace = message["trace"]
        elif kind == "heartbeat":
            self._check_hang(message["stage_ms"] / 1000, message["stage"])

    def _check_hang(self, seconds: float, stage: str) -> None:
        if self._hang_timeout_s and seconds >= self._hang_timeout_s and self._trace is None:
            self._trace = (
                f"{ConnectError.java_class}: the task hung in {stage} for {seconds:.0f} s and was killed"
            )
            self.kill()
