"""Data files: Parquet, written to the local disk first and brought to the warehouse when they are complete.

So what waits for a commit is on disk, and the warehouse gets whole files only. The local files have no
name: nothing is left of them when the task is killed.
"""

import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from typing import Any, Final, cast

import pyarrow as pa
from pyiceberg.io import FileIO, InputFile, OutputFile, OutputStream
from pyiceberg.io.fileformat import FileFormatFactory
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema as IcebergSchema
from pyiceberg.table import Table
from pyiceberg.typedef import Record

from connectors.s3.iceberg.errors import explained
from connectors.s3.iceberg.partitions import Partitioning

ROW_GROUP_BYTES: Final = 16 << 20  # of Arrow's memory
_COPY_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class Layout:
    """What files of a table look like, as long as neither its columns nor its partitioning change."""

    schema: IcebergSchema
    arrow: pa.Schema
    partitioning: Partitioning

    @classmethod
    def of(cls, table: Table) -> "Layout":
        schema = table.schema()
        return cls(schema, schema_to_pyarrow(schema), Partitioning(table.spec(), schema))

    def is_of(self, table: Table) -> bool:
        """Whether the table still looks like this."""
        same_schema = table.schema().schema_id == self.schema.schema_id
        return same_schema and table.spec().spec_id == self.partitioning.spec.spec_id


class OpenDataFile:
    """A file of one partition of a table."""

    def __init__(self, layout: Layout, key: tuple[Any, ...], properties: dict[str, str]) -> None:
        self._layout = layout
        self._key = key
        self._local = _LocalFile()
        model = FileFormatFactory.get(FileFormat.PARQUET)
        self._writer = model.create_writer(self._local, layout.schema, properties)
        self._waiting: list[pa.Table] = []
        self.memory_bytes = 0

    @property
    def disk_bytes(self) -> int:
        return len(self._local)

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self.memory_bytes += rows.nbytes
        if self.memory_bytes >= ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Free the memory."""
        if self._waiting:
            self._writer.write(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting.clear()
            self.memory_bytes = 0

    def finish(self, table: Table, task: str) -> DataFile:
        """Bring it to the warehouse, where no snapshot names it yet."""
        self.flush()
        statistics = self._writer.close()
        name = f"{task}-{uuid.uuid4()}.parquet"
        if self._key:
            name = f"{self._layout.partitioning.path(self._key)}/{name}"
        location = table.location_provider().new_data_location(name)
        with explained(f"write {location}"):
            self._upload(table.io, location)
        size = len(self._local)
        self.discard()
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=location,
            file_format=FileFormat.PARQUET,
            partition=Record(*self._key),
            file_size_in_bytes=size,
            sort_order_id=None,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )
        file.spec_id = self._layout.partitioning.spec.spec_id
        return file

    def discard(self) -> None:
        self._waiting.clear()
        self.memory_bytes = 0
        self._local.close()

    def _upload(self, io: FileIO, location: str) -> None:
        """May be called again after an error."""
        with self._local.reader() as source, io.new_output(location).create(overwrite=True) as target:
            shutil.copyfileobj(source, target, _COPY_BYTES)


class _LocalFile(OutputFile):
    """A temporary file without a name, for pyiceberg's writer."""

    def __init__(self) -> None:
        super().__init__("a temporary file")
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as this

    def __len__(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def exists(self) -> bool:
        return not self._file.closed

    def to_input_file(self) -> InputFile:
        raise NotImplementedError("nobody reads it this way")

    def create(self, overwrite: bool = False) -> OutputStream:
        return cast(OutputStream, os.fdopen(os.dup(self._file.fileno()), "wb"))

    def reader(self) -> Any:
        """From the first byte on."""
        self._file.seek(0)
        return os.fdopen(os.dup(self._file.fileno()), "rb")

    def close(self) -> None:
        self._file.close()
