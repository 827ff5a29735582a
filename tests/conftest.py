"""Real servers for the tests, one of each per test process, started when first asked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.reruns import Reruns

from connect.testing.millstream import Broker, Millstream
from connect.testing.postgres import PostgresServer
from connect.testing.pytest_plugin import MillstreamServers
from connect.testing.s3 import S3Server

# Where a test is about several real processes and deadlines; a failure anywhere else is final.
TRIED_TWICE = ["integration", "conformance/metrics", "conformance/rest", "conformance/takeover"]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reruns([Path(__file__).parent / folder for folder in TRIED_TWICE]))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL 18 with wal_level=logical; make a database of your own with `create_database`."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3 over HTTP; make a bucket of your own with `create_bucket`."""
    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def broker(millstream_broker: Broker) -> Broker:
    """A Millstream broker; use topics and groups of your own."""
    return millstream_broker


@pytest.fixture(scope="session")
def millstream(millstream_session_servers: MillstreamServers) -> Millstream:
    """A broker and worker (`millstream up`) that commit offsets every half second."""
    return millstream_session_servers.up()


@pytest.fixture
def kafka_topic(millstream_topic: str) -> str:
    """A topic name that nobody else has."""
    return millstream_topic
