"""Replays what Debezium's own transforms did with change events (tests/golden/smt_debezium).

A value's `schema` is a number: its place in the file's `schemas`. Each case has a new transform.
"""

import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from support.recorded_smt import assert_same_error, java_kinds, record_of, told_record, words

from connect.api import ConfigError, ConnectError, Transform

RECORDINGS = Path(__file__).parents[2] / "golden" / "smt_debezium"
TRANSFORMS = {point.name: point for point in entry_points(group="millstream.transforms")}

# Where Millstream does otherwise, and why; docs/compatibility.md tells users.
_STAYS_TEXT = "JSON that no schema can hold stays a string; Debezium's record cannot be written"
_ROOT_ARRAY = "an array stays a string with its schema; Debezium's record has another schema, or none"
_ADJUSTED = "members with adjusted names have their values; Debezium's are null"
_INFINITY = "infinity is infinity in every zone; Debezium fails on it, or makes a date of it"
_STILL_OPTIONAL = (
    "a struct that may be null still may; Debezium makes it required, and fails where it is null"
)
_NESTED = "a field three structs deep is there; Debezium puts the header elsewhere, or loses it"
DIFFERENT: dict[str, str] = {
    "EventRouter-0-9": "a truncate is an invalid operation, as an update is; Debezium fails on it",
    "EventRouter-55-0": "tracing is not there, and its settings are refused; Debezium needs a library for it",
    **{f"EventRouter-56-{n}": _STAYS_TEXT for n in (10, 26, 28, 31, 33, 35)},
    **{f"EventRouter-56-{n}": _ROOT_ARRAY for n in (13, 14, 15, 16)},
    "EventRouter-56-23": "JSON with more behind it is no JSON; Debezium forgets the rest",
    "EventRouter-56-37": "a number that no double can hold is not expanded",
    "EventRouter-63-0": _ADJUSTED,
    "EventRouter-64-0": _ADJUSTED,
    **{f"HeaderToValue-{n}": _STILL_OPTIONAL for n in ("3-0", "3-1", "10-0", "11-0", "13-0")},
    "HeaderToValue-7-0": _NESTED,
    "HeaderToValue-8-0": _NESTED,
    "TimezoneConverter-5-0": "a zone that the config was accepted with; Debezium fails on each record",
    **{f"TimezoneConverter-13-{n}": _INFINITY for n in range(12, 20)},
    **{f"TimezoneConverter-14-{n}": _INFINITY for n in range(4)},
    "TimezoneConverter-13-29": "null stays null; Debezium converts the column's default",
    "TimezoneConverter-13-30": "an event without a source is converted; Debezium fails on it",
    "TimezoneConverter-37-config": "every rule may say source: or topic:, as the documentation has it",
    "TimezoneConverter-42-config": "names may have a hyphen",
}


def recorded() -> list[Any]:
    cases = []
    for path in sorted(RECORDINGS.glob("*.json")):
        recording = json.loads(path.read_bytes())
        schemas = recording["schemas"]
        for set_number, one_set in enumerate(recording["sets"]):
            name = f"{path.stem}-{set_number}"
            if "configure_error" in one_set:
                cases.append(case(f"{name}-config", one_set, None))
            for number, one in enumerate(one_set.get("cases", ())):
                cases.append(case(f"{name}-{number}", one_set, with_schemas(one, schemas)))
    return cases


def case(name: str, one_set: Mapping[str, Any], one: Mapping[str, Any] | None) -> Any:
    marks = [pytest.mark.xfail(reason=DIFFERENT[name])] if name in DIFFERENT else []
    return pytest.param(one_set, one, id=name, marks=marks)


def with_schemas(part: Any, schemas: list[Any]) -> Any:
    if isinstance(part, list):
        return [with_schemas(member, schemas) for member in part]
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("schema"), int):
        return {**part, "schema": schemas[part["schema"]]}
    return {name: with_schemas(member, schemas) for name, member in part.items()}


@pytest.mark.parametrize(("one_set", "one"), recorded())
def test_does_what_debezium_did(one_set: Mapping[str, Any], one: Mapping[str, Any] | None) -> None:
    transform: Transform[Any] = TRANSFORMS[one_set["class"]].load()()
    if one is None:
        with pytest.raises(ConfigError) as refused:
            transform.configure(one_set["config"])
        assert_names_the_setting(refused.value, one_set)
        return
    if "error" in one:
        with pytest.raises(ConnectError) as caught:
            applied(transform, one_set, one)
        assert_same_error(caught.value, one["error"])
        return
    assert applied(transform, one_set, one) == told(one["out"])


def applied(transform: Transform[Any], one_set: Mapping[str, Any], one: Mapping[str, Any]) -> Any:
    transform.configure(one_set["config"])
    out = transform.apply(record_of(one["in"]))
    return None if out is None else told_record(out)


def told(record: Mapping[str, Any] | None) -> Any:
    if record is None:
        return None
    return {
        **{name: record[name] for name in ("topic", "partition", "timestamp")},
        "offset": None,
        "key": told_value(record["key"]),
        "value": told_value(record["value"]),
        "headers": [(header["name"], told_value(header["value"])) for header in record["headers"]],
    }


def told_value(value: Mapping[str, Any] | None) -> Any:
    if value is None:
        return None
    kinds = java_kinds(value["payload"]) if value["schema"] is None else None
    return value["schema"], value["payload"], kinds


def assert_names_the_setting(error: ConfigError, one_set: Mapping[str, Any]) -> None:
    """In Debezium's words, and with the name of a setting, which Debezium often leaves to the log."""
    settings = TRANSFORMS[one_set["class"]].load().config_class.definitions()
    assert any(name in str(error) for name in settings), error
    message = one_set["configure_error"]["message"]
    if message != "Unable to validate config.":
        theirs = words(message)
        assert len(theirs & words(str(error))) >= len(theirs) / 3, f"{error} instead of {message}"
