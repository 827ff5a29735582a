"""`/admin/loggers`: read and change log levels while the worker runs (KIP-495)."""

import logging
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from connect.rest.bodies import LoggerLevel
from connect.rest.parameters import JSON_ANSWER, JSON_BODY, Name
from connect.rest.responses import Json
from connect.runtime.service import BadRequest, NotFound

router = APIRouter(prefix="/admin/loggers", tags=["loggers"], dependencies=[JSON_ANSWER])

ROOT = "root"
LEVELS = {
    "TRACE": 5,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "OFF": logging.CRITICAL + 10,
}


class Loggers:
    """The loggers of this process under Connect's names for levels."""

    def __init__(self) -> None:
        self._last_modified_ms: dict[str, int] = {}

    def names(self) -> list[str]:
        """The root and all loggers with a level of their own or in use, in order of name."""
        registry = logging.Logger.manager.loggerDict
        return [ROOT, *sorted(name for name, one in registry.items() if isinstance(one, logging.Logger))]

    def view(self, name: str) -> dict[str, Any]:
        level = _logger(name).getEffectiveLevel()
        # The nearest level that is not above it: libraries use numbers of their own.
        shown = max((known for known in LEVELS.items() if known[1] <= level), key=lambda known: known[1])
        return {"level": shown[0], "last_modified": self._last_modified_ms.get(name)}

    def set_level(self, namespace: str, level: int) -> list[str]:
        """Set the level of a logger and of all below it; the names of those that changed hands."""
        below = "" if namespace == ROOT else namespace + "."
        affected = sorted({namespace} | {name for name in self.names() if name.startswith(below)})
        now_ms = time.time_ns() // 1_000_000
        for name in affected:
            _logger(name).setLevel(level)
            self._last_modified_ms[name] = now_ms
        return affected


def _logger(name: str) -> logging.Logger:
    return logging.getLogger(None if name == ROOT else name)


_loggers = Loggers()


@router.get("")
async def list_loggers() -> Response:
    return Json({name: _loggers.view(name) for name in _loggers.names()})


@router.get("/{logger}")
async def get_logger(logger: Name) -> Response:
    if logger not in _loggers.names():
        raise NotFound(f"Logger {logger} not found.")
    return Json(_loggers.view(logger))


@router.put("/{logger}", dependencies=[JSON_BODY])
async def set_level(logger: Name, body: LoggerLevel, scope: Annotated[str, Query()] = "worker") -> Response:
    if body.level is None:
        raise BadRequest("Desired 'level' parameter was not specified in request.")
    level = LEVELS.get(body.level.upper())
    if level is None:
        raise NotFound(f"invalid log level '{body.level}'.")
    if scope != "worker":
        raise BadRequest(f"scope is {scope}, but this worker can set levels for scope=worker only")
    return Json(_loggers.set_level(logger, level))
