"""InitProducerId, versions 0 to 5: producers that are idempotent, and those of transactions."""

import datetime
from dataclasses import dataclass

from broker.catalog import CatalogWriteError
from broker.catalog.producer_ids import ProducerIds
from broker.coordinator.transaction_messages import InitProducerId, ProducerResult
from broker.handlers.coordination import Transactions
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode, KafkaError

INIT_PRODUCER_ID_KEY = 22
VERSIONS = range(6)
PRODUCER_FENCED_SINCE = 4

MILLISECOND = datetime.timedelta(milliseconds=1)


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
    def __init__(self, producer_ids: ProducerIds, transactions: Transactions) -> None:
        self._producer_ids = producer_ids
        self._transactions = transactions

    def apis(self) -> list[Api]:
        return [
            Api(
                INIT_PRODUCER_ID_KEY,
                "InitProducerId",
                VERSIONS,
                InitProducerIdRequest,
                self._init_producer_id,
                on_error=lambda error: InitProducerIdResponse(error.code),
            )
        ]

    async def _init_producer_id(
        self, context: RequestContext, request: InitProducerIdRequest
    ) -> InitProducerIdResponse:
        try:
            new_producer_id = await self._producer_ids.take()
        except CatalogWriteError as exc:
            raise KafkaError(ErrorCode.coordinator_not_available, str(exc)) from exc
        if request.transactional_id is None:
            # A producer without transactions gets a new id each time, as in Kafka (KIP-360).
            return InitProducerIdResponse(producer_id=new_producer_id, producer_epoch=0)
        result: ProducerResult = await self._transactions.ask(
            InitProducerId(
                request.transactional_id,
                request.transaction_timeout // MILLISECOND,
                new_producer_id,
                request.producer_id,
                request.producer_epoch,
            )
        )
        error = result.error_code
        if error is ErrorCode.producer_fenced and context.api_version < PRODUCER_FENCED_SINCE:
            error = ErrorCode.invalid_producer_epoch
        return InitProducerIdResponse(error, result.producer_id, result.producer_epoch)
