"""An agent of each client per test process, and the cluster that they are tried against."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client_agent import Agent
from support.kafka_clients import BOOTSTRAP, QUICK_BROKER, KafkaClient

from connect.testing.millstream import Broker


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest) -> str:
    if other := os.environ.get(BOOTSTRAP):
        return other
    broker: Broker = request.getfixturevalue("quick_broker")
    return broker.bootstrap


@pytest.fixture(scope="session")
def quick_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("clients-broker"), QUICK_BROKER) as server:
        yield server


@pytest.fixture(scope="session")
def agents() -> Iterator[dict[str, Agent]]:
    running: dict[str, Agent] = {}
    yield running
    for agent in running.values():
        agent.stop()


@pytest.fixture
def client(
    request: pytest.FixtureRequest,
    agents: dict[str, Agent],
    bootstrap: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Agent]:
    """The agent of the client that `clients_with` names; what a test opened is closed after it."""
    under_test: KafkaClient = request.param
    agent = agents.get(under_test.name)
    if agent is None or not agent.is_alive:
        log: Path = tmp_path_factory.mktemp("agents") / f"{under_test.name}.log"
        agent = agents[under_test.name] = Agent(under_test.name, under_test.build(), log, bootstrap)
        agent.codecs, agent.features = under_test.codecs, under_test.features
    yield agent
    if agent.is_alive:
        agent.reset()
