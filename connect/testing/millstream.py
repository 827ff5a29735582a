"""Millstream as a child process: broker and worker (`millstream up`), or either of them alone."""

import json
import os
import signal
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connect.testing.child import Child, Stoppable

if TYPE_CHECKING:
    import httpx

_READY_SECONDS = 60


class _Server(Stoppable):
    """A server with its data under `data_dir`; ready when the constructor returns, or, where it was told not
    to wait, when `wait_until_ready` does. It is ready again on the same ports when `start` returns."""

    def __init__(self, data_dir: Path, *, wait: bool = True) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir
        self.child = self._launch()
        if wait:
            self.wait_until_ready()

    @abstractmethod
    def _command(self) -> list[str]:
        """What to run, after the Python interpreter."""

    @abstractmethod
    def _told(self) -> Path:
        """The file that the server writes its ports to when it is ready."""

    @abstractmethod
    def _learn_ports(self, text: str) -> None:
        """Take the ports from that file."""

    def _launch(self) -> Child:
        self._told().unlink(missing_ok=True)
        log = self.data_dir / f"{type(self).__name__.lower()}.log"
        return Child([sys.executable, *self._command()], log)

    def wait_until_ready(self) -> None:
        """Raises `ChildFailed` if it does not get ready in a minute."""
        told = self._told()
        self.child.wait_until(told.exists, _READY_SECONDS, type(self).__name__)
        self._learn_ports(told.read_text())

    @property
    def pid(self) -> int:
        """Of the topmost process."""
        return self.child.pid

    def log(self, lines: int = 30) -> str:
        """The end of its log."""
        return self.child.tail(lines)

    def processes(self) -> list[tuple[int, str]]:
        """(process id, title) of the topmost process and everything below it."""
        return descendants(self.child.pid)

    def kill(self) -> None:
        """SIGKILL for every process at once."""
        for pid, _ in self.processes():
            kill_quietly(pid)
        self.child.process.wait()

    def start(self) -> None:
        """Start again after `kill` or `stop`."""
        self.child = self._launch()
        self.wait_until_ready()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self.child.stop()


class Broker(_Server):
    """The bundled broker alone, on a free port unless one is given."""

    def __init__(
        self, data_dir: Path, settings: Mapping[str, str] | None = None, *, port: int = 0, wait: bool = True
    ) -> None:
        self.port = port
        self._settings = settings
        super().__init__(data_dir, wait=wait)

    def _command(self) -> list[str]:
        command = ["-m", "broker.app", "--data-dir", str(self.data_dir), "--kafka-port", str(self.port)]
        command += ["--port-file", str(self._told())]
        if self._settings is not None:
            command += ["--config", _properties(self.data_dir / "broker.properties", self._settings)]
        return command

    def _told(self) -> Path:
        return self.data_dir / "port"

    def _learn_ports(self, text: str) -> None:
        self.port = int(text)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"


class _WithRest(_Server):
    """A server whose REST API listens on `rest_port`, for the Kafka cluster at `bootstrap`."""

    bootstrap: str
    rest_port: int
    scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.rest_port}"

    def request(self, method: str, path: str, body: Any = None, timeout: float = 120) -> "httpx.Response":
        """One REST call."""
        import httpx  # here, since a start would wait for it: 0.1 s

        return httpx.request(method, self.url + path, json=body, timeout=timeout)


class Worker(_WithRest):
    """A worker alone, on a free port, for any Kafka cluster; several with the same settings form a group.
    `scheme` https needs the `ssl.` settings."""

    def __init__(
        self,
        data_dir: Path,
        bootstrap: str,
        settings: Mapping[str, str] | None = None,
        *,
        scheme: str = "http",
        arguments: Sequence[str] = (),
        wait: bool = True,
    ) -> None:
        self.bootstrap = bootstrap
        self.rest_port = 0
        self.scheme = scheme
        self._settings = settings or {}
        self._arguments = arguments
        super().__init__(data_dir, wait=wait)

    def _command(self) -> list[str]:
        listener = {"listeners": f"{self.scheme}://127.0.0.1:{self.rest_port}"}
        properties = _properties(self.data_dir / "worker.properties", {**self._settings, **listener})
        options = ["--bootstrap", self.bootstrap, "--port-file", str(self._told()), *self._arguments]
        return ["-m", "connect.cli.main", "worker", *options, properties]

    def _told(self) -> Path:
        return self.data_dir / "port"

    def _learn_ports(self, text: str) -> None:
        self.rest_port = int(text)


class Millstream(_WithRest):
    """`millstream up` on free ports; `broker` and `worker` are the properties of the two settings files."""

    def __init__(
        self,
        data_dir: Path,
        *,
        broker: Mapping[str, str] | None = None,
        worker: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.kafka_port = self.rest_port = 0
        self._settings = {"broker": broker, "worker": worker}
        self._arguments = arguments
        super().__init__(data_dir)

    def _command(self) -> list[str]:
        command = ["-m", "connect.cli.main", "up", "--data-dir", str(self.data_dir)]
        command += ["--kafka-port", str(self.kafka_port), "--rest-port", str(self.rest_port)]
        for which, settings in self._settings.items():
            if settings is not None:
                command += [f"--{which}-config", _properties(self.data_dir / f"{which}.properties", settings)]
        return [*command, *self._arguments]

    def _told(self) -> Path:
        return self.data_dir / "ports.json"

    def _learn_ports(self, text: str) -> None:
        ports = json.loads(text)
        self.kafka_port, self.rest_port = ports["kafka"], ports["rest"]
        self.bootstrap = f"127.0.0.1:{self.kafka_port}"


def descendants(pid: int) -> list[tuple[int, str]]:
    """(process id, title) of a process and all below it, parents first."""
    found: list[tuple[int, str]] = []
    pending = [pid]
    while pending:
        current = pending.pop()
        try:
            title = (
                Path(f"/proc/{current}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            tasks = list(Path(f"/proc/{current}/task").iterdir())
            children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        found.append((current, title.strip()))
        pending.extend(children)
    return found


def kill_quietly(pid: int) -> None:
    """SIGKILL, unless it has ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _properties(path: Path, settings: Mapping[str, str]) -> str:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return str(path)
