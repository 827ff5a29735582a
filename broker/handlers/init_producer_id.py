"""InitProducerId, versions 0 to 5, for idempotent producers.

Gap: a transactional id is answered with UNSUPPORTED_VERSION, which every client takes as fatal.
"""

import datetime
from dataclasses import dataclass

from broker.catalog import Catalog, CatalogWriteError
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode, KafkaError

INIT_PRODUCER_ID_KEY = 22
VERSIONS = range(6)

PRODUCER_EPOCH_MAX = 2**15 - 1


@dataclass(frozen=True, slots=True)
class InitProducerIdRequest:
    transactional_id: str | None
    transaction_timeout: datetime.timedelta
    producer_id: int = -1
    producer_epoch: int = -1


@dataclass(frozen=True, slots=True)
class InitProducerIdResponse:
    error_code: ErrorCode = ErrorCode.none
    producer_id: int = -1
    producer_epoch: int = -1


class InitProducerIdHandler:
    """Producer ids come from the catalog in blocks: one write for a thousand producers."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._block = iter(range(0))

    def apis(self) -> list[Api]:
        return [
            Api(
                INIT_PRODUCER_ID_KEY,
                "InitProducerId",
                VERSIONS,
                InitProducerIdRequest,
                self._init_producer_id,
                on_error=_error,
            )
        ]

    async def _init_producer_id(
        self, context: RequestContext, request: InitProducerIdRequest
    ) -> InitProducerIdResponse:
        """A producer without transactions gets a new id each time, as in Kafka (KIP-360)."""
        if request.transactional_id is not None:
            raise KafkaError(ErrorCode.unsupported_version)
        return InitProducerIdResponse(producer_id=await self._next_id(), producer_epoch=0)

    async def _next_id(self) -> int:
        while (producer_id := next(self._block, None)) is None:
            try:
                self._block = iter(await self._catalog.next_producer_id_block())
            except CatalogWriteError as exc:
                raise KafkaError(ErrorCode.coordinator_not_available, str(exc)) from exc
        return producer_id


def _error(error: KafkaError) -> InitProducerIdResponse:
    return InitProducerIdResponse(error.code)
