"""S3 sources over HTTP: any objects, found by listing, resumed, shared; what is corrupt; what changes."""

import bz2
import gzip
import io
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cramjam
import fastavro
import pyarrow as pa
import pytest
from pyarrow import parquet
from support.s3_source import SourceDriver, plain, values

from connect.api import ConfigError, ConnectError
from connectors.s3.source import listing
from connectors.s3.source.objects import Content
from connectors.s3.stores import s3 as s3_store

GENERIC = {"mode": "GENERIC", "topics.dir": "", "topic.regex.list": "t:.*"}
LINES = b"".join(b'{"n":%d}\n' % n for n in range(5))
ROWS = [{"n": n} for n in range(5)]


class Store:
    def __init__(self, s3: Any) -> None:
        self.s3 = s3
        self.bucket: str = s3.create_bucket()
        self._client = s3.client()

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def source(self, *, tolerant: bool = False, task: int = 0, tasks: int = 1, **more: Any) -> SourceDriver:
        settings = {**GENERIC, "format.class": "json", **more.pop("settings", {})}
        return SourceDriver(self.s3, self.bucket, settings, task=task, tasks=tasks, tolerant=tolerant, **more)

    def aiven(self, settings: dict[str, str], **more: Any) -> SourceDriver:
        return SourceDriver(self.s3, self.bucket, settings, aiven=True, **more)


@pytest.fixture(autouse=True)
def _listing_may_take_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SCAN_SHARE", 1000)


@pytest.fixture
def store(s3: Any) -> Store:
    return Store(s3)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", LINES),
        ("a.json.gz", gzip.compress(LINES[:20]) + gzip.compress(LINES[20:])),
        ("a.json.bz2", bz2.compress(LINES)),
        ("a.json.zst", bytes(cramjam.zstd.compress(LINES))),
        ("unnamed", gzip.compress(LINES)),
        ("crlf.json", LINES.replace(b"\n", b"\r\n\r\n").rstrip()),
        ("array.json", b"[\n" + LINES.strip().replace(b"\n", b",\n") + b"\n]"),
        ("one-line.json", b"[" + LINES.strip().replace(b"\n", b",") + b"]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_json(store: Store, name: str, data: bytes) -> None:
    store.put(name, data)
    assert values(store.source().run()) == ROWS


def test_json_stays_the_text_that_it_is(store: Store) -> None:
    text = b'{"a": 12345678901234567890123, "b":1.10,"c":NaN}'
    store.put("a", text + b"\nnull\n")
    first, second = store.source().run()
    assert first.raw_value.json == text
    assert (second.raw_value, second.key, second.partition, second.topic) == (None, None, None, "t")


def test_other_formats(store: Store) -> None:
    store.put("a", b'n,t\n1,"a,\nb"\n2,\n')
    records = store.source(settings={"format.class": "csv"}).run()
    assert values(records) == [{"n": "1", "t": "a,\nb"}, {"n": "2", "t": ""}]
    store.put("a", b"first\r\n\n\xffthird")
    assert values(store.source(settings={"format.class": "text"}).run()) == ["first", "", "\\xffthird"]
    store.put("a", b"a||b\n||c")
    settings = {"format.class": "bytearray", "format.bytearray.separator": "||"}
    assert values(store.source(settings=settings).run()) == [b"a", b"b\n", b"c"]
    out = io.BytesIO()
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "int"}]}
    fastavro.writer(out, fastavro.parse_schema(schema), ROWS, codec="deflate")
    store.put("a", out.getvalue())
    records = store.source(settings={"format.class": "avro"}).run()
    assert values(records) == ROWS
    assert records[0].value_schema is not None
    assert records[0].value_schema.name == "R"
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(ROWS), out, row_group_size=2)
    store.put("a", out.getvalue())
    assert values(store.source(settings={"format.class": "parquet"}).run()) == ROWS


def test_patterns_choose_objects_and_topics(store: Store) -> None:
    for key in ("in/a.json", "in/b.txt", "in/sub/", "in/sub/c.json", "out/d.json"):
        store.put(key, b'"%b"\n' % key.encode())
    settings = {"topics.dir": "in", "topic.regex.list": r"subs:in/sub/.*,all:.*\.json"}
    records = store.source(settings=settings).run()
    assert [(record.topic, plain(record.raw_value)) for record in records] == [
        ("all", "in/a.json"), ("subs", "in/sub/c.json"),
    ]  # fmt: skip


def test_what_arrives_later_and_out_of_order_is_read_once(store: Store) -> None:
    store.put("b", b"1\n")
    source = store.source()
    assert values(source.run()) == [1]
    store.put("a", b"2\n")
    store.put("c", b"3\n")
    assert values(source.run()) == [2, 3]
    source.restart()
    assert source.run() == []
    store.put("aa", b"4\n")
    assert values(source.run()) == [4]


def test_more_objects_than_are_remembered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "READY_MAX", 4)
    monkeypatch.setattr(s3_store, "PAGE", 3)
    for n in range(23):
        store.put(f"topics/t/partition=0/t+0+{22 - n:04}.json", b"%d\n" % (22 - n))
    source = SourceDriver(store.s3, store.bucket, {"format.class": "json"})
    assert values(source.run()) == list(range(23))


@pytest.mark.parametrize(
    ("policy", "after"), [("ignore", []), ("read", [1, 2, 3]), ("continue", [3])], ids=str
)
def test_changed_objects(store: Store, policy: str, after: list[int]) -> None:
    store.put("a", b"1\n2\n")
    source = store.source(settings={"changed.objects": policy})
    assert values(source.run()) == [1, 2]
    store.put("a", b"1\n2\n3\n")
    if policy != "continue":
        source.restart()
    assert values(source.run()) == after
    source.restart()
    assert source.run() == []


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("format", ["json", "text", "bytearray"])
def test_a_kill_after_any_poll(store: Store, format: str, *, compressed: bool) -> None:
    lines = b"".join(b'"%d"\n' % n for n in range(50))
    store.put("a", gzip.compress(lines) if compressed else lines)
    store.put("b", b'"50"')
    source = store.source(settings={"format.class": format, "record.batch.max.size": "7"})
    found: list[Any] = []
    while records := source.next():
        found += records
        source.restart()
    assert [str(value, "ascii") if type(value) is bytes else value for value in values(found)] == [
        str(n) if format == "json" else f'"{n}"' for n in range(51)
    ]


def test_a_plain_object_is_gone_on_with_at_its_byte(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    chunks = Content.chunks

    def look(self: Content, position: int = 0) -> Iterator[bytes]:
        asked.append(position)
        return chunks(self, position)

    monkeypatch.setattr(Content, "chunks", look)
    store.put("a", LINES)
    source = store.source(settings={"record.batch.max.size": "3"})
    records = source.next()
    source.restart()
    assert values(records + source.run()) == ROWS
    assert asked == [0, 24]


def test_tasks_share_objects(store: Store) -> None:
    for n in range(20):
        store.put(f"o{n}", b"%d\n" % n)
    shares = [set(values(store.source(task=n, tasks=3).run())) for n in range(3)]
    assert all(shares)
    assert sorted(n for share in shares for n in share) == list(range(20))


def test_corrupt_records_and_objects(store: Store) -> None:
    store.put("a", b'1\n{"x":\n3\n')
    store.put("b", gzip.compress(b"4\n" * 1000)[:-9])
    store.put("c", b"5\n")
    strict = store.source()
    assert values(strict.next()) == [1]
    with pytest.raises(ConnectError):
        strict.poll()
    tolerant = store.source(tolerant=True)
    found = values(tolerant.run())
    assert found[:2] == [1, 3]
    assert found[-1] == 5
    bad, cut = tolerant.context.reported
    assert f"cannot read record 2 of s3://{store.bucket}/a: byte 2: no valid JSON" in bad
    assert f"cannot read s3://{store.bucket}/b behind record" in cut
    assert "the gzip data ends too early" in cut
    tolerant.restart()
    assert tolerant.run() == []
    assert values(store.source(settings={"behavior.on.error": "ignore"}).run()) == found


@pytest.mark.parametrize("format", ["avro", "parquet"])
def test_what_is_no_such_file(store: Store, format: str) -> None:
    store.put("a", b"nothing of the kind, but long enough for it")
    source = store.source(tolerant=True, settings={"format.class": format})
    assert source.run() == []
    assert f"s3://{store.bucket}/a behind record 0" in source.context.reported[0]


def test_aiven_rows_have_the_objects_key(store: Store) -> None:
    store.put("in/orders-2-00010.jsonl", b'{"n":0}\n{"n":1}')
    settings = {
        "input.format": "jsonl", "aws.s3.prefix": "in/",
        "file.name.template": "{{topic}}-{{partition}}-{{start_offset:padding=true}}",
    }  # fmt: skip
    first, second = store.aiven(settings).run()
    assert (first.topic, first.partition, first.key) == ("orders", 2, b"in/orders-2-00010.jsonl")
    assert values([first, second]) == [{"n": 0}, {"n": 1}]
    partition = {"bucket": store.bucket, "objectKey": "in/orders-2-00010.jsonl"}
    assert second.source_partition == partition
    assert second.source_offset["recordCount"] == 2
    renamed = store.aiven({**settings, "topic": "other"}).run()
    assert {record.topic for record in renamed} == {"other"}


def test_aiven_bytes_in_pieces(store: Store) -> None:
    store.put("x", b"abcdefg")
    settings = {"file.name.template": ".*", "topic": "t", "transformer.max.buffer.size": "3"}
    assert values(store.aiven(settings).run()) == [b"abc", b"def", b"g"]


def test_aiven_offsets_of_the_java_connector(store: Store) -> None:
    store.put("x", b"1\n2\n3\n")
    source = store.aiven({"file.name.template": ".*", "topic": "t", "input.format": "jsonl"})
    source.stored[b'{"bucket":"%b","objectKey":"x"}' % store.bucket.encode()] = {"recordCount": 2}
    source.restart()
    assert values(source.run()) == [3]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"mode": "GENERIC"}, "topic.regex.list cannot be empty"),
        ({"mode": "OTHER"}, "mode"),
        ({"format.class": "xml"}, "Format must be one of"),
        ({"topic.regex.list": "t"}, "topic:regex"),
        ({"topic.regex.list": "t:("}, "Invalid regex"),
        ({"sqs.queue.url": "http://q"}, "It must be the URL of a queue"),
        ({"changed.objects": "maybe"}, "changed.objects"),
        ({"aws.access.key.id": ""}, "aws.access.key.id"),
        ({"s3.credentials.provider.class": "com.example.Own"}, "cannot run Java classes"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_wrong_settings(store: Store, settings: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        SourceDriver(store.s3, store.bucket, {"format.class": "json", **settings})


@pytest.mark.parametrize("compressed", [False, True])
def test_a_huge_object_takes_little_memory(store: Store, *, compressed: bool) -> None:
    lines, size = b'{"x":"%b"}\n' % (b"y" * 2000), 96 << 20
    data = lines * (size // len(lines))
    store.put("a", gzip.compress(data, 1) if compressed else data)
    del data
    source = store.source()
    before = most = resident_bytes()
    count = 0
    while records := source.next():
        count += len(records)
        most = max(most, resident_bytes())
    assert count == size // len(lines)
    assert most - before < size // 2


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
