"""Google Cloud Storage over HTTP: its XML API is S3's with headers of other names, so they are translated for
the S3 server of the tests.
"""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

_TO_S3 = {"x-goog-copy-source": "x-amz-copy-source"}
_HOP_BY_HOP = ("authorization", "connection", "transfer-encoding", "content-length", "host")


def _for_s3(name: str, value: str) -> tuple[str, str]:
    lowered = name.lower()
    if lowered == "x-goog-if-generation-match":
        assert value == "0", "objects that must not be there yet are all that is asked for"
        return "If-None-Match", "*"
    if lowered.startswith("x-goog-meta-"):
        return lowered.replace("goog", "amz"), value
    return _TO_S3.get(lowered, name), value


class _Translator(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3_host: str

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = dict(
            _for_s3(name, value) for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP
        )
        headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=any/20260101/us-west-2/s3/aws4_request"
        path, question, query = self.path.partition("?")
        target = quote(unquote(path)) + question + query  # moto does not undo %2D in a bucket's name
        connection = http.client.HTTPConnection(self.s3_host, timeout=60)
        if "x-amz-copy-source" in headers and headers.pop("If-None-Match", None):
            # moto does not look at it for copies.
            connection.request("HEAD", target, headers={"Authorization": headers["Authorization"]})
            exists = connection.getresponse()
            exists.read()
            if exists.status == 200:
                self._answer(412, {}, b"")
                return
        connection.request(self.command, target, body, headers)
        answer = connection.getresponse()
        self._answer(answer.status, dict(answer.getheaders()), answer.read())
        connection.close()

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP or (
                self.command == "HEAD" and name.lower() == "content-length"
            ):
                self.send_header(name.replace("x-amz-", "x-goog-"), value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _relay

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def google_store(s3: Any) -> Iterator[str]:
    """Its URL, to be the value of STORAGE_EMULATOR_HOST. Buckets are those of `s3`."""
    handler = type("Handler", (_Translator,), {"s3_host": urlsplit(s3.endpoint).netloc})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
