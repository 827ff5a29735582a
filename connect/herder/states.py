"""The states of connectors and tasks, spelled as Kafka Connect spells them."""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """States of connectors and tasks in a status."""

    UNASSIGNED = "UNASSIGNED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    FAILED = "FAILED"
    RESTARTING = "RESTARTING"
    STOPPED = "STOPPED"
    DESTROYED = "DESTROYED"


class TargetState(StrEnum):
    """What the user wants of a connector (KIP-875); the values are those of the config topic's `state.v2`."""

    STARTED = "STARTED"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"


class TaskId(NamedTuple):
    """One task of a connector; prints as Connect prints it, `NAME-N`."""

    connector: str
    task: int

    def __str__(self) -> str:
        return f"{self.connector}-{self.task}"
