"""The directory source under FilePulse's settings: what it does, and what it says it does not."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from support.directory_runs import DirectoryRun, names

from connect.api import ConfigError
from connect.api.schemas import OPTIONAL_STRING, struct
from connectors.files.directory.plugin import FilePulseSourceConnector

FS = "io.streamthoughts.kafka.connect.filepulse.fs."


def run_in(folder: Path, **settings: str) -> DirectoryRun:
    return DirectoryRun(FilePulseSourceConnector, folder, **{
        "fs.listing.directory.path": str(folder / "in"), "fs.listing.interval.ms": "1",
        "fs.listing.class": f"{FS}LocalFSDirectoryListing",
        "fs.cleanup.policy.class": f"{FS}clean.LocalMoveCleanupPolicy",
        "tasks.reader.class": f"{FS}reader.LocalRowFileInputReader",
        "tasks.file.status.storage.bootstrap.servers": "kafka:9092", **settings,
    })  # fmt: skip


def test_rows_are_messages_and_files_move_below_the_directory(tmp_path: Path) -> None:
    run = run_in(tmp_path, **{"skip.headers": "1"})
    run.write("x/a.csv", "h\none\ntwo\n")
    first, second = run.read()
    assert first.value == {"message": "one"}
    assert first.value_schema == struct({"message": OPTIONAL_STRING})
    assert second.source_partition == {"fileName": "x/a.csv"}
    run.commit()
    assert names(run.input) == [".success/x/a.csv"]
    assert run.read() == []
    warned = {
        warning.name for warning in FilePulseSourceConnector.config_class.parse(run.properties).warnings()
    }
    assert warned == {"tasks.file.status.storage.bootstrap.servers"}


def test_filters_of_the_listing_and_other_readers(tmp_path: Path) -> None:
    run = run_in(tmp_path, **{
        "fs.listing.filters": f"{FS}filter.RegexFileListFilter,{FS}filter.IgnoreHiddenFileListFilter,"
                              f"{FS}filter.LastModifiedFileFilter",
        "file.filter.regex.pattern": ".*\\.bin$", "fs.cleanup.policy.class": f"{FS}clean.DeleteCleanupPolicy",
        "tasks.reader.class": f"{FS}reader.LocalBytesArrayInputReader",
    })  # fmt: skip
    for name in ("a.bin", ".b.bin", "c.txt"):
        then = time.time() - 60
        os.utime(run.write(name, b"\xff"), (then, then))
    run.write("young.bin", b"\xff")
    assert run.values() == [{"message": b"\xff"}]
    assert names(run.input) == [".b.bin", "c.txt", "young.bin"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tasks.reader.class": f"{FS}reader.LocalXMLFileInputReader"}, "Millstream reads no XML"),
        ({"tasks.reader.class": f"{FS}reader.LocalMetadataFileInputReader"}, "The reader must be one of"),
        ({"fs.listing.class": f"{FS}AmazonS3FileSystemListing"}, "directories of this machine only"),
        ({"fs.listing.filters": f"{FS}filter.SizeFileListFilter"}, "not io.streamthoughts"),
        ({"fs.cleanup.policy.class": "Burn"}, "The policy must be one of: LogCleanupPolicy"),
        ({"filters": "ParseLine"}, "Millstream has no filters of FilePulse"),
        ({"value.connect.schema": "{}"}, "the schema that their reader gives"),
        ({"ignore.committed.offsets": "true"}, "Reset the connector's offsets"),
        ({"cleaner.output.succeed.path": "."}, "another directory than the one that is read"),
    ],
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, str], why: str) -> None:
    properties: dict[str, Any] = {**run_in(tmp_path).properties, **changes}
    with pytest.raises(ConfigError) as refused:
        FilePulseSourceConnector.config_class.parse(properties)
    assert why in str(refused.value)
