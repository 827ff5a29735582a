"""Every refusal and failure as Connect's `{error_code, message}`."""

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from connect.rest.bodies import explain
from connect.rest.responses import NOT_MINE, error
from connect.runtime.service import NotMine, ServiceError

log = structlog.get_logger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _bad_body)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _service_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, ServiceError)
    return error(exc.status, str(exc), {NOT_MINE: "1"} if isinstance(exc, NotMine) else None)


async def _bad_body(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    return error(400, explain(exc.errors()))


async def _http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    if exc.status_code == 405:
        allowed = {"Allow": ",".join(_allowed_methods(request))}
        if request.method == "OPTIONS":
            return Response(status_code=200, headers=allowed)
        return error(405, "HTTP 405 Method Not Allowed", allowed)
    phrase = HTTPStatus(exc.status_code).phrase
    known = exc.detail if exc.detail != phrase else f"HTTP {exc.status_code} {phrase}"
    return error(exc.status_code, known)


def _allowed_methods(request: Request) -> list[str]:
    found = {"OPTIONS"}
    for router in request.app.state.routers:
        for route in router.routes:
            if route.matches(request.scope)[0] is not Match.NONE:
                found |= route.methods
    if "GET" in found:
        found.add("HEAD")
    return sorted(found)


async def _unexpected(request: Request, exc: Exception) -> Response:
    log.error("request failed", method=request.method, path=request.url.path, exc_info=exc)
    return error(500, f"{type(exc).__name__}: {exc}")
