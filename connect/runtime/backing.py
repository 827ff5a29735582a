"""Where a worker keeps what it knows, and with whom: topics and a group, or, standalone, a file."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import aiokafka

from connect.herder.herder import Herder
from connect.runtime.alone import Alone
from connect.runtime.cluster import Cluster
from connect.runtime.config import WorkerConfig
from connect.runtime.internal_topics import lookup_cluster, prepare_internal_topics
from connect.runtime.lease import FOREVER, Lease
from connect.runtime.local_maps import FileMap, MemoryMap
from connect.runtime.stores import ConfigStore, StatusStore
from connect.runtime.supervisor import Supervisor
from connect.runtime.topic_map import OnRecord, RecordMap, TopicMap

_LOG = logging.getLogger(__name__)
_CLOSE_S: Final = 2.0


class Backing(Protocol):
    """`lease` is the worker's right to run tasks; maps go by the name of their topic."""

    lease: Lease

    def make_map(self, topic: str, on_record: OnRecord) -> RecordMap: ...

    def make_group(
        self,
        worker_id: str,
        url: str,
        herder: Herder,
        configs: ConfigStore,
        statuses: StatusStore,
        supervisor: Supervisor,
    ) -> Cluster: ...

    async def open(self) -> str:
        """Read everything there is; the id of the Kafka cluster. Raises `ConnectError`."""
        ...

    async def close(self) -> None:
        """After the maps were stopped."""
        ...


def backing_of(worker: WorkerConfig, client: Mapping[str, Any]) -> Backing:
    """By the worker's settings; `client` are aiokafka's."""
    return LocalBacking(worker, client) if worker.standalone else KafkaBacking(worker, client)


class KafkaBacking:
    """A worker of a cluster."""

    def __init__(self, worker: WorkerConfig, client: Mapping[str, Any]) -> None:
        self.lease = Lease()
        self._worker = worker
        self._client = client
        self._maps: list[TopicMap] = []
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._probe: aiokafka.AIOKafkaConsumer | None = None

    def make_map(self, topic: str, on_record: OnRecord) -> RecordMap:
        made = TopicMap(topic, self._client, on_record)
        self._maps.append(made)
        return made

    def make_group(
        self,
        worker_id: str,
        url: str,
        herder: Herder,
        configs: ConfigStore,
        statuses: StatusStore,
        supervisor: Supervisor,
    ) -> Cluster:
        return Cluster(
            self._worker, worker_id, url, self._client, herder, configs, statuses, supervisor, self.lease
        )

    async def open(self) -> str:
        """Raises `ConnectError` also when Kafka cannot be reached in a minute."""
        cluster_id = await prepare_internal_topics(self._worker, self._client)
        self._producer = producer = aiokafka.AIOKafkaProducer(**self._client, acks="all", linger_ms=0)
        await producer.start()
        self._probe = probe = aiokafka.AIOKafkaConsumer(**self._client)
        await probe.start()
        async with aiokafka.AIOKafkaConsumer(**self._client, isolation_level="read_committed") as committed:
            await asyncio.gather(*(each.start(producer, probe, committed) for each in self._maps))
        return cluster_id

    async def close(self) -> None:
        if self._probe is not None:
            await self._probe.stop()
        if self._producer is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await self._producer.stop()
            except TimeoutError:
                _LOG.warning("Kafka did not take the last statuses in time")


class LocalBacking:
    """A standalone worker: connectors and statuses end with it, source offsets are in a file."""

    def __init__(self, worker: WorkerConfig, client: Mapping[str, Any]) -> None:
        self.lease = Lease(FOREVER)
        self._worker = worker
        self._client = client
        self._files: list[FileMap] = []

    def make_map(self, topic: str, on_record: OnRecord) -> RecordMap:
        if topic != self._worker.offset_topic:
            return MemoryMap(on_record)
        assert self._worker.offsets_file is not None
        made = FileMap(Path(self._worker.offsets_file), on_record)
        self._files.append(made)
        return made

    def make_group(
        self,
        worker_id: str,
        url: str,
        herder: Herder,
        configs: ConfigStore,
        statuses: StatusStore,
        supervisor: Supervisor,
    ) -> Cluster:
        return Alone(worker_id, url, herder)

    async def open(self) -> str:
        for file in self._files:
            file.open()
        return await lookup_cluster(self._client)

    async def close(self) -> None:
        """Everything is in the file."""
