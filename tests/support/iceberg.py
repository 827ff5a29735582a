"""Tables that a sink writes, read back by pyiceberg."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError

from connect.api import SinkRecord, TopicPartition
from connect.testing.s3 import S3Server

from .s3_sink import SinkDriver


class Warehouse:
    """A bucket and a SQL catalog, by default in a file of its own."""

    def __init__(self, s3: S3Server, directory: Path, uri: str | None = None) -> None:
        self.s3 = s3
        self.bucket = s3.create_bucket()
        self.settings = {
            "format.class": "iceberg", "s3.bucket.name": self.bucket, "store.url": s3.endpoint,
            "aws.access.key.id": s3.access_key, "aws.secret.access.key": s3.secret_key,
            "s3.region": s3.region, "iceberg.catalog.uri": uri or f"sqlite:///{directory}/catalog.db",
            "retry.backoff.ms": "100",
        }  # fmt: skip

    @property
    def catalog(self) -> Catalog:
        return load_catalog(
            "iceberg", type="sql", uri=self.settings["iceberg.catalog.uri"],
            **{
                "s3.endpoint": self.s3.endpoint, "s3.region": self.s3.region,
                "s3.access-key-id": self.s3.access_key, "s3.secret-access-key": self.s3.secret_key,
            },
        )  # fmt: skip

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table, none where there is no such table."""
        try:
            found: list[dict[str, Any]] = self.catalog.load_table(table).scan().to_arrow().to_pylist()
        except NoSuchTableError:
            return []
        return found

    def offsets(self, table: str) -> list[int]:
        """The column `o` of `s3_sink.json_record`, in order."""
        return sorted(row["o"] for row in self.rows(table))

    def data_files(self) -> list[str]:
        """The keys of all data files, those that no snapshot names too."""
        pages = self.s3.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return [key for key in keys if key.endswith(".parquet")]

    def sink(
        self, log: Mapping[TopicPartition, Sequence[SinkRecord]], settings: Mapping[str, str] | None = None
    ) -> SinkDriver:
        return SinkDriver({**self.settings, **(settings or {})}, log)
