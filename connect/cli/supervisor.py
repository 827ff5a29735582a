"""`millstream up`: broker and worker as two child processes, kept running until told to stop.

It imports little, because it stays as long as the other two. Its ports are held from the start: they are
known before anybody listens, so broker and worker start side by side, and a child that is started again finds
its port free. Where the worker's file says where REST listens, the worker tells us when it does.
"""

import argparse
import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from connect.cli.defaults import DATA_DIR, KAFKA_PORT, REST_PORT
from connect.cli.failure import FAILED, OK, USAGE
from connect.lifeline import end_with_parent
from connect.runtime.logformat import wants_json

HOST = "127.0.0.1"
STOP_SECONDS = {"worker": 6.5, "broker": 3.0}  # 10 s in all, with a margin
BACKOFF_SECONDS_MAX = 30.0
STEADY_SECONDS = 30.0  # who ran this long starts again without a delay
START_ATTEMPTS_MAX = 3


class Refused(Exception):
    """`up` cannot start as asked; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `millstream up` was told; port 0 is any free one. Without `rest_port` the worker's settings say
    where REST listens."""

    data_dir: Path
    kafka_port: int
    rest_port: int | None
    broker_config: Path | None
    worker_config: Path | None
    connectors: Path | None

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "Options":
        """Of the command line; ends the process if it is wrong."""
        parser = argparse.ArgumentParser(
            prog="millstream up", description="Start broker and worker, and keep both running until Ctrl-C."
        )
        add = partial(parser.add_argument, metavar="N", type=_port)
        add("--kafka-port", default=KAFKA_PORT, help=f"for Kafka clients, 0: any free one ({KAFKA_PORT})")
        add(
            "--rest-port",
            help="of the REST API on 127.0.0.1, 0: any free one; without it what --worker-config says in "
            f"listeners, else {REST_PORT}",
        )
        add = partial(parser.add_argument, metavar="DIR", type=Path)
        add("--data-dir", default=DATA_DIR, help=f"where all data is kept ({DATA_DIR})")
        add("--connectors", type=_directory, help="connector JSON files to keep applied")
        add = partial(parser.add_argument, metavar="FILE", type=_file)
        add("--broker-config", help="broker settings, .properties as Kafka's")
        add("--worker-config", help="worker settings, .properties as Kafka Connect's")
        options = parser.parse_args(arguments)
        if options.rest_port is None and options.worker_config is None:
            options.rest_port = REST_PORT
        return cls(**vars(options))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is not a port: 0 to 65535")
    return int(text)


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


def _directory(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {text}")
    return Path(text)


@dataclass(slots=True)
class Child:
    """One of the two processes and how it has fared. Times are of the monotonic clock."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float | None = 0.0
    failures: int = 0


def log(level: str, event: str, **fields: Any) -> None:
    """One line in the shape of the children's logs (connect/runtime/logs.py), without importing structlog."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    if wants_json():
        line = json.dumps(
            {"timestamp": stamp, "level": level, "event": event, "logger": "millstream", **fields}
        )
    else:
        line = f"{stamp} [{level:<8}] {event:<30} " + " ".join(f"{k}={v}" for k, v in fields.items())
    with contextlib.suppress(OSError):  # a reader that went away must not end broker and worker
        sys.stderr.write(line + "\n")


def hold_port(port: int, option: str) -> socket.socket:
    """A socket that is bound to the port but does not listen, so that nobody else is given that port.

    The child binds it once more: with SO_REUSEADDR on both that is allowed while only one of them listens.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((HOST, port))
    except OSError as exc:
        held.close()
        if exc.errno != errno.EADDRINUSE:
            raise Refused(f"cannot use port {port} of {HOST}: {exc.strerror} ({option})") from None
        raise Refused(
            f"port {port} of {HOST} is in use: end what listens there, or choose another port with {option} "
            "(0 takes any free one)"
        ) from None
    return held


def lock_data_dir(data_dir: Path) -> TextIO:
    """Make the directory and lock it for this process; the lock ends with the process."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / ".up.lock").open("a+")
    except OSError as exc:
        raise Refused(f"cannot use data directory {data_dir}: {exc.strerror} (--data-dir)") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        raise Refused(
            f"data directory {data_dir} is in use by `millstream up` with process id {holder}: "
            "stop that one, or choose another directory with --data-dir"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


@dataclass(slots=True)
class Supervisor:
    """Starts the children, starts again those that die, and stops them in order."""

    children: list[Child]
    announce: Callable[[str], None]  # of REST's URL
    wakeup: socket.socket
    ready: int
    ready_for_child: int
    began_at: float = field(default_factory=time.monotonic)
    announced: bool = False

    def run(self) -> int:
        """Until a signal to stop; the exit code."""
        while True:
            for child in self.children:
                if child.start_at is not None and time.monotonic() >= child.start_at:
                    self._start(child)
            if self._wait() & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
                return self._stop()
            for child in self.children:
                code = child.process.poll() if child.process else None
                if code is not None:
                    verdict = self._died(child, code)
                    if verdict is not None:
                        self._stop()
                        return verdict

    def _start(self, child: Child) -> None:
        child.start_at = None
        child.started_at = time.monotonic()
        child.process = subprocess.Popen(
            child.command,
            stdin=subprocess.DEVNULL,
            # The broker tells its listeners there, which we do for both; a sink may write its records there.
            stdout=subprocess.DEVNULL if child.name == "broker" else None,
            pass_fds=(self.ready_for_child,) if child.name == "worker" else (),
            # Ctrl-C in a terminal goes to a whole session; the order of stopping is ours.
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),
        )

    def _wait(self) -> set[int]:
        """Sleep until something happens; the signals that came."""
        starts = [child.start_at for child in self.children if child.start_at is not None]
        timeout = max(0.0, min(starts) - time.monotonic()) if starts else None
        wakeup = self.wakeup.fileno()
        readable, _, _ = select.select([wakeup, self.ready], [], [], timeout)
        if self.ready in readable:
            self._is_ready(os.read(self.ready, 1024).decode().strip())
        return set(os.read(wakeup, 64)) if wakeup in readable else set()

    def _is_ready(self, url: str) -> None:
        self.announce(url)
        if not self.announced:
            self.announced = True
            log("info", "ready", seconds=round(time.monotonic() - self.began_at, 3))

    def _died(self, child: Child, code: int) -> int | None:
        """Plan the next start; or the exit code of us all, if there is no point in one."""
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        ran_seconds = time.monotonic() - child.started_at
        child.process = None
        child.failures = 1 if ran_seconds >= STEADY_SECONDS else child.failures + 1
        if not self.announced and code == USAGE:
            return USAGE  # it has said why
        if not self.announced and child.failures >= START_ATTEMPTS_MAX:
            log("error", f"the {child.name} does not start", ended=ended, attempts=child.failures)
            return FAILED
        delay = min(0.1 * 2 ** (child.failures - 1), BACKOFF_SECONDS_MAX)
        child.start_at = time.monotonic() + delay
        log("error", f"the {child.name} ended, it is started again", ended=ended, in_seconds=delay)
        return None

    def _stop(self) -> int:
        """The worker first, so that its tasks can still write; OK if both ended by themselves."""
        clean = True
        for child in reversed(self.children):
            process = child.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            if not self._wait_for_end(process, STOP_SECONDS[child.name]):
                log("error", f"the {child.name} did not stop in time and was killed")
                clean = False
                process.kill()
                process.wait()
        log("info", "stopped")
        return OK if clean else FAILED

    def _wait_for_end(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        """True once it ended; False when time is over, or when a second Ctrl-C says not to wait."""
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            readable, _, _ = select.select([self.wakeup], [], [], left)
            if readable and set(os.read(self.wakeup.fileno(), 64)) & {signal.SIGTERM, signal.SIGINT}:
                return False
        return True


def _announcement(data_dir: Path, kafka_port: int) -> Callable[[str], None]:
    told = ""

    def announce(url: str) -> None:
        nonlocal told
        if url == told:  # the worker was started again
            return
        told = url
        ports = data_dir / "ports.json"
        draft = ports.with_suffix(".json.new")
        rest_port = int(url.rpartition(":")[2])
        draft.write_text(json.dumps({"kafka": kafka_port, "rest": rest_port, "rest_url": url}) + "\n")
        draft.replace(ports)
        sys.stdout.write(f"Kafka  {HOST}:{kafka_port}\nREST   {url}\n")
        sys.stdout.flush()

    return announce


def _commands(options: Options, kafka_port: int, rest_port: int | None, ready: int) -> list[Child]:
    broker = ["broker.app", "--data-dir", f"{options.data_dir / 'broker'}", "--kafka-port", f"{kafka_port}"]
    if options.broker_config:
        broker += ["--config", str(options.broker_config)]
    worker = ["connect.cli.worker_process", "--bootstrap", f"{HOST}:{kafka_port}", "--ready-fd", f"{ready}"]
    if rest_port is not None:
        worker += ["--rest-port", str(rest_port)]
    if options.connectors:
        worker += ["--connectors", str(options.connectors)]
    if options.worker_config:
        worker += [str(options.worker_config)]
    python = [sys.executable, "-m"]
    return [Child("broker", python + broker), Child("worker", python + worker)]


def catch_signals() -> socket.socket:
    """From now on signals are bytes in the socket that this returns, each its number."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    writer.detach()  # stays open for as long as the process
    # SIGINT also where a shell that started us with & ignores it: `kill -INT` is meant.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, lambda *_: None)
    return reader


def main(arguments: Sequence[str]) -> int:
    options = Options.parse(arguments)
    data_dir = options.data_dir
    try:
        lock = lock_data_dir(data_dir)
        (data_dir / "ports.json").unlink(missing_ok=True)
        kafka = hold_port(options.kafka_port, "--kafka-port")
        rest = None if options.rest_port is None else hold_port(options.rest_port, "--rest-port")
    except Refused as exc:
        sys.stderr.write(f"millstream: {exc}\n")
        return USAGE
    kafka_port = kafka.getsockname()[1]
    rest_port = None if rest is None else rest.getsockname()[1]
    wakeup = catch_signals()
    ready, ready_for_child = os.pipe()
    children = _commands(options, kafka_port, rest_port, ready_for_child)
    announce = _announcement(data_dir, kafka_port)
    try:
        return Supervisor(children, announce, wakeup, ready, ready_for_child).run()
    finally:
        (data_dir / "ports.json").unlink(missing_ok=True)
        lock.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
