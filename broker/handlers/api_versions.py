"""ApiVersions, versions 0 to 4: the APIs in the registry.

No features are finalized yet: transactions and the consumer group protocol of KIP-848 are not served.
"""

import re
from dataclasses import dataclass

from broker.handlers.registry import Api, ApiRegistry, RequestContext
from broker.wire.codec import Body, KioCodec
from broker.wire.errors import ErrorCode

API_VERSIONS_KEY = 18
VERSIONS = range(5)

# KIP-511: what a client may call itself.
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


@dataclass(frozen=True, slots=True)
class ApiVersionsRequest:
    client_software_name: str | None = None
    client_software_version: str | None = None


@dataclass(frozen=True, slots=True)
class ApiVersion:
    api_key: int
    min_version: int
    max_version: int


@dataclass(frozen=True, slots=True)
class ApiVersionsResponse:
    error_code: ErrorCode
    api_keys: tuple[ApiVersion, ...]


class ApiVersionsCodec(KioCodec):
    """A client that asks for a version from the future must understand the answer.

    So it is in version 0, and the response header is the old one in all versions.
    """

    def __init__(self) -> None:
        super().__init__(API_VERSIONS_KEY, ApiVersionsRequest)

    def response_is_flexible(self, version: int) -> bool:
        return False

    def encode(self, version: int, response: ApiVersionsResponse) -> Body:
        return super().encode(version if version in VERSIONS else 0, response)


class ApiVersionsHandler:
    def __init__(self, registry: ApiRegistry) -> None:
        self._registry = registry

    def apis(self) -> list[Api]:
        return [
            Api(
                API_VERSIONS_KEY,
                "ApiVersions",
                VERSIONS,
                ApiVersionsRequest,
                self._api_versions,
                codec=ApiVersionsCodec(),
            )
        ]

    def _api_versions(self, context: RequestContext, request: ApiVersionsRequest) -> ApiVersionsResponse:
        names = (request.client_software_name, request.client_software_version)
        if any(name is not None and not _SOFTWARE.fullmatch(name) for name in names):
            return ApiVersionsResponse(ErrorCode.invalid_request, ())
        keys = tuple(_advertised(api) for api in self._registry)
        return ApiVersionsResponse(ErrorCode.none, keys)


def unsupported_version() -> ApiVersionsResponse:
    """The answer to a version of ApiVersions that is not served: which ones are."""
    own = ApiVersion(API_VERSIONS_KEY, VERSIONS.start, VERSIONS.stop - 1)
    return ApiVersionsResponse(ErrorCode.unsupported_version, (own,))


def _advertised(api: Api) -> ApiVersion:
    minimum = api.versions.start if api.advertised_minimum is None else api.advertised_minimum
    return ApiVersion(api.key, minimum, api.versions.stop - 1)
