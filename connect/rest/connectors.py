"""`/connectors`: create, look at, change, start and stop connectors."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from connect.rest import views
from connect.rest.bodies import ConfigPatch, ConnectorConfig, ConnectorOffsets, CreateConnector
from connect.rest.masking import Masking
from connect.rest.parameters import JSON_ANSWER, JSON_BODY, Flag, Name, Service
from connect.rest.responses import Json
from connect.runtime.service import (
    BadRequest,
    ConnectorInfo,
    ConnectorStatus,
    ConnectService,
    NotFound,
    TargetState,
)

router = APIRouter(prefix="/connectors", tags=["connectors"], dependencies=[JSON_ANSWER])


def _masking(request: Request) -> Masking:
    masking: Masking = request.app.state.masking
    return masking


async def _info(request: Request, of: ConnectorInfo) -> dict[str, Any]:
    return views.info(of, await _masking(request).hide(of.config))


def _named(name: str, config: Mapping[str, str]) -> dict[str, str]:
    """The config with the connector's name in it, as it is stored."""
    written = config.get("name", name)
    if written != name:
        raise BadRequest(
            f"Connector name configuration ({written}) doesn't match connector name in the URL ({name})"
        )
    return {**config, "name": name}


def _created(request: Request, name: str, body: dict[str, Any]) -> Json:
    location = f"{request.url.scheme}://{request.url.netloc}/connectors/{quote(name, safe='')}"
    return Json(body, status_code=201, headers={"Location": location})


async def _statuses(service: ConnectService, names: Sequence[str]) -> Mapping[str, ConnectorStatus]:
    """Of those connectors that have one."""
    found = []
    for name in names:
        with suppress(NotFound):
            found.append(service.status(name))
    return {status.name: status for status in await service.complete(found)}


@router.get("")
async def list_connectors(
    request: Request, service: Service, expand: Annotated[list[str] | None, Query()] = None
) -> Response:
    """The names, or with `expand=status` and `expand=info` what is known of each."""
    names = service.connectors()
    if expand is None:
        return Json(list(names))
    statuses = await _statuses(service, names) if "status" in expand else {}
    answer: dict[str, dict[str, Any]] = {}
    for name in names:
        if "status" in expand and name not in statuses:
            continue  # it is going, or so new that it has none yet
        try:
            expanded: dict[str, Any] = {}
            for what in expand:
                if what == "status":
                    expanded[what] = views.status(statuses[name])
                elif what == "info":
                    expanded[what] = await _info(request, service.info(name))
        except NotFound:
            continue  # deleted, or so new that it has no status yet
        answer[name] = expanded
    return Json(answer)


@router.post("", dependencies=[JSON_BODY])
async def create_connector(request: Request, service: Service, body: CreateConnector) -> Response:
    name = (body.name or "").strip()
    config = _named(name, body.config.given())
    created = await service.create(name, _masking(request).restore(name, config), body.initial_state)
    return _created(request, name, await _info(request, created))


@router.get("/{connector}")
async def get_connector(request: Request, service: Service, connector: Name) -> Response:
    return Json(await _info(request, service.info(connector)))


@router.delete("/{connector}")
async def delete_connector(service: Service, connector: Name) -> Response:
    await service.delete(connector)
    return Response(status_code=204)


@router.get("/{connector}/config")
async def get_config(request: Request, service: Service, connector: Name) -> Response:
    return Json(await _masking(request).hide(service.info(connector).config))


@router.put("/{connector}/config", dependencies=[JSON_BODY])
async def put_config(request: Request, service: Service, connector: Name, body: ConnectorConfig) -> Response:
    """Create the connector or replace its config."""
    config = _named(connector, body.given())
    created, info = await service.put_config(connector, _masking(request).restore(connector, config))
    view = await _info(request, info)
    return _created(request, connector, view) if created else Json(view)


@router.patch("/{connector}/config", dependencies=[JSON_BODY])
async def patch_config(request: Request, service: Service, connector: Name, body: ConfigPatch) -> Response:
    """Change some settings; null removes one."""
    patch = body.root
    if patch.get("name") is not None:
        _named(connector, {"name": str(patch["name"])})
    info = await service.patch_config(connector, _masking(request).restore(connector, patch))
    return Json(await _info(request, info))


@router.get("/{connector}/status")
async def get_status(service: Service, connector: Name) -> Response:
    [status] = await service.complete([service.status(connector)])
    return Json(views.status(status))


@router.get("/{connector}/tasks")
async def get_tasks(request: Request, service: Service, connector: Name) -> Response:
    """The tasks with their configs."""
    masking = _masking(request)
    tasks = service.task_configs(connector)
    return Json(
        [
            {"id": {"connector": connector, "task": task_id}, "config": await masking.hide(config)}
            for task_id, config in sorted(tasks.items())
        ]
    )


@router.get("/{connector}/tasks/{task:int}/status")
async def get_task_status(service: Service, connector: Name, task: int) -> Response:
    absent = f"No status found for task {connector}-{task}"
    try:
        [status] = await service.complete([service.status(connector)])
    except NotFound:
        raise NotFound(absent) from None
    tasks = status.tasks
    if task not in tasks:
        raise NotFound(absent)
    return Json(views.task(task, tasks[task]))


@router.post("/{connector}/tasks/{task:int}/restart")
async def restart_task(service: Service, connector: Name, task: int) -> Response:
    await service.restart_task(connector, task)
    return Response(status_code=204)


@router.get("/{connector}/topics")
async def get_topics(service: Service, connector: Name) -> Response:
    """The topics that the connector has used since they were last reset (KIP-558)."""
    return Json({connector: {"topics": list(service.active_topics(connector))}})


@router.put("/{connector}/topics/reset")
async def reset_topics(service: Service, connector: Name) -> Response:
    await service.reset_active_topics(connector)
    return Response(status_code=202)


@router.put("/{connector}/pause")
async def pause(service: Service, connector: Name) -> Response:
    """Keep the tasks, but let them do nothing."""
    await service.set_target_state(connector, TargetState.PAUSED)
    return Response(status_code=202)


@router.put("/{connector}/resume")
async def resume(service: Service, connector: Name) -> Response:
    await service.set_target_state(connector, TargetState.STARTED)
    return Response(status_code=202)


@router.put("/{connector}/stop")
async def stop(service: Service, connector: Name) -> Response:
    """Give the tasks up; offsets may then be changed."""
    await service.set_target_state(connector, TargetState.STOPPED)
    return Response(status_code=204)


@router.post("/{connector}/restart")
async def restart(
    service: Service,
    connector: Name,
    include_tasks: Annotated[Flag, Query(alias="includeTasks")] = False,
    only_failed: Annotated[Flag, Query(alias="onlyFailed")] = False,
) -> Response:
    """Restart the connector, with flags also (failed) tasks (KIP-745)."""
    status = await service.restart(connector, include_tasks, only_failed)
    if include_tasks or only_failed:
        return Json(views.status(status), status_code=202)
    return Response(status_code=204)


@router.get("/{connector}/offsets")
async def get_offsets(service: Service, connector: Name) -> Response:
    return Json(views.offsets(await service.offsets(connector)))


@router.patch("/{connector}/offsets", dependencies=[JSON_BODY])
async def alter_offsets(service: Service, connector: Name, body: ConnectorOffsets) -> Response:
    """Set the offsets of a stopped connector."""
    try:
        offsets = body.checked()
    except ValueError as exc:
        raise BadRequest(str(exc)) from None
    return Json({"message": await service.alter_offsets(connector, offsets)})


@router.delete("/{connector}/offsets")
async def reset_offsets(service: Service, connector: Name) -> Response:
    return Json({"message": await service.reset_offsets(connector)})
