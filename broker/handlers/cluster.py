"""DescribeCluster, versions 0 to 2. Known gaps: none (there are no fenced brokers to include)."""

from dataclasses import dataclass

from broker.catalog import Catalog
from broker.handlers.authorization import CLUSTER_OPERATIONS, NOT_ASKED
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode, KafkaError

ENDPOINT_BROKERS = 1
ENDPOINT_CONTROLLERS = 2


@dataclass(frozen=True, slots=True)
class DescribeClusterRequest:
    include_cluster_authorized_operations: bool = False
    endpoint_type: int = ENDPOINT_BROKERS
    include_fenced_brokers: bool = False


@dataclass(frozen=True, slots=True)
class ClusterBroker:
    broker_id: int
    host: str
    port: int
    rack: str | None = None
    is_fenced: bool = False


@dataclass(frozen=True, slots=True)
class DescribeClusterResponse:
    error_code: ErrorCode = ErrorCode.none
    error_message: str | None = None
    endpoint_type: int = ENDPOINT_BROKERS
    cluster_id: str = ""
    controller_id: int = -1
    brokers: tuple[ClusterBroker, ...] = ()
    cluster_authorized_operations: int = NOT_ASKED


class ClusterHandler:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def apis(self) -> list[Api]:
        return [Api(60, "DescribeCluster", range(3), DescribeClusterRequest, self.describe, on_error=_failed)]

    def describe(self, context: RequestContext, request: DescribeClusterRequest) -> DescribeClusterResponse:
        if request.endpoint_type == ENDPOINT_CONTROLLERS:
            raise KafkaError(
                ErrorCode.mismatched_endpoint_type,
                "The request was sent to an endpoint of type BROKER, "
                "but we wanted an endpoint of type CONTROLLER",
            )
        if request.endpoint_type != ENDPOINT_BROKERS:
            raise KafkaError(
                ErrorCode.unsupported_endpoint_type, f"Unsupported endpoint type {request.endpoint_type}"
            )
        node_id = self._catalog.placement.node_id
        asks_operations = request.include_cluster_authorized_operations
        return DescribeClusterResponse(
            cluster_id=self._catalog.cluster_id,
            controller_id=node_id,
            brokers=(ClusterBroker(node_id, context.endpoint.host, context.endpoint.port),),
            cluster_authorized_operations=CLUSTER_OPERATIONS if asks_operations else NOT_ASKED,
        )


def _failed(error: KafkaError) -> DescribeClusterResponse:
    return DescribeClusterResponse(error.code, error.message)
