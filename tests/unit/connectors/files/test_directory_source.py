"""Directories of files: which are read, in which order, by whom; and what becomes of them, when."""

import gzip
import os
import time
from pathlib import Path
from typing import Any

import pytest
from support.directory_runs import DirectoryRun, names

from connect.api import ConfigError, ConnectError, RetriableError
from connectors.files.directory import source
from connectors.files.directory.plugin import (
    SpoolDirBinaryFileSourceConnector,
    SpoolDirCsvSourceConnector,
    SpoolDirJsonSourceConnector,
    SpoolDirLineDelimitedSourceConnector,
    SpoolDirSchemaLessJsonSourceConnector,
)

LINES = SpoolDirLineDelimitedSourceConnector
CSV = SpoolDirCsvSourceConnector
GENERATED = {"schema.generation.enabled": "true", "csv.first.row.as.header": "true"}


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_record_has_its_file_and_line(tmp_path: Path) -> None:
    run = DirectoryRun(LINES, tmp_path)
    path = run.write("a.log.gz", gzip.compress(b"one\ntwo\n"))
    first, second = run.read()
    modified_ms = path.stat().st_mtime_ns // 1_000_000
    assert (first.topic, first.value, second.value) == ("t", "one", "two")
    assert second.source_partition == {"fileName": "a.log.gz"}
    assert second.source_offset == {"offset": 2, "lastModified": modified_ms}
    assert {header.name: header.value for header in second.headers} == {
        "file.name": "a.log.gz", "file.name.without.extension": "a.log", "file.path": str(path),
        "file.parent.dir.name": "in", "file.length": path.stat().st_size, "file.offset": 2,
        "file.last.modified": modified_ms,
    }  # fmt: skip


def test_a_file_moves_only_when_its_records_are_committed(tmp_path: Path) -> None:
    run = DirectoryRun(LINES, tmp_path)
    run.write("a", "1\n2\n")
    run.write("empty", "")
    assert [record.value for record in run.read()] == ["1", "2"]
    assert (names(run.input), names(run.done)) == (["a", "empty"], [])
    run.commit()
    assert (names(run.input), names(run.done)) == ([], ["a", "empty"])


@pytest.mark.parametrize("killed_after", ["reading", "storing", "moving"])
@pytest.mark.parametrize("batch_size", ["1", "2", "100"])
def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, killed_after: str, batch_size: str) -> None:
    run = DirectoryRun(LINES, tmp_path, **{"batch.size": batch_size})
    for name in "abc":
        run.write(name, f"{name}1\n{name}2\n{name}3\n")
    found: list[str] = []
    for _ in range(100):
        records = run.poll()
        found += [record.value for record in records]
        if killed_after != "reading":
            run.store()
        if killed_after == "moving":
            run.commit()
        run.restart()
        if killed_after == "reading" and len(found) > 30:
            break
    found += run.values()
    expected = {f"{name}{number}" for name in "abc" for number in (1, 2, 3)}
    assert set(found) == expected
    if killed_after != "reading":
        assert sorted(found) == sorted(expected)
    assert (names(run.input), names(run.done)) == ([], ["a", "b", "c"])


def test_a_name_may_be_used_again(tmp_path: Path) -> None:
    run = DirectoryRun(LINES, tmp_path)
    for round_number in range(4):
        path = run.write("daily", f"{round_number}\nmore\n")
        age(path, 100 - round_number)
        if round_number % 2:
            run.restart()
        assert run.values() == [f"{round_number}", "more"]
    assert names(run.done) == ["daily", "daily-1", "daily-2", "daily-3"]


def test_offsets_of_spooldir_are_gone_on_from(tmp_path: Path) -> None:
    run = DirectoryRun(CSV, tmp_path, **GENERATED)
    run.write("a.csv", "id\n1\n2\n3\n")
    run.offsets[b'{"fileName":"a.csv"}'] = {"fileName": "a.csv"}, {"offset": 3}
    run.restart()
    assert run.values() == [{"id": "3"}]
    run.write("a.csv", "id\n4\n")
    assert run.values() == [{"id": "4"}]


def test_a_file_that_changed_while_it_was_read_is_read_again(tmp_path: Path) -> None:
    run = DirectoryRun(LINES, tmp_path)
    path = run.write("a", "1\npart")
    age(path, 10)
    assert [record.value for record in run.read()] == ["1", "part"]
    run.write("a", "1\npartial\n")
    run.commit()
    assert names(run.done) == []
    assert run.values() == ["1", "partial"]
    assert names(run.done) == ["a"]


@pytest.mark.parametrize(
    ("policy", "left", "done"),
    [
        ("NONE", ["a"], []),
        ("DELETE", [], []),
        ("MOVE", [], ["a"]),
        ("MOVEBYDATE", [], ["2024-03-01/a"]),
    ],
)
def test_cleanup_policies(tmp_path: Path, policy: str, left: list[str], done: list[str]) -> None:
    run = DirectoryRun(LINES, tmp_path, **{"cleanup.policy": policy})
    path = run.write("a", "1\n")
    then = time.mktime((2024, 3, 1, 12, 0, 0, 0, 0, -1))
    os.utime(path, (then, then))
    assert run.values() == ["1"]
    assert run.values() == []
    run.restart()
    assert run.values() == []
    assert (names(run.input), names(run.done)) == (left, done)


def test_patterns_age_order_and_marks(tmp_path: Path) -> None:
    run = DirectoryRun(LINES, tmp_path, **{
        "input.file.pattern": "(?i)[a-d].*\\.txt", "file.minimum.age.ms": "60000",
        "files.sort.attributes": "LengthDesc,NameDesc",
    })  # fmt: skip
    for name, content in {
        "a.txt": "a",
        "b.TXT": "bbb",
        "c.txt": "c",
        "x.txt": "x",
        "d.txt.PROCESSING": "",
    }.items():
        age(run.write(name, content), 100)
    run.write("d.txt", "too young")
    (run.input / "b.txt").mkdir()
    assert run.values() == ["bbb", "c", "a"]


def test_recursion_keeps_or_removes_folders(tmp_path: Path) -> None:
    for keep in ("true", "false"):
        settings = {"input.path.walk.recursively": "true", "cleanup.policy.maintain.relative.path": keep}
        run = DirectoryRun(LINES, tmp_path, **settings, **{"finished.path": str(tmp_path / "in" / "done")})
        run.write("x/y/a", f"deep {keep}\n")
        run.write("a", "top\n")
        found = run.read()
        run.commit()
        headers = [{h.name: h.value for h in record.headers} for record in found]
        assert [(h["file.relative.path"], r.value) for h, r in zip(headers, found, strict=True)] == [
            (".", "top"), ("x/y", f"deep {keep}"),
        ]  # fmt: skip
        assert found[1].source_partition == {"fileName": "x/y/a"}
        assert (run.input / "x" / "y").exists() == (keep == "true")
        assert run.values() == []
    assert names(run.input) == ["done/a", "done/a-1", "done/x/y/a", "done/x/y/a-1"]


def test_tasks_share_the_files(tmp_path: Path) -> None:
    run = DirectoryRun(LINES, tmp_path)
    for number in range(20):
        run.write(f"f{number}", f"{number}\n")
    shares = []
    for task in range(3):
        run.start(task, 3)
        shares.append([record.value for record in run.read()])
    assert sorted([value for share in shares for value in share], key=int) == [
        str(number) for number in range(20)
    ]
    assert all(shares)


BAD_CSV = "id\n1\n2,2\n3\n"


def test_rows_that_cannot_be_read_are_left_out_where_that_is_tolerated(tmp_path: Path) -> None:
    run = DirectoryRun(CSV, tmp_path, tolerant=True, **GENERATED)
    path = run.write("a.csv", BAD_CSV)
    assert run.values() == [{"id": "1"}, {"id": "3"}]
    ((record, error),) = run.context.errant
    assert str(error) == f"{path}, line 3: 2 fields where there are 1 columns"
    assert (record.value, record.source_offset["offset"]) == ("2,2", 3)
    assert names(run.done) == ["a.csv"]


def test_halt_on_error_stays_at_the_file(tmp_path: Path) -> None:
    run = DirectoryRun(CSV, tmp_path, **GENERATED)
    run.write("a.csv", BAD_CSV)
    run.write("b.csv", "id\n4\n")
    assert [record.value for record in run.poll()] == [{"id": "1"}]
    run.commit()
    for _ in range(2):
        with pytest.raises(ConnectError) as failed:
            run.poll()
        assert "line 3: 2 fields" in str(failed.value.__cause__)
        assert "stays where it is" in failed.value.__notes__[0]
        run.restart()
        assert run.poll() == []
    assert (names(run.input), names(run.bad)) == (["a.csv", "b.csv"], [])
    run.write("a.csv", "id\n1\n2\n")
    run.restart()
    assert {"id": "2"} in run.values()


def test_without_it_a_bad_file_is_set_aside_after_its_records_are_committed(tmp_path: Path) -> None:
    run = DirectoryRun(CSV, tmp_path, **GENERATED, **{"halt.on.error": "false"})
    run.write("a.csv", BAD_CSV)
    run.write("b.csv", "id\n4\n")
    run.write("c.csv.gz", gzip.compress(b"id\n5\n" * 1000)[:-30])
    values = [record.value for record in run.read()]
    assert values[:2] == [{"id": "1"}, {"id": "4"}]
    assert names(run.bad) == []
    run.store()
    run.restart()
    assert [record.value for record in run.read()] == []
    assert (names(run.bad), names(run.done)) == (["a.csv", "c.csv.gz"], ["b.csv"])


def test_what_cannot_be_moved_does_not_stop_the_others(tmp_path: Path) -> None:
    run = DirectoryRun(LINES, tmp_path)
    run.write("a", "1\n")
    run.read()
    run.done.rmdir()
    run.done.write_text("no directory")
    run.commit()
    run.write("b", "2\n")
    assert [record.value for record in run.poll()] == ["2"]
    with pytest.raises(RetriableError, match="is committed, but it cannot be moved or deleted"):
        run.poll()
    run.done.unlink()
    run.commit()
    assert names(run.done) == ["a", "b"]


def test_a_file_that_somebody_took_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = DirectoryRun(LINES, tmp_path)
    run.write("a", "1\n")
    listed = source.files(run.connector.config_class.parse(run.properties).settings().places)
    (run.input / "a").unlink()
    monkeypatch.setattr(source, "files", lambda places: listed)
    assert run.poll() == []


def test_generated_schemas(tmp_path: Path) -> None:
    run = DirectoryRun(CSV, tmp_path, **GENERATED, **{
        "schema.generation.infer.types": "true", "key.fields": "id", "schema.generation.value.name": "Row",
    })  # fmt: skip
    run.write("a.csv", "id,price,on,zip\n1,1.5,true,01234\n2,,false,7\n")
    first, second = run.read()
    assert first.value_schema is not None
    assert first.value_schema.name == "Row"
    types = {f.name: f.schema.type.value for f in first.value_schema.fields}
    assert types == {"id": "int64", "price": "double", "on": "boolean", "zip": "string"}
    assert second.value == {"id": 2, "price": None, "on": False, "zip": "7"}
    assert (second.key, second.key_schema.name) == (
        {"id": 2},
        "com.github.jcustenborder.kafka.connect.model.Key",
    )


VALUE_SCHEMA = (
    '{"name":"User","type":"STRUCT","isOptional":false,"fieldSchemas":{'
    '"id":{"type":"INT64","isOptional":false},"name":{"type":"STRING","isOptional":true},'
    '"at":{"name":"org.apache.kafka.connect.data.Timestamp","type":"INT64","version":1,"isOptional":false}}}'
)
KEY_SCHEMA = '{"name":"UserKey","type":"STRUCT","fieldSchemas":{"id":{"type":"INT64","isOptional":false}}}'


@pytest.mark.parametrize(
    ("connector", "content"),
    [
        (CSV, "AT,Id,name,more\n2024-01-01 00:00:00,7,x,y\n"),
        (SpoolDirJsonSourceConnector, '{"id":7,"at":"2024-01-01T00:00:00","name":"x","more":1}\n'),
    ],
)
def test_given_schemas(tmp_path: Path, connector: Any, content: str) -> None:
    settings = {"csv.first.row.as.header": "true"} if connector is CSV else {}
    run = DirectoryRun(connector, tmp_path, **settings, **{
        "value.schema": VALUE_SCHEMA, "key.schema": KEY_SCHEMA, "timestamp.mode": "FIELD",
        "timestamp.field": "at",
    })  # fmt: skip
    run.write("a", content)
    (record,) = run.read()
    assert record.value == {"id": 7, "name": "x", "at": 1704067200000}
    assert (record.key, record.key_schema.name, record.value_schema.name) == ({"id": 7}, "UserKey", "User")
    assert record.timestamp_ms == 1704067200000


def test_json_with_a_schema_that_follows_from_the_documents(tmp_path: Path) -> None:
    run = DirectoryRun(
        SpoolDirJsonSourceConnector, tmp_path, tolerant=True, **{"schema.generation.enabled": "true"}
    )
    run.write("a.json", '{"a":1,"b":{"c":[1]}}\n{"a":1.5,"d":"x","b":null}\n{"a":"no number"}\n')
    assert run.values() == [
        {"a": 1.0, "b": {"c": [1]}, "d": None},
        {"a": 1.5, "b": None, "d": "x"},
    ]
    assert [str(error).partition(", ")[2] for _, error in run.context.errant] == [
        "line 3: field a: 'no number' is no number"
    ]


def test_documents_as_text_and_whole_files(tmp_path: Path) -> None:
    run = DirectoryRun(SpoolDirSchemaLessJsonSourceConnector, tmp_path)
    run.write("a.json", '{"a": 1}\n')
    assert run.values() == ['{"a": 1}']
    run = DirectoryRun(SpoolDirBinaryFileSourceConnector, tmp_path, **{"metadata.location": "NONE"})
    run.write("b.bin", b"\x00\xff")
    (record,) = run.read()
    assert (record.value, list(record.headers)) == (b"\x00\xff", [])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"finished.path": ""}, "finished.path must be set where cleanup.policy is MOVE"),
        ({"finished.path": "/x"}, "finished.path must be another directory than the one that is read, /x"),
        ({"input.path": "x"}, "The path must be absolute"),
        ({"input.file.pattern": "("}, "Invalid regex"),
        ({"files.sort.attributes": "Size"}, "Each must be one of: NameAsc"),
        ({"cleanup.policy": "BURN"}, "String must be one of: NONE, DELETE, MOVE, MOVEBYDATE"),
        ({"files.notifications.enabled": "true"}, "Millstream writes no records about files"),
        ({"metadata.location": "FIELD"}, "String must be one of: HEADERS, NONE"),
        ({"schema.generation.enabled": "false"}, "value.schema must be set"),
        ({"value.schema": '{"type":"STRING"}'}, "The schema must be a STRUCT"),
        ({"value.schema": '{"type":"WORD"}'}, "type must be one of INT8"),
        ({"csv.file.charset": "klingon"}, "knows no charset klingon"),
        ({"csv.strict.quotes": "true"}, "does not drop characters outside of quotes"),
        ({"timestamp.mode": "FIELD"}, "timestamp.field must be set"),
        ({"parser.timestamp.timezone": "Moon/Base"}, "Moon/Base"),
    ],
)  # fmt: skip
def test_configs_that_are_refused(changes: dict[str, str], why: str) -> None:
    good = {
        "topic": "t", "input.path": "/x", "finished.path": "/y", "error.path": "/z",
        "input.file.pattern": ".*", **GENERATED,
    }  # fmt: skip
    CSV.config_class.parse(good)
    with pytest.raises(ConfigError) as refused:
        CSV.config_class.parse({**good, **changes})
    assert why in str(refused.value)


def test_a_look_at_the_directories(tmp_path: Path) -> None:
    run = DirectoryRun(LINES, tmp_path)
    assert list(LINES().check_connection(LINES.config_class.parse(run.properties))) == []
    run.bad.rmdir()
    run.input.rmdir()
    found = list(LINES().check_connection(LINES.config_class.parse(run.properties)))
    assert sorted(error.name for error in found) == ["error.path", "input.path"]


@pytest.mark.parametrize(
    ("partition", "offset", "why"),
    [
        ({"file": "a"}, {"offset": 1}, "A partition must be"),
        ({"fileName": "a"}, {"offset": "1"}, "An offset must have"),
        ({"fileName": "a"}, {"offset": -1}, "An offset must have"),
        (None, {"offset": 1}, "A partition must be"),
    ],
)
def test_impossible_offsets_are_refused(tmp_path: Path, partition: Any, offset: Any, why: str) -> None:
    config = LINES.config_class.parse(DirectoryRun(LINES, tmp_path).properties)
    assert LINES().alter_offsets(config, [({"fileName": "a"}, {"offset": 3}), ({"x": 1}, None)])
    with pytest.raises(ConnectError, match=why):
        LINES().alter_offsets(config, [(partition, offset)])
