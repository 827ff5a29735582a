"""A network between a client and an S3 that a test controls, request by request.

What passes is signed for the proxy's address, as the Host header says it, and goes on unchanged; so a store
that checks signatures takes it.
"""

import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

_NOT_PASSED_ON: Final = ("content-length", "transfer-encoding", "connection", "expect")
_PIECES: Final = 8
_ANSWER_TIMEOUT_S: Final = 120


class Step(StrEnum):
    """What a request is for."""

    PUT = auto()
    CREATE = auto()  # of a multipart upload
    PART = auto()
    COMPLETE = auto()
    ABORT = auto()
    UPLOADS = auto()  # are listed
    LIST = auto()
    GET = auto()
    HEAD = auto()
    OTHER = auto()


class Moment(StrEnum):
    """Before S3 hears of a request; half way through its body, or several times in an object that is got;
    when it is done and the client has not heard of it."""

    BEFORE = auto()
    MIDWAY = auto()
    AFTER = auto()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `start` is the first byte that it wants of an object."""

    step: Step
    bucket: str
    key: str
    start: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the proxy answers by itself."""

    status: int
    code: str


class Cut(StrEnum):
    """Without an answer, or the rest of it: the connection is reset, or closed, or nothing more comes."""

    RESET = auto()
    END = auto()
    SILENCE = auto()


Fault = Answer | Cut
Rule = Callable[[Asked, Moment], Fault | None]


class S3Proxy:
    """`rule` is asked at each moment of each request, by many threads at once. `asked` are all requests."""

    def __init__(self, endpoint: str, rule: Rule = lambda asked, moment: None) -> None:
        self.rule = rule
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._server = _Server(self, urlsplit(endpoint).netloc)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: S3Proxy, target: str) -> None:
        self.proxy = proxy
        self.target = target
        super().__init__(("127.0.0.1", 0), _Handler)

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # with nothing before it, so that a reset is one

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed go without a word."""


class _Interrupted(Exception):
    """The rule has ended this request."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def pass_on(self) -> None:
        asked = asked_for(self.command, self.path, self.headers.get("Range"))
        self.server.proxy.asked.append(asked)
        try:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size // 2)
            if size:
                self._consult(asked, Moment.MIDWAY, size - len(body))
            body += self.rfile.read(size - len(body))
            self._consult(asked, Moment.BEFORE)
            self._forward(asked, body)
        except _Interrupted:
            return

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

    def _forward(self, asked: Asked, body: bytes) -> None:
        upstream = http.client.HTTPConnection(self.server.target, timeout=_ANSWER_TIMEOUT_S)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _NOT_PASSED_ON:
                upstream.putheader(name, value)
        if body or self.command in ("PUT", "POST"):
            upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body or None)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        self._consult(asked, Moment.AFTER)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        piece = -(-len(data) // (_PIECES if asked.step is Step.GET else 1)) or 1
        for start in range(0, len(data), piece):
            if start:
                self._consult(asked, Moment.MIDWAY)
            self.wfile.write(data[start : start + piece])

    def _consult(self, asked: Asked, moment: Moment, unread: int = 0) -> None:
        fault = self.server.proxy.rule(asked, moment)
        if fault is None:
            return
        self.close_connection = True
        if isinstance(fault, Answer):
            self.rfile.read(unread)
            self._answer(fault)
        elif fault is Cut.SILENCE:
            self.server.proxy.closing.wait()
        elif fault is Cut.RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _Interrupted

    def _answer(self, answer: Answer) -> None:
        text = f"<Error><Code>{answer.code}</Code><Message>told by the proxy</Message></Error>".encode()
        self.send_response_only(answer.status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `asked` tells it."""


def asked_for(method: str, path: str, wanted: str | None) -> Asked:
    """What a request is for, by its method, its path (with the bucket in it) and its Range header."""
    parts = urlsplit(path)
    query = parse_qs(parts.query, keep_blank_values=True)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    start = re.match(r"bytes=(\d+)-", wanted or "")
    return Asked(_step(method, key, query), bucket, key, int(start[1]) if start else 0)


def _step(method: str, key: str, query: dict[str, list[str]]) -> Step:
    if not key:
        if method == "GET":
            return Step.UPLOADS if "uploads" in query else Step.LIST
        return Step.OTHER
    match method:
        case "PUT":
            if "partNumber" in query:
                return Step.PART
            return Step.PUT if not query or set(query) == {"x-id"} else Step.OTHER
        case "POST":
            return Step.CREATE if "uploads" in query else Step.COMPLETE
        case "DELETE":
            return Step.ABORT if "uploadId" in query else Step.OTHER
        case "GET":
            return Step.GET if "tagging" not in query else Step.OTHER
        case "HEAD":
            return Step.HEAD
    return Step.OTHER
