"""Requests that another worker has to answer: changes are the leader's, a task's restart is its owner's.

Whichever worker a client asks, it gets the answer: the request goes on with its body and its Authorization as
they came. A worker that is asked for what is not (any more) its own says `NOT_MINE`, and whoever asked looks
again whose it is: so a request waits while the workers share out their tasks, for as long as a request may
take, and cannot go in circles: client's worker, leader, owner, and no further.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

import orjson
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connect.rest.responses import NOT_MINE, error
from connect.runtime.peers import Interrupted, Peers, Unreachable
from connect.runtime.service import REQUEST_TIMEOUT_S, ConnectService, ServiceError, TargetState

_CHANGES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_CONNECTORS: Final = re.compile(r"/connectors(/.*)?")
_TASK_RESTART: Final = re.compile(r"/connectors/(?P<connector>[^/]+)/tasks/(?P<task>\d+)/restart")
_FORWARDED: Final = "x-millstream-forwarded"  # to whom: `leader` or `owner`
_ASKED: Final = ("accept", "authorization", "content-type", "host")
_ANSWERED: Final = ("content-type", "location", "retry-after", "www-authenticate", NOT_MINE)
_LOOK_AGAIN_S: Final = 0.1


class Forward:
    """Answers here what is this worker's own, and has the rest answered where it belongs."""

    def __init__(self, app: ASGIApp, service: ConnectService, peers: Peers) -> None:
        self.app = app
        self._service = service
        self._peers = peers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_change = scope["type"] == "http" and scope["method"] in _CHANGES
        if not is_change or not _CONNECTORS.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        try:
            body = await _whole(receive)
            answer = await self._answer(scope, receive, body)
        except HTTPException as exc:
            answer = error(exc.status_code, exc.detail)
        except ServiceError as exc:
            answer = error(exc.status, str(exc))
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, body: bytes) -> Response:
        clock = asyncio.get_running_loop().time
        deadline = clock() + REQUEST_TIMEOUT_S
        sent_by = Headers(scope=scope).get(_FORWARDED)
        while True:
            try:
                answer = await self._try(scope, receive, body, sent_by, deadline - clock())
            except Unreachable as exc:
                answer = error(500, f"Could not forward the request: {exc}", {NOT_MINE: "1"})
            # A worker that forwarded it looks again itself.
            if sent_by is not None or NOT_MINE not in answer.headers or clock() >= deadline:
                return answer
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _try(
        self, scope: Scope, receive: Receive, body: bytes, sent_by: str | None, seconds: float
    ) -> Response:
        if sent_by != "owner":
            leader = await self._service.leader_url()
            if leader is not None:
                if sent_by is not None:
                    return error(409, f"This worker does not lead; {leader} does", {NOT_MINE: "1"})
                return await self._forward(scope, body, leader, "leader", seconds)
            owner = self._owner(scope["path"])
            if owner is not None:
                return await self._forward(scope, body, owner, "owner", seconds)
        return await self._here(scope, receive, body)

    def _owner(self, path: str) -> str | None:
        match = _TASK_RESTART.fullmatch(path)
        return match and self._service.owner_url(unquote(match["connector"]), int(match["task"]))

    async def _forward(self, scope: Scope, body: bytes, url: str, to: str, seconds: float) -> Response:
        asked = Headers(scope=scope)
        headers = {name: asked[name] for name in _ASKED if name in asked} | {_FORWARDED: to}
        query = scope["query_string"].decode("latin-1")
        target = f"{url}{scope['path']}{'?' if query else ''}{query}"
        try:
            got = await self._peers.send(scope["method"], target, headers=headers, body=body, seconds=seconds)
        except Interrupted as exc:
            raise ServiceError(
                f"The worker at {url} was to do this and gave no answer ({exc}): look whether it was done"
            ) from None
        return Response(got.body, got.status, _some(got.headers, _ANSWERED))

    async def _here(self, scope: Scope, receive: Receive, body: bytes) -> Response:
        """This worker's own answer, as a whole: it may turn out not to be one (`NOT_MINE`)."""
        status, headers, parts = 500, Headers(), list[bytes]()
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def take(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], Headers(raw=message["headers"])
            else:
                parts.append(message.get("body", b""))

        await self.app(scope, replay, take)
        return Response(b"".join(parts), status, dict(headers))


class LeaderChanges:
    """Changes that a worker makes by itself, from files, wherever they have to be made."""

    def __init__(self, service: ConnectService, peers: Peers) -> None:
        self._service = service
        self._peers = peers

    async def put_config(self, name: str, config: Mapping[str, str]) -> None:
        leader = await self._service.leader_url()
        if leader is None:
            await self._service.put_config(name, config)
        else:
            await self._send("PUT", f"{leader}/connectors/{quote(name, safe='')}/config", dict(config))

    async def create(self, name: str, config: Mapping[str, str], initial_state: TargetState) -> None:
        leader = await self._service.leader_url()
        if leader is None:
            await self._service.create(name, config, initial_state)
            return
        state = "RUNNING" if initial_state is TargetState.STARTED else initial_state.value
        body = {"name": name, "config": dict(config), "initial_state": state}
        await self._send("POST", f"{leader}/connectors", body)

    async def _send(self, method: str, url: str, body: Any) -> None:
        headers = {"content-type": "application/json", _FORWARDED: "leader"}
        try:
            answer = await self._peers.send(
                method, url, headers=headers, body=orjson.dumps(body), seconds=REQUEST_TIMEOUT_S
            )
        except (Interrupted, Unreachable) as exc:
            raise ServiceError(f"The leader at {url} cannot be asked: {exc}") from None
        if answer.status >= 400:
            raise ServiceError(f"The leader answered {answer.status}: {answer.body.decode(errors='replace')}")


async def _whole(receive: Receive) -> bytes:
    """The body of a request; `LimitBodies` bounds it."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _some(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}
