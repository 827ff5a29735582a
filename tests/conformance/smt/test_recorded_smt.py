"""Replays what Kafka Connect's own transforms, predicates and converters did (tests/golden/smt).

Each file holds sets: a class, its config, and cases with what went in and what came out, or the error.
Values are in JsonConverter's envelope; `{"schema": null}` marks a schemaless value, whose Java classes
stand under `java`.
"""

import json
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from support.recorded_smt import (
    assert_same_error,
    record_of,
    recorded_value,
    told_record,
    told_value,
    value_of,
)

from connect.api import (
    ConnectError,
    Converter,
    Header,
    HeaderConverter,
    Predicate,
    Transform,
)

RECORDINGS = Path(__file__).parents[2] / "golden" / "smt"
PLUGINS = {
    point.name: point
    for group in ("converters", "transforms", "predicates")
    for point in entry_points(group=f"millstream.{group}")
}
# Where Millstream does otherwise, and why; docs/compatibility.md tells users.
_NOT_ONE_DOCUMENT = (
    "JSON that is not exactly one document is refused as such, not for what its beginning lacks"
)
_BYTES_TEXT = "bytes are told as text, where Java shows the identity of an object"
_ANY_INT = "a schemaless int has no size in Python, so every int that fits is taken"
_NO_LOGICAL_NAME = "a string is no Timestamp: the name goes with the type, else JsonConverter fails on it"
_NAME_NEEDED = "a field without a name is refused with the config"
DIFFERENT: dict[str, str] = {
    **{f"Cast-{on}-{n}": _NO_LOGICAL_NAME for on in (1, 3) for n in (10, 11, 12, 13)},
    **{f"InsertField_config-4-{n}": _NAME_NEEDED for n in (0, 1, 2)},
    "MaskField-2-0": "a Decimal is masked by a zero of its scale; Java's cannot be written",
    "TimestampRouter-6-1": "a wrong pattern is refused with the config, before any record",
    "JsonConverter_to-0-10": _NOT_ONE_DOCUMENT,
    "JsonConverter_to-0-31": "a number that no double can hold is refused as such",
    "SimpleHeaderConverter_to-0-19": "13:51:30 stays a string; Java reads the number 13 and forgets the rest",
    "StringConverter-0-2": _BYTES_TEXT,
    "StringConverter-0-9": _BYTES_TEXT,
    "StringConverter-1-2": _BYTES_TEXT,
    "StringConverter-1-9": _BYTES_TEXT,
    "primitive_converters-0-3": _ANY_INT,
    "primitive_converters-1-3": _ANY_INT,
}


def recorded() -> list[Any]:
    cases = []
    for path in sorted(RECORDINGS.glob("*.json")):
        for set_number, recording in enumerate(json.loads(path.read_bytes())):
            name = f"{path.stem}-{set_number}"
            if "configure_error" in recording:
                refused = {"error": recording["configure_error"]}
                cases.append(case(f"{name}-config", recording, refused))
            else:
                cases += [case(f"{name}-{n}", recording, one) for n, one in enumerate(recording["cases"])]
    return cases


def case(name: str, recording: Mapping[str, Any], one: Mapping[str, Any]) -> Any:
    marks = [pytest.mark.xfail(reason=DIFFERENT[name])] if name in DIFFERENT else []
    return pytest.param(recording, one, id=name, marks=marks)


@pytest.mark.parametrize(("recording", "one"), recorded())
def test_does_what_java_did(recording: Mapping[str, Any], one: Mapping[str, Any]) -> None:
    plugin = PLUGINS[recording["class"]].load()()
    if "error" in one:
        with pytest.raises(ConnectError) as caught:
            run(plugin, recording, one)
        assert_same_error(caught.value, one["error"])
        return
    assert run(plugin, recording, one) == expected(recording, one)


def run(plugin: Any, recording: Mapping[str, Any], one: Mapping[str, Any]) -> Any:
    is_header = recording.get("header", False)
    if isinstance(plugin, Converter) and not is_header:
        plugin.configure(recording["config"], recording.get("key", False))
    else:
        plugin.configure(recording["config"])
    if isinstance(plugin, Transform):
        record = plugin.apply(record_of(one["in"]))
        return None if record is None else told_record(record)
    if isinstance(plugin, Predicate):
        return plugin.test(record_of(one["in"]))
    assert isinstance(plugin, HeaderConverter)
    if "in" in one:
        header = Header("name", *value_of(one["in"]))
        if is_header:
            return told_bytes(plugin.from_connect_header("topic", header), recording)
        return told_bytes(plugin.from_connect("topic", header.schema, header.value), recording)
    data = bytes_of(one["bytes"])
    if is_header:
        return told_value(*plugin.to_connect_header("topic", "name", data)[1:])
    return told_value(*plugin.to_connect("topic", data))


def expected(recording: Mapping[str, Any], one: Mapping[str, Any]) -> Any:
    out = one["out"]
    if isinstance(out, dict) and "hex" in out:
        return told_bytes(bytes.fromhex(out["hex"]), recording)
    if isinstance(out, dict) and "topic" in out:
        return {
            **{name: out.get(name) for name in ("topic", "partition", "offset", "timestamp")},
            "key": recorded_value(out["key"]),
            "value": recorded_value(out["value"]),
            "headers": [(header["name"], recorded_value(header["value"])) for header in out["headers"]],
        }
    return recorded_value(out) if isinstance(out, dict) else out


def bytes_of(told: Any) -> bytes | None:
    if told is None:
        return None
    return told.encode() if isinstance(told, str) else bytes.fromhex(told["hex"])


def told_bytes(data: bytes | None, recording: Mapping[str, Any]) -> Any:
    """Bytes in a form that does not depend on the order of a Java HashMap or the look of a number."""
    if data is None:
        return None
    simple_class = recording["class"].rpartition(".")[2]
    if simple_class == "JsonConverter":
        parsed = json.loads(data)
        is_envelope = recording["config"]["schemas.enable"] == "true"
        return (parsed, json.dumps(parsed["schema"])) if is_envelope else parsed
    if simple_class == "SimpleHeaderConverter" and data[:1] in (b"{", b"["):
        try:
            return json.loads(data)
        except json.JSONDecodeError:
            return data
    if simple_class == "StringConverter":
        text = data.decode(recording["config"].get("converter.encoding", "UTF-8"), "replace")
        return sorted(re.split(r"[{}\[\], ]+", text))
    return data
