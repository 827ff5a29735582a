"""Fetch, versions 4 to 18, for consumers.

Waits until `min_bytes` are there or `max_wait` is over. Batches in zstd are sent to clients of versions
below 10 as they are, as Kafka does.
"""

import asyncio
from collections.abc import Collection

from broker.catalog import Catalog
from broker.handlers.fetch_sessions import FetchSession, FetchSessions, SessionPartition, TopicKey, topic_key
from broker.handlers.registry import Api, Deferred, RequestContext
from broker.log.manager import LogManager
from broker.log.partition_log import LEADER_EPOCH, AppendListener, PartitionLog
from broker.log.segment import FileSlice
from broker.wire.errors import ErrorCode, KafkaError
from broker.wire.fetch import (
    NO_EPOCH,
    TOPIC_IDS_SINCE,
    FetchCodec,
    FetchRequest,
    FetchResponse,
    PartitionData,
    TopicData,
)

FETCH_KEY = 1
VERSIONS = range(4, 19)

READ_COMMITTED = 1


class FetchHandler:
    def __init__(self, catalog: Catalog, logs: LogManager, *, max_bytes: int, session_slots: int) -> None:
        self._catalog = catalog
        self._logs = logs
        self._max_bytes = max_bytes
        self._sessions = FetchSessions(session_slots)
        self._loop = asyncio.get_running_loop()

    def apis(self) -> list[Api]:
        return [Api(FETCH_KEY, "Fetch", VERSIONS, FetchRequest, self._fetch, codec=FetchCodec())]

    def _fetch(self, context: RequestContext, request: FetchRequest) -> FetchResponse | Deferred:
        by_topic_id = context.api_version >= TOPIC_IDS_SINCE
        now_ms = int(self._loop.time() * 1000)
        try:
            session = self._sessions.find(request, now_ms, by_topic_id=by_topic_id)
        except KafkaError as error:
            return FetchResponse([], error.code)
        attempt = _Attempt(self, request, session)
        attempt.read()
        if attempt.is_enough or request.max_wait_ms <= 0 or not attempt.logs:
            return attempt.response()
        return _Wait(attempt, self._loop).deferred

    def log_of(self, topic: TopicKey, partition: int) -> PartitionLog:
        """Raises KafkaError when there is none here."""
        if isinstance(topic, str):
            name = topic
        else:
            found = self._catalog.topics.by_id(topic)
            if found is None:
                raise KafkaError(ErrorCode.unknown_topic_id)
            name = found.name
        log = self._logs.get(name, partition)
        if log is None:
            raise KafkaError(ErrorCode.unknown_topic_or_partition)
        if not self._catalog.placement.leads(name, partition):
            raise KafkaError(ErrorCode.not_leader_or_follower)
        return log

    def limit(self, request: FetchRequest) -> int:
        """The most bytes of an answer, unless its first batch alone is larger."""
        return min(request.max_bytes, self._max_bytes)


class _Attempt:
    """One reading of all partitions of a request."""

    def __init__(self, apis: FetchHandler, request: FetchRequest, session: FetchSession | None) -> None:
        self.request = request
        self.committed = request.isolation_level == READ_COMMITTED
        self._apis = apis
        self._session = session
        self._incremental = session is not None and request.session_epoch > 0
        self._partitions: Collection[SessionPartition]
        if session is not None:
            self._partitions = session.partitions.values()
        else:
            self._partitions = [
                SessionPartition(topic_key(topic), wanted)
                for topic in request.topics
                for wanted in topic.partitions
            ]
        self._results: list[tuple[SessionPartition, PartitionData]] = []
        self.logs: dict[PartitionLog, None] = {}
        self.size = 0
        self.failed = False
        self._has_more = False
        """Whether there is more to read than the answer may hold."""

    @property
    def is_enough(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.size >= self.request.min_bytes or self.failed or self._has_more

    def read(self) -> None:
        self._results.clear()
        self.size = 0
        limit = self._apis.limit(self.request)
        for partition in self._partitions:
            data = PartitionData(partition.wanted.partition)
            try:
                self._read_partition(partition, data, limit - self.size)
            except KafkaError as error:
                data = PartitionData(partition.wanted.partition, error.code)
                self.failed = True
            self._results.append((partition, data))

    def _read_partition(self, partition: SessionPartition, data: PartitionData, budget: int) -> None:
        wanted = partition.wanted
        log = self._apis.log_of(partition.topic, wanted.partition)
        log.check_online()
        if wanted.current_leader_epoch not in (NO_EPOCH, LEADER_EPOCH):
            older = wanted.current_leader_epoch < LEADER_EPOCH
            raise KafkaError(ErrorCode.fenced_leader_epoch if older else ErrorCode.unknown_leader_epoch)
        self.logs[log] = None
        data.log_start_offset = log.log_start_offset
        data.high_watermark = log.high_watermark
        data.last_stable_offset = log.last_stable_offset
        next_offset = wanted.fetch_offset
        if budget > 0 or not self.size:
            max_bytes = min(wanted.max_bytes, budget)
            data.records = log.read(
                wanted.fetch_offset, max_bytes, at_least_one=not self.size, committed=self.committed
            )
            if data.records is not None:
                self.size += data.records.length
                next_offset = data.records.next_offset
        if next_offset < (data.last_stable_offset if self.committed else data.high_watermark):
            self._has_more = True
        if self.committed:
            data.aborted = _aborted(log, wanted.fetch_offset, data.records)

    def response(self) -> FetchResponse:
        """What was read; in a session that goes on, only what is news."""
        topics: list[TopicData] = []
        last_topic: TopicKey | None = None
        for partition, data in self._results:
            if not partition.is_news(data) and self._incremental:
                continue
            if self._session is not None and data.records is not None:
                self._session.rotate(partition)
            if partition.topic != last_topic:
                last_topic = partition.topic
                topics.append(_topic_data(partition.topic))
            topics[-1].partitions.append(data)
        return FetchResponse(topics, session_id=self._session.session_id if self._session else 0)


def _aborted(log: PartitionLog, offset: int, records: FileSlice | None) -> list[tuple[int, int]]:
    if records is None:
        return []
    aborted = log.aborted_transactions(offset, records.next_offset)
    return [(transaction.producer_id, transaction.first_offset) for transaction in aborted]


def _topic_data(topic: TopicKey) -> TopicData:
    return TopicData(topic, None) if isinstance(topic, str) else TopicData(None, topic)


class _Wait:
    """A fetch that waits for more bytes (long poll)."""

    def __init__(self, attempt: _Attempt, loop: asyncio.AbstractEventLoop) -> None:
        self.deferred = Deferred(hurry=self._time_is_up)
        self._attempt = attempt
        self._loop = loop
        self._missing = attempt.request.min_bytes - attempt.size
        self._waking = False
        self._timer: asyncio.TimerHandle | None = loop.call_later(
            attempt.request.max_wait_ms / 1000, self._time_is_up
        )
        self._listeners: list[tuple[PartitionLog, AppendListener]] = [
            (log, _StableListener(log, self._on_append) if attempt.committed else self._on_append)
            for log in attempt.logs
        ]
        for log, listener in self._listeners:
            log.append_listeners.add(listener)

    def _on_append(self, appended_bytes: int) -> None:
        """`appended_bytes` is 0 when the log has gone offline: then the answer says so."""
        self._missing -= appended_bytes
        if (self._missing <= 0 or not appended_bytes) and not self._waking:
            # Not at once: what else arrives in this turn of the loop goes into the same answer.
            self._waking = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        if self._timer is None:  # answered already
            return
        self._waking = False
        self._attempt.read()
        if self._attempt.is_enough:
            self._answer(self._timer)
        else:
            self._missing = self._attempt.request.min_bytes - self._attempt.size

    def _time_is_up(self) -> None:
        if self._timer is not None:
            self._attempt.read()
            self._answer(self._timer)

    def _answer(self, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._timer = None
        for log, listener in self._listeners:
            log.append_listeners.discard(listener)
        self.deferred.resolve(self._attempt.response())


class _StableListener:
    """Hears of appends, and passes them on when the last stable offset moves: then they can be read."""

    __slots__ = ("_hidden_bytes", "_listener", "_log", "_stable_offset")

    def __init__(self, log: PartitionLog, listener: AppendListener) -> None:
        self._log = log
        self._listener = listener
        self._stable_offset = log.last_stable_offset
        self._hidden_bytes = 0

    def __call__(self, appended_bytes: int) -> None:
        if not appended_bytes:
            self._listener(0)
            return
        self._hidden_bytes += appended_bytes
        if self._log.last_stable_offset != self._stable_offset:
            self._stable_offset = self._log.last_stable_offset
            self._listener(self._hidden_bytes)
            self._hidden_bytes = 0
