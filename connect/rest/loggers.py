"""`/admin/loggers`: read and change log levels while the worker runs (KIP-495, KIP-976)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from connect.rest.bodies import LoggerLevel
from connect.rest.parameters import JSON_ANSWER, JSON_BODY, Name, Service
from connect.rest.responses import Json
from connect.runtime.loggers import LEVELS, Loggers
from connect.runtime.service import BadRequest, NotFound

router = APIRouter(prefix="/admin/loggers", tags=["loggers"], dependencies=[JSON_ANSWER])


def _view(loggers: Loggers, name: str) -> dict[str, Any]:
    found = loggers.level(name)
    return {"level": found.level, "last_modified": found.last_modified_ms}


@router.get("")
async def list_loggers(service: Service) -> Response:
    return Json({name: _view(service.loggers, name) for name in service.loggers.names()})


@router.get("/{logger}")
async def get_logger(service: Service, logger: Name) -> Response:
    if logger not in service.loggers.names():
        raise NotFound(f"Logger {logger} not found.")
    return Json(_view(service.loggers, logger))


@router.put("/{logger}", dependencies=[JSON_BODY])
async def set_level(
    service: Service, logger: Name, body: LoggerLevel, scope: Annotated[str, Query()] = "worker"
) -> Response:
    """Set the level of a logger and of all below it, in this worker or (`scope=cluster`) in all."""
    if body.level is None:
        raise BadRequest("Desired 'level' parameter was not specified in request.")
    level = body.level.upper()
    if level not in LEVELS:
        raise NotFound(f"invalid log level '{body.level}'.")
    match scope.lower():
        case "worker":
            return Json(service.loggers.set_level(logger, level))
        case "cluster":
            await service.set_cluster_log_level(logger, level)
            return Response(status_code=204)
    raise BadRequest(f"scope is {scope}, but must be worker or cluster")
