"""Decoding of requests and encoding of responses, per API.

Most APIs go through `KioCodec`: kio's structures are the schema of each version. The hot ones
(Produce, Fetch) bring a codec of their own that neither copies records nor builds objects that
nobody looks at.
"""

from collections.abc import Callable
from typing import Any, Protocol

from kio.index import load_request_schema, load_response_schema

from broker.wire.decoder import request_decoder
from broker.wire.encoder import Encode, response_encoder

Body = list[Any]
"""What goes out after the response header: bytes-like objects and slices of log files, in order."""


class Codec(Protocol):
    """How one API's bytes become its handler's request, and the handler's response becomes bytes."""

    def request_is_flexible(self, version: int) -> bool:
        """Whether the version's requests have header v2, the one with tagged fields (KIP-482)."""

    def response_is_flexible(self, version: int) -> bool:
        """Whether the version's responses have header v1."""

    def decode(self, version: int, frame: memoryview, position: int) -> Any:
        """The request whose body starts at `position`; ProtocolViolation when it is cut or malformed."""

    def encode(self, version: int, response: Any) -> Body:
        """The response's body, without size and header."""


class KioCodec:
    """Any version of any API, by kio's classes, which are imported when a version is first asked for."""

    def __init__(self, api_key: int, request_class: type) -> None:
        self._api_key = api_key
        self._request_class = request_class
        self._requests: dict[int, tuple[Callable[[memoryview, int], Any], bool]] = {}
        self._responses: dict[int, Any] = {}
        self._encoders: dict[tuple[int, type], Encode] = {}

    def request_is_flexible(self, version: int) -> bool:
        return self._request(version)[1]

    def response_is_flexible(self, version: int) -> bool:
        return bool(self._response(version).__flexible__)

    def decode(self, version: int, frame: memoryview, position: int) -> Any:
        return self._request(version)[0](frame, position)

    def encode(self, version: int, response: Any) -> Body:
        response_class = type(response)
        encode = self._encoders.get((version, response_class))
        if encode is None:
            encode = response_encoder(self._response(version), response_class)
            self._encoders[version, response_class] = encode
        return [encode(response)]

    def _request(self, version: int) -> tuple[Callable[[memoryview, int], Any], bool]:
        if version not in self._requests:
            schema = load_request_schema(self._api_key, version)
            self._requests[version] = (request_decoder(schema, self._request_class), schema.__flexible__)
        return self._requests[version]

    def _response(self, version: int) -> Any:
        if version not in self._responses:
            self._responses[version] = load_response_schema(self._api_key, version)
        return self._responses[version]
