"""Path and query parameters, and the media types of requests and answers."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, HTTPException, Path, Request
from pydantic import AfterValidator, BeforeValidator

from connect.runtime.service import ConnectService

# See RouteByRawPath: what comes from the router is still percent-encoded.
Name = Annotated[str, Path(description="Name of the connector, percent-encoded."), AfterValidator(unquote)]
Plugin = Annotated[str, Path(description="Class name or alias of the plugin."), AfterValidator(unquote)]

# Connect reads flags as Java's Boolean.valueOf does: anything but "true" is false.
Flag = Annotated[bool, BeforeValidator(lambda text: str(text).lower() == "true")]


def _service(request: Request) -> ConnectService:
    service: ConnectService = request.app.state.service
    return service


Service = Annotated[ConnectService, Depends(_service)]


async def answers_json(request: Request) -> None:
    """Refuse a client that would not take JSON."""
    accept = request.headers.get("accept")
    if not accept:
        return
    offered = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    if not offered & {"application/json", "application/*", "*/*"}:
        raise HTTPException(406)


async def takes_json(request: Request) -> None:
    """Refuse a body that does not say that it is JSON, as a form from a foreign web page would."""
    content_type = request.headers.get("content-type", "")
    if content_type.split(";")[0].strip().lower() != "application/json":
        raise HTTPException(415)


JSON_ANSWER = Depends(answers_json)
JSON_BODY = Depends(takes_json)
