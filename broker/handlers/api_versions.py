"""ApiVersions, versions 0 to 4: the APIs in the registry, and the features that clients look for.

Java's client uses transactions v2 because `transaction.version` says 2.
"""

import re
from dataclasses import dataclass

from broker.handlers.registry import Api, ApiRegistry, RequestContext
from broker.wire.codec import Body, KioCodec
from broker.wire.errors import ErrorCode

API_VERSIONS_KEY = 18
VERSIONS = range(5)
MINIMUM_OF_ZERO_SINCE = 4

FEATURES_EPOCH = 1
"""Features are what this version of the broker has: they only change with it, so one epoch will do."""

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
class SupportedFeature:
    name: str
    min_version: int
    max_version: int


@dataclass(frozen=True, slots=True)
class FinalizedFeature:
    name: str
    max_version_level: int
    min_version_level: int


# The levels of Kafka 4.3, of the features that are served here.
SUPPORTED_FEATURES: tuple[SupportedFeature, ...] = (
    SupportedFeature("group.version", 0, 1),
    SupportedFeature("kraft.version", 0, 1),
    SupportedFeature("metadata.version", 7, 30),
    SupportedFeature("transaction.version", 0, 2),
)
FINALIZED_FEATURES = tuple(
    FinalizedFeature(feature.name, feature.max_version, feature.max_version) for feature in SUPPORTED_FEATURES
)


@dataclass(frozen=True, slots=True)
class ApiVersionsResponse:
    """Features are of version 3 and later."""

    error_code: ErrorCode
    api_keys: tuple[ApiVersion, ...]
    supported_features: tuple[SupportedFeature, ...] = ()
    finalized_features_epoch: int = -1
    finalized_features: tuple[FinalizedFeature, ...] = ()


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
        supported = SUPPORTED_FEATURES
        if context.api_version < MINIMUM_OF_ZERO_SINCE:  # older clients take a minimum of 0 as an error
            supported = tuple(feature for feature in supported if feature.min_version > 0)
        return ApiVersionsResponse(ErrorCode.none, keys, supported, FEATURES_EPOCH, FINALIZED_FEATURES)


def unsupported_version() -> ApiVersionsResponse:
    """The answer to a version of ApiVersions that is not served: which ones are."""
    own = ApiVersion(API_VERSIONS_KEY, VERSIONS.start, VERSIONS.stop - 1)
    return ApiVersionsResponse(ErrorCode.unsupported_version, (own,))


def _advertised(api: Api) -> ApiVersion:
    minimum = api.versions.start if api.advertised_minimum is None else api.advertised_minimum
    return ApiVersion(api.key, minimum, api.versions.stop - 1)
