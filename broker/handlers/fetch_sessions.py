"""Incremental fetch sessions (KIP-227): a consumer names its partitions once, and later only what changes.

A session's epoch counts its requests; a gap means that one side has lost an answer, and the client
starts a new session.
"""

import random
import uuid
from collections import OrderedDict
from dataclasses import dataclass

from broker.wire.errors import ErrorCode, KafkaError
from broker.wire.fetch import FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, PartitionData

NO_SESSION = 0
INITIAL_EPOCH = 0
FINAL_EPOCH = -1
EPOCH_MAX = 2**31 - 1

EVICTION_MS_MIN = 120_000
"""A session that was used more recently is not evicted for a new one."""

TopicKey = str | uuid.UUID
"""A topic as the request named it: by id from version 13 on."""


@dataclass(slots=True)
class SessionPartition:
    """What a consumer wants of a partition, and what it was last told about it."""

    topic: TopicKey
    wanted: FetchPartition
    high_watermark: int = -1
    log_start_offset: int = -1

    def is_news(self, data: PartitionData) -> bool:
        """Whether an incremental answer has to contain `data`; it is taken as told."""
        failed = data.error_code != ErrorCode.none
        news = (
            failed
            or data.records is not None
            or data.high_watermark != self.high_watermark
            or data.log_start_offset != self.log_start_offset
        )
        # After an error everything is news again.
        self.high_watermark = -1 if failed else data.high_watermark
        self.log_start_offset = -1 if failed else data.log_start_offset
        return news


class FetchSession:
    """The partitions are in the order in which they are read."""

    def __init__(self, session_id: int, *, by_topic_id: bool) -> None:
        self.session_id = session_id
        self.next_epoch = 1
        self.by_topic_id = by_topic_id
        self.used_ms = 0
        self.partitions: dict[tuple[TopicKey, int], SessionPartition] = {}

    def update(self, request: FetchRequest) -> None:
        """Take over what the request adds, changes and forgets."""
        for topic in request.topics:
            key = topic_key(topic)
            for wanted in topic.partitions:
                known = self.partitions.get((key, wanted.partition))
                if known is None:
                    self.partitions[key, wanted.partition] = SessionPartition(key, wanted)
                else:
                    known.wanted = wanted
        for forgotten in request.forgotten:
            key = topic_key(forgotten)
            for partition in forgotten.partitions:
                self.partitions.pop((key, partition), None)

    def rotate(self, partition: SessionPartition) -> None:
        """Read this one last next time: it just had its turn."""
        key = (partition.topic, partition.wanted.partition)
        if key in self.partitions:
            self.partitions[key] = self.partitions.pop(key)


class FetchSessions:
    """The sessions of all consumers, at most `slots`."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._sessions: OrderedDict[int, FetchSession] = OrderedDict()
        self._random = random.SystemRandom()  # ids of others must not be guessed

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, request: FetchRequest, now_ms: int, *, by_topic_id: bool) -> FetchSession | None:
        """The session that the request goes on or begins, updated; None for a fetch without one.

        Raises KafkaError when the request cannot be part of its session.
        """
        if request.session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
            self._sessions.pop(request.session_id, None)
            if request.session_epoch == FINAL_EPOCH or not request.topics:
                return None
            session = self._begin(now_ms, by_topic_id=by_topic_id)
            if session is not None:
                session.update(request)
            return session
        session = self._sessions.get(request.session_id)
        if session is None:
            raise KafkaError(ErrorCode.fetch_session_id_not_found)
        if session.next_epoch != request.session_epoch:
            raise KafkaError(ErrorCode.invalid_fetch_session_epoch)
        if session.by_topic_id != by_topic_id:
            raise KafkaError(ErrorCode.fetch_session_topic_id_error)
        session.next_epoch = 1 if session.next_epoch == EPOCH_MAX else session.next_epoch + 1
        session.used_ms = now_ms
        self._sessions.move_to_end(session.session_id)
        session.update(request)
        return session

    def _begin(self, now_ms: int, *, by_topic_id: bool) -> FetchSession | None:
        if len(self._sessions) >= self._slots:
            oldest = next(iter(self._sessions.values()), None)
            if oldest is None or now_ms - oldest.used_ms < EVICTION_MS_MIN:
                return None
            del self._sessions[oldest.session_id]
        session_id = NO_SESSION
        while session_id == NO_SESSION or session_id in self._sessions:
            session_id = self._random.randint(1, 2**31 - 1)
        session = FetchSession(session_id, by_topic_id=by_topic_id)
        session.used_ms = now_ms
        self._sessions[session_id] = session
        return session


def topic_key(topic: FetchTopic | ForgottenTopic) -> TopicKey:
    return topic.topic_id if topic.topic_id is not None else topic.name or ""
