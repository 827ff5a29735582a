"""Transactional producers of both versions (before and since KIP-890), request by request."""

import time
from typing import Any

from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.kafka_wire import Wire
from support.raw_kafka import produce

DEADLINE_S = 60

RETRIABLE = (
    ErrorCode.concurrent_transactions,
    ErrorCode.not_coordinator,
    ErrorCode.coordinator_not_available,
    ErrorCode.coordinator_load_in_progress,
)


class TransactionalProducer:
    """Writes to one topic. Sequences are counted per partition, over transactions."""

    produce_version = 11
    end_version = 3

    def __init__(self, wire: Wire, transactional_id: str, topic: str, *, timeout_ms: int = 600_000) -> None:
        self.wire = wire
        self._transactional_id = transactional_id
        self._topic = topic
        self._sequences: dict[int, int] = {}
        started = self._until_done(
            lambda: wire.ask(
                22,
                4,
                transactional_id=transactional_id,
                transaction_timeout=timeout_ms,
                producer_id=-1,
                producer_epoch=-1,
            ),
            lambda response: response.error_code,
        )
        self.producer_id: int = started.producer_id
        self.producer_epoch: int = started.producer_epoch

    def add(self, partition: int = 0) -> None:
        """Make the partition part of the transaction, which begins with its first one."""
        self._until_done(
            lambda: self.wire.ask(
                24,
                3,
                v3_and_below_transactional_id=self._transactional_id,
                v3_and_below_producer_id=self.producer_id,
                v3_and_below_producer_epoch=self.producer_epoch,
                v3_and_below_topics=[{"name": self._topic, "partitions": [partition]}],
            ),
            lambda response: (
                response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
            ),
        )

    def batch(self, values: list[bytes] | int = 1, *, partition: int = 0, **more: Any) -> bytes:
        """The next batch for the partition, not sent. Its timestamps default to now."""
        sequence = self._sequences.get(partition, 0)
        count = values if isinstance(values, int) else len(values)
        self._sequences[partition] = sequence + count
        more.setdefault("timestamps", [int(time.time() * 1000)] * count)
        return bytes(
            make_batch(
                values,
                producer_id=self.producer_id,
                producer_epoch=self.producer_epoch,
                sequence=sequence,
                transactional=True,
                **more,
            )
        )

    def send(self, batch: bytes, *, partition: int = 0) -> Any:
        """kio's answer for the partition."""
        return produce(
            self.wire,
            self._topic,
            batch,
            self.produce_version,
            partition=partition,
            transactional_id=self._transactional_id,
        )

    def write(self, values: list[bytes] | int = 1, *, partition: int = 0, **more: Any) -> int:
        """Add the partition and write a batch to it; its base offset."""
        self.add(partition)
        result = self.send(self.batch(values, partition=partition, **more), partition=partition)
        assert result.error_code is ErrorCode.none, result
        assert isinstance(result.base_offset, int)
        return result.base_offset

    def end(self, *, commit: bool) -> None:
        """Commit or abort. The markers may come a moment after the answer."""
        self._until_done(lambda: self.ask_to_end(commit=commit), lambda response: response.error_code)

    def ask_to_end(self, *, commit: bool) -> Any:
        """kio's answer to one EndTxn."""
        return self.wire.ask(
            26,
            self.end_version,
            transactional_id=self._transactional_id,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            committed=commit,
        )

    @staticmethod
    def _until_done(ask: Any, error_of: Any) -> Any:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            response = ask()
            error = error_of(response)
            if error is ErrorCode.none:
                return response
            assert error in RETRIABLE, error
            assert time.monotonic() < deadline, error


class TransactionalProducerV2(TransactionalProducer):
    """Partitions add themselves, and each transaction has an epoch in which sequences begin anew."""

    produce_version = 12
    end_version = 5

    def add(self, partition: int = 0) -> None:
        """Produce does it."""

    def end(self, *, commit: bool) -> None:
        ended = self._until_done(lambda: self.ask_to_end(commit=commit), lambda response: response.error_code)
        self.producer_id, self.producer_epoch = ended.producer_id, ended.producer_epoch
        self._sequences.clear()
