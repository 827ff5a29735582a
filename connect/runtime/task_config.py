"""Settings of Millstream's own for a connector's tasks; the worker's settings give the defaults."""

from collections.abc import Mapping
from math import isfinite
from typing import Final

from connect.api import Config, Importance, Kind, setting
from connect.herder.backoff import RestartPolicy

MEMORY_LIMIT: Final = "millstream.task.memory.limit.bytes"
CPU_LIMIT: Final = "millstream.task.cpu.limit"
HANG_TIMEOUT: Final = "millstream.task.hang.timeout.ms"


class TaskConfig(Config):
    """May stand in the worker's settings and, to override them, in a connector's config."""

    restart_backoff_ms: int = setting(
        "millstream.task.restart.backoff.ms", default=1_000, kind=Kind.LONG, at_least=1,
        importance=Importance.MEDIUM,
        doc="How long a task that failed waits before it starts again; doubles with each failure in a row.",
    )  # fmt: skip
    restart_backoff_max_ms: int = setting(
        "millstream.task.restart.backoff.max.ms", default=60_000, kind=Kind.LONG, at_least=1,
        importance=Importance.MEDIUM,
        doc="The longest wait between two restarts. A task that ran for this long counts as healthy again.",
    )  # fmt: skip
    restart_max_attempts: int = setting(
        "millstream.task.restart.max.attempts", default=1_000, at_least=0, importance=Importance.MEDIUM,
        doc="How many times in a row a failing task is restarted before it stays FAILED; 0 never restarts.",
    )  # fmt: skip
    memory_limit_bytes: int = setting(
        MEMORY_LIMIT, default=0, kind=Kind.LONG, at_least=0, importance=Importance.MEDIUM,
        doc="The most memory that a task's process may hold (its resident anonymous memory, RssAnon); one "
        "that holds more is killed and restarted. 0 is no limit.",
    )  # fmt: skip
    cpu_limit: float = setting(
        CPU_LIMIT, default=0.0, importance=Importance.MEDIUM,
        check=lambda value: None if value >= 0 and isfinite(value) else "Value must be a number from 0 on",
        doc="The share of a core that a task may use, such as 0.5: it rests after each batch for as long as "
        "that takes. 0 is no limit.",
    )  # fmt: skip
    hang_timeout_ms: int = setting(
        HANG_TIMEOUT, default=0, kind=Kind.LONG, at_least=0, importance=Importance.MEDIUM,
        doc="A task whose poll, put or other call has not returned for this long is killed and restarted, "
        "with its Python stack in the trace; 0 lets it hang.",
    )  # fmt: skip

    @property
    def restart_policy(self) -> RestartPolicy:
        return RestartPolicy(self.restart_backoff_ms, self.restart_backoff_max_ms, self.restart_max_attempts)

    @classmethod
    def of(cls, worker: Mapping[str, str], connector: Mapping[str, str | None]) -> "TaskConfig":
        """What is in force for a connector."""
        return cls.parse({**worker, **connector})
