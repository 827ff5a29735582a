"""The log levels of this process, under Kafka Connect's names for them (KIP-495)."""

import logging
import time
from dataclasses import dataclass
from typing import Final

ROOT: Final = "root"
LEVELS: Final = {
    "TRACE": 5,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "OFF": logging.CRITICAL + 10,
}


@dataclass(frozen=True, slots=True)
class LoggerLevel:
    """The level in force, and when it was last changed here: ms since 1970, None for never."""

    level: str
    last_modified_ms: int | None


class Loggers:
    """The loggers of this process."""

    def __init__(self) -> None:
        self._last_modified_ms: dict[str, int] = {}

    def names(self) -> list[str]:
        """The root and all loggers with a level of their own or in use, in order of name."""
        registry = logging.Logger.manager.loggerDict
        return [ROOT, *sorted(name for name, one in registry.items() if isinstance(one, logging.Logger))]

    def level(self, name: str) -> LoggerLevel:
        level = _logger(name).getEffectiveLevel()
        # The nearest level that is not above it: libraries use numbers of their own.
        shown = max((known for known in LEVELS.items() if known[1] <= level), key=lambda known: known[1])
        return LoggerLevel(shown[0], self._last_modified_ms.get(name))

    def set_level(self, namespace: str, level: str) -> list[str]:
        """Set the level, one of `LEVELS`, of a logger and of all below it; the names of those that had
        another."""
        below = "" if namespace == ROOT else namespace + "."
        concerned = {namespace} | {name for name in self.names() if name.startswith(below)}
        changed = sorted(name for name in concerned if _logger(name).getEffectiveLevel() != LEVELS[level])
        now_ms = time.time_ns() // 1_000_000
        for name in changed:
            _logger(name).setLevel(LEVELS[level])
            self._last_modified_ms[name] = now_ms
        return changed


def _logger(name: str) -> logging.Logger:
    return logging.getLogger(None if name == ROOT else name)
