"""Transactions of Java programs under SIGKILL, of theirs and of the broker; longer runs: tests/soak."""

from pathlib import Path

import pytest
from support.committed_reader import first_offset
from support.java import needs_java
from support.java_trials import Copiers, CopierTrial, StreamsTrial, VerifiableTrial
from support.trials import Setup

from connect.testing.millstream import Broker

SEED = 20261124
KILLS = 5  # two of programs, two of the broker, one of both
# A member that was killed is missed soon, and the cleaner is at work.
SOON = {
    "log.cleaner.backoff.ms": "500",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "2000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "300",
    "group.consumer.heartbeat.interval.ms": "300",
}
pytestmark = [needs_java(), pytest.mark.timeout(300)]


def setup(broker: Broker, directory: Path) -> Setup:
    return Setup(
        broker.bootstrap,
        directory,
        "trial",
        SEED,
        broker,
        records_per_round=1000,
        kill_every_s=1.5,
        freezes=False,
    )


@pytest.mark.parametrize("who", Copiers)
def test_copiers_copy_each_record_once_and_in_order(who: Copiers, tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", SOON) as broker:
        trial = CopierTrial(setup(broker, tmp_path), who, partitions=2)
        assert trial.run(0, kills_at_least=KILLS).records


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_what_a_producer_was_told_is_there_is_there_once_and_consumed(protocol: str, tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", SOON) as broker:
        trial = VerifiableTrial(setup(broker, tmp_path), protocol=protocol)
        assert trial.run(0, kills_at_least=KILLS).records


def test_a_kafka_streams_application_counts_each_record_once(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", SOON) as broker:
        trial = StreamsTrial(setup(broker, tmp_path), session_timeout_ms=2000)
        assert trial.run(0, kills_at_least=KILLS).records
        # Streams deletes the records of repartition topics that it has worked on.
        assert first_offset(broker.bootstrap, trial.repartition_topic) > 0
