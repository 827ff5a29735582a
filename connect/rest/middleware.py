"""What happens to a request before it is routed."""

from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connect.rest.responses import error
from connect.runtime.service import ConnectService

ALWAYS_ANSWERED = ("/", "/health")


class RouteByRawPath:
    """Routes by the path as it was sent, so that `%2F` in a connector's name is not taken for a slash.

    Path parameters are therefore still percent-encoded and are declared as `connect.rest.parameters.Name`.
    A trailing slash means nothing, and HEAD is answered as GET (the server leaves the body out).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw: bytes | None = scope.get("raw_path")
            path = raw.decode("latin-1") if raw is not None else quote(scope["path"])
            # A copy: the server looks at its own scope to see that this was a HEAD.
            scope = {**scope, "path": path.rstrip("/") or "/"}
            if scope["method"] == "HEAD":
                scope["method"] = "GET"
        await self.app(scope, receive, send)


class LimitBodies:
    """413 for a body that is, or is announced to be, larger than `bytes_max`."""

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self.app = app
        self.bytes_max = bytes_max
        self._why = f"The request body is too large: at most {bytes_max} bytes are taken"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > self.bytes_max:
            await error(413, self._why)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.bytes_max:
                raise HTTPException(413, self._why)
            return message

        await self.app(scope, counted, send)


class RefuseWhileStarting:
    """503 until the worker has read its topics; before that it does not know its connectors."""

    def __init__(self, app: ASGIApp, service: ConnectService) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in ALWAYS_ANSWERED:
            status, why = self.service.health
            if status == 503:
                await error(503, why, {"Retry-After": "1"})(scope, receive, send)
                return
        await self.app(scope, receive, send)
