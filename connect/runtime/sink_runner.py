"""Runs a sink task: consume, convert, transform, put; commit what the task says is safe."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from connect.api import (
    ConnectError,
    Converter,
    Header,
    HeaderConverter,
    RetriableError,
    SinkRecord,
    SinkTask,
    TaskMetrics,
    TimestampType,
    TopicPartition,
)
from connect.runtime.errant import Originals, RebuiltMessage
from connect.runtime.errors import ErrorHandler, Failure, Stage, Tolerated, type_of
from connect.runtime.metrics import SinkMeter
from connect.runtime.task_channel import TaskChannel
from connect.transforms.chain import TransformChain

_LOG = logging.getLogger(__name__)
_POLL_S: Final = 0.2  # how soon a stop or pause is noticed
_IDLE_PUT_S: Final = 1.0
_LOOKUP_S: Final = 10.0  # how soon a new topic is noticed that topics.regex matches
_LOG_ENDS_S: Final = 1.0
_LOOKUP_TIMEOUT_S: Final = 30.0
_INTERNAL_TOPICS: Final = frozenset({"__consumer_offsets", "__transaction_state"})
_COMMIT_RETRY_S: Final = 5.0
_PUT_RETRY_S: Final = (0.5, 30.0)
_SINK_TASK: Final = "org.apache.kafka.connect.sink.SinkTask"  # what Connect names for any reported record
_TIMESTAMP_TYPES: Final = {member.value: member for member in TimestampType}


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """`pattern` in place of `topics` means all topics that match. Times are in seconds. `incremental`: what
    is assigned comes on top of what the consumer has (KIP-429, KIP-848)."""

    topics: Sequence[str]
    pattern: re.Pattern[str] | None
    batch_records_max: int
    flush_interval_s: float
    incremental: bool = False


class SinkContext:
    """What the task sees of the runtime; the runner looks at the requests after each call."""

    def __init__(self, connector_name: str, task_id: int) -> None:
        self.connector_name = connector_name
        self.task_id = task_id
        self.metrics = TaskMetrics()
        self.assigned: set[TopicPartition] = set()
        self.rewinds: dict[TopicPartition, int] = {}
        self.pauses: dict[TopicPartition, bool] = {}
        self.retry_in_s: float | None = None
        self.commit_requested = False
        self.report: Callable[[SinkRecord, Exception], None] | None = None

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.assigned)

    def rewind(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.rewinds |= offsets

    def timeout(self, milliseconds: int) -> None:
        self.retry_in_s = milliseconds / 1000

    def request_commit(self) -> None:
        self.commit_requested = True

    def pause(self, *partitions: TopicPartition) -> None:
        self.pauses |= dict.fromkeys(partitions, True)

    def resume(self, *partitions: TopicPartition) -> None:
        self.pauses |= dict.fromkeys(partitions, False)

    def report_errant(self, record: SinkRecord, error: Exception) -> None:
        if self.report is None:
            raise ConnectError("the task has not started yet")
        self.report(record, error)


class SinkRunner:
    """One sink task, from `start` to `stop`. Everything, rebalances too, happens in the calling thread."""

    def __init__(
        self,
        task: SinkTask[Any],
        context: SinkContext,
        channel: TaskChannel,
        consumer: confluent_kafka.Consumer,
        settings: SinkSettings,
        *,
        key_converter: Converter,
        value_converter: Converter,
        header_converter: HeaderConverter,
        transforms: TransformChain | None,
        errors: ErrorHandler,
        before_commit: Callable[[], None],
        originals: Originals,
    ) -> None:
        self._task = task
        self._context = context
        self._channel = channel
        self._consumer = consumer
        self._settings = settings
        self._key_converter = key_converter
        self._value_converter = value_converter
        self._header_converter = header_converter
        self._transforms = transforms
        self._errors = errors
        self._before_commit = before_commit
        self._originals = originals
        self.meter = SinkMeter(context.metrics, errors.counts, lambda: channel.paused)
        self._positions: dict[TopicPartition, int] = {}  # next offset after what `put` took
        self.meter.positions = self._positions
        self._committed: dict[TopicPartition, int] = {}
        self._paused_by_task: set[TopicPartition] = set()
        self._connector_paused = False
        self._revoked: set[TopicPartition] = set()  # while messages were on their way to the task
        self._subscribed: list[str] = []
        self._next_log_ends_s = 0.0
        self._ended = False
        context.report = self._report_errant

    def run(self, start: Callable[[], None]) -> None:
        """Until the task should stop; raises what makes it fail. `start` starts the task."""
        try:
            start()
            self._subscribe(self._settings.topics or self._matching_topics())
            self._connector_paused = self._channel.paused
            self._channel.send("paused" if self._connector_paused else "running")
            self._loop()
            self._channel.progress.enter("stop")
            self._close(sorted(self._context.assigned))
        finally:
            self._ended = True
            self._task.stop()
            self._consumer.close()

    def _loop(self) -> None:
        progress = self._channel.progress
        now = time.monotonic()
        next_commit, next_put = now + self._settings.flush_interval_s, now + _IDLE_PUT_S
        next_lookup = now + _LOOKUP_S
        while not self._channel.stopping:
            self._follow_pause()
            progress.enter("consume")
            messages = self._consume()
            now = time.monotonic()
            self._note_log_ends()
            if messages:
                self._take(messages)
                self._channel.keep_pace()
                next_put = now + _IDLE_PUT_S
            elif now >= next_put and not self._connector_paused:
                self._put([])
                self._follow_requests()
                next_put = now + _IDLE_PUT_S
            if now >= next_commit or self._context.commit_requested:
                self._context.commit_requested = False
                done = self._commit(self._positions)
                interval_s = self._settings.flush_interval_s
                next_commit = now + (interval_s if done else min(interval_s, _COMMIT_RETRY_S))
            if self._settings.pattern is not None and now >= next_lookup:
                self._subscribe(self._matching_topics())
                next_lookup = now + _LOOKUP_S

    # Consuming

    def _subscribe(self, topics: Sequence[str]) -> None:
        if sorted(topics) != self._subscribed:
            self._subscribed = sorted(topics)
            self._consumer.subscribe(
                self._subscribed,
                on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost,
            )  # fmt: skip

    def _matching_topics(self) -> list[str]:
        """The topics there are that match. Looked up here, since librdkafka's expressions are not Java's."""
        pattern = self._settings.pattern
        assert pattern is not None
        try:
            known = self._consumer.list_topics(timeout=_LOOKUP_TIMEOUT_S).topics
        except KafkaException as exc:
            _LOG.warning("topics could not be looked up: %s", exc.args[0].str())
            return self._subscribed
        return [topic for topic in known if pattern.fullmatch(topic) and topic not in _INTERNAL_TOPICS]

    def _consume(self) -> list[Any]:
        """What has arrived: waits for a first message only (`consume` would wait for a full batch)."""
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return []
        self._revoked.clear()
        messages: list[Any] = self._consumer.consume(self._settings.batch_records_max - 1, 0)
        # What `consume` returns belongs to the assignment as it is now, even if that changed meanwhile; the
        # first message may not: its partition's new owner, or this task once more, gets it again.
        if (first.topic(), first.partition()) not in self._revoked:
            messages.insert(0, first)
        if self._revoked:
            gone = self._revoked - self._context.assigned
            messages = [m for m in messages if (m.topic(), m.partition()) not in gone]
            self._revoked.clear()
        return messages

    def _take(self, messages: Sequence[Any]) -> None:
        records, ends = self._convert(messages)
        for partition in ends:
            if partition not in self._positions:
                self.meter.safe.setdefault(partition, _first_offset(messages, partition))
                self._next_log_ends_s = 0.0
        self._note_log_ends()  # the lag must be right above all while `put` does not return
        with self._originals.at_hand(messages):
            if not self._put(records):
                return
        for partition, end in ends.items():
            if partition not in self._revoked:
                self._positions[partition] = end
        self._follow_requests()

    def _convert(self, messages: Sequence[Any]) -> tuple[list[SinkRecord], dict[TopicPartition, int]]:
        """Records for `put`, and the next offset of each partition after them."""
        to_key, to_value = self._key_converter.to_connect, self._value_converter.to_connect
        transforms = self._transforms
        records: list[SinkRecord] = []
        ends: dict[TopicPartition, int] = {}
        last_topic, last_partition, offset = "", -1, -1
        events = 0
        for message in messages:
            if (error := message.error()) is not None:
                self._on_consume_error(error)
                events += 1
                continue
            topic, partition = message.topic(), message.partition()
            if partition != last_partition or topic != last_topic:
                if last_topic:
                    ends[TopicPartition(last_topic, last_partition)] = offset + 1
                if topic not in self._channel.topics:
                    self._channel.use_topic(topic)
                last_topic, last_partition = topic, partition
            offset = message.offset()
            try:
                key = to_key(topic, message.key())
                value = to_value(topic, message.value())
                timestamp_type, timestamp_ms = message.timestamp()
                raw_headers = message.headers()
                record: SinkRecord | None = SinkRecord(
                    topic, partition, offset, value.value,
                    value_schema=value.schema, key=key.value, key_schema=key.schema,
                    timestamp_ms=timestamp_ms if timestamp_type else None,
                    timestamp_type=_TIMESTAMP_TYPES[timestamp_type],
                    headers=self._headers(topic, raw_headers) if raw_headers else (),
                )  # fmt: skip
                if transforms is not None:
                    record = transforms.apply(record)
            except Exception:  # noqa: BLE001 - whatever a plugin raises is handled, a stage at a time
                try:
                    record = self._convert_carefully(message)
                except Tolerated:
                    continue
            if record is not None:
                records.append(record)
        if last_topic:
            ends[TopicPartition(last_topic, last_partition)] = offset + 1
        self.meter.records_in += len(messages) - events
        return records, ends

    def _headers(self, topic: str, raw: Sequence[tuple[str, bytes | None]]) -> list[Header]:
        convert = self._header_converter.to_connect_header
        return [convert(topic, name, data) for name, data in raw]

    def _convert_carefully(self, message: Any) -> SinkRecord | None:
        """Once more, a stage at a time, with retries and tolerance."""
        execute, topic = self._errors.execute, message.topic()
        key = execute(
            lambda: self._key_converter.to_connect(topic, message.key()),
            message, Stage.KEY_CONVERTER, self._key_converter, (None, message.key()),
        )  # fmt: skip
        value = execute(
            lambda: self._value_converter.to_connect(topic, message.value()),
            message, Stage.VALUE_CONVERTER, self._value_converter, (None, message.value()),
        )  # fmt: skip
        headers = execute(
            lambda: self._headers(topic, message.headers() or ()),
            message, Stage.HEADER_CONVERTER, self._header_converter, (None, message.headers()),
        )  # fmt: skip
        timestamp_type, timestamp_ms = message.timestamp()
        record = SinkRecord(
            topic, message.partition(), message.offset(), value.value,
            value_schema=value.schema, key=key.value, key_schema=key.schema,
            timestamp_ms=timestamp_ms if timestamp_type else None,
            timestamp_type=_TIMESTAMP_TYPES[timestamp_type], headers=headers,
        )  # fmt: skip
        if self._transforms is None:
            return record
        changed: SinkRecord | None = self._errors.transform(self._transforms, record, message)
        return changed

    def _on_consume_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
            KafkaError._AUTO_OFFSET_RESET,
        ):  # fmt: skip
            raise ConnectError(f"consuming failed: {error.str()}")
        _LOG.warning("consuming: %s", error.str())

    # Putting

    def _put(self, records: list[SinkRecord]) -> bool:
        """Until the task took them; while it cannot, the partitions are paused and the group kept alive.
        False if the task is to stop before."""
        delay_s, longest_s = _PUT_RETRY_S
        paused = False
        while True:
            self._channel.check_lease()
            self._channel.progress.enter("put")
            began = time.monotonic()
            try:
                self._task.put(records)
            except RetriableError as exc:
                wait_s, self._context.retry_in_s = self._context.retry_in_s or delay_s, None
                _LOG.warning("put will be tried again in %g s: %s", wait_s, exc)
                self._channel.tell_retry("put", exc)
                self._channel.progress.rest("put retry")
                if not paused:
                    self._pause_assignment()
                    paused = True
                records = self._wait_to_retry(records, wait_s)
                if self._channel.stopping:
                    return False
                delay_s = min(delay_s * 2, longest_s)
            else:
                break
        if records:
            self.meter.put(len(records), began)
        self._channel.tell_success()
        if paused:
            self._resume_assignment()
        return True

    def _wait_to_retry(self, records: list[SinkRecord], seconds: float) -> list[SinkRecord]:
        """Keep the membership alive; drop the records of partitions that go to another task meanwhile."""
        deadline = time.monotonic() + seconds
        while not self._channel.stopping:
            left = deadline - time.monotonic()
            if self._channel.paused is not self._connector_paused:
                self._follow_pause()
                self._pause_assignment()
            if left <= 0 and not self._connector_paused:
                break
            self._note_log_ends()
            message: Any = self._consumer.poll(min(max(left, _POLL_S / 2), _POLL_S))
            if message is not None and message.error() is None:
                # It was in the queue before the pause took effect: deliver it again later.
                self._consumer.seek(
                    _kafka(TopicPartition(message.topic(), message.partition()), message.offset())
                )
        return [r for r in records if (r.original_topic, r.original_partition) not in self._revoked]

    def _report_errant(self, record: SinkRecord, error: Exception) -> None:
        message = self._originals.find(record) or RebuiltMessage(
            record, self._key_converter, self._value_converter, self._header_converter
        )
        value_type = type_of(record.value_schema, record.raw_value)
        self._errors.reject(Failure(message, Stage.TASK_PUT, _SINK_TASK, error, value_type))

    def _follow_requests(self) -> None:
        """What the task asked for in its context."""
        context = self._context
        if context.rewinds:
            for partition, offset in context.rewinds.items():
                if partition in context.assigned:
                    self._consumer.seek(_kafka(partition, offset))
                    self._positions[partition] = offset
            context.rewinds = {}
        if context.pauses:
            for partition, pause in context.pauses.items():
                if pause:
                    self._paused_by_task.add(partition)
                else:
                    self._paused_by_task.discard(partition)
            context.pauses = {}
            self._resume_assignment()

    # Pausing

    def _follow_pause(self) -> None:
        if self._channel.paused is self._connector_paused:
            return
        self._connector_paused = self._channel.paused
        if self._connector_paused:
            self._pause_assignment()
        else:
            self._resume_assignment()
        self._channel.send("paused" if self._connector_paused else "running")

    def _pause_assignment(self) -> None:
        self._consumer.pause([_kafka(partition) for partition in self._context.assigned])

    def _resume_assignment(self) -> None:
        """All that neither the user nor the task has paused."""
        assigned = self._context.assigned
        paused = assigned if self._connector_paused else assigned & self._paused_by_task
        self._consumer.pause([_kafka(partition) for partition in paused])
        self._consumer.resume([_kafka(partition) for partition in assigned - paused])

    # Committing and rebalancing

    def _commit(self, positions: Mapping[TopicPartition, int]) -> bool:
        """Commit what the task says is safe of these partitions; False if it should be tried again soon."""
        if not positions:
            return True
        self._channel.check_lease()
        self._channel.progress.enter("pre_commit")
        try:
            safe = self._task.pre_commit(dict(positions))
        except RetriableError as exc:
            # Nothing is lost: what is not committed is still the task's, or comes again.
            _LOG.warning("offsets are not committed yet: %s", exc)
            return False
        self._follow_requests()
        self._before_commit()
        new = {
            partition: offset
            for partition, offset in safe.items()
            # A task may not know more than was put; such an offset would lose records.
            if offset <= positions.get(partition, -1) and self._committed.get(partition) != offset
        }
        if not new:
            return True
        self._channel.progress.enter("commit")
        began = time.monotonic()
        offsets = [_kafka(partition, offset) for partition, offset in new.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as exc:
            # Should the partitions be lost, their new owner puts again.
            _LOG.warning("offsets could not be committed: %s", exc.args[0].str())
            self.meter.committed(began, False)
            return False
        self.meter.committed(began, True)
        self._committed |= new
        self.meter.safe |= new
        return True

    def _on_assign(self, consumer: confluent_kafka.Consumer, partitions: list[Any]) -> None:
        added = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._context.assigned |= set(added)
        self._channel.progress.enter("open")
        self.meter.partitions = len(self._context.assigned)
        self._task.open(added)
        rewinds, self._context.rewinds = self._context.rewinds, {}
        for partition in partitions:
            offset = rewinds.get(TopicPartition(partition.topic, partition.partition))
            if offset is not None:
                partition.offset = offset
        # What the task has just paused must not be delivered even once.
        asked = self._context.pauses
        paused = [
            partition
            for partition in partitions
            if self._connector_paused or asked.get(TopicPartition(partition.topic, partition.partition))
        ]
        if rewinds or paused:
            self._assign(consumer, partitions)
            consumer.pause(paused)

    def _assign(self, consumer: Any, partitions: list[Any]) -> None:
        if self._settings.incremental:
            consumer.incremental_assign(partitions)
        else:
            consumer.assign(partitions)

    def _on_revoke(self, _consumer: confluent_kafka.Consumer, partitions: list[Any]) -> None:
        if not self._ended:
            self._close([TopicPartition(p.topic, p.partition) for p in partitions])

    def _on_lost(self, _consumer: confluent_kafka.Consumer, partitions: list[Any]) -> None:
        """Another member may have them already: nothing can be committed."""
        if self._ended:
            return
        lost = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._channel.progress.enter("close")
        self._task.close(lost)
        self._forget(lost)

    def _close(self, partitions: Sequence[TopicPartition]) -> None:
        if partitions:
            self._commit({p: self._positions[p] for p in partitions if p in self._positions})
            self._channel.progress.enter("close")
            self._task.close(partitions)
            self._forget(partitions)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._context.assigned.discard(partition)
            self._positions.pop(partition, None)
            self._committed.pop(partition, None)
            self._paused_by_task.discard(partition)
            self._revoked.add(partition)
            self.meter.safe.pop(partition, None)
        self.meter.partitions = len(self._context.assigned)

    def _note_log_ends(self) -> None:
        """As of the last fetch, for the meter. The control thread must not ask: a consumer lets in one thread
        at a time, and the one that polls again and again leaves no room for another."""
        now = time.monotonic()
        if now < self._next_log_ends_s:
            return
        self._next_log_ends_s = now + _LOG_ENDS_S
        ends = {}
        for partition in self._context.assigned:
            try:
                end: int = self._consumer.get_watermark_offsets(_kafka(partition), cached=True)[1]
            except KafkaException:
                continue  # not fetched yet
            if end >= 0:
                ends[partition] = end
        self.meter.log_ends = ends


def _first_offset(messages: Sequence[Any], partition: TopicPartition) -> int:
    offsets: list[int] = [
        message.offset()
        for message in messages
        if message.error() is None and (message.topic(), message.partition()) == partition
    ]
    return offsets[0]


def _kafka(partition: TopicPartition, offset: int | None = None) -> confluent_kafka.TopicPartition:
    if offset is None:
        return confluent_kafka.TopicPartition(partition.topic, partition.partition)
    return confluent_kafka.TopicPartition(partition.topic, partition.partition, offset)
