"""S3 sinks under kills; `python -m tests.soak.s3` does the same with all formats and for longer."""

from support.s3_scenarios import SCENARIOS
from support.s3_trials import WORKER, S3Trial

from connect.testing.millstream import Broker
from connect.testing.pytest_plugin import MillstreamServers
from connect.testing.s3 import S3Server

KILLS = 9
NAMES = ("avro", "multipart", "aiven-jsonl")


def test_kills_at_any_step_of_an_upload(
    broker: Broker, millstream_servers: MillstreamServers, s3: S3Server, kafka_topic: str
) -> None:
    """Every record is there once, and Confluent's objects are those of an undisturbed run."""
    settings = {
        **WORKER, "group.id": kafka_topic, "config.storage.topic": f"{kafka_topic}-configs",
        "offset.storage.topic": f"{kafka_topic}-offsets", "status.storage.topic": f"{kafka_topic}-status",
    }  # fmt: skip
    worker = millstream_servers.worker(broker.bootstrap, settings)
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in NAMES]
    report = S3Trial(worker, broker.bootstrap, s3, scenarios, kafka_topic, seed=3).run(KILLS)
    assert report.kills.total() >= KILLS
    assert report.records > 0
