"""An S3 source that is killed in the middle of a large object goes on at the byte where it was."""

import json
import time
from typing import Any

import confluent_kafka
from support.eventually import eventually
from support.s3_proxy import Asked, Cut, Fault, Moment, S3Proxy, Step
from support.s3_trials import WORKER

from connect.testing.deployments import Deployments
from connect.testing.millstream import Broker, Worker, kill_quietly
from connect.testing.pytest_plugin import MillstreamServers
from connect.testing.s3 import S3Server
from connect.testing.topics import Topics

RECORDS, KILLS = 20_000, 3
LINES = b"".join(b'{"n":%d,"x":"%b"}\n' % (n, b"z" * 300) for n in range(RECORDS))


class Killer:
    """Kills the task whenever an offset in the object has been stored that is behind the last one."""

    def __init__(self, worker: Worker, name: str) -> None:
        self._worker = worker
        self._name = name
        self.stored: list[int] = [0]

    def __call__(self, asked: Asked, moment: Moment) -> Fault | None:
        if asked.step is not Step.GET or moment is not Moment.MIDWAY or len(self.stored) > KILLS:
            return None
        # Not for long: offsets are stored between two polls, and a poll waits for these bytes.
        until = time.monotonic() + 0.3
        while (position := self._position()) <= self.stored[-1]:
            if time.monotonic() > until:
                return None
            time.sleep(0.05)
        self.stored.append(position)
        for pid, title in self._worker.processes():
            if title.startswith(f"millstream task {self._name}-"):
                kill_quietly(pid)
        return Cut.RESET

    def is_all_read(self) -> bool:
        return any(offset.get("complete") for offset in self._offsets())

    def _position(self) -> int:
        return max((offset.get("position", 0) for offset in self._offsets()), default=0)

    def _offsets(self) -> list[dict[str, Any]]:
        answer = self._worker.request("GET", f"/connectors/{self._name}/offsets")
        return [each["offset"] for each in answer.json().get("offsets", ())]


def test_kills_in_the_middle_of_a_large_object(
    broker: Broker, millstream_servers: MillstreamServers, s3: S3Server, kafka_topic: str
) -> None:
    settings = {
        **WORKER, "offset.flush.interval.ms": "50", "group.id": kafka_topic,
        "config.storage.topic": f"{kafka_topic}-configs", "offset.storage.topic": f"{kafka_topic}-offsets",
        "status.storage.topic": f"{kafka_topic}-status",
    }  # fmt: skip
    worker = millstream_servers.worker(broker.bootstrap, settings)
    topics = Topics(broker.bootstrap)
    topics.create(kafka_topic)
    bucket = s3.create_bucket()
    s3.client().put_object(Bucket=bucket, Key="large", Body=LINES)
    killer = Killer(worker, kafka_topic)
    with S3Proxy(s3.endpoint, killer) as proxy, Deployments(worker) as deployments:
        deployments.deploy(config(proxy, s3, bucket, kafka_topic), kafka_topic)
        eventually(killer.is_all_read, "the object is not read to its end")
        starts = [asked.start for asked in proxy.asked if asked.step is Step.GET]
        end = end_of(topics, kafka_topic)
    found = [json.loads(record.value or b"")["n"] for record in topics.read(kafka_topic, end)]
    assert list(dict.fromkeys(found)) == list(range(RECORDS))
    assert starts == sorted(starts)
    assert len(set(starts)) == KILLS + 1


def end_of(topics: Topics, topic: str) -> int:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": topics.bootstrap, "group.id": topic})
    try:
        return consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), timeout=30)[1]
    finally:
        consumer.close()


def config(proxy: S3Proxy, s3: S3Server, bucket: str, topic: str) -> dict[str, str]:
    return {
        "connector.class": "io.confluent.connect.s3.source.S3SourceConnector", "tasks.max": "1",
        "aws.access.key.id": s3.access_key, "aws.secret.access.key": s3.secret_key,
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false", "store.url": proxy.endpoint, "s3.bucket.name": bucket,
        "mode": "GENERIC", "topics.dir": "", "topic.regex.list": f"{topic}:.*", "format.class": "json",
    }  # fmt: skip
