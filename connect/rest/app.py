"""The REST API as an ASGI application."""

import re
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from connect.rest import connectors, loggers, metrics, plugins
from connect.rest.basic_auth import BasicAuth, credentials
from connect.rest.errors import add_error_handlers
from connect.rest.forwarding import Forward
from connect.rest.header_rules import AddHeaders, header_rules
from connect.rest.masking import Masking
from connect.rest.middleware import LimitBodies, RefuseWhileStarting, RouteByRawPath
from connect.rest.parameters import JSON_ANSWER, Service
from connect.rest.responses import Json
from connect.rest.settings import RestSettings
from connect.runtime.peers import Peers
from connect.runtime.service import ConnectService
from connect.version import COMMIT, __version__

BODY_BYTES_MAX = 8 << 20

router = APIRouter(tags=["worker"], dependencies=[JSON_ANSWER])


@router.get("/")
async def root(service: Service) -> Response:
    """Who answers here, and which Kafka cluster it works for."""
    return Json({"version": __version__, "commit": COMMIT, "kafka_cluster_id": service.kafka_cluster_id})


@router.get("/health")
async def health(service: Service) -> Response:
    """200 ready, 503 starting, 500 not able to work (KIP-1017)."""
    status, why = service.health
    named = {200: "healthy", 503: "starting"}.get(status, "unhealthy")
    return Json({"status": named, "message": why}, status_code=status)


def create_app(service: ConnectService, settings: RestSettings, peers: Peers | None = None) -> FastAPI:
    """Connect's endpoints over a worker; without those of `/admin` if `admin.listeners` says something else.
    The worker is asked anew at every request; nothing is kept. `peers` reaches the other workers.

    Raises `ConfigError` for settings that cannot be followed.
    """
    admin = (loggers.router,) if settings.admin_listeners is None else ()
    routers = (router, connectors.router, plugins.router, metrics.router, *admin)
    return _app(service, settings, routers, Middleware(Forward, service=service, peers=peers or Peers()))


def create_admin_app(service: ConnectService, settings: RestSettings) -> FastAPI:
    """The endpoints of `/admin` and `/metrics`, for `admin.listeners`."""
    return _app(service, settings, (loggers.router, metrics.router))


def _app(
    service: ConnectService, settings: RestSettings, routers: Sequence[APIRouter], *more: Middleware
) -> FastAPI:
    app = FastAPI(
        title="Millstream worker",
        version=__version__,
        summary="Kafka Connect's REST API.",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            *_headers(settings),
            *_cors(settings),
            *_basic_auth(settings),
            Middleware(RouteByRawPath),
            Middleware(LimitBodies, bytes_max=BODY_BYTES_MAX),
            Middleware(RefuseWhileStarting, service=service),
            *more,
        ],
    )
    app.state.service = service
    app.state.masking = Masking(service)
    app.state.routers = routers
    add_error_handlers(app)
    for part in routers:
        app.include_router(part)
    return app


def _basic_auth(settings: RestSettings) -> list[Middleware]:
    passwords = credentials(settings)
    return [] if passwords is None else [Middleware(BasicAuth, passwords=passwords)]


def _headers(settings: RestSettings) -> list[Middleware]:
    rules = header_rules(settings.response_headers)
    return [Middleware(AddHeaders, rules=rules)] if rules else []


def _cors(settings: RestSettings) -> list[Middleware]:
    origins = [part.strip() for part in settings.access_control_allow_origin.split(",") if part.strip()]
    if not origins:
        return []
    methods = [m.strip() for m in settings.access_control_allow_methods.split(",") if m.strip()]
    patterns = [
        re.escape(origin).replace(r"\*", ".*") for origin in origins if "*" in origin and origin != "*"
    ]
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_origin_regex="|".join(patterns) or None,
            allow_methods=methods or ["GET", "POST", "HEAD"],
            allow_headers=["content-type", "authorization", "origin", "x-requested-with"],
        )
    ]
