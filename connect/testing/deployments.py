"""Connectors deployed for a test, over REST, and taken away at its end."""

import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import quote

from connect.testing.millstream import Millstream, Worker

DEADLINE_S: Final = 60.0


class Deployments:
    """Deploys connectors on a worker. Use it in a `with` block: at its end they are deleted."""

    def __init__(self, worker: Worker | Millstream) -> None:
        self.worker = worker
        self._names: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._names:
            self.delete(self._names[-1])

    def deploy(
        self, config: Mapping[str, str], name: str | None = None, *, seconds: float = DEADLINE_S
    ) -> str:
        """Create a connector, or give it a new config, and wait until it and its tasks are RUNNING; its name
        (a fresh one when none is given).

        Raises `AssertionError` with the worker's answer or a task's trace.
        """
        name = name or f"test-{uuid.uuid4().hex[:12]}"
        answer = self.worker.request("PUT", f"{_path(name)}/config", dict(config))
        assert answer.is_success, f"{name} was refused: {answer.json().get('message', answer.text)}"
        if name not in self._names:
            self._names.append(name)
        self.wait_for_state(name, "RUNNING", seconds)
        return name

    def status(self, name: str) -> dict[str, Any]:
        """Connect's own status document; `AssertionError` if there is no such connector."""
        answer = self.worker.request("GET", f"{_path(name)}/status")
        assert answer.is_success, f"{name}: {answer.text}"
        status: dict[str, Any] = answer.json()
        return status

    def wait_for_state(self, name: str, state: str, seconds: float = DEADLINE_S) -> dict[str, Any]:
        """The status once the connector and all of its tasks, at least one, are in this state.

        Raises `AssertionError`: at once with the trace if one is FAILED instead, and after so many seconds.
        """
        deadline = time.monotonic() + seconds
        while True:
            answer = self.worker.request("GET", f"{_path(name)}/status")
            if answer.is_success:  # the status of a new connector comes a moment after its config
                parts = [answer.json()["connector"], *answer.json()["tasks"]]
                if all(part["state"] == state for part in parts) and (len(parts) > 1 or state == "STOPPED"):
                    status: dict[str, Any] = answer.json()
                    return status
                failed = [part for part in parts if part["state"] == "FAILED"]
                assert not failed, f"{name} is FAILED: {failed[0].get('trace')}"
            assert time.monotonic() < deadline, f"{name} is not {state} after {seconds:g} s: {answer.text}"
            time.sleep(0.02)

    def delete(self, name: str) -> None:
        """Delete a connector; one that is gone already is fine."""
        answer = self.worker.request("DELETE", _path(name))
        assert answer.is_success or answer.status_code == 404, f"{name}: {answer.text}"
        if name in self._names:
            self._names.remove(name)


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"
