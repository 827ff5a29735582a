"""The shell of the group coordinator: performs its effects with the catalog and the loop's timers."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from broker.catalog import Catalog, CatalogError, Topic
from broker.config import BrokerSettings
from broker.coordinator.classic_group import GroupLimits
from broker.coordinator.consumer_group import ConsumerLimits, MigrationPolicy
from broker.coordinator.consumer_messages import SetGroupConfigs, TopicsChanged
from broker.coordinator.effects import CancelTimer, Effect, Reply, SetTimer, Store, TimerKey
from broker.coordinator.group_coordinator import CoordinatorSettings, GroupCoordinator
from broker.coordinator.messages import ForgetTopics, Request
from broker.coordinator.records import StoredGroup
from broker.coordinator.topics import TopicMetadata
from broker.server.group_rows import stored_group
from broker.server.group_writes import GroupWrites, not_stored
from broker.wire.errors import ErrorCode, KafkaError

logger = structlog.get_logger(__name__)

RELOAD_DELAY_S = 1.0
"""How long to wait before a group that could not be read is read again."""


class GroupShell:
    """Runs the group coordinator on the event loop. Call `start` before anything else."""

    def __init__(self, catalog: Catalog, settings: BrokerSettings) -> None:
        self._catalog = catalog
        self._coordinator = GroupCoordinator(_coordinator_settings(settings))
        self._timers: dict[TimerKey, asyncio.TimerHandle] = {}
        self._writes = GroupWrites(catalog, self._reload)
        self._unread: dict[str, asyncio.TimerHandle] = {}
        """Groups that could not be read, and when it is tried again."""

    def start(self) -> None:
        """Load the groups. Blocks; for the start of the broker."""
        topics = self._catalog.topics
        self._tell(TopicsChanged(put=[_metadata(topic) for topic in topics]))
        topics.listeners.append(self._topic_changed)
        groups = self._catalog.read_groups()
        stored = {group_id: stored_group(rows) for group_id, rows in groups.items()}
        self._perform(self._coordinator.load(stored, _now_ms()))
        # A kill may have come between the end of a topic and that of a commit to it.
        names = {row.topic for rows in groups.values() for row in rows.offsets}
        names |= {row.topic for rows in groups.values() for row in rows.pending}
        self._tell(ForgetTopics(frozenset(name for name in names if name not in topics)))

    def close(self) -> None:
        """Stop the timers. What is stored is the catalog's to finish."""
        for timer in (*self._timers.values(), *self._unread.values()):
            timer.cancel()
        self._timers.clear()

    def set_group_configs(self, group_id: str, configs: Mapping[str, int]) -> None:
        """See `broker.handlers.coordination.Groups`. Before `start`, too."""
        self._tell(SetGroupConfigs(group_id, configs))

    def _topic_changed(self, topic: Topic, is_there: bool) -> None:
        if is_there:
            self._tell(TopicsChanged(put=[_metadata(topic)]))
        else:
            self._tell(TopicsChanged(removed=[topic.topic_id]))

    def ask(self, request: Request) -> "asyncio.Future[Any]":
        """See `broker.handlers.coordination.Groups`."""
        reply_to = asyncio.get_running_loop().create_future()
        group_id = getattr(request, "group_id", "")
        if not self._catalog.placement.coordinates(group_id):
            reply_to.set_exception(KafkaError(ErrorCode.not_coordinator))
        elif group_id in self._unread:
            reply_to.set_exception(not_stored())
        else:
            self._perform(self._coordinator.on_request(request, reply_to, _now_ms()))
        return reply_to

    def _tell(self, request: Request) -> None:
        """Hand over what nobody waits for an answer to; a group that cannot be read now hears of it, too."""
        nobody = asyncio.get_running_loop().create_future()
        nobody.cancel()
        self._perform(self._coordinator.on_request(request, nobody, _now_ms()))

    def _on_timer(self, key: TimerKey) -> None:
        del self._timers[key]
        self._perform(self._coordinator.on_timer(key, _now_ms()))

    def _perform(self, effects: Iterable[Effect]) -> None:
        loop = asyncio.get_running_loop()
        for effect in effects:
            match effect:
                case Reply():
                    self._writes.reply(effect)
                case Store():
                    self._writes.store(effect)
                case SetTimer(key=key, delay_ms=delay_ms):
                    self._cancel(key)
                    self._timers[key] = loop.call_later(delay_ms / 1000, self._on_timer, key)
                case CancelTimer(key=key):
                    self._cancel(key)

    def _cancel(self, key: TimerKey) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

    def _reload(self, group_id: str) -> None:
        # What is in memory is ahead of what is stored: go back, as if this broker had crashed.
        logger.warning("group goes back to what is stored", group=group_id)
        self._unread.pop(group_id, None)
        try:
            stored = stored_group(self._catalog.read_group(group_id))
        except CatalogError as exc:
            logger.error("group not available", group=group_id, error=str(exc))
            loop = asyncio.get_running_loop()
            self._unread[group_id] = loop.call_later(RELOAD_DELAY_S, self._reload, group_id)
            stored = StoredGroup()  # so that it does nothing until then
        self._perform(self._coordinator.reload(group_id, stored, _now_ms()))


def _metadata(topic: Topic) -> TopicMetadata:
    return TopicMetadata(topic.name, topic.topic_id, topic.partitions)


def _coordinator_settings(settings: BrokerSettings) -> CoordinatorSettings:
    return CoordinatorSettings(
        limits=GroupLimits(
            initial_rebalance_delay_ms=settings.group_initial_rebalance_delay_ms,
            size_max=settings.group_max_size,
        ),
        consumer_limits=ConsumerLimits(
            session_timeout_ms=settings.group_consumer_session_timeout_ms,
            heartbeat_interval_ms=settings.group_consumer_heartbeat_interval_ms,
            assignment_interval_ms=settings.group_consumer_assignment_interval_ms,
            size_max=settings.group_consumer_max_size,
            assignors=settings.group_consumer_assignors,
            migration_policy=MigrationPolicy(settings.group_consumer_migration_policy),
            classic_size_max=settings.group_max_size,
        ),
        session_timeout_min_ms=settings.group_min_session_timeout_ms,
        session_timeout_max_ms=settings.group_max_session_timeout_ms,
        offsets_retention_ms=settings.offsets_retention_minutes * 60_000,
        offsets_check_interval_ms=settings.offsets_retention_check_interval_ms,
    )


def _now_ms() -> int:
    return int(time.time() * 1000)
