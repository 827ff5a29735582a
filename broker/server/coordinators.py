"""The shell of the group coordinator: performs its effects with the catalog and the loop's timers."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from broker.catalog import Catalog, GroupChanges, OffsetRow
from broker.config import BrokerSettings
from broker.coordinator.classic_group import GroupLimits
from broker.coordinator.effects import CancelTimer, Effect, Reply, SetTimer, Store, TimerKey
from broker.coordinator.group_coordinator import CoordinatorSettings, GroupCoordinator
from broker.coordinator.messages import ForgetTopics, Request
from broker.coordinator.records import (
    CommittedOffset,
    TopicPartition,
    decode_group_record,
    encode_group_record,
)
from broker.wire.errors import ErrorCode, KafkaError

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Storing:
    """The writes of one group that are under way."""

    latest: "asyncio.Future[None]"
    count: int = 0
    has_failed: bool = False


class GroupShell:
    """Runs the group coordinator on the event loop. Call `start` before anything else."""

    def __init__(self, catalog: Catalog, settings: BrokerSettings) -> None:
        self._catalog = catalog
        self._coordinator = GroupCoordinator(_coordinator_settings(settings))
        self._timers: dict[TimerKey, asyncio.TimerHandle] = {}
        self._storing: dict[str, _Storing] = {}

    def start(self) -> None:
        """Load the groups. Blocks; for the start of the broker."""
        documents, rows = self._catalog.read_groups()
        offsets: defaultdict[str, dict[TopicPartition, CommittedOffset]] = defaultdict(dict)
        for row in rows:
            offsets[row.group_id] |= _offsets([row])
        records = {group_id: decode_group_record(document) for group_id, document in documents.items()}
        self._perform(self._coordinator.load(records, offsets, _now_ms()))
        # A kill may have come between the end of a topic and that of a commit to it.
        self.ask(ForgetTopics(frozenset(row.topic for row in rows if row.topic not in self._catalog.topics)))

    def close(self) -> None:
        """Stop the timers. What is stored is the catalog's to finish."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def ask(self, request: Request) -> "asyncio.Future[Any]":
        """See `broker.handlers.coordination.Groups`."""
        reply_to = asyncio.get_running_loop().create_future()
        group_id = getattr(request, "group_id", "")
        storing = self._storing.get(group_id)
        if not self._catalog.placement.coordinates(group_id):
            reply_to.set_exception(KafkaError(ErrorCode.not_coordinator))
        elif storing is not None and storing.has_failed:
            reply_to.set_exception(_not_stored())
        else:
            self._perform(self._coordinator.on_request(request, reply_to, _now_ms()))
        return reply_to

    def _on_timer(self, key: TimerKey) -> None:
        del self._timers[key]
        self._perform(self._coordinator.on_timer(key, _now_ms()))

    def _perform(self, effects: Iterable[Effect]) -> None:
        loop = asyncio.get_running_loop()
        for effect in effects:
            match effect:
                case Reply():
                    self._reply(effect)
                case Store():
                    self._store(effect)
                case SetTimer(key=key, delay_ms=delay_ms):
                    self._cancel(key)
                    self._timers[key] = loop.call_later(delay_ms / 1000, self._on_timer, key)
                case CancelTimer(key=key):
                    self._cancel(key)

    def _cancel(self, key: TimerKey) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

    def _reply(self, reply: Reply) -> None:
        storing = self._storing.get(reply.group_id)
        if storing is None:
            _answer(reply, None)
        else:
            storing.latest.add_done_callback(lambda stored: _answer(reply, stored.exception()))

    def _store(self, store: Store) -> None:
        written = self._catalog.change_group(_changes(store))
        storing = self._storing.setdefault(store.group_id, _Storing(written))
        storing.latest = written
        storing.count += 1
        written.add_done_callback(lambda stored: self._stored(store.group_id, stored.exception()))

    def _stored(self, group_id: str, error: BaseException | None) -> None:
        storing = self._storing[group_id]
        storing.count -= 1
        if error is not None:
            storing.has_failed = True
        if storing.count == 0:
            del self._storing[group_id]
            if storing.has_failed:
                self._reload(group_id)

    def _reload(self, group_id: str) -> None:
        # What is in memory is ahead of what is stored: go back, as if this broker had crashed.
        logger.warning("group goes back to what is stored", group=group_id)
        document, rows = self._catalog.read_group(group_id)
        record = None if document is None else decode_group_record(document)
        self._perform(self._coordinator.reload(group_id, record, _offsets(rows), _now_ms()))


def _answer(reply: Reply, error: BaseException | None) -> None:
    if reply.reply_to.done():  # the client is gone
        return
    if error is None:
        reply.reply_to.set_result(reply.response)
    else:
        reply.reply_to.set_exception(_not_stored())


def _not_stored() -> KafkaError:
    return KafkaError(ErrorCode.coordinator_not_available, "The change could not be stored; try again.")


def _offsets(rows: Iterable[OffsetRow]) -> dict[TopicPartition, CommittedOffset]:
    return {
        (row.topic, row.partition): CommittedOffset(
            row.committed_offset, row.leader_epoch, row.metadata, row.commit_time_ms, row.expire_time_ms
        )
        for row in rows
    }


def _changes(store: Store) -> GroupChanges:
    return GroupChanges(
        group_id=store.group_id,
        document=None if store.record is None else encode_group_record(store.record),
        deleted=store.deleted,
        put_offsets=[
            OffsetRow(
                store.group_id,
                topic,
                partition,
                committed.offset,
                committed.leader_epoch,
                committed.metadata,
                committed.commit_time_ms,
                committed.expire_time_ms,
            )
            for (topic, partition), committed in store.put_offsets.items()
        ],
        delete_offsets=store.delete_offsets,
    )


def _coordinator_settings(settings: BrokerSettings) -> CoordinatorSettings:
    return CoordinatorSettings(
        limits=GroupLimits(
            initial_rebalance_delay_ms=settings.group_initial_rebalance_delay_ms,
            size_max=settings.group_max_size,
        ),
        session_timeout_min_ms=settings.group_min_session_timeout_ms,
        session_timeout_max_ms=settings.group_max_session_timeout_ms,
        offsets_retention_ms=settings.offsets_retention_minutes * 60_000,
        offsets_check_interval_ms=settings.offsets_retention_check_interval_ms,
    )


def _now_ms() -> int:
    return int(time.time() * 1000)
