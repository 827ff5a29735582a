"""The task's end of its control channel: newline-delimited JSON on a socket, read by a thread of its own.

    worker → task   {"type": "start", …} once, then {"type": "pause" | "resume" | "stop" | "forget_topics"},
                    {"type": "offsets", "offsets": [[partition, offset], …]} to "fenced",
                    {"type": "stored", "number": …, "error": …} to "store",
                    {"type": "lease", "until_ms": …} (see lease.py)
    task → worker   {"type": "running" | "paused" | "stopped"}, {"type": "failed", "trace": …},
                    {"type": "retrying", "trace": …} until "running" says that it works again,
                    {"type": "topic", "topic": …}, {"type": "heartbeat", "stage": …, "stage_ms": …},
                    {"type": "stacks", …}: how to see where it hangs (`StackOffer`),
                    {"type": "metrics", …} once a second (`runtime.metrics`)
                    {"type": "fenced"}, {"type": "offsets", "offsets": [[partition, offset], …]}

An exactly-once source task says `fenced` when its predecessors cannot write any more: what they stored is
final only then; it gets it, if it is still wanted. A source task tells the `offsets` that it has written to a
topic of the connector's own, for the worker's topic; one of a standalone worker has the worker `store` them,
{"number": …, "offsets": [[partition, offset], …]}.

When the worker's end closes the worker is dead, and when the lease is over it may be: the task ends at once,
for another worker may start it.
"""

import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from connect.api import ConnectError
from connect.runtime.lease import FOREVER, Lease
from connect.runtime.pace import Pace
from connect.runtime.stacks import offer_stacks

_READ_BYTES: Final = 1 << 16
_NEWS_S: Final = 0.5
_REST_MAX_S: Final = 60.0  # a sink has to poll within max.poll.interval.ms
_METRICS_S: Final = 1.0


class Progress:
    """What the task does now, for the heartbeat. Written by the task's thread, a batch at a time.

    `since` is None while it waits for what may take as long as it likes, such as the end of a pause.
    """

    __slots__ = ("since", "stage")

    def __init__(self) -> None:
        self.stage = "start"
        self.since: float | None = time.monotonic()

    def enter(self, stage: str) -> None:
        self.since = None  # the control thread must not see the one's time with the other
        self.stage = stage
        self.since = time.monotonic()

    def rest(self, stage: str) -> None:
        self.since = None
        self.stage = stage


class TaskChannel:
    """Commands from the worker as flags that the task's thread looks at, and messages to the worker."""

    def __init__(self, control: socket.socket) -> None:
        self._socket = control
        self._unread = b""
        self._sending = threading.Lock()
        self._wake = threading.Condition()
        self._stopping = False
        self._paused = False
        self._heartbeat_s = 0.0
        self._topics: set[str] = set()
        self._pace: Pace | None = None
        self._lease = Lease(FOREVER)
        self._offsets: list[tuple[Any, Any]] | None = None
        self._store_number = 0
        self._stored: dict[str, Any] = {}
        self._trouble: str | None = None
        self.progress = Progress()
        self.metrics: Callable[[], Mapping[str, Any]] | None = None  # asked once a second, by the thread here

    def receive(self) -> dict[str, Any]:
        """The first message, before `listen`."""
        while b"\n" not in self._unread:
            if not (data := self._socket.recv(_READ_BYTES)):
                raise ConnectError("the worker closed the control channel")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def listen(self, *, paused: bool, heartbeat_s: float, lease_ms: int = FOREVER) -> None:
        """Start the thread."""
        self._lease.until_ms = lease_ms
        self._paused = paused
        self._heartbeat_s = heartbeat_s
        control = threading.Thread(target=self._listen, name="control", daemon=True)
        control.start()
        assert control.ident is not None
        self.send("stacks", **asdict(offer_stacks(hidden=[control.ident])))

    def limit_cpu(self, share: float) -> None:
        """From now on `keep_pace` holds this process to this share of a core."""
        self._pace = Pace(share)

    def keep_pace(self) -> None:
        """Called between two pieces of work: rest as long as the limit of CPU time asks for."""
        if self._pace is None:
            return
        rest_s = min(self._pace.rest_s(), _REST_MAX_S)
        if rest_s > 0:
            self.progress.rest("rest")
            self.wait(rest_s)

    def send(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"type": kind, **fields}).encode() + b"\n"
        with self._sending:
            try:
                self._socket.sendall(line)
            except (BrokenPipeError, ConnectionResetError):
                os._exit(1)

    def tell_retry(self, call: str, error: ConnectError) -> None:
        """Tell the worker why a call is tried again; then `tell_success` once it works. Not each time: the
        worker writes it to a topic."""
        if self._trouble != str(error):
            self._trouble = str(error)
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.send("retrying", trace=f"{call} is tried again since {since}: {error}")

    def tell_success(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            self.send("running")

    def use_topic(self, topic: str) -> None:
        """Tell the worker of a topic, once (KIP-558)."""
        if topic not in self._topics:
            self._topics.add(topic)
            self.send("topic", topic=topic)

    @property
    def topics(self) -> set[str]:
        """Those that the worker was told of."""
        return self._topics

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def paused(self) -> bool:
        return self._paused

    def check_lease(self) -> None:
        """To be called before what must not be done twice at once. Does not return when the lease is over:
        not even the connector's `stop` is called, for another process does its work by now."""
        if self._lease.holds:
            return
        with self._wake:  # the control thread may have news that it had no time to read
            if not self._wake.wait_for(lambda: self._lease.holds, _NEWS_S):
                os._exit(1)

    def stop(self) -> None:
        """As if the worker had said so; safe in a signal handler's thread of its own."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def wait(self, seconds: float) -> bool:
        """Sleep until the time is over or the task should stop; True if it should stop."""
        with self._wake:
            self._wake.wait_for(lambda: self._stopping, seconds)
            return self._stopping

    def offsets_after_fencing(self) -> list[tuple[Any, Any]] | None:
        """Say that no other process can write any more, wait for the offsets; None: the task should stop."""
        self.send("fenced")
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._offsets is not None)
            return None if self._stopping else self._offsets

    def store(self, offsets: Sequence[tuple[Any, Any]], seconds: float) -> bool:
        """Have the worker make these offsets durable; False if that takes longer. Raises `ConnectError` with
        what kept it from doing so."""
        self._store_number += 1
        self.send("store", number=self._store_number, offsets=offsets)
        with self._wake:
            if not self._wake.wait_for(lambda: self._stored.get("number") == self._store_number, seconds):
                return False
            if error := self._stored["error"]:
                raise ConnectError(error)
            return True

    def wait_while_paused(self, seconds: float) -> None:
        """Sleep until the time is over, the task should stop, or it is no longer paused."""
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or not self._paused, seconds)

    def _listen(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        next_heartbeat = time.monotonic() + self._heartbeat_s
        next_metrics = time.monotonic() + _METRICS_S
        while True:
            seconds = min(min(next_heartbeat, next_metrics) - time.monotonic(), self._lease.seconds_left)
            if poller.poll(max(0.0, seconds) * 1000):
                self._read()
            if not self._lease.holds:
                os._exit(1)
            if time.monotonic() >= next_heartbeat:
                next_heartbeat = time.monotonic() + self._heartbeat_s
                self._beat()
            if time.monotonic() >= next_metrics:
                next_metrics = time.monotonic() + _METRICS_S
                if self.metrics is not None:
                    self.send("metrics", **self.metrics())

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            os._exit(1)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        command = message["type"]
        with self._wake:
            if command == "lease":
                self._lease.until_ms = message["until_ms"]
            elif command == "stop":
                self._stopping = True
            elif command in ("pause", "resume"):
                self._paused = command == "pause"
            elif command == "forget_topics":
                self._topics = set()
            elif command == "stored":
                self._stored = message
            elif command == "offsets":
                self._offsets = message["offsets"]
            self._wake.notify_all()

    def _beat(self) -> None:
        stage, since = self.progress.stage, self.progress.since
        stage_ms = 0 if since is None else round((time.monotonic() - since) * 1000)
        self.send("heartbeat", stage=stage, stage_ms=stage_ms)
