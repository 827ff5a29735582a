"""Runs a source task: poll, transform, convert, produce; how that becomes durable is its delivery's."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

from confluent_kafka import KafkaException

from connect.api import (
    ConnectError,
    Converter,
    Header,
    HeaderConverter,
    JsonRecords,
    RecordBatch,
    RetriableError,
    SourceRecord,
    SourceTask,
    TaskMetrics,
    TransactionContext,
)
from connect.runtime.errors import ErrorHandler, Failure, Stage, Tolerated, type_of
from connect.runtime.metrics import SourceMeter
from connect.runtime.offset_format import frozen
from connect.runtime.plugins import Plugins
from connect.runtime.producer import Headers, SourceProducer, is_bad_record
from connect.runtime.source_delivery import Delivery
from connect.runtime.task_channel import TaskChannel
from connect.runtime.topic_creation import TopicCreator
from connect.runtime.transactional_producer import Interrupted
from connect.transforms.chain import TransformChain

_LOG = logging.getLogger(__name__)
_HEADER_CACHE_MAX: Final = 1_024
_POLL_RETRY_S: Final = (0.1, 10.0)
Frame = tuple[bytes, bytes]
_NO_FRAME: Final = (b"", b"")


class SourceContext:
    """What the task sees of the runtime."""

    def __init__(
        self,
        connector_name: str,
        task_id: int,
        channel: TaskChannel,
        offsets: Iterable[tuple[Any, Any]],
        transactions: TransactionContext | None = None,
    ) -> None:
        self.connector_name = connector_name
        self.task_id = task_id
        self.metrics = TaskMetrics()
        self.transactions = transactions
        self._channel = channel
        self.advances: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
        self.report: Callable[[SourceRecord, Exception], None] | None = None
        self._offsets = {frozen(partition): offset for partition, offset in offsets}

    @property
    def stopping(self) -> bool:
        return self._channel.stopping

    def offset(self, source_partition: Mapping[str, Any]) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._offsets.get(frozen(source_partition))
        return found

    def advance(self, source_partition: Mapping[str, Any], source_offset: Mapping[str, Any]) -> None:
        self.advances.append((source_partition, source_offset))

    def report_errant(self, record: SourceRecord, error: Exception) -> None:
        if self.report is None:
            raise ConnectError("the task has not started yet")
        self.report(record, error)

    def wait(self, seconds: float) -> bool:
        return self._channel.wait(seconds)


class SourceRunner:
    """One source task, from `start` to `stop`. Everything happens in the calling thread."""

    def __init__(
        self,
        task: SourceTask[Any],
        context: SourceContext,
        channel: TaskChannel,
        producer: SourceProducer,
        delivery: Delivery,
        *,
        key_converter: Converter,
        value_converter: Converter,
        header_converter: HeaderConverter,
        transforms: TransformChain | None,
        errors: ErrorHandler,
        topic_creator: TopicCreator | None,
    ) -> None:
        self._task = task
        self._context = context
        self._channel = channel
        self._producer = producer
        self._delivery = delivery
        self._key_converter = key_converter
        self._value_converter = value_converter
        self._header_converter = header_converter
        self._transforms = transforms
        self._errors = errors
        self._topic_creator = topic_creator
        self.meter = SourceMeter(
            context.metrics, errors.counts, lambda: channel.paused, lambda: producer.queued
        )
        context.report = self._report_errant
        self._known_topics: set[str] = set()
        self._header_cache: dict[tuple[str, int], tuple[Sequence[Header], Headers]] = {}

    def run(self, start: Callable[[], None]) -> None:
        """Until the task should stop; raises what makes it fail. `start` starts the task."""
        self._delivery.start(self._task.commit, self.meter.committed)
        try:
            start()
            self._channel.send("paused" if self._channel.paused else "running")
            try:
                self._loop()
                self._channel.progress.enter("stop")
                self._delivery.stop()
            except Interrupted as exc:
                _LOG.warning("the last records may be sent again: %s", exc)
            except Exception:
                self._delivery.fail()
                raise
        finally:
            self._task.stop()

    def _loop(self) -> None:
        delivery, progress, paused = self._delivery, self._channel.progress, self._channel.paused
        while not self._channel.stopping:
            if self._channel.paused is not paused:
                paused = self._channel.paused
                if paused and not delivery.pause():
                    return
                self._channel.send("paused" if paused else "running")
            if paused:
                progress.rest("paused")
                self._channel.wait_while_paused(max(0.0, delivery.next_due_s() - time.monotonic()))
            else:
                progress.enter("poll")
                began = time.monotonic()
                if records := self._poll():
                    self.meter.polled(len(records), began)
                    self._channel.check_lease()
                progress.enter("produce")
                delivery.deliver(records, self._send)
                if records:
                    self._channel.keep_pace()
                self._take_advances()
            delivery.tick()

    def _poll(self) -> Sequence[SourceRecord]:
        delay_s, longest_s = _POLL_RETRY_S
        while True:
            try:
                records = self._task.poll()
            except RetriableError as exc:
                _LOG.warning("poll will be tried again in %g s: %s", delay_s, exc)
                self._channel.tell_retry("poll", exc)
                self._channel.progress.rest("poll retry")
                if self._channel.wait(delay_s):
                    return ()
                self._channel.progress.enter("poll")
                delay_s = min(delay_s * 2, longest_s)
            else:
                self._channel.tell_success()
                return records

    def _send(self, records: Sequence[SourceRecord]) -> None:
        parts = records.parts if isinstance(records, RecordBatch) else (records,)
        latest: dict[int, int] = {}  # id of a source partition's dict → its last record here
        sent = before = 0
        for part in parts:
            if isinstance(part, JsonRecords) and (frames := self._frames(part)) is not None:
                self._send_json(part, *frames)
                latest[id(part.source_partition)] = before + len(part) - 1
                sent += len(part)
            else:
                sent += self._send_singly(part, before, latest)
            before += len(part)
        self.meter.records_out += sent
        # In order: one source partition may come as several equal dicts.
        for number in sorted(latest.values()):
            self._delivery.note(records[number].source_partition, records[number].source_offset)

    def _frames(self, records: JsonRecords) -> tuple[Frame, Frame, Headers | None] | None:
        """What makes messages of them: the frames of keys and of values, and the headers. None where they
        must be looked at one by one."""
        if self._transforms is not None:
            return None
        topic, key_schema = records.topic, records.key_schema
        try:
            key: Frame | None = _NO_FRAME
            if key_schema is not None:
                key = self._key_converter.json_frame(topic, key_schema)
            elif self._key_converter.from_connect(topic, None, None) is not None:
                return None
            value = self._value_converter.json_frame(topic, records.value_schema)
            if key is None or value is None:
                return None
            return key, value, self._headers(topic, records.headers) if records.headers else None
        except Exception:  # noqa: BLE001 - whatever a plugin raises is handled, record by record
            return None

    def _send_json(
        self, records: JsonRecords, key_frame: Frame, value_frame: Frame, headers: Headers | None
    ) -> None:
        produce, topic = self._producer.produce, records.topic
        self._use_topic(topic)
        keys: Iterable[bytes | None] = repeat(None)
        if records.keys is not None:
            keys = _framed(records.keys, key_frame)
        values = _framed(records.values, value_frame)
        for number, (value, key) in enumerate(zip(values, keys, strict=False)):
            try:
                produce(topic, value, key, -1, None, None, 0, headers)
            except (BufferError, KafkaException):
                self._produce_carefully(records[number], topic, value, key, -1, None, headers)

    def _send_singly(self, records: Sequence[SourceRecord], before: int, latest: dict[int, int]) -> int:
        """How many were handed to the producer. `latest` is told of the last record of each source partition;
        `before` records are not among these."""
        produce, transforms = self._producer.produce, self._transforms
        key_bytes, value_bytes = self._key_converter.from_connect, self._value_converter.from_connect
        last_topic = None
        sent = 0
        for number, original in enumerate(records, before):
            latest[id(original.source_partition)] = number
            try:
                record = original if transforms is None else transforms.apply(original)
                if record is None:
                    continue
                topic = record.topic
                key = key_bytes(topic, record.key_schema, record.raw_key)
                value = value_bytes(topic, record.value_schema, record.raw_value)
                headers: Headers | None = self._headers(topic, record.headers) if record.headers else None
            except Exception:  # noqa: BLE001 - whatever a plugin raises is handled, a stage at a time
                try:
                    converted = self._convert_carefully(original)
                except Tolerated:
                    converted = None
                if converted is None:
                    continue
                record, key, value, headers = converted
                topic = record.topic
            sent += 1
            if topic != last_topic:
                self._use_topic(topic)
                last_topic = topic
            partition = -1 if record.partition is None else record.partition
            try:
                produce(topic, value, key, partition, None, None, record.timestamp_ms or 0, headers)
            except (BufferError, KafkaException):
                self._produce_carefully(original, topic, value, key, partition, record.timestamp_ms, headers)
        return sent

    def _report_errant(self, record: SourceRecord, error: Exception) -> None:
        name = Plugins.discover().name_of(self._task)
        value_type = type_of(record.value_schema, record.raw_value)
        self._errors.reject(Failure(record, Stage.TASK_POLL, name, error, value_type))
        self._errors.counts.skipped += 1

    def _take_advances(self) -> None:
        """Offsets without records, once the records before them are with the producer."""
        for partition, offset in self._context.advances:
            self._delivery.note(partition, offset)
        self._context.advances.clear()

    def _headers(self, topic: str, headers: Sequence[Header]) -> Headers:
        """The converted headers. A tuple that records share, as they mostly do, is converted once: it is
        known again by its identity, which lasts as long as the cache holds it."""
        known = self._header_cache.get((topic, id(headers)))
        if known is not None:
            return known[1]
        convert = self._header_converter.from_connect_header
        converted = [(header.name, convert(topic, header)) for header in headers]
        if type(headers) is tuple:  # a list may change later
            if len(self._header_cache) >= _HEADER_CACHE_MAX:
                self._header_cache.clear()
            self._header_cache[topic, id(headers)] = (headers, converted)
        return converted

    def _convert_carefully(
        self, original: SourceRecord
    ) -> tuple[SourceRecord, bytes | None, bytes | None, Headers | None] | None:
        """Once more, a stage at a time, with retries and tolerance. None: a transform dropped the record."""
        execute, transforms = self._errors.execute, self._transforms
        final = original if transforms is None else self._errors.transform(transforms, original, original)
        if final is None:
            return None
        topic = final.topic
        key = execute(
            lambda: self._key_converter.from_connect(topic, final.key_schema, final.raw_key),
            original, Stage.KEY_CONVERTER, self._key_converter, (final.key_schema, final.raw_key),
        )  # fmt: skip
        value = execute(
            lambda: self._value_converter.from_connect(topic, final.value_schema, final.raw_value),
            original, Stage.VALUE_CONVERTER, self._value_converter, (final.value_schema, final.raw_value),
        )  # fmt: skip
        headers = execute(
            lambda: self._headers(topic, final.headers) if final.headers else None,
            original, Stage.HEADER_CONVERTER, self._header_converter, (None, final.headers),
        )  # fmt: skip
        return final, key, value, headers

    def _produce_carefully(
        self,
        original: SourceRecord,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        timestamp_ms: int | None,
        headers: Headers | None,
    ) -> None:
        """After a first try failed: wait for room in the queue, or handle a record that cannot be sent."""
        while True:
            try:
                self._producer.produce(topic, value, key, partition, None, None, timestamp_ms or 0, headers)
            except BufferError:
                if self._channel.stopping:
                    raise ConnectError("the task was stopped while Kafka took no more records") from None
                self._channel.progress.enter("waiting for Kafka")
                self._producer.make_room()
            except KafkaException as exc:
                if not is_bad_record(exc):
                    raise
                name = Plugins.discover().name_of(self._producer)
                self._errors.reject(Failure(original, Stage.KAFKA_PRODUCE, name, exc, type_of(None, value)))
                return
            else:
                return

    def _use_topic(self, topic: str) -> None:
        if topic not in self._known_topics:
            if self._topic_creator is not None:
                self._topic_creator.ensure(topic)
            self._known_topics.add(topic)
        if topic not in self._channel.topics:
            self._channel.use_topic(topic)


def _framed(texts: Sequence[bytes], frame: Frame) -> Iterable[bytes]:
    """One at a time: with its schema a value is many times as long as without."""
    head, end = frame
    return texts if frame == _NO_FRAME else (b"".join((head, text, end)) for text in texts)
