"""A compacted topic as a map: read to its end at the start, then followed.

Values are JSON, keys are text. `put` returns once the write is acknowledged *and* has come back through the
topic, so that whoever wrote sees what every reader of the topic sees, in the same order.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import aiokafka
import orjson
from aiokafka.errors import KafkaError

from connect.api import ConnectError

_LOG = logging.getLogger(__name__)
_POLL_MS = 1_000
_MARKERS_S = 0.02
_RETRY_S = 1.0
_STOP_S = 1.0

OnRecord = Callable[[str, Any], None]


class RecordMap(Protocol):
    """What the stores need: see `TopicMap`."""

    failure: Exception | None
    record_offset: int

    @property
    def position(self) -> int: ...

    async def barrier(self) -> None: ...

    async def reach(self, position: int) -> None: ...

    async def put(self, key: str, value: Any) -> None: ...

    async def put_all(self, records: Mapping[str, Any]) -> None: ...

    def post(self, key: str, value: Any, still_true: Callable[[], bool] = ...) -> None: ...

    def forget_post(self, key: str) -> None: ...

    async def stop(self) -> None: ...


class TopicMap:
    """One topic; `on_record(key, value)` is called for each record in log order, value None for a delete.

    `client` are keyword arguments of an aiokafka client.
    """

    def __init__(self, topic: str, client: Mapping[str, Any], on_record: OnRecord) -> None:
        self.topic = topic
        self._client = client
        self._on_record = on_record
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._probe: aiokafka.AIOKafkaConsumer | None = None
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._positions: dict[aiokafka.TopicPartition, int] = {}
        self.record_offset = -1  # of the record that `on_record` is called for
        self._waiting: list[tuple[dict[aiokafka.TopicPartition, int], asyncio.Future[None]]] = []
        self._unposted: dict[str, tuple[Any, Callable[[], bool]]] = {}
        self._to_post = asyncio.Event()
        self._all_posted = asyncio.Event()
        self._all_posted.set()
        self._jobs: list[asyncio.Task[None]] = []
        self.failure: Exception | None = None

    async def start(
        self,
        producer: aiokafka.AIOKafkaProducer,
        probe: aiokafka.AIOKafkaConsumer,
        committed: aiokafka.AIOKafkaConsumer,
    ) -> None:
        """Read the topic up to the transactions that are open now, and follow it from there.

        The clients belong to the caller. `probe` and `committed` (which is read_committed, and not needed any
        longer afterwards) are asked for the ends of topics only: on the connection of a consumer that reads,
        that question would wait behind the long poll.
        """
        self._producer, self._probe = producer, probe
        # The offsets topic of a worker with exactly-once sources holds transactions.
        self._consumer = consumer = aiokafka.AIOKafkaConsumer(
            self.topic,
            **self._client,
            group_id=None,  # all partitions, from the beginning
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await consumer.start()
        partitions = consumer.assignment()
        if not partitions:
            raise ConnectError(f"topic {self.topic} does not exist")
        for partition in partitions:
            self._positions[partition] = await consumer.position(partition)
        self._jobs = [asyncio.create_task(self._follow()), asyncio.create_task(self._post_all())]
        await self._reach(await committed.end_offsets(partitions))

    async def stop(self) -> None:
        """Write what was posted, if Kafka takes it in a moment, and end."""
        if self._jobs:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await self._all_posted.wait()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()
        self.failure = ConnectError("the worker is stopping")
        self._fail_waiting(self.failure)

    async def barrier(self) -> None:
        """Wait until everything that is in the topic now has been read: also for transactions to end.
        Raises `ConnectError`."""
        assert self._probe is not None, "start first"
        try:
            ends = await self._probe.end_offsets(list(self._positions))
        except KafkaError as exc:
            raise ConnectError(f"the end of topic {self.topic} could not be asked for: {exc}") from exc
        await self._reach(ends)

    @property
    def position(self) -> int:
        """How far a topic of one partition has been read: the offset of the next record."""
        return sum(self._positions.values())

    async def reach(self, position: int) -> None:
        """Wait until a topic of one partition has been read so far."""
        await self._reach(dict.fromkeys(self._positions, position))

    async def put_all(self, records: Mapping[str, Any]) -> None:
        """`put` one after the other."""
        for key, value in records.items():
            await self.put(key, value)

    async def put(self, key: str, value: Any) -> None:
        """Write one record and wait until it has been read back. Value None deletes the key.

        Raises `ConnectError` when Kafka does not take it in aiokafka's request timeout.
        """
        try:
            written = await self._write(key, value)
        except KafkaError as exc:
            raise ConnectError(f"could not write {key} to topic {self.topic}: {exc}") from exc
        await self._reach({aiokafka.TopicPartition(written.topic, written.partition): written.offset + 1})

    def post(self, key: str, value: Any, still_true: Callable[[], bool] = lambda: True) -> None:
        """Have one record written soon: the newest value of each key, tried until Kafka takes it or it turns
        out not to be true any more."""
        self._unposted.pop(key, None)
        self._unposted[key] = value, still_true
        self._to_post.set()
        self._all_posted.clear()

    def forget_post(self, key: str) -> None:
        """Do not write what was posted, unless it is being written."""
        self._unposted.pop(key, None)

    async def _write(self, key: str, value: Any) -> Any:
        assert self._producer is not None, "start first"
        data = None if value is None else orjson.dumps(value)
        return await self._producer.send_and_wait(self.topic, data, key.encode())

    async def _post_all(self) -> None:
        while True:
            await self._to_post.wait()
            self._to_post.clear()
            while self._unposted:
                key, posted = next(iter(self._unposted.items()))
                value, still_true = posted
                try:
                    if still_true():
                        await self._write(key, value)
                except KafkaError as exc:
                    _LOG.warning("topic %s: %s is written later: %s", self.topic, key, exc)
                    await asyncio.sleep(_RETRY_S)
                else:
                    if self._unposted.get(key) is posted:
                        del self._unposted[key]
            self._all_posted.set()

    async def _reach(self, ends: Mapping[aiokafka.TopicPartition, int]) -> None:
        waiting = dict(ends)
        while True:
            if self.failure is not None:
                raise self.failure
            await self._pass_markers()
            if self._is_reached(waiting):
                return
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (waiting, done)
            self._waiting.append(entry)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_MARKERS_S):
                    await done
                    return
            if entry in self._waiting:
                self._waiting.remove(entry)

    async def _pass_markers(self) -> None:
        """What is behind the last record, such as the marker of a transaction, is no record: only the
        consumer's position tells that it has been read."""
        assert self._consumer is not None, "start first"
        for partition in self._positions:
            self._positions[partition] = await self._consumer.position(partition)

    def _is_reached(self, ends: Mapping[aiokafka.TopicPartition, int]) -> bool:
        return all(self._positions[partition] >= end for partition, end in ends.items())

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
                self.failure = None
            except KafkaError as exc:
                self.failure = ConnectError(f"reading topic {self.topic} failed: {exc}")
                _LOG.error("%s", self.failure)
                self._fail_waiting(self.failure)
                await asyncio.sleep(_RETRY_S)

    async def _read(self) -> None:
        assert self._consumer is not None, "start first"
        batches = await self._consumer.getmany(timeout_ms=_POLL_MS)
        for partition, records in batches.items():
            for record in records:
                self._take(record)
                self._positions[partition] = record.offset + 1
        reached = [waiting for waiting in self._waiting if self._is_reached(waiting[0])]
        for waiting in reached:
            self._waiting.remove(waiting)
            if not waiting[1].done():
                waiting[1].set_result(None)

    def _take(self, record: Any) -> None:
        try:
            self.record_offset = record.offset
            key = record.key.decode()
            value = None if record.value is None else orjson.loads(record.value)
        except (AttributeError, ValueError) as exc:
            _LOG.warning(
                "topic %s: the record at %d:%d is not a key with JSON and is ignored: %s",
                self.topic, record.partition, record.offset, exc,
            )  # fmt: skip
            return
        try:
            self._on_record(key, value)
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            _LOG.warning("topic %s: the value of %s is not what it should be: %r", self.topic, key, exc)

    def _fail_waiting(self, exc: Exception) -> None:
        for _, done in self._waiting:
            if not done.done():
                done.set_exception(exc)
        self._waiting.clear()
