"""TxnOffsetCommit 0 to 5: offsets that count when the producer's transaction commits (KIP-98, KIP-447).

Before version 5 the transaction coordinator must know already that the group is part of the transaction
(AddOffsetsToTxn); since version 5 (transactions v2, KIP-890) asking is enough.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from broker.catalog import TopicsImage
from broker.config import BrokerSettings
from broker.coordinator.messages import CommitResult, TransactionalCommit
from broker.coordinator.records import CommittedOffset, TopicPartition
from broker.coordinator.transaction_messages import TransactionResult, VerifyOffsets
from broker.handlers.coordination import Groups, Transactions, verification_error
from broker.handlers.offset_commits import CommittedTopic, CommitTopic, OffsetsToCommit
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode, KafkaError

ABORTABLE_SINCE = 4
ADDS_GROUP_SINCE = 5


@dataclass(frozen=True, slots=True)
class TxnOffsetCommitRequest:
    transactional_id: str
    group_id: str
    producer_id: int
    producer_epoch: int
    topics: tuple[CommitTopic, ...]
    generation_id: int = -1
    member_id: str = ""
    group_instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class TxnOffsetCommitResponse:
    topics: tuple[CommittedTopic, ...]


class TxnOffsetCommitHandler:
    def __init__(
        self, groups: Groups, transactions: Transactions, topics: TopicsImage, settings: BrokerSettings
    ) -> None:
        self._groups = groups
        self._transactions = transactions
        self._topics = topics
        self._metadata_length_max = settings.offset_metadata_max_bytes

    def apis(self) -> list[Api]:
        return [Api(28, "TxnOffsetCommit", range(6), TxnOffsetCommitRequest, self.commit)]

    async def commit(
        self, context: RequestContext, request: TxnOffsetCommitRequest
    ) -> TxnOffsetCommitResponse:
        """Unknown partitions and metadata that is too long fail alone; the rest fails or not together."""
        commit = OffsetsToCommit(request.topics, self._topics, metadata_length_max=self._metadata_length_max)
        error = ErrorCode.none
        if not request.group_id:
            error = ErrorCode.invalid_group_id
        elif commit.offsets:
            error = await self._verify_and_commit(context.api_version, request, commit.offsets)
        return TxnOffsetCommitResponse(commit.answer(error))

    async def _verify_and_commit(
        self,
        version: int,
        request: TxnOffsetCommitRequest,
        offsets: Mapping[TopicPartition, CommittedOffset],
    ) -> ErrorCode:
        verified: asyncio.Future[TransactionResult | KafkaError] = asyncio.get_running_loop().create_future()
        committed: list[Awaitable[CommitResult]] = []

        def commit(result: TransactionResult | KafkaError) -> None:
            # Here, not after an await: the transaction must not end between its coordinator's word and the
            # commit, or the offsets would be pending for ever.
            if isinstance(result, TransactionResult) and result.error_code is ErrorCode.none:
                committed.append(self._groups.ask(_transactional_commit(request, offsets)))
            if not verified.done():
                verified.set_result(result)

        self._transactions.ask_then(
            VerifyOffsets(
                transactional_id=request.transactional_id,
                producer_id=request.producer_id,
                producer_epoch=request.producer_epoch,
                group_id=request.group_id,
                add=version >= ADDS_GROUP_SINCE,
            ),
            commit,
        )
        result = await verified
        if isinstance(result, KafkaError):
            return result.code
        if result.error_code is not ErrorCode.none:
            return verification_error(result.error_code, knows_abortable=version >= ABORTABLE_SINCE)
        try:
            return (await committed[0]).error_code
        except KafkaError as error:
            return error.code


def _transactional_commit(
    request: TxnOffsetCommitRequest, offsets: Mapping[TopicPartition, CommittedOffset]
) -> TransactionalCommit:
    return TransactionalCommit(
        group_id=request.group_id,
        member_id=request.member_id,
        group_instance_id=request.group_instance_id,
        generation_id=request.generation_id,
        producer_id=request.producer_id,
        producer_epoch=request.producer_epoch,
        offsets=offsets,
    )
