"""FileStreamSink: how values look as lines, and what a failed write leaves behind."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.task_contexts import SinkContext

from connect.api import ConnectError, JsonPayload, RetriableError, Schema, SinkRecord, TopicPartition
from connect.api.schemas import FLOAT32, INT32, OPTIONAL_STRING, STRING, array, map_of, struct
from connectors.files.config import FileStreamSinkConfig
from connectors.files.plugin import FileStreamSinkConnector
from connectors.files.sink import FileStreamSinkTask

ROW = struct({"id": INT32, "name": OPTIONAL_STRING, "tags": array(STRING)})


def started(path: Path) -> FileStreamSinkTask:
    task = FileStreamSinkTask()
    task.start(SinkContext(), FileStreamSinkConfig.parse({"file": str(path)}))
    return task


def records(*values: Any, schema: Schema | None = None) -> list[SinkRecord]:
    return [SinkRecord("t", 0, offset, value, value_schema=schema) for offset, value in enumerate(values)]


@pytest.mark.parametrize(
    ("schema", "value", "line"),
    [
        (STRING, "plain é", "plain é"),
        (None, None, "null"),
        (None, True, "true"),
        (None, 42, "42"),
        (None, 10000000.0, "1.0E7"),
        (None, 0.001, "0.001"),
        (None, 1e-05, "1.0E-5"),
        (None, -123.25, "-123.25"),
        (None, -0.0, "-0.0"),
        (None, float("nan"), "NaN"),
        (FLOAT32, 0.10000000149011612, "0.1"),
        (FLOAT32, 16777216.0, "1.6777216E7"),
        (None, Decimal("1.50"), "1.50"),
        (None, b"caf\xe9", b"caf\xe9"),
        (None, {"a": 1, "b": [True, None]}, "{a=1, b=[true, null]}"),
        (ROW, {"id": 7, "name": "n", "tags": ["x", "y"]}, "Struct{id=7,name=n,tags=[x, y]}"),
        (ROW, {"id": 7, "name": None, "tags": []}, "Struct{id=7,tags=[]}"),
        (map_of(STRING, FLOAT32), {"k": 0.5}, "{k=0.5}"),
        (None, JsonPayload(b'{"a": 1}', orjson.loads), "{a=1}"),
    ],
)
def test_a_value_is_written_as_java_shows_it(
    tmp_path: Path, schema: Schema | None, value: Any, line: str | bytes
) -> None:
    task = started(tmp_path / "out")
    task.put(records(value, schema=schema))
    expected = line.encode() if isinstance(line, str) else line
    assert (tmp_path / "out").read_bytes() == expected + b"\n"


def test_lines_are_appended_in_order_and_there_after_put(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before\n")
    task = started(path)
    task.put(records("a", "b"))
    task.put([])
    task.put(records("c"))
    assert path.read_text() == "before\na\nb\nc\n"
    task.flush({TopicPartition("t", 0): 3})
    task.stop()


def test_a_line_cut_short_by_a_crash_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"whole\ncut sho")
    started(path).put(records("cut short", "next"))
    assert path.read_text() == "whole\ncut sho\ncut short\nnext\n"


def test_after_a_failed_write_the_same_records_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    task = started(path)
    write, calls = os.write, []

    def fail_in_the_middle(fd: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(fd, data[:6])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fail_in_the_middle)
        with pytest.raises(RetriableError, match=f"cannot write to file {path}: No space left on device"):
            task.put(records("one", "two"))
    task.put(records("one", "two"))
    assert path.read_text() == "one\ntw\none\ntwo\n"


def test_a_failed_sync_fails_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = started(tmp_path / "out")

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(ConnectError, match=r"cannot sync file .*/out: Input/output error") as failed:
            task.flush({})
    assert not isinstance(failed.value, RetriableError)


def test_a_file_that_cannot_be_made_is_told_in_kafkas_words(tmp_path: Path) -> None:
    path = tmp_path / "no/such/dir/out"
    with pytest.raises(ConnectError, match=f"Couldn't find or create file '{path}' for FileStreamSinkTask"):
        started(path)


def test_without_a_file_lines_go_to_the_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    task = FileStreamSinkTask()
    task.start(SinkContext(), FileStreamSinkConfig.parse({}))
    task.put(records("to stdout"))
    task.flush({})
    task.stop()
    assert capfd.readouterr().out == "to stdout\n"


def test_every_task_may_write_to_the_file() -> None:
    config = FileStreamSinkConfig.parse({"file": "f"})
    assert FileStreamSinkConnector().task_configs(config, 2) == [{"file": "f"}] * 2
