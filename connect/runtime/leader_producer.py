"""How the leader writes to the config topic where sources may deliver exactly once (KIP-618).

In transactions, with one transactional id for all leaders, so that a worker that does not know yet that it
leads no more cannot write.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import aiokafka
import orjson
from aiokafka.errors import KafkaError, ProducerFenced

from connect.api import ConnectError
from connect.runtime.config import WorkerConfig

_LOG = logging.getLogger(__name__)
_CLOSE_S: Final = 2.0

Record = tuple[str, Any]  # key, value; None deletes the key


class LeaderProducer:
    """`client` are an aiokafka client's settings; `has_say` tells whether this worker is alive in its group.
    `on_fenced` is called when another worker has taken the lead, or did so in error."""

    def __init__(self, client: Mapping[str, Any], worker: WorkerConfig, has_say: Callable[[], bool]) -> None:
        self.on_fenced: Callable[[], None] = lambda: None
        self.leads = False
        self._topic = worker.config_topic
        self._settings = {
            **client, "transactional_id": worker.leader_transactional_id, "acks": "all", "linger_ms": 0,
        }  # fmt: skip
        self._has_say = has_say
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._turn = asyncio.Lock()
        self._jobs: set[asyncio.Task[Any]] = set()

    async def claim(self) -> None:
        """This worker leads now: no former leader can write from here on. Where Kafka does not answer, that
        is so before the first write."""
        self.leads = True
        async with self._turn:
            try:
                await self._ready()
            except ConnectError as exc:
                _LOG.warning("the former leader is fenced later: %s", exc)

    def release(self) -> None:
        """This worker leads no more."""
        self.leads = False

    async def write(self, records: Sequence[Record]) -> int:
        """All of these, or none; the position behind the last one. Raises `ConnectError`."""
        job = asyncio.create_task(self._write(records))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        # A caller that waits no longer must not leave half a transaction.
        return await asyncio.shield(job)

    async def stop(self) -> None:
        self.leads = False
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._drop()

    async def _write(self, records: Sequence[Record]) -> int:
        async with self._turn:
            producer = await self._ready()
            try:
                async with producer.transaction():
                    sent = [await self._send(producer, key, value) for key, value in records]
                    return 1 + max([int((await each).offset) for each in sent])
            except KafkaError as exc:
                await self._drop()
                if isinstance(exc, ProducerFenced):
                    self.leads = False
                    self.on_fenced()
                raise ConnectError(
                    f"Failed to write to topic {self._topic} as the leader; this may be due to a transient "
                    f"error and can be tried again: {exc}"
                ) from exc

    async def _send(self, producer: aiokafka.AIOKafkaProducer, key: str, value: Any) -> Any:
        data = None if value is None else orjson.dumps(value)
        return await producer.send(self._topic, data, key.encode())

    async def _ready(self) -> aiokafka.AIOKafkaProducer:
        if not self.leads or not self._has_say():
            raise ConnectError("this worker does not lead its group any more; try again")
        if self._producer is None:
            producer = aiokafka.AIOKafkaProducer(**self._settings)
            try:
                await producer.start()
            except KafkaError as exc:
                await producer.stop()
                raise ConnectError(f"the right to write the config topic could not be had: {exc}") from exc
            self._producer = producer
        return self._producer

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await producer.stop()
            except (KafkaError, TimeoutError) as exc:
                _LOG.warning("the leader's producer did not close: %s", exc)
