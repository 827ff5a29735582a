"""What the recordings of Debezium's transforms do not show. Those are in tests/conformance/smt."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connect.api import ConfigError, DataError, Header, JsonPayload, Schema, SchemaType, SourceRecord
from connect.api.schemas import (
    BYTES,
    FLOAT64,
    INT32,
    OPTIONAL_INT32,
    OPTIONAL_INT64,
    OPTIONAL_STRING,
    STRING,
    array,
    struct,
)
from connect.converters.json_writer import compile_writer
from connect.runtime.plugins import PluginKind, Plugins
from connect.transforms.by_logical_table_router import ByLogicalTableRouter
from connect.transforms.debezium import field_namer
from connect.transforms.event_router import EventRouter
from connect.transforms.extract_changed_record_state import ExtractChangedRecordState
from connect.transforms.header_to_value import HeaderToValue
from connect.transforms.json_expansion import JsonExpansion
from connect.transforms.timezone_converter import TimezoneConverter
from connect.transforms.zoned_times import Zone

KEY = struct([("id", INT32)], name="server.public.t.Key")
SOURCE = struct([("ts_ms", OPTIONAL_INT64), ("table", STRING)], name="source")
OUTBOX = struct(
    [("id", STRING), ("aggregatetype", STRING), ("aggregateid", STRING), ("type", STRING),
     ("payload", OPTIONAL_STRING), ("version", OPTIONAL_INT32)],
    name="server.public.outbox.Value", optional=True,
)  # fmt: skip


def envelope(row: Schema, name: str = "server.public.t.Envelope") -> Schema:
    fields = [("before", row), ("after", row), ("source", SOURCE), ("op", STRING), ("ts_ms", OPTIONAL_INT64)]
    return struct(fields, name=name)


def event(row: Schema, after: Any, *, before: Any = None, op: str = "c") -> SourceRecord:
    value = {"before": before, "after": after, "source": {"ts_ms": 5, "table": "t"}, "op": op, "ts_ms": 9}
    schema = envelope(row)
    return SourceRecord({}, {}, "server.public.t", value, value_schema=schema, key={"id": 1}, key_schema=KEY)


def outbox(route: str = "order", payload: str | None = "{}", version: int | None = None) -> SourceRecord:
    row = {"id": "i", "aggregatetype": route, "aggregateid": "k", "type": "made", "payload": payload}
    return event(OUTBOX, {**row, "version": version})


def configured(kind: type[Any], **settings: str) -> Any:
    transform = kind()
    transform.configure({name.replace("_", "."): value for name, value in settings.items()})
    return transform


def applied(kind: type[Any], record: SourceRecord, settings: Mapping[str, str]) -> Any:
    transform = kind()
    transform.configure(settings)
    before = repr(record), list(record.headers)
    result = transform.apply(record)
    assert (repr(record), list(record.headers)) == before, "a transform must not change its record"
    return result


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("alias", "kind"),
    [
        ("EventRouter", EventRouter),
        ("io.debezium.transforms.outbox.EventRouter", EventRouter),
        ("ByLogicalTableRouter", ByLogicalTableRouter),
        ("TimezoneConverter", TimezoneConverter),
        ("ExtractChangedRecordState", ExtractChangedRecordState),
        ("HeaderToValue", HeaderToValue),
    ],
)
def test_they_are_found_by_name_and_alias(alias: str, kind: type[Any]) -> None:
    assert Plugins.discover().get(PluginKind.TRANSFORM, alias).load() is kind


def test_a_schema_is_named_by_the_route_of_its_own_event() -> None:
    router = configured(EventRouter, table_fields_additional_placement="type:envelope")
    names = [router.apply(outbox(route)).value_schema.name for route in ("order", "user", "order")]
    assert names == [f"server.public.outbox.{route}.Value" for route in ("order", "user", "order")]


def test_one_version_may_have_payloads_of_several_shapes() -> None:
    settings = {
        "table.fields.additional.placement": "type:envelope",
        "table.field.event.schema.version": "version",
        "table.expand.json.payload": "true",
    }
    router = EventRouter[SourceRecord]()
    router.configure(settings)
    first = router.apply(outbox(payload='{"a":1}', version=3))
    second = router.apply(outbox(payload='{"b":"x"}', version=3))
    assert first is not None
    assert second is not None
    assert (first.value["payload"], second.value["payload"]) == ({"a": 1}, {"b": "x"})
    assert second.value_schema is not None
    assert (second.value_schema.version, list(second.value_schema.by_name)) == (3, ["payload", "type"])


def test_a_changed_row_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    for behavior, level in (("warn", "WARNING"), ("error", "ERROR")):
        for op in ("u", "t"):
            caplog.clear()
            record = outbox()
            record.value["op"] = op
            assert applied(EventRouter, record, {"table.op.invalid.behavior": behavior}) is None
            assert [found.levelname for found in caplog.records] == [level]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tracing.span.context.field": "t"}, "tracing.span.context.field: tracing is not supported"),
        ({"tracing.with.context.field.only": "true"}, "tracing is not supported; remove it"),
        (
            {"table.fields.additional.placement": "type:body"},
            "must be one of header, envelope, partition",
        ),
        ({"table.fields.additional.placement": ""}, "table.fields.additional.placement: name a column"),
        ({"route.topic.replacement": "$2"}, "route.topic.replacement: No group 2"),
        ({"table.op.invalid.behavior": "stop"}, "Value must be one of warn, error, fatal"),
        ({"field.name.adjustment.mode": "x"}, "must be one of none, avro, avro_unicode"),
    ],
)
def test_wrong_settings_of_the_event_router_are_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EventRouter().configure(settings)


def test_a_missing_column_is_skipped_by_the_older_name_too() -> None:
    settings = {"table.fields.additional.placement": "nosuch:header"}
    with pytest.raises(DataError):
        applied(EventRouter, outbox(), settings)
    old = {**settings, "table.fields.additional.error.on.missing": "false"}
    assert [header.name for header in applied(EventRouter, outbox(), old).headers] == ["id"]


def test_a_row_that_names_no_topic() -> None:
    fields = [(field.name, field.schema.as_optional()) for field in OUTBOX.fields]
    record = event(struct(fields, name="v", optional=True), {"id": "i", "payload": "x"})
    with pytest.raises(DataError, match=r"route\.by\.field=aggregatetype: the row has null"):
        applied(EventRouter, record, {})


ROUTED = {"topic.regex": r"(.*)\.public\.(.*)", "topic.replacement": "all.$2"}


def test_no_value_is_decoded() -> None:
    payload = JsonPayload(b'{"before":null}', lambda data: pytest.fail("decoded"))
    record = event(OUTBOX, None).replace(value=payload)
    routed = configured(ByLogicalTableRouter, topic_regex="(.*)", topic_replacement="all").apply(record)
    assert routed.raw_value is payload
    assert (routed.topic, routed.value_schema.name) == ("all", "all.Envelope")


def test_tables_with_one_schema_get_the_names_of_their_own_topics() -> None:
    router = configured(ByLogicalTableRouter, topic_regex="(.*)", topic_replacement="x.$1")
    record = event(OUTBOX, None)
    names = [router.apply(record.replace(topic=topic)).key_schema.name for topic in ("a", "b", "a")]
    assert names == ["x.a.Key", "x.b.Key", "x.a.Key"]


def test_a_schema_is_made_once_for_each_of_many_tables() -> None:
    router = configured(ByLogicalTableRouter, topic_regex="(.*)", topic_replacement="x.$1")
    record = event(OUTBOX, None)
    topics = [f"t{number}" for number in range(100)]
    first, second = (
        [router.apply(record.replace(topic=topic)).value_schema for topic in topics] for _ in range(2)
    )
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert len({schema.name for schema in first}) == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"topic.regex": "("}, "Invalid value .* for configuration topic.regex: Invalid regex"),
        ({"topic.replacement": ""}, "topic.replacement: A value is required"),
        (
            {"key.field.regex": "(.*)"},
            "key.field.replacement must be non-empty if key.field.regex is set",
        ),
        ({"key.field.regex": "a", "key.field.replacement": "$1"}, "key.field.replacement: No group 1"),
        ({"schema.name.adjustment.mode": "x"}, "schema.name.adjustment.mode: Value must be one of none"),
    ],
)
def test_wrong_settings_of_the_router_by_table_are_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ByLogicalTableRouter().configure({**ROUTED, **settings})


@pytest.mark.parametrize(
    ("schema", "before", "after", "is_same"),
    [
        (FLOAT64, 0.0, -0.0, False),
        (FLOAT64, float("nan"), float("nan"), True),
        (FLOAT64, float("nan"), 1.0, False),
        (BYTES, b"ab", bytes(bytearray(b"ab")), True),
        (array(BYTES), [b"a"], [b"a"], True),
        (array(FLOAT64), [float("nan")], [float("nan")], True),
        (array(FLOAT64), [1.0], [1.0, 2.0], False),
        (struct([("x", FLOAT64)]), {"x": float("nan")}, {"x": float("nan")}, True),
        (struct([("x", FLOAT64)]), {"x": 0.0}, {"x": -0.0}, False),
    ],
)
def test_values_are_compared_as_java_does(schema: Schema, before: Any, after: Any, is_same: bool) -> None:
    row = struct([("v", schema.as_optional())], name="row", optional=True)
    settings = {"header.changed.name": "c", "header.unchanged.name": "u"}
    changed = event(row, {"v": after}, before={"v": before}, op="u")
    headers = {
        header.name: header.value for header in applied(ExtractChangedRecordState, changed, settings).headers
    }
    assert headers == ({"c": [], "u": ["v"]} if is_same else {"c": ["v"], "u": []})


def test_headers_into_structs_at_several_depths() -> None:
    inner = struct([("n", OPTIONAL_INT32.with_default(7))], name="inner", optional=True)
    schema = struct([("a", inner), ("b", inner)], name="outer")
    headers = [Header("x", STRING, "1"), Header("y", STRING, "2"), Header("z", STRING, "3")]
    record = SourceRecord({}, {}, "t", {"a": {"n": None}, "b": None}, value_schema=schema, headers=headers)
    settings = {"headers": "x,y,z", "fields": "a.s,b.s,c.d.s", "operation": "copy"}
    changed = applied(HeaderToValue, record, settings)
    assert changed.value == {"a": {"n": 7, "s": "1"}, "b": None, "c": {"d": {"s": "3"}}}
    assert json.loads(
        json.dumps(compile_writer(changed.value_schema, null_as_default=False)(changed.value))
    ) == (changed.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            '{"l":[{"x":{"y":1}},{"x":{"z":2}}]}',
            {"l": [{"x": {"y": 1, "z": None}}, {"x": {"y": None, "z": 2}}]},
        ),
        (
            '{"l":[{"m":[{"a":1}]},{"m":[{"b":2}]}]}',
            {"l": [{"m": [{"a": 1, "b": None}]}, {"m": [{"a": None, "b": 2}]}]},
        ),
        ('{"l":[[],[]],"n":1}', None),
        ('{"n":' + "[" * 5000 + "]" * 5000 + "}", None),
        ('{"n":-Infinity}', None),
        (r'{"n":"\ud800"}', None),
    ],
)  # fmt: skip
def test_nothing_of_a_document_is_lost(text: str, value: Any) -> None:
    expansion = JsonExpansion(field_namer("none"), keeps_nulls=False)
    if value is None:
        with pytest.raises(DataError):
            expansion("payload", text)
    else:
        assert expansion("payload", text)[1] == value


def test_of_two_members_that_get_one_name_the_first_counts() -> None:
    expansion = JsonExpansion(field_namer("avro"), keeps_nulls=False)
    assert expansion("p", '{"a-b":1,"a b":"x"}')[1] == {"a_b": 1}


@given(JSON)
def test_what_comes_out_fits_its_schema_and_means_the_document(content: Any) -> None:
    document = {"m": content}
    try:
        schema, value = JsonExpansion(field_namer("none"), keeps_nulls=False)("p", json.dumps(document))
    except DataError:
        return
    assert without_nulls(json.loads(json.dumps(compile_writer(schema, null_as_default=False)(value)))) == (
        without_nulls(document)
    )


def without_nulls(part: Any) -> Any:
    """Without the members that have no type: nulls and empty arrays."""
    if isinstance(part, dict):
        return {
            name: without_nulls(member)
            for name, member in part.items()
            if member is not None and member != []
        }
    return [without_nulls(member) for member in part] if isinstance(part, list) else part


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Lagos"]),
    st.datetimes(datetime(3, 1, 1), datetime(9997, 1, 1)),
)
@example("Europe/Berlin", datetime(2024, 3, 31, 2, 30))
@example("Europe/Berlin", datetime(2024, 10, 27, 2, 30))
def test_a_local_time_becomes_the_instant(name: str, local: datetime) -> None:
    micros = (local - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    instant = local.replace(tzinfo=ZoneInfo(name))
    expected = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert Zone(name).instant(micros, 1_000_000) == expected
    # 400 years later the clocks are changed on the same days.
    if local.year > 2100:
        cycle = 146_097 * 86_400 * 1_000_000
        assert Zone(name).instant(micros + 20 * cycle, 1_000_000) == expected + 20 * cycle


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "+05:30", "-11:15:30"]),
    st.integers(-62_000_000_000, 253_000_000_000),
)
def test_a_text_in_another_zone_means_the_same_moment(name: str, second: int) -> None:
    utc = Zone("+00:00").timestamp(text_of(second))
    there = Zone(name).timestamp(utc)
    assert Zone("+00:00").timestamp(there) == utc


def test_the_events_own_times_are_left_alone() -> None:
    named = Schema(SchemaType.INT64, True, "io.debezium.time.Timestamp", 1)
    row = struct([("at", named)], name="row", optional=True)
    record = event(row, {"at": 0}, before={"at": None}, op="u")
    value = applied(TimezoneConverter, record, {"converted.timezone": "+01:00"}).value
    assert (value["before"], value["after"]) == ({"at": None}, {"at": -3_600_000})
    assert (value["source"], value["ts_ms"]) == ({"ts_ms": 5, "table": "t"}, 9)


@pytest.mark.parametrize(
    "rules", ["source:t:at,source:u:at", "topic:x,source:t:at", "t:at,u:at", "source:t,u"]
)
def test_each_rule_may_say_what_its_name_is(rules: str) -> None:
    named = Schema(SchemaType.INT64, True, "io.debezium.time.Timestamp", 1)
    record = event(struct([("at", named)], name="row", optional=True), {"at": 0})
    settings = {"converted.timezone": "+01:00", "include.list": rules}
    assert applied(TimezoneConverter, record, settings).value["after"] == {"at": -3_600_000}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, 'Missing required configuration "converted.timezone"'),
        ({"converted.timezone": "Europe/Nowhere"}, "there is no time zone 'Europe/Nowhere'"),
        ({"converted.timezone": "../Berlin"}, "there is no time zone"),
        ({"converted.timezone": "Europe"}, "there is no time zone"),
        ({"converted.timezone": "+19:00"}, r"the offset \+19:00 is not between"),
        ({"converted.timezone": "UTC", "include.list": "t"}, "include.list: Invalid include list format"),
        ({"converted.timezone": "UTC", "exclude.list": "source:t:a:b"}, "exclude.list: Invalid"),
        ({"converted.timezone": "UTC", "include.list": "a:b", "exclude.list": "a:c"}, "only one"),
    ],
)  # fmt: skip
def test_wrong_settings_of_the_timezone_converter_are_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TimezoneConverter().configure(settings)


def test_a_text_that_is_no_time() -> None:
    for text in (
        "2024-02-30T00:00:00Z",
        "2024-01-01T25:00:00Z",
        "2024-01-01T00:00:00+19:00",
        "2024-01-01",
        "soon",
    ):
        with pytest.raises(DataError, match=re.escape(f"Text '{text}' could not be parsed")):
            Zone("UTC").timestamp(text)


def text_of(second: int) -> str:
    return (datetime(1970, 1, 1) + timedelta(seconds=second)).isoformat() + "Z"
