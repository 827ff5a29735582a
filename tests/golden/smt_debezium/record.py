"""Records what Debezium's own transforms do: see README.md.

    python record.py DIRECTORY_OF_JARS…
"""

import copy
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
CDC = HERE.parent / "cdc"
UUID = "123e4567-e89b-12d3-a456-426614174000"


def events(scenario, *numbers):
    """Change events that Debezium wrote, by their places in a recording of tests/golden/cdc."""
    recorded = json.loads((CDC / scenario / "recorded.json").read_text())

    def value_of(told):
        if told is None or told.get("payload") is None:
            return None
        return {"schema": json.loads(recorded["schemas"][told["schema"]]), "payload": json.loads(told["payload"])}

    return [
        {
            "topic": record["topic"],
            "timestamp": None,
            "key": value_of(record["key"]),
            "value": value_of(record["value"]),
            "headers": [header("kept", "string", "h")],
        }
        for record in (recorded["records"][number] for number in numbers)
    ]


def header(name, kind, payload):
    return {"name": name, "value": {"schema": {"type": kind, "optional": False}, "payload": payload}}


def optional(kind, **more):
    return {"type": kind, "optional": True, **more}


JSON_TEXT = optional("string", name="io.debezium.data.Json", version=1)
COLUMNS = {
    "id": {"type": "string", "optional": False, "name": "io.debezium.data.Uuid", "version": 1},
    "aggregatetype": {"type": "string", "optional": False},
    "aggregateid": {"type": "string", "optional": False},
    "type": {"type": "string", "optional": False},
    "payload": JSON_TEXT,
    "tenant": optional("string"),
    "part": optional("int32"),
    "version": optional("int32"),
    "at_ms": optional("int64", name="io.debezium.time.Timestamp", version=1),
    "at_us": optional("int64", name="io.debezium.time.MicroTimestamp", version=1),
    "at_ns": optional("int64", name="io.debezium.time.NanoTimestamp", version=1),
    "at_zoned": optional("string", name="io.debezium.time.ZonedTimestamp", version=1),
    "big": optional("int64"),
    "score": optional("double"),
    "flag": {"type": "boolean", "optional": False, "default": True},
}
ROW = {
    "id": UUID, "aggregatetype": "order", "aggregateid": "10711", "type": "OrderCreated",
    "payload": '{"id":1,"total":9.5}', "tenant": "acme", "part": 3, "version": 2,
    "at_ms": 1709214690123, "at_us": 1709214690123789, "at_ns": 1709214690123789012,
    "at_zoned": "2024-02-29T13:51:30.123789Z", "big": 7, "score": 0.5, "flag": False,
}  # fmt: skip


def outbox(op="c", columns=None, **changes):
    """The event of a row in an outbox table, in the envelope of a real one. `columns`: others' schemas, None: gone."""
    (event,) = events("ops_basic", 2)
    schemas = {name: schema for name, schema in {**COLUMNS, **(columns or {})}.items() if schema is not None}
    row = {name: value for name, value in {**ROW, **changes}.items() if name in schemas}
    fields = [{**schema, "field": name} for name, schema in schemas.items()]
    for part in event["value"]["schema"]["fields"]:
        if part["field"] in ("before", "after"):
            part.update(fields=fields, name="ops_basic.public.outbox.Value")
    event["value"]["schema"]["name"] = "ops_basic.public.outbox.Envelope"
    event["value"]["payload"].update(op=op, before=row if op == "d" else None, after=None if op == "d" else row)
    event["value"]["payload"]["source"]["table"] = "outbox"
    event["topic"] = "ops_basic.public.outbox"
    event["key"] = {
        "schema": {"type": "struct", "optional": False, "name": "ops_basic.public.outbox.Key",
                   "fields": [{**COLUMNS["id"], "field": "id"}]},
        "payload": {"id": UUID},
    }  # fmt: skip
    return event


def no_event():
    """What is no change event: a heartbeat, a tombstone, text, a schemaless map, nothing in a schema."""
    beat = {"type": "struct", "optional": False, "name": "io.debezium.connector.common.Heartbeat",
            "fields": [{"type": "int64", "optional": False, "field": "ts_ms"}]}  # fmt: skip
    key = {"type": "struct", "optional": False, "name": "io.debezium.connector.common.ServerNameKey",
           "fields": [{"type": "string", "optional": False, "field": "serverName"}]}  # fmt: skip
    plain = {"topic": "ops_basic.public.t", "timestamp": 5, "key": None, "headers": []}
    return [
        {**plain, "topic": "__debezium-heartbeat.ops_basic",
         "key": {"schema": key, "payload": {"serverName": "ops_basic"}},
         "value": {"schema": beat, "payload": {"ts_ms": 1}}},
        *events("ops_basic", 5),
        {**plain, "value": {"schema": {"type": "string", "optional": False}, "payload": "text"}},
        {**plain, "value": {"schema": None, "payload": {"op": "c", "after": {"id": 1}}}},
        *events("logical_messages", 0),
        *events("truncate", 1),
    ]  # fmt: skip


def event_router():
    yield {}, [outbox(), outbox("r"), outbox("u"), outbox("d"), *no_event()]
    yield {}, [
        outbox(payload=None), outbox(payload=""), outbox(payload="   "), outbox(payload="plain text"),
        outbox(columns={"payload": {"type": "bytes", "optional": True}}, payload="AQID"),
        outbox(columns={"payload": optional("int32")}, payload=5),
        outbox(aggregateid="", aggregatetype="two words.x"),
        outbox(columns={"aggregateid": {"type": "int64", "optional": False}}, aggregateid=10711),
        outbox(columns={"aggregateid": optional("string")}, aggregateid=None),
        outbox(columns={"id": {"type": "int32", "optional": False}}, id=4),
        outbox(columns={"payload": None}), outbox(columns={"id": None}), outbox(columns={"aggregatetype": None}),
        outbox(columns={"aggregateid": None}), outbox(columns={"type": None}),
        outbox(columns={"aggregatetype": {"type": "int32", "optional": False}}, aggregatetype=7),
        outbox(columns={"aggregatetype": optional("string")}, aggregatetype=None),
        outbox(columns={"payload": optional("string", default="{}")}, payload=None),
    ]  # fmt: skip
    yield {"table.op.invalid.behavior": "error"}, [outbox("u"), outbox("d")]
    yield {"table.op.invalid.behavior": "FATAL"}, [outbox("u"), outbox("d"), outbox()]
    names = {"eid": COLUMNS["id"], "ekey": optional("string"), "etype": optional("string"), "body": JSON_TEXT}
    renamed = outbox(columns=names, eid="e", ekey="k", etype="t", body="{}")
    yield {"table.field.event.id": "eid", "table.field.event.key": "ekey", "table.field.event.type": "etype",
           "table.field.event.payload": "body", "route.by.field": "etype"}, [renamed]  # fmt: skip
    yield {"table.field.event.key": "nosuch"}, [outbox()]
    for field in ("at_ms", "at_us", "at_ns", "at_zoned", "big", "nosuch"):
        yield {"table.field.event.timestamp": field}, [outbox()]
    yield {"table.field.event.timestamp": "at_us"}, [outbox(at_us=None), outbox(at_us=-1), outbox(at_us=-1001)]
    placement = "table.fields.additional.placement"
    for placed in (
        "type:header", "type:header:eventType,tenant:header", "type:envelope", "type:envelope:eventType",
        "tenant:envelope,part:partition", "part:partition", "part:partition,type:envelope:eventType,tenant:header:x",
        " type : header : spaced , tenant : envelope ", "flag:envelope,score:envelope,at_us:envelope",
        "TYPE:header", "nosuch:header", "nosuch:envelope", "nosuch:partition", "type:partition", "big:partition",
        "type:envelope:payload", "type", "type:header:a:b", "type:body", "", "type:HEADER", "type:header,,tenant:header",
    ):  # fmt: skip
        yield {placement: placed}, [outbox()]
    yield {placement: "part:partition,tenant:header,version:envelope"}, [
        outbox(part=None, tenant=None, version=None), outbox(payload=None), outbox(part=-1)
    ]  # fmt: skip
    for placed in ("nosuch:header", "nosuch:envelope", "nosuch:partition", "nosuch:envelope,type:envelope"):
        yield {placement: placed, "table.field.additional.missing": "ignore"}, [outbox()]
    yield {"table.field.additional.missing": "skip"}, [outbox()]
    for version in ("version", "part", "tenant", "nosuch"):
        yield {"table.field.event.schema.version": version, placement: "type:envelope"}, [outbox()]
    yield {"table.field.event.schema.version": "version", placement: "type:envelope"}, [outbox(version=None)]
    yield {"table.field.event.schema.version": "version"}, [outbox()]
    yield {"route.topic.replacement": "events.${routedByValue}"}, [outbox()]
    yield {"route.topic.regex": "(.*)der", "route.topic.replacement": "$1-x"}, [
        outbox(), outbox(aggregatetype="user"), outbox(aggregatetype="customer.order")
    ]  # fmt: skip
    yield {"route.topic.regex": "order", "route.topic.replacement": "fixed"}, [outbox()]
    yield {"route.topic.regex": "(broken"}, [outbox()]
    yield {"route.topic.replacement": "${nosuch}"}, [outbox()]
    yield {"route.tombstone.on.empty.payload": "true"}, [
        outbox(payload=None), outbox(payload=""), outbox(payload=" \t"), outbox(), outbox(payload="{}")
    ]  # fmt: skip
    yield {"route.tombstone.on.empty.payload": "true", placement: "type:envelope"}, [outbox(payload=None), outbox()]
    yield {"route.tombstone.on.empty.payload": "maybe"}, [outbox()]
    yield {"tracing.operation.name": "x"}, [outbox()]
    yield from expanded_payloads(placement)


def expanded_payloads(placement):
    payloads = (
        '{"id":1,"total":9.5,"big":5000000000,"name":"x","ok":true,"none":null}',
        '{"a":{"b":{"c":1},"d":"x"},"e":[1,2,3],"f":["x",null],"g":[]}',
        '{"lines":[{"sku":"a","n":1},{"sku":"b"}]}', '{"lines":[{"x":{"y":1}},{"x":{"y":2}}]}',
        '{"lines":[{"n":null},{"n":5}]}', '{"m":[[1,2],[3]]}', '{"n":[null,null]}', '{"mixed":[1,"x"]}',
        '{"mixed":[1,2.5]}', '{"mixed":[1,5000000000]}', '{"huge":123456789012345678901234567890}',
        '{"e":1e3,"neg":-2147483648,"over":2147483648,"zero":0.0}', "{}", "[]", "[1,2]", '[{"a":1},{"a":2}]',
        '["x"]', "null", "5", '"x"', "", " {}", "{broken", '{"a":1} tail', '{"a":1,"a":"x"}', '{"sp ace":1,"ü":"é","1a":2}',
        '{"l":[{"a":1},{"a":"x"}]}', '{"l":[{"a":1},null]}', '{"l":[{"a":1},null,{"b":1}]}', '{"l":[[1],[]]}', '{"l":[[],[1]]}',
        '{"l":[[1],["x"]]}', '{"l":[[{"a":1}]]}', '{"l":[{"a":1},{"a":5000000000}]}', '{"l":[{"a":1},5]}',
        '{"u":9223372036854775808,"i":9223372036854775807}', '{"n":NaN}', '{"a":1e400}',
        '{"emp":{},"nested":{"none":null}}', '{"b":[true,false],"f":[1.5,2.5],"o":[{"a":[1]},{"a":[2]}]}',
        None,
    )  # fmt: skip
    expand = {"table.expand.json.payload": "true"}
    yield expand, [outbox(payload=payload) for payload in payloads]
    yield expand, [
        outbox(columns={"payload": {"type": "bytes", "optional": True}}, payload="e30="),
        outbox(columns={"payload": optional("int32")}, payload=5),
    ]
    yield {**expand, "table.json.payload.null.behavior": "optional_bytes"}, [
        outbox(payload=payload)
        for payload in ('{"id":1,"none":null}', '{"n":null,"n":1}', '{"lines":[{"n":null},{"n":5}]}', '{"n":[null,null]}', '{"n":[1,null]}',
                        '{"nested":{"none":null}}', '{"lines":[{"n":5},{"n":null}]}')
    ]  # fmt: skip
    yield {**expand, "table.json.payload.null.behavior": "drop"}, [outbox()]
    yield {**expand, placement: "type:envelope,tenant:header"}, [outbox(), outbox(payload="text"), outbox(payload=None)]
    yield {**expand, "route.tombstone.on.empty.payload": "true"}, [outbox(payload="{}"), outbox(payload=None)]
    for mode in ("none", "avro", "avro_unicode"):
        names = '{"sp ace":1,"1a":{"b-c":2},"ü":"é","a.b":3,"_x":4}'
        yield {**expand, "field.name.adjustment.mode": mode}, [outbox(payload=names)]


def by_logical_table_router():
    every = {"topic.regex": "(.*)", "topic.replacement": "all"}
    yield every, [
        *events("ops_basic", 0, 1, 2, 3, 4, 5), *events("no_pk", 2, 3, 5), *events("composite_key", 1),
        *events("pk_change", 2, 4), *events("transaction_metadata", 1, 12), *events("types_defaults", 1, 2),
        with_default(), *no_event(), keyed(None, "text"), keyed(None, {"id": 1}),
        keyed({"type": "string", "optional": False}, "text"),
    ]  # fmt: skip
    shards = {"topic.regex": r"(.*)\.public\.(.*)", "topic.replacement": "logical.$2"}
    yield shards, [*events("ops_basic", 2, 3), *events("toast_default", 1), *no_event()[:1]]
    yield {"topic.regex": "nosuch", "topic.replacement": "x"}, events("ops_basic", 2, 5)
    yield {"topic.regex": "(ops)_(.*)", "topic.replacement": "$1"}, events("ops_basic", 2)
    yield {"topic.regex": "(.*?)(x?)$", "topic.replacement": "$2"}, events("ops_basic", 2)
    yield {**every, "key.enforce.uniqueness": "false"}, [*events("ops_basic", 2, 5), *events("no_pk", 2)]
    yield {**every, "key.field.name": "table"}, events("ops_basic", 2, 5)
    yield {**every, "key.field.name": "id"}, events("ops_basic", 2)
    yield {**every, "key.field.regex": "(.*)_basic.*", "key.field.replacement": "$1"}, [
        *events("ops_basic", 2), *events("composite_key", 1)
    ]  # fmt: skip
    yield {**every, "key.field.regex": " ", "key.field.replacement": ""}, events("ops_basic", 2)
    yield {**every, "key.field.regex": "(.*)", "key.field.replacement": "same"}, events("ops_basic", 2)
    for mode in ("none", "avro", "avro_unicode"):
        for topic in ("9all-the.tâbles/x", "a_b.🐘", "-a\u0001b"):
            yield {
                "topic.regex": ".*", "topic.replacement": topic, "schema.name.adjustment.mode": mode
            }, events("ops_basic", 2)  # fmt: skip
    yield {**every, "logical.table.cache.size": "1"}, [*events("ops_basic", 2), *events("composite_key", 1)]
    yield {**every, "schema.name.adjustment.mode": "AVRO"}, events("ops_basic", 2)
    for wrong in (
        {"topic.regex": "(.*)"}, {"topic.replacement": "x"}, {"topic.regex": "(", "topic.replacement": "x"},
        {"topic.regex": "(.*)", "topic.replacement": ""}, {**every, "key.field.regex": "(.*)"},
        {**every, "key.field.regex": "("}, {**every, "key.enforce.uniqueness": "maybe"},
        {**every, "logical.table.cache.size": "x"}, {**every, "schema.name.adjustment.mode": "other"},
        {**every, "topic.replacement": "$3"}, {**every, "topic.replacement": "${nosuch}"},
        {**every, "logical.table.cache.size": "0"},
    ):  # fmt: skip
        yield wrong, events("ops_basic", 2)


def keyed(schema, payload):
    (event,) = events("ops_basic", 2)
    event["key"] = {"schema": schema, "payload": payload}
    return event


def timezone_converter():
    adaptive, connect = "types_time_adaptive", "types_time_connect"
    for zone in ("+08:00", "UTC", "Z", "-03:30", "+00:00", "EST", "+05:45:30"):
        yield {"converted.timezone": zone}, events(adaptive, 0)
    for zone in ("Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe"):
        yield {"converted.timezone": zone}, changed_rows(events(adaptive, 0), **NO_ZONED_TIMES)
    for zone in ("Asia/Kolkata", "Asia/Tokyo", "+14:00"):
        yield {"converted.timezone": zone}, [*events(adaptive, 0, 1, 2, 3, 4, 5), *events(connect, 0, 2, 5)]
    yield {"converted.timezone": "Africa/Lagos"}, [
        *events("types_time_microseconds", 0), *events("types_infinity_nanoseconds", 2),
        *events("types_extreme_dates_adaptive", 0, 1, 2, 3, 6, 7), *events("types_extreme_dates_nanoseconds", 7),
        *events("types_extreme_dates_connect", 0, 7), *events("types_extreme_dates_isostring", 0),
        *events("types_infinity_adaptive", 0, 1), *events("types_infinity_nanoseconds", 0, 1),
        *changed_rows(events("types_infinity_adaptive", 0, 1), tz=None),
        *changed_rows(events("types_infinity_nanoseconds", 0, 1), tz=None),
        *events("types_defaults", 0, 1, 3), *no_event(), with_default(), without_source(),
    ]  # fmt: skip
    yield {"converted.timezone": "America/Panama"}, [
        *changed_rows(events("types_infinity_adaptive", 0, 1), tz=None),
        *changed_rows(events("types_infinity_nanoseconds", 0, 1), tz=None),
        *events("types_extreme_dates_nanoseconds", 0, 7),
    ]  # fmt: skip
    yield {"converted.timezone": "Africa/Lagos"}, [
        *(changed_rows(events(adaptive, 0), c_tstz=text)[0] for text in (
            "2024-02-29T12:00Z", "2024-02-29T12:00:00.1+02:00", "2024-02-29T12:00:00.123456789-11:30", "2024-02-30T12:00:00Z",
            "2024-02-29T24:00:00Z", "2024-02-29T12:00:00", "2024-02-29", "", "0000-01-01T00:00:00Z", "-0001-12-31T23:59:59Z",
            "2024-02-29t12:00:00z", "99999-01-01T00:00:00Z", "+99999-01-01T00:00:00Z", "2024-02-29T12:00:00+01:02:03",
        )),
        *(changed_rows(events(adaptive, 0), c_timetz=text)[0] for text in (
            "12:00Z", "23:30:00+00:00", "12:00:00.100-11:30", "24:00:00Z", "12:00:00", "00:10:00+12:00",
        )),
    ]  # fmt: skip
    yield {"converted.timezone": "Europe/Berlin"}, [*on_edges("Europe/Berlin")]
    yield {"converted.timezone": "America/New_York"}, [*on_edges("America/New_York")]
    yield {"converted.timezone": "Australia/Lord_Howe"}, [*on_edges("Australia/Lord_Howe")]
    yield from timezone_lists(adaptive)
    for wrong in ("Mars/Olympus", "+8", "8:00", "", "+25:00", "GMT+2", "UTC+02:00", "+08:60", "CET", "utc"):
        yield {"converted.timezone": wrong}, events(adaptive, 0)
    yield {}, events(adaptive, 0)


NO_ZONED_TIMES = {"c_timetz": None, "c_timetz0": None, "c_timetz3": None}


def changed_rows(found, **columns):
    """The events with other values after the change. A ZonedTime gets the offset of the day of the recording."""
    for event in found:
        event["value"]["payload"]["after"].update(columns)
    return found


def with_default():
    """A column that is null and has a default."""
    (event,) = events("types_defaults", 1)
    for part in event["value"]["schema"]["fields"]:
        for field in part.get("fields", ()):
            field.update({"optional": True} if field["field"] == "ts" else {})
    return changed_rows([event], ts=None)[0]


def without_source():
    (event,) = events("types_time_adaptive", 0)
    for part in event["value"]["schema"]["fields"]:
        part.update({"optional": True} if part["field"] == "source" else {})
    event["value"]["payload"]["source"] = None
    return event


def timezone_lists(adaptive):
    zone = {"converted.timezone": "Asia/Kolkata"}
    for rules in (
        "source:tim", "source:tim:c_ts", "source:other", "source:other:c_ts", "topic:types_time_adaptive.public.tim",
        "topic:types_time_adaptive.public.tim:c_tstz", "tim:c_ts3", "types_time_adaptive.public.tim:c_tstz3",
        "source:tim:source.ts_ms", "source:tim:source.ts_us,tim:source.ts_ns", "source:tim:before.c_ts",
        "source:tim:after.c_ts", "source:tim:c_ts,tim:c_tstz", "source:tim:c_date,tim:c_time", "tim:c_ts,tim:c_ts0",
        "source:tim, topic:x", "source:tim:c_ts,topic:x", "tim", "source:tim:c_ts,source:tim:c_ts0", "SOURCE:tim:c_ts",
        "source:tim:c_ts:x", "source:*", "source:tim:nosuch", "source:tim-x", "topic:x,tim:c_ts", " source:tim:c_ts ", "source:tim:source.lsn",
    ):  # fmt: skip
        yield {**zone, "include.list": rules}, events(adaptive, 0)
    for rules in (
        "source:tim", "source:tim:c_ts", "source:other", "topic:types_time_adaptive.public.tim:c_ts", "tim:c_ts",
        "source:tim:source.ts_ms", "source:tim:before.c_ts", "tim", "source:tim:c_ts,tim:c_tstz", "source:*",
    ):  # fmt: skip
        yield {**zone, "exclude.list": rules}, events(adaptive, 0)
    update = events(adaptive, 24)
    yield {**zone, "include.list": "source:tim:before.c_ts"}, update
    yield {**zone, "include.list": "source:tim:after.c_ts"}, update
    yield {**zone, "exclude.list": "source:tim:after.c_ts"}, update
    yield zone, update
    yield {**zone, "include.list": "source:tim", "exclude.list": "source:tim"}, events(adaptive, 0)


def on_edges(zone):
    """Around the changes of the clocks in 2024, in spring and in autumn, and in January and July."""
    spring, autumn = {"Europe/Berlin": (1711846800, 1729990800), "America/New_York": (1710054000, 1730613600),
                      "Australia/Lord_Howe": (1712415600, 1728142200)}[zone]  # fmt: skip
    hours = [edge + shift for edge in (spring, autumn) for shift in (-7200, -3600, -1, 0, 1, 3600, 7200, 10800, 39600)]
    for second in [*hours, 1704110400, 1719835200]:
        (event,) = events("types_time_adaptive", 0)
        text = datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", ".500000Z")
        event["value"]["payload"]["after"].update(
            **NO_ZONED_TIMES, c_ts=second * 1_000_000 + 5, c_ts0=second * 1000, c_tstz=text, c_tstz0=text.replace(".500000", "")
        )
        yield event


def extract_changed_record_state():
    both = {"header.changed.name": "Changed", "header.unchanged.name": "Unchanged"}
    updates = [*events("identity_full", 2, 3), *events("no_pk", 3, 4), *events("composite_key", 2)]
    yield both, [
        *updates, *events("ops_basic", 0, 2, 3, 4, 5), *events("identity_full", 4, 6), *events("pk_change", 2, 4),
        *events("types_time_adaptive", 24), *events("types_defaults", 3), *no_event(),
    ]  # fmt: skip
    yield {"header.changed.name": "Changed"}, updates[:2]
    yield {"header.unchanged.name": "Unchanged"}, updates[:2]
    yield {}, updates[:2]
    yield {"header.changed.name": ""}, updates[:1]
    yield {"header.changed.name": " "}, updates[:1]
    yield {"header.changed.name": "Same", "header.unchanged.name": "Same"}, updates[:1]
    yield {"header.changed.name": "kept"}, updates[:1]
    yield both, changed_values()


def changed_values():
    """Updates of one column: floats, bytes, arrays, nulls, structs."""
    pairs = (
        ("double", 1.5, 1.5), ("double", 1.5, 2.5), ("double", None, 1.5), ("double", None, None),
        ("string", "", None), ("boolean", False, None), ("int64", 1, 1), ("string", "a", "A"),
    )  # fmt: skip
    arrays = ((["a", None], ["a", None]), (["a"], ["b"]), ([], None), (["a", "b"], ["b", "a"]))
    point = {"type": "struct", "optional": True, "name": "io.debezium.data.geometry.Point", "version": 1,
             "fields": [{"type": "double", "optional": False, "field": "x"}]}  # fmt: skip
    cases = [(optional(kind), before, after) for kind, before, after in pairs]
    cases += [(optional("array", items=optional("string")), before, after) for before, after in arrays]
    cases += [(point, {"x": 1.0}, {"x": 1.0}), (point, {"x": 1.0}, {"x": 2.0}), (point, None, {"x": 2.0})]
    for schema, before, after in cases:
        (event,) = events("identity_full", 2)
        for part in event["value"]["schema"]["fields"]:
            if part["field"] in ("before", "after"):
                part["fields"] = [{"type": "int32", "optional": False, "field": "id"}, {**schema, "field": "v"}]
        event["value"]["payload"].update(before={"id": 1, "v": before}, after={"id": 1, "v": after})
        yield event


def header_to_value():
    text, number = header("h1", "string", "v1"), header("h2", "int32", 5)
    point = {"type": "struct", "optional": True, "name": "p", "fields": [{"type": "int32", "optional": False, "field": "x"}]}
    flat = {"type": "struct", "optional": False, "name": "flat", "version": 3, "doc": "d",
            "fields": [{"type": "int32", "optional": True, "default": 9, "field": "id"}, {**point, "field": "point"}]}  # fmt: skip

    def headed(*headers):
        (event,) = events("identity_full", 2)
        return {**event, "headers": [header("kept", "string", "h"), *headers]}

    def flat_with(payload, *headers):
        return {**headed(*headers), "value": {"schema": flat, "payload": payload}}

    def into(fields, headers, operation="move"):
        return {"fields": fields, "headers": headers, "operation": operation}

    yield into("a", "h1"), [
        headed(text, number), headed(number), headed(text, header("h1", "string", "v2")), headed(header("h1", "int64", 1)),
        flat_with({"id": None, "point": None}, text), flat_with({"id": 1, "point": {"x": 1}}, text),
        *events("ops_basic", 2), *no_event(),
        headed({"name": "h1", "value": {"schema": None, "payload": "x"}}), headed({"name": "h1", "value": None}),
        headed({"name": "h1", "value": {"schema": optional("string"), "payload": None}}),
        headed({"name": "h1", "value": {"schema": optional("array", items=optional("string")), "payload": ["a", None]}}),
    ]  # fmt: skip
    yield into("a,b", "h1,h2", "copy"), [headed(text, number), headed(number, text), headed(text)]
    yield into("a,b", "h1,h2"), [headed(text, number), headed(number)]
    yield into("point.y", "h1"), [flat_with({"id": 1, "point": {"x": 1}}, text), flat_with({"id": 1, "point": None}, text)]
    for fields in ("source.a", "nosuch.a", "op.a", "x.y.z", "source.n.m", "op", "transaction.a", "after.v", "id"):
        yield into(fields, "h1"), [headed(text)]
    yield into("after.a,before.b", "h1,h2"), [headed(text, number)]
    yield into("x.y,x.z", "h1,h2"), [headed(text, number)]
    yield into("a,a", "h1,h2"), [headed(text, number), headed(text)]
    yield into("a", "h1", "MOVE"), [headed(text)]
    yield into(" a , b ", "h1, h2"), [headed(text, number)]
    for wrong in (
        into("a,b", "h1"), into("a", "h1", "other"), {"fields": "a", "headers": "h1"}, {"headers": "h1", "operation": "move"},
        into("a b", "h1"), into("a,,b", "h1,h2,h3"), into("", "h1"), into("a", "h 1"),
    ):  # fmt: skip
        yield wrong, [headed(text)]


FILES = {
    "EventRouter": ("io.debezium.transforms.outbox.EventRouter", event_router),
    "ByLogicalTableRouter": ("io.debezium.transforms.ByLogicalTableRouter", by_logical_table_router),
    "TimezoneConverter": ("io.debezium.transforms.TimezoneConverter", timezone_converter),
    "ExtractChangedRecordState": ("io.debezium.transforms.ExtractChangedRecordState", extract_changed_record_state),
    "HeaderToValue": ("io.debezium.transforms.HeaderToValue", header_to_value),
}


def recorded(sets, jars):
    with tempfile.TemporaryDirectory() as scratch:
        given, taken = Path(scratch, "in.json"), Path(scratch, "out.json")
        given.write_text(json.dumps(sets))
        path = ":".join([scratch, *(f"{directory}/*" for directory in jars)])
        subprocess.run(["javac", "-cp", path, "-d", scratch, HERE / "Recorder.java"], check=True)
        subprocess.run(["java", "-Xmx512m", "-Duser.timezone=UTC", "-cp", path, "Recorder", given, taken], check=True)
        return json.loads(taken.read_text())


def main():
    sets = [
        {"file": file, "class": name, "config": config,
         "cases": [{"in": copy.deepcopy(record)} for record in records]}
        for file, (name, made) in FILES.items()
        for config, records in made()
    ]  # fmt: skip
    results = recorded(sets, sys.argv[1:])
    for file in FILES:
        schemas = {}
        told = [numbered(one, schemas) for one in results if one["file"] == file]
        told = {"schemas": list(schemas), "sets": [line(one) for one in told]}
        lists = [f' "{name}": [\n  ' + ",\n  ".join(lines) + "\n ]" for name, lines in told.items()]
        (HERE / f"{file}.json").write_text("{\n" + ",\n".join(lists) + "\n}\n")


def numbered(part, schemas):
    """The same with a number in place of each schema of a value."""
    if isinstance(part, list):
        return [numbered(member, schemas) for member in part]
    if not isinstance(part, dict):
        return part
    if "schema" in part and isinstance(part["schema"], dict):
        number = schemas.setdefault(line(part["schema"]), len(schemas))
        return {**part, "schema": number}
    return {name: numbered(member, schemas) for name, member in part.items() if name != "file"}


def line(part):
    return json.dumps(part, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main()
