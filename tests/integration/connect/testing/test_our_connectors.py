"""Our own connectors pass the kit that their authors' colleagues run."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from support.s3_sink import AIVEN_SETTINGS, objects

from connect.api import SchemaAndValue, SourceRecord
from connect.api.schemas import STRING
from connect.testing.conformance import SinkConnectorTests, SourceConnectorTests
from connect.testing.postgres import PostgresServer
from connect.testing.s3 import S3Server
from connectors.files.directory.plugin import SpoolDirCsvSourceConnector
from connectors.files.plugin import FileSinkConnector, FileStreamSinkConnector, FileStreamSourceConnector
from connectors.postgres.plugin import PostgresConnector
from connectors.postgres.slots import drop_slot
from connectors.s3.aiven.plugin import AivenS3SinkConnector
from connectors.s3.plugin import S3SinkConnector


class TestFileSource(SourceConnectorTests):
    plugin = FileStreamSourceConnector
    records_expected = 12

    @pytest.fixture
    def properties(self, tmp_path: Path) -> Mapping[str, str]:
        file = tmp_path / "in.txt"
        file.write_text("".join(f"line {number}\n" for number in range(12)))
        return {"file": str(file), "topic": "lines", "batch.size": "5"}


class TestFileSink(SinkConnectorTests):
    plugin = FileStreamSinkConnector

    @pytest.fixture
    def properties(self, tmp_path: Path) -> Mapping[str, str]:
        return {"file": str(tmp_path / "out.txt")}

    def value(self, number: int) -> SchemaAndValue[Any]:
        return SchemaAndValue(STRING, f"line {number}")

    def written(self, properties: Mapping[str, str]) -> Iterable[Any]:
        return Path(properties["file"]).read_text().splitlines()


class TestDirectorySource(SourceConnectorTests):
    plugin = SpoolDirCsvSourceConnector
    records_expected = 12

    @pytest.fixture
    def properties(self, tmp_path: Path) -> Mapping[str, str]:
        for name in ("in", "done", "bad"):
            (tmp_path / name).mkdir()
        for part in range(3):
            rows = "".join(f"{part * 4 + number}\n" for number in range(4))
            (tmp_path / "in" / f"{part}.csv").write_text(f"id\n{rows}")
        return {
            "input.path": str(tmp_path / "in"), "finished.path": str(tmp_path / "done"),
            "error.path": str(tmp_path / "bad"), "input.file.pattern": ".*\\.csv", "topic": "rows",
            "batch.size": "5", "empty.poll.wait.ms": "10", "csv.first.row.as.header": "true",
            "schema.generation.enabled": "true",
        }  # fmt: skip


class TestRotatingFileSink(SinkConnectorTests):
    plugin = FileSinkConnector
    absorbs_replays = True

    @pytest.fixture
    def properties(self, tmp_path: Path) -> Mapping[str, str]:
        return {"output.path": str(tmp_path), "file.max.records": "3"}

    def value(self, number: int) -> SchemaAndValue[Any]:
        return SchemaAndValue(STRING, f"line {number}")

    def written(self, properties: Mapping[str, str]) -> Iterable[Any]:
        files = sorted(Path(properties["output.path"]).glob("[!.]*"))
        return [line for file in files for line in file.read_text().splitlines()]


class TestS3Sink(SinkConnectorTests):
    plugin = S3SinkConnector
    absorbs_replays = True

    @pytest.fixture
    def properties(self, s3: S3Server) -> Mapping[str, str]:
        self._s3 = s3
        return {
            "s3.bucket.name": s3.create_bucket(),
            "store.url": s3.endpoint,
            "s3.region": s3.region,
            "aws.access.key.id": s3.access_key,
            "aws.secret.access.key": s3.secret_key,
            "format.class": "JsonFormat",
            "flush.size": "3",
        }

    def written(self, properties: Mapping[str, str]) -> Iterable[Any]:
        found = objects(self._s3, properties["s3.bucket.name"])
        return [orjson.loads(line) for data in found.values() for line in data.splitlines()]


class TestAivenS3Sink(SinkConnectorTests):
    plugin = AivenS3SinkConnector
    absorbs_replays = True

    @pytest.fixture
    def properties(self, s3: S3Server) -> Mapping[str, str]:
        self._s3 = s3
        where = {"aws.s3.bucket.name": s3.create_bucket(), "aws.s3.endpoint": s3.endpoint}
        return {**AIVEN_SETTINGS, **where}

    def written(self, properties: Mapping[str, str]) -> Iterable[Any]:
        found = objects(self._s3, properties["aws.s3.bucket.name"])
        return [orjson.loads(line) for data in found.values() for line in data.splitlines()]


@contextmanager
def database(server: PostgresServer, **more: str) -> Iterator[tuple[psycopg.Connection[Any], dict[str, str]]]:
    """A database of its own with a table and the properties to capture it; its slot is dropped in the end."""
    name = f"k{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    properties = {
        "database.hostname": server.host,
        "database.port": str(server.port),
        "database.user": server.user,
        "database.password": server.password,
        "database.dbname": name,
        "topic.prefix": name,
        "slot.name": name,
        "publication.name": name,
        "poll.interval.ms": "20",
    }
    with server.connect(name) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, name text)")
        yield connection, {**properties, **more}
        drop_slot(connection, name)


class TestPostgresSource(SourceConnectorTests):
    """No snapshot, then changes, several of them in one transaction."""

    plugin = PostgresConnector
    records_expected = 12

    def identity(self, record: SourceRecord) -> Any:
        return record.topic, record.key, record.value["after"]

    @pytest.fixture
    def properties(self, postgres: PostgresServer) -> Iterator[Mapping[str, str]]:
        with database(postgres, **{"snapshot.mode": "no_data"}) as (connection, properties):
            name = properties["slot.name"]
            connection.execute(f"CREATE PUBLICATION {name} FOR ALL TABLES")
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
            for first in range(0, 12, 4):
                insert(connection, first, first + 3)
            yield properties


class TestPostgresSnapshot(TestPostgresSource):
    """An interrupted snapshot begins again, so its rows come twice."""

    resumes_exactly = False

    @pytest.fixture
    def properties(self, postgres: PostgresServer) -> Iterator[Mapping[str, str]]:
        with database(postgres) as (connection, properties):
            insert(connection, 1, 12)
            yield properties


def insert(connection: psycopg.Connection[Any], first: int, last: int) -> None:
    """Rows with these numbers, in one transaction."""
    rows = "SELECT n, 'name ' || n FROM generate_series(%s::int, %s::int) n"
    connection.execute(f"INSERT INTO t {rows}", (first, last))
