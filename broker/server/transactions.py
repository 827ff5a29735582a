"""The shell of the transaction coordinator: performs its effects with catalog, logs and groups."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from broker.catalog import Catalog, CatalogError
from broker.config import BrokerSettings
from broker.coordinator.effects import CancelTimer, Reply, SetTimer, TimerKey
from broker.coordinator.transaction_coordinator import TransactionCoordinator, TransactionSettings
from broker.coordinator.transaction_effects import (
    Done,
    OrderedEffect,
    StoreTransaction,
    TransactionEffect,
    TransactionQueue,
    WriteMarkers,
)
from broker.coordinator.transaction_messages import TransactionRequest
from broker.coordinator.transaction_records import (
    TransactionRecord,
    decode_transaction_record,
    encode_transaction_record,
)
from broker.handlers.coordination import Groups
from broker.log.manager import LogManager
from broker.log.sync import GroupCommit
from broker.server.transaction_markers import MarkerWriter
from broker.wire.errors import ErrorCode, KafkaError

logger = structlog.get_logger(__name__)

FLUSH_DELAY_S = 0.1
"""How long a record that can wait does."""

RELOAD_DELAY_S = 1.0
"""How long to wait before a catalog that could not be read is read again."""


class TransactionShell:
    """Runs the transaction coordinator on the event loop. Call `start` once logs and groups are there."""

    def __init__(
        self,
        catalog: Catalog,
        logs: LogManager,
        commits: GroupCommit,
        groups: Groups,
        settings: BrokerSettings,
    ) -> None:
        self._catalog = catalog
        self._markers = MarkerWriter(logs, commits, groups)
        self._coordinator = TransactionCoordinator(_coordinator_settings(settings))
        self._timers: dict[TimerKey, asyncio.TimerHandle] = {}
        self._queues: dict[str, TransactionQueue] = {}
        self._unread: dict[str, asyncio.TimerHandle] = {}
        """Transactional ids whose record could not be read, and when it is tried again."""

    def start(self) -> None:
        """Load the transactional ids and complete what was prepared. Blocks; for the start of the broker."""
        documents = self._catalog.read_transactions()
        records = {key: decode_transaction_record(document) for key, document in documents.items()}
        self._perform(self._coordinator.load(records, _now_ms()))

    def close(self) -> None:
        """Stop the timers. What is stored is the catalog's to finish."""
        for queue in tuple(self._queues.values()):
            queue.flush()
        for timer in (*self._timers.values(), *self._unread.values()):
            timer.cancel()
        self._markers.close()

    def ask(self, request: TransactionRequest) -> "asyncio.Future[Any]":
        """See `broker.handlers.coordination.Transactions`."""
        future = asyncio.get_running_loop().create_future()

        def answer(result: Any) -> None:
            if future.done():  # the client is gone
                return
            if isinstance(result, KafkaError):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.ask_then(request, answer)
        return future

    def ask_then(self, request: TransactionRequest, then: Callable[[Any], None]) -> None:
        """See `broker.handlers.coordination.Transactions`."""
        transactional_id = getattr(request, "transactional_id", "")
        if not self._catalog.placement.coordinates(transactional_id):
            then(KafkaError(ErrorCode.not_coordinator))
        elif transactional_id in self._unread:
            then(_not_stored())
        else:
            self._perform(self._coordinator.on_request(request, then, _now_ms()))

    # Effects.

    def _perform(self, effects: Iterable[TransactionEffect]) -> None:
        ordered: dict[str, list[OrderedEffect]] = {}
        for effect in effects:
            match effect:
                case SetTimer(key=key, delay_ms=delay_ms):
                    self._cancel(key)
                    loop = asyncio.get_running_loop()
                    self._timers[key] = loop.call_later(delay_ms / 1000, self._on_timer, key)
                case CancelTimer(key=key):
                    self._cancel(key)
                case Reply():
                    ordered.setdefault(effect.owner, []).append(effect)
                case StoreTransaction() | WriteMarkers():
                    ordered.setdefault(effect.transactional_id, []).append(effect)
        for transactional_id, of_one in ordered.items():
            queue = self._queues.get(transactional_id)
            if queue is None:
                queue = self._queues[transactional_id] = TransactionQueue(transactional_id, self)
            queue.push(of_one)
            self._forget_if_idle(transactional_id)

    def _cancel(self, key: TimerKey) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

    def _on_timer(self, key: TimerKey) -> None:
        del self._timers[key]
        self._perform(self._coordinator.on_timer(key, _now_ms()))

    def _forget_if_idle(self, transactional_id: str) -> None:
        queue = self._queues.get(transactional_id)
        if queue is not None and queue.is_idle:
            del self._queues[transactional_id]

    # What the queues ask for (TransactionPerformer).

    def store(self, store: StoreTransaction, done: Done) -> None:
        document = None if store.record is None else encode_transaction_record(store.record)

        def stored(future: "asyncio.Future[None]") -> None:
            done(future.exception() is None)
            self._forget_if_idle(store.transactional_id)

        self._catalog.change_transaction(store.transactional_id, document).add_done_callback(stored)

    def flush_later(self, transactional_id: str) -> None:
        asyncio.get_running_loop().call_later(FLUSH_DELAY_S, self._flush, transactional_id)

    def _flush(self, transactional_id: str) -> None:
        if (queue := self._queues.get(transactional_id)) is not None:
            queue.flush()

    def write_markers(self, markers: WriteMarkers, written: Callable[[], None], durable: Done) -> None:
        def synced(ok: bool) -> None:
            durable(ok)
            self._forget_if_idle(markers.transactional_id)

        self._markers.write(markers, written, synced)

    def answer(self, reply: Reply, *, is_stored: bool) -> None:
        reply.reply_to(reply.response if is_stored else _not_stored())

    def markers_written(self, transactional_id: str) -> None:
        self._perform(self._coordinator.on_markers_written(transactional_id, _now_ms()))

    def go_back(self, transactional_id: str) -> None:
        logger.warning("transactional id goes back to what is stored", transactional_id=transactional_id)
        self._unread.pop(transactional_id, None)
        try:
            record = self._read(transactional_id)
        except CatalogError as exc:
            logger.error("transactional id not available", transactional_id=transactional_id, error=str(exc))
            self._unread[transactional_id] = asyncio.get_running_loop().call_later(
                RELOAD_DELAY_S, self.go_back, transactional_id
            )
            return
        self._perform(self._coordinator.reload(transactional_id, record, _now_ms()))

    def _read(self, transactional_id: str) -> TransactionRecord | None:
        document = self._catalog.read_transaction(transactional_id)
        return None if document is None else decode_transaction_record(document)


def _not_stored() -> KafkaError:
    return KafkaError(ErrorCode.coordinator_not_available, "The change could not be stored; try again.")


def _coordinator_settings(settings: BrokerSettings) -> TransactionSettings:
    return TransactionSettings(
        timeout_max_ms=settings.transaction_max_timeout_ms,
        expiration_ms=settings.transactional_id_expiration_ms,
        expiration_check_interval_ms=settings.transaction_remove_expired_transaction_cleanup_interval_ms,
    )


def _now_ms() -> int:
    return int(time.time() * 1000)
