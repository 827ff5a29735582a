"""The process that all tasks and plugin hosts are forked from: everything they import is loaded once, here.

It starts no thread and opens no connection, so that a fork is safe and cheap. The worker speaks to it over a
Unix SEQPACKET socket, one JSON object a message:

    worker → forkserver   {"python_path": […], "log_level": "…"}, once, first;
                          {"op": "fork", "id": n, "entry": "task" | "plugin_host"} with one fd, the
                          child's end of its control channel;
                          {"op": "kill", "id": n}; {"op": "preload", "module": "…"}
    forkserver → worker   {"event": "forked", "id": n, "pid": p};
                          {"event": "exited", "id": n, "code": c | null, "signal": s | null,
                           "oom_killed": bool, "peak_memory_bytes": b}

It ends when the worker's end closes, and kills what it forked before it does. What its children started and
left behind comes to it (PR_SET_CHILD_SUBREAPER) and is killed, too. Should it be killed itself, so are its
children (PR_SET_PDEATHSIG).
"""

import array
import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from setproctitle import setproctitle

from connect.lifeline import adopt_orphans, children, end_with_parent, tell_parents_end
from connect.runtime.logs import configure_logging

_LOG = logging.getLogger(__name__)
MESSAGE_BYTES_MAX: Final = 65_536
_END_S: Final = 2.0
_LOOK_S: Final = 0.005
_PRELOAD: Final = (
    "confluent_kafka",
    "confluent_kafka.admin",
    "orjson",
    "connect.runtime.plugin_host",
    "connect.runtime.task",
)


def main(arguments: list[str]) -> None:
    """`FD PARENT_PID`: the socket and the worker."""
    serve(socket.socket(fileno=int(arguments[0])), int(arguments[1]))


def become(channel: socket.socket, parent_pid: int, *, keeps_stdin: bool) -> NoReturn:
    """For a process that the worker has just forked."""

    def run() -> int:
        if not keeps_stdin:
            with open(os.devnull, "rb") as nothing:
                os.dup2(nothing.fileno(), 0)
        serve(channel, parent_pid)
        return 0

    _run_and_exit(run, "forkserver")


def serve(channel: socket.socket, parent_pid: int) -> None:
    """Until the worker ends. It imports once it is told its settings: a start has more urgent work."""
    gc.disable()  # what is imported stays
    end_with_parent(parent_pid)  # while it imports, it does not see the worker's end
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all; the worker decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    name_process("forkserver")
    if not (told := channel.recv(MESSAGE_BYTES_MAX)):
        return
    settings = json.loads(told)
    sys.path += [path for path in settings["python_path"] if path not in sys.path]
    for module in _PRELOAD:
        importlib.import_module(module)
    configure_logging(settings["log_level"])
    _warm_up()
    adopt_orphans()
    _ForkServer(channel).run()


def _run_and_exit(run: Callable[[], int], what: str) -> NoReturn:
    """In a forked process: nothing may reach the frames of who forked it, nor run their cleanup."""
    code = 1
    try:
        code = run()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # noqa: BLE001 - see above
        _LOG.exception("a %s process failed", what)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _warm_up() -> None:
    """Make here, once, what every child would make for itself; then keep the collector off those pages."""
    from connect.runtime.config import WorkerConfig
    from connect.runtime.connector_config import SinkConnectorConfig, SourceConnectorConfig
    from connect.runtime.plugins import PluginKind, Plugins
    from connect.runtime.task_config import TaskConfig

    plugins = Plugins.discover()
    for kind in set(PluginKind) - {PluginKind.CONNECTOR}:
        for entry in plugins.all(kind):
            if entry.module.startswith("connect."):
                entry.load()
    for config_class in (WorkerConfig, SourceConnectorConfig, SinkConnectorConfig, TaskConfig):
        config_class.examine({})
    gc.collect()
    gc.freeze()
    gc.enable()


def name_process(name: str) -> None:
    """What `ps` and `top` show."""
    setproctitle(f"millstream {name}")


class _ForkServer:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._children: dict[int, int] = {}  # pid → id
        self._oom_kills = _oom_kill_count()
        self._wakeup_reader, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        # It sees the worker's end by itself, unless it is stopped.
        tell_parents_end(signal.SIGCONT)
        try:
            self._loop()
        finally:
            _end_children()

    def _loop(self) -> None:
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        poller.register(self._wakeup_reader, select.POLLIN)
        while True:
            for fd, _ in poller.poll():
                if fd == self._wakeup_reader:
                    os.read(self._wakeup_reader, 4096)
                    self._reap()
                elif not self._serve():
                    return

    def _serve(self) -> bool:
        """Take one request; False when the worker is gone."""
        data, ancillary, _, _ = self._channel.recvmsg(MESSAGE_BYTES_MAX, socket.CMSG_LEN(4))
        if not data:
            return False
        request = json.loads(data)
        if request["op"] == "fork":
            fds = array.array("i")
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
            self._fork(request["id"], request["entry"], fds[0])
        elif request["op"] == "kill":
            for pid, child_id in self._children.items():
                if child_id == request["id"]:
                    os.kill(pid, signal.SIGKILL)
        elif request["op"] == "preload":
            self._preload(request["module"])
        return True

    def _fork(self, child_id: int, entry: str, control_fd: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(parent, entry, control_fd)
        os.close(control_fd)
        self._children[pid] = child_id
        self._tell({"event": "forked", "id": child_id, "pid": pid})

    def _become_child(self, parent: int, entry: str, control_fd: int) -> NoReturn:
        def run() -> int:
            end_with_parent(parent)
            adopt_orphans()  # so that they become the forkserver's only when this process has ended
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self._channel.close()
            os.close(self._wakeup_reader)
            os.close(self._wakeup_writer)
            return _entry(entry)(socket.socket(fileno=control_fd))

        _run_and_exit(run, entry)

    def _preload(self, module: str) -> None:
        """Load the module of a plugin, so that its tasks share it. The child reports why it fails."""
        if module in sys.modules:
            return
        tell_parents_end(signal.SIGKILL)  # an import may hang
        try:
            importlib.import_module(module)
        except Exception as exc:  # noqa: BLE001 - a plugin's import may raise anything
            _LOG.warning("module %s could not be loaded in advance: %s", module, exc)
        tell_parents_end(signal.SIGCONT)
        gc.collect()
        gc.freeze()

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child_id = self._children.pop(pid, None)
            self._end_leftovers()
            if child_id is None:
                continue
            oom_kills = _oom_kill_count()
            killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            self._tell({
                "event": "exited", "id": child_id,
                "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                "signal": killed,
                "oom_killed": killed == signal.SIGKILL and oom_kills > self._oom_kills,
                "peak_memory_bytes": usage.ru_maxrss * 1024,
            })  # fmt: skip
            self._oom_kills = oom_kills

    def _end_leftovers(self) -> None:
        """Of a child that ended: the processes that a connector's code started."""
        for pid in children():
            if pid not in self._children:
                os.kill(pid, signal.SIGKILL)

    def _tell(self, message: Mapping[str, Any]) -> None:
        try:
            self._channel.send(json.dumps(message).encode())
        except BrokenPipeError:
            raise SystemExit(0) from None  # the worker is gone


def _end_children() -> None:
    """Kill them and what they leave behind, until there is none or they do not end (the kernel has them)."""
    deadline = time.monotonic() + _END_S
    while (pids := children()) and time.monotonic() < deadline:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        while os.waitpid(-1, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)


def _entry(name: str) -> Callable[[socket.socket], int]:
    from connect.runtime import plugin_host, task

    return {"task": task.main, "plugin_host": plugin_host.main}[name]


def _oom_kill_count() -> int:
    """How often the kernel killed a process of this cgroup for memory; 0 where that cannot be known."""
    try:
        path = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
        events = (Path("/sys/fs/cgroup") / path / "memory.events").read_text()
    except OSError:
        return 0
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get("oom_kill", 0))


if __name__ == "__main__":
    main(sys.argv[1:])
