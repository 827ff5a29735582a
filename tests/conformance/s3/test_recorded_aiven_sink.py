"""What the Java Aiven S3 sink left in a bucket, and what this one leaves of the same records."""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.aiven_replay import Replay, as_json

from connectors.s3.aiven.config import AivenS3SinkConfig

GOLDEN = Path(__file__).parents[2] / "golden" / "s3"
SCENARIOS = {path.stem: orjson.loads(path.read_bytes()) for path in sorted(GOLDEN.glob("*.json"))}


def told_header(name: str, text: str) -> dict[str, Any]:
    return {"key": name, "value": AS_JSON.get(name, int(text) if name == "twice" else text)}


TYPES = [
    ["text", "abc"], ["int", "42"], ["long", "12345678901"], ["float", "1.5"], ["bool", "true"],
    ["map", '{"a":1}'], ["list", "[1,2]"], ["empty", ""], ["null", ""], ["twice", "1"], ["twice", "2"],
    ["quoted", '"q"'], ["date", "2026-08-01"], ["ümlaut", "ö"],
]  # fmt: skip
HEADERS_AS_TEXT = [(TYPES, "0"), ([], "1"), ([["raw", "\0\ufffd\1"]], "2")]
AS_JSON = {
    "int": 42, "long": 12345678901, "float": 1.5, "bool": True, "map": {"a": 1}, "list": [1, 2],
    "null": None, "date": 20666,
}  # fmt: skip
ORDERS = [{"id": 0, "name": None}, {"id": 1, "name": "n1"}, {"id": 2, "name": None}]
ITEMS = [{"id": 0, "name": "n0", "ok": True}, {"id": 1, "name": "n1", "ok": False}]

# What the Java sink fails at. All of it stands in docs/compatibility.md.
WRITTEN: Mapping[str, Any] = {
    # A key without a schema is not looked at where it is not written.
    "avro_schemaless_key": [{"value": order} for order in ORDERS],
    # The schema is worked out from the records.
    "errors_dlq_parquet_schemaless": [{"value": item} for item in ITEMS],
    "parquet_schemaless": [{"value": item} for item in ITEMS],
    # Headers of any type are written as text.
    "headers_csv": HEADERS_AS_TEXT,
    "headers_csv_string": HEADERS_AS_TEXT,
    "headers_parquet_mixed": [{"value": ORDERS[0], "headers": [["a", "x"], ["b", "5"]]}],
    # A header without a value is null.
    "headers_jsonl_null": [
        {"headers": [told_header(name, text) for name, text in TYPES], "offset": 0},
        {"headers": [], "offset": 1},
        {"headers": [{"key": "raw", "value": "\0\ufffd\1"}], "offset": 2},
    ],
    # The oldest names of the credentials are read.
    "legacy_names": "azA=,djA=,0,1754007300000\n,djE=,1,1754007300001\nazI=,,2,1754007301999\n"
    "aywz,diIzLAo=,3,1754007360000",
    # A struct that has another's name gets a number behind it.
    "parquet_same_name": [
        {"key": {"id": 1, "name": "k"}, "value": {"id": 1, "name": "v", "extra": "e"}},
    ],
}
# What the Java sink changes, and what it should have been. Two partitions have a last record of a key.
CORRECTED = {
    "jsonl_values": ("-6101065172474983726", "12345678901234567890"),
    "key_bytes": ("x-[B@…", "x-abc"),
    "key_topic": ("djI=", "djU="),
}
# The Java sink tries for ever, and its status says RUNNING.
STOPPED = {
    "csv_json_value": ("failed", "csv holds bytes: set value.converter to"),
    "csv_string_value": ("failed", "csv holds bytes: set value.converter to"),
    "fail_missing_bucket": ("retrying", "the bucket does not exist"),
    "fail_unreachable": ("retrying", "nothing answers at http://127.0.0.1:1"),
    # There, the task fails as it starts.
    "jsonl_envelope_false_fields_unset": ("refused", "format.output.fields must name one field"),
}
# Both fail. The Java sink has written the records before, and not committed them.
FAILS_EMPTY = ("avro_tombstone", "parquet_tombstone")
# A secret needs a server that looks at it: tests/integration/connectors/s3/test_aiven_sink.py.
NOT_HERE = ("fail_wrong_secret",)
CLOCK = ("timestamp_wallclock", "timestamp_legacy_names")

SAME = [
    name
    for name, scenario in SCENARIOS.items()
    if "steps" in scenario and name not in (*WRITTEN, *STOPPED, *FAILS_EMPTY, *NOT_HERE)
]


@pytest.mark.parametrize("name", SAME)
def test_the_bucket_is_the_same(name: str, s3: Any) -> None:
    scenario = corrected(name)
    replay = Replay(scenario, s3)
    replay.run()
    waits = [step for step in scenario["steps"] if step["do"] == "wait"]
    assert replay.waits == [step["result"] for step in waits]
    for listed, step in zip(replay.keys, waits, strict=True):
        assert listed == sorted(step.get("keys", listed))
    found = {masked(name, key): normal(told) for key, told in replay.objects().items()}
    assert found == {masked(name, told["key"]): normal(recorded(told)) for told in scenario["objects"]}
    committed = {(p.topic, p.partition): offset for p, offset in replay.committed.items() if offset}
    assert committed == {
        tuple(sorted(one["partition"].values(), key=str, reverse=True)): one["offset"]["kafka_offset"]
        for one in scenario["offsets"]
    }


@pytest.mark.parametrize("name", WRITTEN)
def test_what_the_java_sink_cannot_write_is_written(name: str, s3: Any) -> None:
    replay = Replay(SCENARIOS[name], s3)
    replay.run()
    assert replay.waits == ["committed"]
    [told] = replay.objects().values()
    file = told.get("avro") or told.get("parquet")
    rows = file["rows"] if file else as_json(told["content"])
    assert rows == (as_csv(WRITTEN[name]) if name.startswith("headers_csv") else WRITTEN[name])
    assert list(replay.committed.values()) == [len(SCENARIOS[name]["records"])]


@pytest.mark.parametrize("name", STOPPED)
def test_what_cannot_be_written_is_told(name: str, s3: Any) -> None:
    replay = Replay(SCENARIOS[name], s3)
    replay.run()
    ended, why = STOPPED[name]
    assert replay.waits == [ended]
    assert why in str(replay.error)
    assert not any(replay.committed.values())


@pytest.mark.parametrize("name", FAILS_EMPTY)
def test_a_record_without_a_value_fails_in_a_table(name: str, s3: Any) -> None:
    replay = Replay(SCENARIOS[name], s3)
    replay.run()
    assert replay.waits == ["failed"]
    assert "has no value; drop such records with a Filter" in str(replay.error)
    assert replay.objects() == {}


# The Java sink takes some of these, and fails or does something else than it was told.
REFUSED_HERE = {
    "{{topic}}-{{partition}}-{{start_offset:padding=maybe}}",
    "{{topic}}-{{partition}}-{{start_offset:foo=bar}}",
    "{{topic:padding=true}}-{{partition}}-{{start_offset}}",
}


@pytest.mark.parametrize("case", SCENARIOS["template_bad"]["cases"], ids=lambda case: str(case["change"]))
def test_bad_templates_are_refused_before_they_are_deployed(case: Mapping[str, Any], s3: Any) -> None:
    replay = Replay(SCENARIOS["template_bad"], s3)
    works = case["wait"] == "committed" and case["change"]["file.name.template"] not in REFUSED_HERE
    assert replay.errors_of(case["change"]) == ([] if works else ["file.name.template"])


@pytest.mark.parametrize("case", SCENARIOS["config_bad"]["cases"], ids=lambda case: str(case["change"]))
def test_bad_settings_are_refused_before_they_are_deployed(case: Mapping[str, Any], s3: Any) -> None:
    replay = Replay(SCENARIOS["config_bad"], s3)
    change = case["change"]
    refused = set(case["validate"]["errors"])
    if (
        not refused and case["wait"] != "committed"
    ):  # the Java sink finds it when it has been deployed, or never
        both_keys = {"aws.access.key.id", "aws.secret.access.key"} <= change.keys()
        refused = set() if both_keys else set(change)
    assert set(replay.errors_of(change)) == refused


def test_the_settings_are_the_same() -> None:
    recorded = SCENARIOS["rest"]["calls"][0]["response"]
    groups = ("AWS", "AWS STS", "S3 retry backoff policy", "File", "Format")
    own = {one["name"]: one for one in recorded if one["group"] in groups or one["name"] in OLD_NAMES}
    defined = {name: one for name, one in AivenS3SinkConfig.definitions().items() if not one.internal}
    assert list(defined) == list(own)
    for name, one in defined.items():
        shown = (one.kind, one.show(one.default), one.required, one.importance, one.group, one.width)
        parts = ("type", "default_value", "required", "importance", "group", "width")
        assert shown == tuple(own[name][part] for part in parts), name


OLD_NAMES = (
    "aws_access_key_id", "aws_secret_access_key", "aws_s3_bucket", "aws_s3_endpoint", "aws_s3_region",
    "aws_s3_prefix", "output_fields", "output_compression",
)  # fmt: skip


def corrected(name: str) -> Any:
    text = (GOLDEN / f"{name}.json").read_text()
    return orjson.loads(text.replace(*CORRECTED.get(name, ("", ""))))


def masked(name: str, key: str) -> str:
    return re.sub(r"\d", "#", key) if name in CLOCK else key


def as_csv(rows: Iterable[tuple[Iterable[list[str]], str]]) -> str:
    return "\n".join(
        "".join(f"{base64(name)}:{base64(text)};" for name, text in headers) + f",{offset}"
        for headers, offset in rows
    )


def base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def recorded(told: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded object in the terms of `Replay.objects`."""
    kept = {name: told[name] for name in ("metadata", "content_type", "compression") if name in told}
    if "avro" in told:
        avro = told["avro"]
        kept["avro"] = {
            "schema": avro["schema"],
            "codec": avro["metadata"]["avro.codec"],
            "rows": avro["rows"],
        }
    elif "parquet" in told:
        parquet = told["parquet"]
        kept["parquet"] = {
            "avro": orjson.loads(parquet["metadata"]["parquet.avro.schema"]),
            "codecs": [group["codecs"] for group in parquet["row_groups"]],
            "rows": parquet["rows"],
        }
    else:
        part = "decompressed" if "compression" in told else "content"
        kept[part] = told[part]
    return kept


def normal(told: Mapping[str, Any]) -> dict[str, Any]:
    """JSON is compared as JSON, big content by its hash."""
    normal = dict(told)
    for part in normal.keys() & {"content", "decompressed"}:
        shown = normal[part]
        normal[part] = shown["sha256"] if isinstance(shown, dict) and "sha256" in shown else as_json(shown)
    return normal
