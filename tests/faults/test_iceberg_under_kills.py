"""IcebergFormat while its tasks are killed at each step of a commit."""

import threading
from pathlib import Path

from support.eventually import eventually
from support.iceberg import Warehouse
from support.s3_proxy import Asked, Cut, Fault, Moment, S3Proxy, Step
from support.s3_trials import WORKER

from connect.testing.deployments import Deployments
from connect.testing.millstream import Broker, Worker, kill_quietly
from connect.testing.pytest_plugin import MillstreamServers
from connect.testing.s3 import S3Server
from connect.testing.topics import Topics

# The object that is written when the tasks die. Behind the table's metadata the catalog changes.
AIMS = (
    ("/data/", Moment.BEFORE), ("/data/", Moment.AFTER), ("-m0.avro", Moment.AFTER), ("snap-", Moment.BEFORE),
    (".metadata.json", Moment.BEFORE), (".metadata.json", Moment.AFTER),
)  # fmt: skip
PARTITIONS = 3
RECORDS = 12  # of each key, for each aim


class Killer:
    """Kills all tasks of a connector when an object is written."""

    def __init__(self, worker: Worker, connector: str) -> None:
        self.connector = connector
        self.aim: tuple[str, Moment] | None = None
        self._worker = worker
        self._lock = threading.Lock()

    def judge(self, asked: Asked, moment: Moment) -> Fault | None:
        with self._lock:
            if self.aim is None or asked.step not in (Step.PUT, Step.COMPLETE):
                return None
            part, when = self.aim
            if part not in f"/{asked.key}" or moment is not when:
                return None
            self.aim = None
        self.kill()
        return Cut.RESET

    def kill(self) -> int:
        """At any time; how many there were."""
        title = f"millstream task {self.connector}-"
        found = [pid for pid, name in self._worker.processes() if name.startswith(title)]
        for pid in found:
            kill_quietly(pid)
        return len(found)


def test_every_row_is_there_once(
    broker: Broker, millstream_servers: MillstreamServers, s3: S3Server, kafka_topic: str, tmp_path: Path
) -> None:
    settings = {
        **WORKER, "group.id": kafka_topic, "config.storage.topic": f"{kafka_topic}-configs",
        "offset.storage.topic": f"{kafka_topic}-offsets", "status.storage.topic": f"{kafka_topic}-status",
    }  # fmt: skip
    worker = millstream_servers.worker(broker.bootstrap, settings)
    topics, warehouse = Topics(broker.bootstrap), Warehouse(s3, tmp_path)
    topics.create(kafka_topic, PARTITIONS)
    killer, table = Killer(worker, f"{kafka_topic}-sink"), f"default.{kafka_topic.replace('-', '_')}"
    produced = 0

    def produce() -> None:
        nonlocal produced
        values = [f'{{"o":{produced + n}}}' for n in range(PARTITIONS * RECORDS)]
        for key in range(PARTITIONS):
            topics.produce(kafka_topic, values[key::PARTITIONS], key=str(key))
        produced += len(values)

    def is_complete() -> bool:
        return len(warehouse.offsets(table)) >= produced

    with S3Proxy(s3.endpoint, killer.judge) as proxy, Deployments(worker) as deployments:
        config = {
            **warehouse.settings, "connector.class": "S3SinkConnector", "topics": kafka_topic,
            "store.url": proxy.endpoint, "tasks.max": "2", "flush.size": "5",
            "iceberg.control.commit.interval-ms": "500",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
        }  # fmt: skip
        produce()
        deployments.deploy(config, killer.connector)
        for aim in AIMS:
            killer.aim = aim
            produce()
            eventually(lambda: killer.aim is None, f"no task came to {aim}")
        produce()
        eventually(lambda: killer.kill() > 0, "there is no task")
        eventually(is_complete, "rows are missing")
    assert warehouse.offsets(table) == list(range(produced))
