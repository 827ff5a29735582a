"""`/connector-plugins`: what is installed, its settings, and whether a config would be taken."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from connect.rest import views
from connect.rest.bodies import ConnectorConfig
from connect.rest.parameters import JSON_ANSWER, JSON_BODY, Flag, Plugin, Service
from connect.rest.responses import Json
from connect.runtime.service import BadRequest

router = APIRouter(prefix="/connector-plugins", tags=["plugins"], dependencies=[JSON_ANSWER])


@router.get("")
async def list_plugins(
    service: Service, connectors_only: Annotated[Flag, Query(alias="connectorsOnly")] = True
) -> Response:
    return Json([views.plugin(plugin) for plugin in await service.plugins(connectors_only)])


@router.get("/{plugin}/config")
async def plugin_config(
    service: Service, plugin: Plugin, version: Annotated[str | None, Query()] = None
) -> Response:
    """The definitions of a plugin's settings (KIP-769); of the version that is asked for, if it is there."""
    return Json([views.definition(one) for one in await service.plugin_definitions(plugin, version)])


@router.put("/{plugin}/config/validate", dependencies=[JSON_BODY])
async def validate(service: Service, plugin: Plugin, body: ConnectorConfig) -> Response:
    """What would be wrong with this config, setting by setting; nothing is deployed."""
    config = body.given()
    included = config.get("connector.class")
    if included is None:
        raise BadRequest("connector.class is missing: a config names the class of its connector")
    if not _simple(included).endswith(_simple(plugin)):
        raise BadRequest(f"Included connector type {included} does not match request type {plugin}")
    return Json(views.validation(await service.validate(plugin, config)))


def _simple(class_name: str) -> str:
    """The name without the suffix that an alias may leave out."""
    return class_name.removesuffix("Connector") or class_name
