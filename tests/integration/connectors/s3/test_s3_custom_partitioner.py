"""A partitioner of the user's own: the documented one, and what is wrong with others."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.s3_sink import SETTINGS, SinkDriver, json_record, objects

from connect.api import TopicPartition
from connectors.s3.config import S3SinkConfig

TP = TopicPartition("t", 0)
DOCS = Path(__file__).parents[4] / "docs" / "s3.md"
TIMED = """
from connectors.s3.custom_partitioner import CustomPartitioner
class ByMinute(CustomPartitioner):
    is_time_based = True
    def encode(self, record, time_ms):
        return f"minute={time_ms // 60_000}"
class Wild(CustomPartitioner):
    def encode(self, record, time_ms):
        return {1: 1, 2: "two"}[record.offset]
class Unfinished(CustomPartitioner):
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a module of this text; its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text: str) -> str:
        name = f"partitioner_{uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return make


def errors(**settings: str) -> dict[str, str]:
    given = {name.replace("_", "."): value for name, value in settings.items()}
    _, found = S3SinkConfig.examine({**SETTINGS, "s3.bucket.name": "b", **given})
    return {error.name: error.message for error in found}


def test_the_documented_one(s3: Any, module: Any) -> None:
    code = re.search(r"```python by_size.py\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert code is not None
    bucket = s3.create_bucket()
    settings = {
        "store.url": s3.endpoint, "s3.bucket.name": bucket, "flush.size": "4",
        "partitioner.class": f"{module(code[1])}:BySize", "size.limit": "1000",
    }  # fmt: skip
    amounts = [5, 1000, None, 7, 2000]
    log = [json_record(n, {} if amount is None else {"amount": amount}) for n, amount in enumerate(amounts)]
    run = SinkDriver(settings, {TP: log})
    run.run()
    large, small = (f"topics/t/size={size}/partition=0/t+0+000000000" for size in ("large", "small"))
    assert objects(s3, bucket) == {
        f"{large}1.json": b'{"o":1,"amount":1000}\n{"o":4,"amount":2000}\n',
        f"{small}0.json": b'{"o":0,"amount":5}\n{"o":3,"amount":7}\n',
    }
    assert [str(error) for _, error in run.context.errant] == ["the order at offset 2 has no amount"]
    refused = {**settings, "size.limit": "many"}
    assert "size.limit is many, and a number" in errors(**refused)["partitioner.class"]


def test_one_that_wants_times(s3: Any, module: Any) -> None:
    bucket = s3.create_bucket()
    settings = {
        "store.url": s3.endpoint, "s3.bucket.name": bucket, "flush.size": "100",
        "partitioner.class": f"{module(TIMED)}:ByMinute", "timestamp.extractor": "Record",
        "rotate.interval.ms": "60000",
    }  # fmt: skip
    run = SinkDriver(settings, {TP: [json_record(n, timestamp_ms=n * 20_000) for n in range(4)]})
    run.run()
    assert list(objects(s3, bucket)) == ["topics/t/minute=0/t+0+0000000000.json"]


def test_what_goes_wrong_in_it_is_told_with_the_record(s3: Any, module: Any) -> None:
    bucket = s3.create_bucket()
    settings = {
        "store.url": s3.endpoint, "s3.bucket.name": bucket, "flush.size": "1",
        "partitioner.class": f"{module(TIMED)}:Wild",
    }  # fmt: skip
    run = SinkDriver(settings, {TP: [json_record(n) for n in range(3)]})
    run.run()
    assert list(objects(s3, bucket)) == ["topics/t/two/t+0+0000000002.json"]
    assert [str(error) for _, error in run.context.errant] == [
        "partitioner.class failed at the record at t-0@0: KeyError: 0",
        "partitioner.class gave 1, which is no text, for the record at t-0@1",
    ]


def test_classes_that_cannot_be_used(module: Any) -> None:
    name = module(TIMED)
    expected = {
        "org.example.ByRegion": "or module:Class of a class derived from",
        "no_such_module_here:A": "cannot be loaded: ModuleNotFoundError",
        f"{name}:Missing": "cannot be loaded: AttributeError",
        f"{name}:Unfinished": "has no encode",
        "collections:Counter": "is not derived from",
    }
    for given, why in expected.items():
        assert why in errors(partitioner_class=given)["partitioner.class"]
