"""Real servers for the tests, one of each per test process, started when first asked for."""

import uuid
from collections.abc import Iterator

import pytest

from connect.testing.millstream import Broker, Millstream
from connect.testing.postgres import PostgresServer
from connect.testing.s3 import S3Server


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
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Millstream broker; use topics and groups of your own."""
    with Broker(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture(scope="session")
def millstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Millstream]:
    """A broker and worker (`millstream up`) that commit offsets every half second."""
    worker = {"offset.flush.interval.ms": "500"}
    with Millstream(tmp_path_factory.mktemp("millstream"), worker=worker) as server:
        yield server


@pytest.fixture
def kafka_topic() -> str:
    """A topic name that nobody else has."""
    return f"t-{uuid.uuid4().hex[:12]}"
