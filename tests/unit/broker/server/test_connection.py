"""The order of answers, and what becomes of handlers that fail, with handlers made for it."""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from broker.config import BrokerSettings
from broker.handlers.registry import Api, ApiRegistry, Deferred, RequestContext
from broker.server import connection as connection_module
from broker.server.server import Server
from broker.wire.codec import Body
from broker.wire.errors import ErrorCode, KafkaError

DEADLINE_S = 60


class EchoCodec:
    """Requests and responses are text."""

    def request_is_flexible(self, _version: int) -> bool:
        return False

    response_is_flexible = request_is_flexible

    def decode(self, _version: int, frame: memoryview, position: int) -> str:
        return str(frame[position:], "utf-8")

    def encode(self, _version: int, response: str) -> Body:
        return [response.encode()]


class Handlers:
    """Says "now" at once; "later" when released; "task" in a coroutine; "fail…" raises."""

    def __init__(self) -> None:
        self.deferred: dict[str, Deferred] = {}
        self.events: dict[str, asyncio.Event] = {}
        self.handled: list[str] = []
        self.contexts: list[RequestContext] = []

    def handle(self, context: RequestContext, request: str) -> Any:
        self.handled.append(request)
        self.contexts.append(context)
        if request.startswith("later"):
            deferred = self.deferred[request] = Deferred(lambda: deferred.resolve(f"hurried {request}"))
            return deferred
        if request.startswith("task"):
            self.events[request] = asyncio.Event()
            return self._task(request)
        if request == "fail":
            raise ValueError("a bug")
        if request == "refuse":
            raise KafkaError(ErrorCode.invalid_request, "no")
        return request

    async def _task(self, request: str) -> str:
        await self.events[request].wait()
        if "fail" in request:
            raise ValueError("a bug")
        return request


@dataclass
class World:
    handlers: Handlers
    server: Server
    port: int

    async def connect(self) -> "Client":
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *requests: str, key: int = 0) -> None:
        for number, request in enumerate(requests):
            frame = struct.pack(">hhih", key, 0, number, -1) + request.encode()
            self.writer.write(struct.pack(">i", len(frame)) + frame)

    async def receive(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            (size,) = struct.unpack(">i", await self.reader.readexactly(4))
            return (await self.reader.readexactly(size))[4:].decode()


def in_world(scenario: Callable[[World], Coroutine[Any, Any, None]], *, on_error: bool = True) -> None:
    async def run() -> None:
        handlers = Handlers()
        registry = ApiRegistry()
        answer = (lambda error: f"error {error.code.name}") if on_error else None
        registry.add([Api(0, "Echo", range(1), str, handlers.handle, codec=EchoCodec(), on_error=answer)])
        settings = BrokerSettings.model_validate({"listeners": "PLAINTEXT://127.0.0.1:0"})
        server = Server(settings, registry)
        ((listener, _),) = server.listen()
        server.start()
        await scenario(World(handlers, server, listener.port))
        await server.close(1)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)


def test_answers_keep_the_order_of_the_requests() -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        client.send("now", "later1", "now2", "task1", "later2", "now3")
        await until(lambda: len(world.handlers.handled) == 6)
        assert await client.receive() == "now"
        world.handlers.deferred["later2"].resolve("later2")
        world.handlers.events["task1"].set()
        world.handlers.deferred["later1"].resolve("later1")
        answers = [await client.receive() for _ in range(5)]
        assert answers == ["later1", "now2", "task1", "later2", "now3"]

    in_world(scenario)


@pytest.mark.parametrize(
    ("request_text", "answer"),
    [("fail", "error unknown_server_error"), ("refuse", "error invalid_request")],
)
def test_a_failure_is_answered_where_the_api_can(request_text: str, answer: str) -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        client.send(request_text, "task-fail", "now")
        await until(lambda: len(world.handlers.handled) == 3)
        world.handlers.events["task-fail"].set()
        answers = [await client.receive() for _ in range(3)]
        assert answers == [answer, "error unknown_server_error", "now"]

    in_world(scenario)


@pytest.mark.parametrize("request_text", ["fail", "refuse", "task-fail"])
def test_without_an_error_response_the_connection_closes(request_text: str) -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        bystander = await world.connect()
        client.send(request_text)
        await until(lambda: request_text in world.handlers.handled)
        if request_text in world.handlers.events:
            world.handlers.events[request_text].set()
        assert await client.reader.read() == b""
        bystander.send("now")
        assert await bystander.receive() == "now"

    in_world(scenario, on_error=False)


def test_who_is_leaving_is_answered_at_once_where_there_is_a_choice() -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        client.send("later", "task")
        await until(lambda: len(world.handlers.handled) == 2)
        client.writer.write_eof()
        assert await client.receive() == "hurried later"
        world.handlers.events["task"].set()
        assert await client.receive() == "task"
        assert await client.reader.read() == b""

    in_world(scenario)


def test_who_is_gone_leaves_nothing_behind() -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        client.send("task", "later")
        await until(lambda: len(world.handlers.handled) == 2)
        linger = struct.pack("ii", 1, 0)  # close with a reset
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.writer.transport.abort()
        await until(lambda: world.server.connection_count == 0)
        world.handlers.events["task"].set()

    in_world(scenario)


def test_reading_stops_while_too_much_is_unanswered() -> None:
    async def scenario(world: World) -> None:
        limit = connection_module.UNANSWERED_MAX
        client = await world.connect()
        client.send("later", *["now"] * (2 * limit))
        await until(lambda: len(world.handlers.handled) == limit)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(world.handlers.handled) == limit
        world.handlers.deferred["later"].resolve("later")
        answers = [await client.receive() for _ in range(2 * limit + 1)]
        assert answers == ["later", *["now"] * (2 * limit)]

    in_world(scenario)


def test_a_handler_sees_who_asks() -> None:
    async def scenario(world: World) -> None:
        client = await world.connect()
        client.send("now", "now2")
        await client.receive()
        await client.receive()
        first, second = world.handlers.contexts
        assert first is second
        assert (first.client_id, first.client_host, first.api_key) == ("", "127.0.0.1", 0)
        assert (first.endpoint.host, first.endpoint.port) == ("127.0.0.1", world.port)

    in_world(scenario)
