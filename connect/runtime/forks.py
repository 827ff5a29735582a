"""The worker's side of the forkserver: start it, fork through it, learn how each child ended."""

import asyncio
import collections
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connect.api import ConnectError
from connect.runtime.forkserver import MESSAGE_BYTES_MAX, become


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended. `code` or `signal` is set; neither if its forkserver ended and took it along."""

    code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    peak_memory_bytes: int = 0

    def __str__(self) -> str:
        peak = f"; its peak memory was {self.peak_memory_bytes / 1e6:.0f} MB"
        if self.oom_killed:
            return f"was killed by the kernel because the memory was used up{peak}"
        if self.signal is not None:
            name = signal.Signals(self.signal).name
            hint = ", which may have been for lack of memory" if self.signal == signal.SIGKILL else ""
            return f"was killed by {name}{hint}{peak}"
        if self.code is not None:
            return f"exited with code {self.code}{peak}"
        return "ended together with the forkserver"


@dataclass(slots=True)
class Child:
    """A forked process. `pid` and `exited` are set when known."""

    id: int
    pid: "asyncio.Future[int]"
    exited: "asyncio.Future[Exit]"


@dataclass(slots=True)
class ForkServer:
    """Starts the forkserver on first use and again should it end. Belongs to one event loop. With
    `keeps_stdin` what is forked has the worker's standard input, else none."""

    keeps_stdin: bool = False
    python_path: Sequence[str] = ()
    log_level: str = "INFO"
    _pid: int | None = None
    _channel: socket.socket | None = None
    _began: bool = False
    _reaped: "asyncio.Future[tuple[int, int]] | None" = None
    _children: dict[int, Child] = field(default_factory=dict)
    _ids: "itertools.count[int]" = field(default_factory=itertools.count)
    _outgoing: "collections.deque[tuple[bytes, socket.socket | None]]" = field(
        default_factory=collections.deque
    )
    _preloaded: dict[str, None] = field(default_factory=dict)

    def fork_off(self) -> None:
        """Fork the forkserver from this very process, which must have one thread and no event loop yet: what
        both import by now was loaded once, and is in memory once."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            become(theirs, worker, keeps_stdin=self.keeps_stdin)
        theirs.close()
        self._channel = ours

    def start(self) -> None:
        """Have it begin; requests may be made at once, they wait in its socket."""
        if self._began:
            return
        if self._channel is None:
            self._spawn()
        assert self._channel is not None
        self._began = True
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._on_readable)
        self._send({"python_path": list(self.python_path), "log_level": self.log_level})
        for module in self._preloaded:
            self._send({"op": "preload", "module": module})

    def _spawn(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.set_inheritable(True)
            arguments = [str(theirs.fileno()), str(os.getpid())]
            self._pid = os.posix_spawn(
                sys.executable, [sys.executable, "-m", "connect.runtime.forkserver", *arguments], os.environ,
                file_actions=[] if self.keeps_stdin
                else [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            )  # fmt: skip

    def fork(self, entry: str, control: socket.socket) -> Child:
        """Fork a process that runs `entry` with its end of a socket pair, which this closes here."""
        self.start()
        loop = asyncio.get_running_loop()
        child = Child(next(self._ids), loop.create_future(), loop.create_future())
        self._children[child.id] = child
        self._send({"op": "fork", "id": child.id, "entry": entry}, control)
        return child

    def kill(self, child: Child) -> None:
        if not child.exited.done():
            self._send({"op": "kill", "id": child.id})

    def preload(self, module: str) -> None:
        """Have later children share this module."""
        if module not in self._preloaded:
            self._preloaded[module] = None
            self._send({"op": "preload", "module": module})

    async def stop(self) -> None:
        """End it and with it what is left of its children."""
        if self._channel is not None:
            self._disconnect()
        if self._reaped is not None:
            await self._reaped

    def _send(self, message: Mapping[str, Any], passed: socket.socket | None = None) -> None:
        self._outgoing.append((json.dumps(message).encode(), passed))
        self._drain()

    def _drain(self) -> None:
        """Send what waits; the rest when the socket takes it (the forkserver may be importing)."""
        assert self._channel is not None
        loop = asyncio.get_running_loop()
        try:
            while self._outgoing:
                data, passed = self._outgoing[0]
                socket.send_fds(self._channel, [data], [passed.fileno()] if passed else [])
                self._outgoing.popleft()
                if passed is not None:
                    passed.close()
        except BlockingIOError:
            loop.add_writer(self._channel, self._drain)
        except (BrokenPipeError, ConnectionResetError):
            self._disconnect()
        else:
            loop.remove_writer(self._channel)

    def _on_readable(self) -> None:
        assert self._channel is not None
        while self._channel is not None:
            try:
                data = self._channel.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self._disconnect()
                return
            self._on_message(json.loads(data))

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message["event"] == "forked":
            self._children[message["id"]].pid.set_result(message["pid"])
        elif message["event"] == "exited":
            child = self._children.pop(message["id"])
            _resolve(child, Exit(message["code"], message["signal"], message["oom_killed"],
                                 message["peak_memory_bytes"]))  # fmt: skip

    def _disconnect(self) -> None:
        """The forkserver is gone or told to go; its children are or will be gone too."""
        assert self._channel is not None
        assert self._pid is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._channel)
        loop.remove_writer(self._channel)
        self._channel.close()
        self._channel = None
        self._began = False
        self._reaped = loop.run_in_executor(None, os.waitpid, self._pid, 0)
        for _, passed in self._outgoing:
            if passed is not None:
                passed.close()
        self._outgoing.clear()
        children, self._children = list(self._children.values()), {}
        for child in children:
            _resolve(child, Exit())


def _resolve(child: Child, how: Exit) -> None:
    if not child.pid.done():
        child.pid.set_exception(ConnectError("the forkserver ended before it could fork"))
        with contextlib.suppress(ConnectError):
            child.pid.exception()
    if not child.exited.done():
        child.exited.set_result(how)
