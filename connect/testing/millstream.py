"""Millstream itself as a child: broker and worker (`millstream up`), or the broker alone."""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from connect.testing.child import Child


class Millstream:
    """`millstream up` on free ports with its data under `data_dir`; ready when this returns.

    `broker` and `worker` are properties for the two settings files; `bootstrap_servers` names another
    Kafka cluster to use in place of the bundled broker.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        broker: Mapping[str, str] | None = None,
        worker: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir
        self._arguments = [
            *_settings_file(data_dir, "broker", broker),
            *_settings_file(data_dir, "worker", worker),
        ]
        self._arguments += arguments
        self.kafka_port, self.rest_port = ports
        self._child = self._start()

    def _start(self) -> Child:
        told = self.data_dir / "ports.json"
        told.unlink(missing_ok=True)
        child = Child(
            [sys.executable, "-m", "connect.cli.main", "up", "--data-dir", str(self.data_dir),
             "--kafka-port", str(self.kafka_port), "--rest-port", str(self.rest_port), *self._arguments],
            self.data_dir / "millstream.log",
        )  # fmt: skip
        child.wait_until(told.exists, 60, "millstream up")
        ports = json.loads(told.read_text())
        self.kafka_port, self.rest_port = ports["kafka"], ports["rest"]
        return child

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.kafka_port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._child.pid

    def log(self, lines: int = 30) -> str:
        """The end of its log."""
        return self._child.tail(lines)

    def request(self, method: str, path: str, body: Any = None, timeout: float = 120) -> httpx.Response:
        """One REST call."""
        return httpx.request(method, self.url + path, json=body, timeout=timeout)

    def processes(self) -> list[tuple[int, str]]:
        """(process id, command line) of the supervisor and everything below it."""
        return descendants(self._child.pid)

    def kill(self) -> None:
        """SIGKILL for every process at once."""
        for pid, _ in self.processes():
            kill_quietly(pid)
        self._child.process.wait()

    def start(self) -> None:
        """Start again on the same ports and data after `kill` or `stop`."""
        self._child = self._start()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Broker:
    """The bundled broker alone, on a free port with its data under `data_dir`."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir
        arguments = _settings_file(data_dir, "broker", settings)
        self._arguments = ["--config", arguments[1]] if arguments else []
        self.port = 0
        self.child = self._start()

    def _start(self) -> Child:
        told = self.data_dir / "kafka-port"
        told.unlink(missing_ok=True)
        child = Child(
            [sys.executable, "-m", "broker.app", "--data-dir", str(self.data_dir),
             "--kafka-port", str(self.port), "--port-file", str(told), *self._arguments],
            self.data_dir / "broker.log",
        )  # fmt: skip
        child.wait_until(told.exists, 30, "the broker")
        self.port = int(told.read_text())
        return child

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.child.pid

    def kill(self) -> None:
        """SIGKILL."""
        self.child.stop(signal.SIGKILL)

    def start(self) -> None:
        """Start again on the same port and data."""
        self.child = self._start()

    def stop(self) -> int:
        return self.child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def descendants(pid: int) -> list[tuple[int, str]]:
    """(process id, command line) of a process and all below it, parents first."""
    found: list[tuple[int, str]] = []
    pending = [pid]
    while pending:
        current = pending.pop()
        try:
            command = (
                Path(f"/proc/{current}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            tasks = list(Path(f"/proc/{current}/task").iterdir())
            children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        found.append((current, command.strip()))
        pending.extend(children)
    return found


def kill_quietly(pid: int) -> None:
    """SIGKILL, unless it has ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _settings_file(directory: Path, which: str, settings: Mapping[str, str] | None) -> list[str]:
    if settings is None:
        return []
    path = directory / f"{which}.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return [f"--{which}-config", str(path)]
