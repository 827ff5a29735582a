"""FileStreamSource: what is a line, what is its offset, and what happens to the file meanwhile."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.task_contexts import SourceContext

from connect.api import ConnectError, RetriableError, SourceRecord
from connect.api.schemas import STRING
from connectors.files import source
from connectors.files.config import FileStreamSourceConfig
from connectors.files.plugin import FileStreamSourceConnector
from connectors.files.source import FileStreamSourceTask


class Reader:
    """A task that follows one file; `read` polls until it has nothing more to give."""

    def __init__(self, path: Path, offset: Mapping[str, Any] | None = None, **settings: str) -> None:
        self.context = SourceContext(offset)
        self.task = FileStreamSourceTask()
        self.task.start(
            self.context, FileStreamSourceConfig.parse({"file": str(path), "topic": "t", **settings})
        )

    def read(self) -> list[SourceRecord]:
        found: list[SourceRecord] = []
        while records := self.task.poll():
            found += records
        return found

    def values(self) -> list[str]:
        return [record.value for record in self.read()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.txt"


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "RENAMED_QUIET_S", 0.0)


def test_a_record_is_the_line_with_kafkas_schema_and_offset(path: Path) -> None:
    path.write_bytes(b"line 1\nline 2\n")
    first, second = Reader(path).read()
    assert (first.topic, first.value, first.value_schema) == ("t", "line 1", STRING)
    assert (first.key, first.key_schema, first.partition, list(first.headers)) == (None, None, None, [])
    assert first.source_partition == second.source_partition == {"filename": str(path)}
    assert (first.source_offset, second.source_offset) == ({"position": 7}, {"position": 14})
    assert first.timestamp_ms is not None


def test_positions_count_bytes_and_line_ends(path: Path) -> None:
    path.write_bytes("é\r\n€\rx\n\n".encode())
    records = Reader(path).read()
    assert [record.value for record in records] == ["é", "€", "x", ""]
    assert [record.source_offset["position"] for record in records] == [4, 8, 10, 11]


def test_only_cr_and_lf_end_a_line(path: Path) -> None:
    path.write_text("form\x0cfeed\x1cand\x85and\u2028there\n", encoding="utf-8")
    assert Reader(path).values() == ["form\x0cfeed\x1cand\x85and\u2028there"]


def test_bytes_that_are_not_utf8_become_visible_escapes(path: Path) -> None:
    path.write_bytes(b"caf\xe9\n\xff\xfe\nfine\n")
    records = Reader(path).read()
    assert [record.value for record in records] == ["caf\\xe9", "\\xff\\xfe", "fine"]
    assert [record.source_offset["position"] for record in records] == [5, 8, 13]


def test_a_partial_last_line_waits_for_its_end(path: Path) -> None:
    path.write_bytes(b"one\ntw")
    reader = Reader(path)
    assert reader.values() == ["one"]
    append(path, b"o")
    assert reader.values() == []
    append(path, b"\r")
    assert reader.values() == []  # the CR may be half of CR LF
    append(path, b"\nthree\n")
    records = reader.read()
    assert [record.value for record in records] == ["two", "three"]
    assert [record.source_offset["position"] for record in records] == [9, 15]


def test_goes_on_at_the_stored_offset(path: Path) -> None:
    path.write_bytes(b"one\ntwo\nthree\n")
    assert Reader(path, {"position": 8}).values() == ["three"]
    assert Reader(path, {"position": None}).values() == ["one", "two", "three"]
    with pytest.raises(ConnectError, match="no whole number"):
        Reader(path, {"position": "8"})


def test_a_poll_gives_at_most_batch_size_lines(path: Path) -> None:
    path.write_bytes(b"".join(b"%d\n" % n for n in range(7)))
    reader = Reader(path, **{"batch.size": "3"})
    assert [len(reader.task.poll()) for _ in range(4)] == [3, 3, 1, 0]


def test_a_file_larger_than_a_block_is_read_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", 5)
    path.write_bytes(b"a\nlonger than a block\r\n\nend\n")
    records = Reader(path).read()
    assert [record.value for record in records] == ["a", "longer than a block", "", "end"]
    assert records[-1].source_offset == {"position": path.stat().st_size}


def test_a_line_beyond_the_limit_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LINE_BYTES_MAX", 10)
    path.write_bytes(b"ok\n" + b"x" * 11)
    with pytest.raises(ConnectError, match=r"the line at byte 3 of .*in\.txt is longer than 10 bytes"):
        Reader(path).read()


def test_waits_for_a_missing_file(path: Path) -> None:
    reader = Reader(path)
    assert reader.values() == []
    path.write_bytes(b"here\n")
    assert reader.values() == ["here"]


def test_pauses_at_the_end_grow_and_start_again_with_new_lines(path: Path) -> None:
    path.write_bytes(b"")
    reader = Reader(path)
    for _ in range(10):
        reader.task.poll()
    waits = reader.context.waits_s
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (source.PAUSE_S_MIN, source.PAUSE_S_MAX)
    append(path, b"x\n")
    reader.read()
    assert waits[-1] == source.PAUSE_S_MIN


def test_a_truncated_file_is_read_from_its_start(path: Path) -> None:
    path.write_bytes(b"one\ntwo\npart")
    reader = Reader(path)
    reader.read()
    path.write_bytes(b"new\n")
    records = reader.read() + reader.read()
    assert [(record.value, record.source_offset["position"]) for record in records] == [("new", 4)]


def test_a_file_shorter_than_the_stored_offset_is_read_from_its_start(path: Path) -> None:
    path.write_bytes(b"new\n")
    assert Reader(path, {"position": 100}).values() == ["new"]


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(path: Path, no_grace: None) -> None:
    path.write_bytes(b"one\n")
    reader = Reader(path)
    reader.read()
    append(path, b"two\nthree without end")
    path.rename(path.with_suffix(".1"))
    assert reader.values() == ["two"]  # the new file is not there yet: the old one may still grow
    path.write_bytes(b"new one\n")
    records = reader.read() + reader.read()
    assert [(record.value, record.source_offset["position"]) for record in records] == [
        ("three without end", 25),
        ("new one", 8),
    ]


def test_a_renamed_file_that_is_still_written_to_is_not_left(path: Path) -> None:
    path.write_bytes(b"one\n")
    reader = Reader(path)
    reader.read()
    old = path.rename(path.with_suffix(".1"))
    path.write_bytes(b"new\n")
    assert reader.values() == []
    append(old, b"late\n")
    assert reader.values() == ["late"]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.mkdir(), "it is not a regular file"),
        (lambda path: os.mkfifo(path), "it is not a regular file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
    ids=["directory", "fifo", "loop"],
)
def test_what_cannot_be_read_fails_the_task_with_one_sentence(
    path: Path, make: Callable[[Path], None], why: str
) -> None:
    make(path)
    reader = Reader(path)
    with pytest.raises(ConnectError, match=f"cannot read file {path}: {why}"):
        reader.read()


def test_a_read_error_can_be_retried(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"x\n")
    reader = Reader(path)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", fail)
        with pytest.raises(RetriableError, match="at 0: Input/output error"):
            reader.task.poll()
    assert reader.values() == ["x"]


def test_standard_input_is_refused_when_the_task_starts() -> None:
    config = FileStreamSourceConfig.parse({"topic": "t"})
    assert [warning.name for warning in config.warnings()] == ["file"]
    with pytest.raises(ConnectError, match="set file to the path"):
        FileStreamSourceTask().start(SourceContext(), config)


NOT_A_LONG = "The value for the 'position' key in the offset is expected to be a Long value"
NEGATIVE = "The value for the 'position' key in the offset should be a non-negative value"
NO_POSITION = "Offset objects should either be null or contain the key 'position'"


@pytest.mark.parametrize(
    ("partition", "offset", "message"),
    [
        ({"filename": "f"}, {"position": "14"}, NOT_A_LONG),
        ({"filename": "f"}, {"position": None}, NOT_A_LONG),
        ({"filename": "f"}, {"position": 1.5}, NOT_A_LONG),
        ({"filename": "f"}, {"position": -1}, NEGATIVE),
        ({"filename": "f"}, {"other": 1}, NO_POSITION),
        ({"file": "f"}, {"position": 1}, "Partition objects should contain the key 'filename'"),
        (None, {"position": 1}, "Partition objects cannot be null"),
    ],
)  # fmt: skip
def test_impossible_offsets_are_refused_in_kafkas_words(partition: Any, offset: Any, message: str) -> None:
    config = FileStreamSourceConfig.parse({"file": "f", "topic": "t"})
    with pytest.raises(ConnectError) as refused:
        FileStreamSourceConnector().alter_offsets(config, [(partition, offset)])
    assert str(refused.value) == message


def test_possible_offsets_are_taken() -> None:
    connector = FileStreamSourceConnector()
    config = FileStreamSourceConfig.parse({"file": "f", "topic": "t"})
    assert connector.alter_offsets(config, [({"filename": "f"}, {"position": 14}), ({"x": 1}, None)])
    with pytest.raises(ConnectError, match="Offsets cannot be modified if the 'file'"):
        connector.alter_offsets(FileStreamSourceConfig.parse({"topic": "t"}), [])


def test_one_task_whatever_the_maximum() -> None:
    config = FileStreamSourceConfig.parse({"file": "f", "topic": "t"})
    assert FileStreamSourceConnector().task_configs(config, 5) == [{"file": "f", "topic": "t"}]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as out:
        out.write(data)
