"""The file sink with rotation: whole files only, each record once, whenever it is killed."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from support.directory_runs import names

from connect.api import ConfigError, ConnectError, JsonPayload, SinkRecord, TopicPartition
from connect.testing.tasks import SinkRun
from connectors.files.plugin import FileSinkConnector
from connectors.files.rotating_config import RotatingFileSinkConfig
from connectors.files.rotating_sink import line_of_value
from connectors.readers import decompressed

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def log_of(count: int) -> dict[TopicPartition, list[SinkRecord]]:
    return {
        p: [SinkRecord("t", p.partition, n, f"{p.partition}:{n}") for n in range(count)] for p in (P0, P1)
    }


def run_with(folder: Path, count: int = 10, **settings: str) -> SinkRun:
    settings = {name.replace("_", "."): value for name, value in settings.items()}
    return SinkRun(FileSinkConnector, {"output.path": str(folder), **settings}, log_of(count))


def lines(folder: Path) -> list[str]:
    found = []
    for name in names(folder):
        assert not name.endswith(".part")
        with (folder / name).open("rb") as raw, decompressed(raw, name) as stream:
            found += stream.read().decode().splitlines()
    return found


def test_files_appear_when_they_are_whole_and_only_then_are_committed(tmp_path: Path) -> None:
    run = run_with(tmp_path, file_max_records="4")
    run.start()
    run.deliver(3)
    assert names(tmp_path) == [".t-0-0.part", ".t-1-0.part"]
    assert run.commit() == {}
    run.deliver(3)
    assert run.commit() == {P0: 4, P1: 4}
    assert "t-0-0" in names(tmp_path)
    run.stop()
    assert names(tmp_path) == ["t-0-0", "t-1-0"]
    assert (tmp_path / "t-0-0").read_text() == "0:0\n0:1\n0:2\n0:3\n"


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize(
    "rotation", [{"file.max.records": "3"}, {"rotate.bytes": "11"}, {"rotate.interval.ms": "0"}]
)
def test_each_record_once_whenever_it_is_killed(
    tmp_path: Path, compression: str, rotation: dict[str, str]
) -> None:
    run = run_with(tmp_path, 30, **rotation, file_compression_type=compression)
    for step in range(60):
        if step % 7 == 0:
            run.abandon()
            run.start()
        run.deliver(1 + step % 4)  # other batches than before the kill
        if step % 5 == 4:
            run.commit()
    run.abandon()
    expected = sorted(record.value for log in run.log.values() for record in log)
    whole = sorted(lines(tmp_path))
    assert len(whole) == len(set(whole))
    assert set(whole) <= set(expected)
    assert len(whole) >= len(expected) - 6  # but for those of the last files, which are not whole yet


def test_names_and_folders(tmp_path: Path) -> None:
    run = run_with(
        tmp_path, 2, file_max_records="2", file_compression_type="gzip",
        **{"file.name.template": "{{topic}}/p{{partition:padding=true}}/{{ start_offset:padding=true }}.txt"},
    )  # fmt: skip
    run.start()
    run.deliver(5)
    run.stop()
    assert names(tmp_path) == [f"t/p000000000{n}/{0:020d}.txt.gz" for n in (0, 1)]
    assert gzip.decompress((tmp_path / names(tmp_path)[0]).read_bytes()) == b"0:0\n0:1\n"


def test_a_full_disk_fails_the_task(tmp_path: Path) -> None:
    run = run_with(tmp_path / "file")
    (tmp_path / "file").write_text("in the way")
    run.start()
    with pytest.raises(ConnectError, match="cannot write to"):
        run.deliver(1)
    run.abandon()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (JsonPayload(b'{"a": 1}', None), b'{"a": 1}'),
        (JsonPayload(b'{\n"a": 1}', None), b'{"a":1}'),
        ({"a": b"\x00"}, b'{"a":"AA=="}'),
        (["x"], b'["x"]'),
        ("text", b"text"),
        (b"\xff", b"\xff"),
        (None, b"null"),
    ],
)
def test_values_as_lines(value: Any, line: bytes) -> None:
    assert line_of_value(SinkRecord("t", 0, 0, value)) == line


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"output.path": "x"}, "The path must be absolute"),
        ({"file.name.template": "{{topic}}-{{partition}}"}, "The template must have {{start_offset}}"),
        ({"file.name.template": "{{topic}}-{{partition}}-{{start_offset}}-{{key}}"}, "no variable key"),
        ({"file.name.template": "../{{topic}}-{{partition}}-{{start_offset}}"}, "stay below output.path"),
        ({"file.compression.type": "lzma"}, "String must be one of: none, gzip, zstd"),
        ({"rotate.bytes": "-1", "rotate.interval.ms": "-1"}, "No file would ever be completed"),
    ],
)
def test_configs_that_are_refused(settings: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RotatingFileSinkConfig.parse({"output.path": "/x", **settings})
    assert why in str(refused.value)
