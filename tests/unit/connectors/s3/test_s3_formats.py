"""The bytes of files."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from support.s3_sink import SETTINGS

from connect.api import DataError, JsonPayload, Schema, SinkRecord
from connect.api.schemas import BYTES, INT64, STRING, decimal, struct
from connectors.s3.config import S3SinkConfig
from connectors.s3.formats import Format, format_for


def make(**settings: str) -> Format:
    given = {name.replace("__", "."): value for name, value in settings.items()}
    config = S3SinkConfig.parse({**SETTINGS, "s3.bucket.name": "b", **given})
    return format_for(config, config.format)


def written(format: Format, *values: Any, schema: Schema | None = None) -> bytes:
    records = [SinkRecord("t", 0, n, value, value_schema=schema) for n, value in enumerate(values)]
    items = format.items(records)
    writer = format.open(items[0])
    return b"".join([writer.write(items), *writer.finish()])


def payload(text: bytes) -> JsonPayload:
    return JsonPayload(text, orjson.loads)


def test_json_text_stays_as_it_is() -> None:
    odd = b'{ "big":12345678901234567890, "d":0.1000000000000000055,"z":-0.0, "a":1, "a":2}'
    assert written(make(), payload(odd)) == odd + b"\n"


def test_json_text_of_several_lines_becomes_one() -> None:
    text = b'{\r\n  "a": "x\\ny",\n  "b": [1,\n2]\n}\n'
    out = written(make(), payload(b"1"), payload(text))
    assert out.splitlines() == [b"1", b'{  "a": "x\\ny",  "b": [1,2]}']
    assert orjson.loads(out.splitlines()[1]) == orjson.loads(text)


@pytest.mark.parametrize(
    ("schema", "value", "line"),
    [
        (None, {"a": [1, None, True, 1.5, "é"]}, '{"a":[1,null,true,1.5,"é"]}'),
        (None, "text", '"text"'),
        (struct({"a": INT64, "b": BYTES}), {"a": 1, "b": b"\xff"}, '{"a":1,"b":"/w=="}'),
        (decimal(2), Decimal("1.00"), '"ZA=="'),
        (STRING, "s", '"s"'),
    ],
)
def test_values_are_written_as_json_converter_writes_them(schema: Schema, value: Any, line: str) -> None:
    assert written(make(), value, schema=schema) == line.encode() + b"\n"


def test_decimals_as_numbers() -> None:
    schema = struct({"d": decimal(2)})
    format = make(json__decimal__format="numeric")
    text = JsonPayload(b'{"d":"ZA=="}', None, {"d": Decimal("1.00")})
    assert written(format, {"d": Decimal("1.00")}, text, schema=schema) == b'{"d":1.00}\n' * 2
    assert written(format, payload(b'{"d":"ZA=="}')) == b'{"d":"ZA=="}\n'  # no schema, so a text


def test_a_value_that_json_cannot_hold_is_a_data_error() -> None:
    with pytest.raises(DataError):
        make().items([SinkRecord("t", 0, 0, object())])


def test_bytes_are_bytes_only() -> None:
    format = make(format__class="bytearray")
    assert written(format, b"a", b"b") == b"a\nb\n"
    assert format.extension == ".bin"
    with pytest.raises(DataError, match="the record at t-0@0 has a value of type str, and ByteArrayFormat"):
        format.items([SinkRecord("t", 0, 0, "text")])


def test_extensions() -> None:
    assert make().extension == ".json"
    assert make(s3__compression__type="gzip").extension == ".json.gz"
    own = {
        "format__class": "bytearray",
        "format__bytearray__extension": ".msg",
        "s3__compression__type": "gzip",
    }
    assert make(**own).extension == ".msg.gz"
