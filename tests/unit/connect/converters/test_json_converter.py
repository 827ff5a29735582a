"""JsonConverter: what the recordings of Connect do not show. Those are in tests/conformance/smt."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect.api import ConfigError, DataError, Header, JsonPayload, Schema, SchemaType
from connect.api.schemas import (
    BOOLEAN,
    BYTES,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    OPTIONAL_FLOAT64,
    OPTIONAL_INT32,
    OPTIONAL_STRING,
    STRING,
    TIMESTAMP,
    array,
    decimal,
    map_of,
    struct,
)  # fmt: skip
from connect.converters.json import JsonConverter
from connect.converters.json_schema import schema_from_json, schema_to_json

ROW = struct([("id", INT32), ("name", OPTIONAL_STRING)], name="Row")


def converter(**settings: str) -> JsonConverter:
    made = JsonConverter()
    made.configure({name.replace("_", "."): value for name, value in settings.items()})
    return made


def plain(**settings: str) -> JsonConverter:
    return converter(schemas_enable="false", **settings)


def payload_of(data: bytes | None) -> Any:
    assert data is not None
    return orjson.loads(data)["payload"]


def value_of(raw: Any) -> Any:
    return raw.value() if isinstance(raw, JsonPayload) else raw


# Writing


def test_json_is_not_looked_at() -> None:
    def never(json: bytes) -> Any:
        raise AssertionError("decoded")

    odd = JsonPayload(b'{ "id":1, "name":null }', never)
    assert plain().from_connect("t", ROW, odd) == odd.json
    assert plain().from_connect("t", None, odd) == odd.json
    assert converter().from_connect("t", None, odd) == b'{"schema":null,"payload":' + odd.json + b"}"
    data = converter().from_connect("t", ROW, odd)
    assert data == b'{"schema":' + orjson.dumps(schema_to_json(ROW)) + b',"payload":' + odd.json + b"}"


def test_json_is_rendered_anew_where_the_settings_ask_for_other_json() -> None:
    money = struct([("sum", decimal(2)), ("n", OPTIONAL_INT32.with_default(7))])
    value = {"sum": Decimal("2.22"), "n": None}
    written = JsonPayload(b'{"sum":"AN4=","n":7}', None, value)
    assert plain().from_connect("t", money, written) == written.json
    assert plain(decimal_format="numeric").from_connect("t", money, written) == b'{"sum":2.22,"n":7}'
    keeps_null = plain(replace_null_with_default="false")
    assert keeps_null.from_connect("t", money, written) == b'{"sum":"AN4=","n":null}'


def test_a_value_that_fits_is_not_copied_and_never_changed() -> None:
    value = {"id": 1, "name": "x"}
    assert plain().from_connect("t", ROW, value) == b'{"id":1,"name":"x"}'
    with_bytes = struct([("b", BYTES), ("f", FLOAT64)])
    odd = {"b": b"\xde\xad", "f": math.nan}
    assert plain().from_connect("t", with_bytes, odd) == b'{"b":"3q0=","f":"NaN"}'
    assert (value, odd["b"]) == ({"id": 1, "name": "x"}, b"\xde\xad")


def test_fields_are_written_in_the_schemas_order_and_absent_ones_as_null() -> None:
    assert plain().from_connect("t", ROW, {"name": "x", "id": 1}) == b'{"id":1,"name":"x"}'
    assert plain().from_connect("t", ROW, {"id": 1}) == b'{"id":1,"name":null}'


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (ROW, {"id": 1, "nosuch": 2}, "nosuch is not a valid field name of Row"),
        (ROW, {"id": None, "name": "x"}, "null value for field id that is required"),
        (ROW, {"name": "x"}, "null value for field id that is required"),
        (ROW, {"id": "1", "name": "x"}, 'schema type INT32: str, field: "id"'),
        (ROW, {"id": True, "name": "x"}, 'schema type INT32: bool, field: "id"'),
        (ROW, [1], "schema type STRUCT: list"),
        (ROW, None, "null value for field that is required"),
        (INT32, 2**70, "Cannot convert the value to JSON"),
        (STRING, "\ud800", "Cannot convert the value to JSON"),
        (array(INT32), [1, "x"], "schema type INT32: str"),
        (array(INT32), [1, None], "null value"),
        (map_of(STRING, INT32), {1: 1}, "schema type STRING: int"),
        (decimal(2), Decimal("1.234"), "mismatching scale"),
        (decimal(2), Decimal("NaN"), "NaN"),
        (decimal(2), 1.5, "schema type BYTES: float"),
        (Schema(SchemaType.ARRAY), [1], "does not say what it is made of"),
        (None, object(), "object is not supported as schemaless data"),
        (None, {"a": [Decimal("NaN")]}, "NaN is no number"),
        (None, 2**70, "Cannot convert the value to JSON"),
    ],
)
def test_refuses_what_does_not_fit(schema: Schema | None, value: Any, message: str) -> None:
    made = plain()
    for _ in range(2):  # also when the schema is known already
        with pytest.raises(DataError, match=message):
            made.from_connect("t", schema, value)


@pytest.mark.parametrize(
    ("schema", "value", "json"),
    [
        (FLOAT64, math.inf, "Infinity"),
        (FLOAT32, -math.inf, "-Infinity"),
        (array(FLOAT64), [1.5, math.nan], [1.5, "NaN"]),
        (map_of(STRING, FLOAT64), {"a": math.nan}, {"a": "NaN"}),
        (map_of(INT32, STRING), {1: "a"}, [[1, "a"]]),
        (None, {"a": [math.nan, None]}, {"a": ["NaN", None]}),
        (None, {1: "a", "b": {None: 2}}, [[1, "a"], ["b", [[None, 2]]]]),
        (None, b"\xde\xad", "3q0="),
        (None, {"d": Decimal("2.22")}, {"d": "AN4="}),
        (None, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1000),
        (OPTIONAL_FLOAT64, None, None),
        (Schema(SchemaType.INT64, name=TIMESTAMP, version=1), -(10**15), -(10**15)),
    ],
)
def test_writes(schema: Schema | None, value: Any, json: Any) -> None:
    data = plain().from_connect("t", schema, value)
    assert data is not None
    assert orjson.loads(data) == json
    assert payload_of(converter().from_connect("t", schema, value)) == json


def test_null_without_a_schema_is_a_tombstone() -> None:
    assert converter().from_connect("t", None, None) is None
    assert plain().from_connect("t", OPTIONAL_STRING, None) == b"null"


def test_defaults_stand_in_the_schema_as_json() -> None:
    schema = decimal(2).with_default(Decimal("2.22"))
    assert schema_to_json(schema)["default"] == "AN4="
    assert payload_of(converter().from_connect("t", schema, None)) == "AN4="
    numeric = converter(decimal_format="NUMERIC").from_connect("t", schema, None)
    assert numeric is not None
    assert numeric.endswith(b'"default":2.22},"payload":2.22}')


# Reading


def test_plain_json_keeps_its_bytes() -> None:
    schema, raw = plain().to_connect("t", b' { "a" : 1 }\n')
    assert schema is None
    assert isinstance(raw, JsonPayload)
    assert raw.json == b' { "a" : 1 }\n'
    assert raw.value() == {"a": 1}


@pytest.mark.parametrize("data", [b"{", b"", b'{"a":NaN}', b'{"a":1}{}', b"\xff", b'"\n"', b"[1,]"])
def test_wrong_json_is_refused_at_once(data: bytes) -> None:
    if data:
        with pytest.raises(DataError, match="serialization error"):
            plain().to_connect("t", data)
    with pytest.raises(DataError):
        converter().to_connect("t", data)


@pytest.mark.parametrize("data", [None, b"", b"null", b" null "])
def test_nothing_is_null(data: bytes | None) -> None:
    assert plain().to_connect("t", data) == (None, None)
    assert converter().to_connect("t", None) == (None, None)


def envelope(schema: Schema, payload: bytes) -> bytes:
    return b'{"schema":' + orjson.dumps(schema_to_json(schema)) + b',"payload":' + payload + b"}"


def test_an_envelope_gives_schema_and_value_and_keeps_the_payloads_bytes() -> None:
    made = converter()
    made.to_connect("t", envelope(ROW, b'{"id":0,"name":null}'))
    schema, raw = made.to_connect("t", envelope(ROW, b'{"id":1, "name":"x"}'))
    assert schema == ROW
    assert isinstance(raw, JsonPayload)
    assert raw.json == b'{"id":1, "name":"x"}'
    assert raw.value() == {"id": 1, "name": "x"}


def test_equal_schemas_are_one_object() -> None:
    made = converter()
    schemas = [made.to_connect("t", envelope(s, p)).schema for s, p in [
        (ROW, b'{"id":1,"name":null}'), (INT32, b"5"), (ROW, b'{"id":2,"name":"x"}'), (INT32, b"6"),
    ]]  # fmt: skip
    assert schemas[0] is schemas[2]
    assert schemas[1] is schemas[3]


AWKWARD = [
    Schema(SchemaType.INT32, parameters={"a": "b", "payload": "x"}),
    Schema(SchemaType.INT32, parameters={"payload": '{"schema":1,"payload":2}'}),
    Schema(SchemaType.INT32, doc=',"payload":5}'),
    struct([("schema", INT32), ("payload", INT32)]),
    Schema(SchemaType.INT32, doc="é☃"),
]


@pytest.mark.parametrize("schema", AWKWARD)
def test_the_head_of_a_message_is_never_mistaken(schema: Schema) -> None:
    made = converter()
    value: Any = {"schema": 1, "payload": 2} if schema.fields else 5
    payload = orjson.dumps(value)
    text = orjson.dumps(schema_to_json(schema))
    spelled = [
        envelope(schema, payload),
        b'{"payload":' + payload + b',"schema":' + text + b"}",
        b' { "schema" : ' + text + b' , "payload" : ' + payload + b" } ",
        envelope(schema, payload) + b"\n",
        envelope(schema, b" " + payload + b" "),
    ]
    for data in spelled * 2:
        read = made.to_connect("t", data)
        assert (read.schema, value_of(read.value)) == (schema, value)
    for data in (
        envelope(schema, payload)[:-1] + b',"x":1}',
        envelope(schema, payload + b"}"),
        envelope(schema, payload)[:-1],
        envelope(schema, b""),
        envelope(schema, payload)[:-1] + b"]",
    ):
        with pytest.raises(DataError):
            made.to_connect("t", data)


def test_more_schemas_than_the_cache_holds() -> None:
    made = converter(schemas_cache_size="2")
    schemas = [struct([(f"f{n}", INT32)]) for n in range(5)]
    for number, schema in enumerate(schemas * 2):
        name = schema.fields[0].name
        data = made.from_connect("t", schema, {name: number})
        read = made.to_connect("t", data)
        assert (read.schema, value_of(read.value)) == (schema, {name: number})


def test_decimals_as_numbers_lose_no_digit() -> None:
    exact = "12345678901234567890123456789012345.67"
    schema = struct([("d", decimal(2)), ("f", FLOAT64)])
    made = converter(decimal_format="NUMERIC")
    data = made.from_connect("t", schema, {"d": Decimal(exact), "f": 0.5})
    assert data is not None
    for _ in range(2):  # as the first of its schema, and as a later one
        assert value_of(made.to_connect("t", data).value) == {"d": Decimal(exact), "f": 0.5}
    assert value_of(made.to_connect("t", envelope(schema, b'{"d":7,"f":1}')).value) == {
        "d": Decimal("7.00"),
        "f": 1.0,
    }


@pytest.mark.parametrize(
    ("schema", "payload", "value"),
    [
        (INT8, b"300", 44),
        (INT64, b"18446744073709551615", -1),
        (INT32, b"1.9", 1),
        (INT32, b"true", 0),
        (FLOAT64, b"1", 1.0),
        (FLOAT64, b'"-Infinity"', -math.inf),
        (FLOAT64, b'"x"', 0.0),
        (BOOLEAN, b"1", False),
        (STRING.as_optional(), b"5", None),
        (array(INT8), b"[1,300]", [1, 44]),
        (BYTES, b'"3q0="', b"\xde\xad"),
        (OPTIONAL_INT32.with_default(7), b"null", 7),
        (map_of(INT32, STRING), b'[[1,"a"]]', {1: "a"}),
    ],
)
def test_reads_as_jackson_does(schema: Schema, payload: bytes, value: Any) -> None:
    read = converter().to_connect("t", envelope(schema, payload))
    assert value_of(read.value) == value
    assert type(value_of(read.value)) is type(value)


@pytest.mark.parametrize(
    ("schema", "payload", "message"),
    [
        (ROW, b"{}", "Invalid null value for required INT32 field id"),
        (ROW, b"[]", "Structs should be encoded as JSON objects, but found ARRAY"),
        (array(INT32), b"{}", "Arrays should be encoded as JSON arrays"),
        (map_of(STRING, INT32), b"[]", "Maps with string fields should be encoded as JSON objects"),
        (map_of(INT32, INT32), b"{}", "Maps with non-string fields"),
        (map_of(INT32, INT32), b"[1]", "Found invalid map entry instead of array tuple"),
        (map_of(INT32, INT32), b"[[1]]", "expected length 2 but found"),
        (BYTES, b'"?"', "Invalid bytes field"),
        (decimal(2), b"true", "Invalid type for Decimal"),
        (decimal(2), b"1.234", "mismatching scale"),
        (Schema(SchemaType.INT64, name=TIMESTAMP), b'"x"', "Invalid type for Timestamp"),
    ],
)
def test_refuses_json_of_the_wrong_shape(schema: Schema, payload: bytes, message: str) -> None:
    made = converter()
    for _ in range(2):
        with pytest.raises(DataError, match=message):
            made.to_connect("t", envelope(schema, payload))


def test_nulls_stay_null_where_that_is_asked_for() -> None:
    schema = struct([("n", OPTIONAL_INT32.with_default(7))])
    data = envelope(schema, b'{"n":null}')
    assert value_of(converter(replace_null_with_default="false").to_connect("t", data).value) == {"n": None}
    assert value_of(converter().to_connect("t", data).value) == {"n": 7}


def test_a_schema_of_the_settings_takes_bare_payloads() -> None:
    made = converter(schema_content='{"type":"struct","fields":[{"field":"a","type":"int32"}]}')
    read = made.to_connect("t", b'{"a":1,"b":2}')
    assert (read.schema, value_of(read.value)) == (struct([("a", INT32)]), {"a": 1})


def test_as_a_header_converter() -> None:
    made = converter()
    header = Header("h", INT32, 5)
    data = made.from_connect_header("t", header)
    assert made.to_connect_header("t", "h", data) == header
    assert made.to_connect_header("t", "h", data) == header
    assert plain().to_connect_header("t", "h", b'{"a":1}') == Header("h", None, {"a": 1})


@pytest.mark.parametrize(
    ("name", "value"), [("schemas.enable", "maybe"), ("schemas.cache.size", "0"), ("decimal.format", "HEX")]
)
def test_wrong_settings_are_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        JsonConverter().configure({name: value})


# Both ways

_LEAVES: list[tuple[Schema, st.SearchStrategy[Any]]] = [
    (INT8, st.integers(-128, 127)),
    (INT16, st.integers(-(2**15), 2**15 - 1)),
    (INT64, st.integers(-(2**63), 2**63 - 1)),
    (FLOAT64, st.floats(allow_nan=False)),
    (BOOLEAN, st.booleans()),
    (STRING, st.text(st.characters(exclude_categories=["Cs"]))),
    (BYTES, st.binary()),
    (
        decimal(3),
        st.integers(-(10**40), 10**40).map(
            lambda n: Decimal(n).scaleb(-3) if abs(n) < 10**27 else Decimal(n)
        ),
    ),
]


def _nullable(pair: tuple[Schema, st.SearchStrategy[Any]]) -> tuple[Schema, st.SearchStrategy[Any]]:
    return pair[0].as_optional(), st.none() | pair[1]


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text(st.characters(exclude_categories=["Cs"]))
    structs = st.dictionaries(names, inner, max_size=5).map(lambda parts: (
        struct([(name, schema) for name, (schema, _) in parts.items()]),
        st.fixed_dictionaries({name: values for name, (_, values) in parts.items()}),
    ))  # fmt: skip
    arrays = inner.map(lambda part: (array(part[0]), st.lists(part[1], max_size=4)))
    by_text = inner.map(lambda part: (map_of(STRING, part[0]), st.dictionaries(names, part[1], max_size=4)))
    by_number = inner.map(
        lambda part: (map_of(INT8, part[0]), st.dictionaries(st.integers(-9, 9), part[1], max_size=4))
    )
    return (structs | arrays | by_text | by_number).flatmap(
        lambda pair: st.sampled_from([pair, _nullable(pair)])
    )


_SCHEMAS = st.recursive(st.sampled_from([*_LEAVES, *map(_nullable, _LEAVES)]), _nested, max_leaves=8)
_PAIRS = _SCHEMAS.flatmap(lambda pair: st.tuples(st.just(pair[0]), st.lists(pair[1], min_size=1, max_size=3)))


@given(_PAIRS, st.sampled_from(["BASE64", "NUMERIC"]))
def test_what_was_written_is_read_back(pair: tuple[Schema, list[Any]], decimal_format: str) -> None:
    schema, values = pair
    assert schema_from_json(orjson.loads(orjson.dumps(schema_to_json(schema)))) == schema
    made = converter(decimal_format=decimal_format)
    for value in values:
        data = made.from_connect("t", schema, value)
        read = made.to_connect("t", data)
        assert read.schema == schema
        assert value_of(read.value) == value
        # What was read is written back as it stood.
        assert made.from_connect("t", read.schema, read.value) == data


def test_a_default_as_a_number_in_a_schema() -> None:
    text = orjson.dumps({**schema_to_json(decimal(2)), "default": 2.22})
    made = converter()
    for data in (b'{"schema":' + text + b',"payload":null}', b'{"payload":null, "schema":' + text + b"}"):
        for _ in range(2):
            read = made.to_connect("t", data)
            assert read.value == Decimal("2.22")
            assert read.schema is not None
            assert read.schema.default == Decimal("2.22")
    fixed = converter(schema_content=text.decode())
    assert fixed.to_connect("t", b"null").value == Decimal("2.22")


def test_a_schema_nested_too_deeply() -> None:
    text = b'{"type":"array","items":' * 900 + b'{"type":"int32"}' + b"}" * 900
    with pytest.raises(DataError, match="nested too deeply"):
        converter().to_connect("t", b'{"schema":' + text + b',"payload":[]}')


def test_maps_whose_keys_python_cannot_have() -> None:
    for schema in (map_of(ROW, INT32), map_of(array(INT32), INT32)):
        with pytest.raises(DataError, match="Maps with keys of type"):
            plain().from_connect("t", schema, {})
        with pytest.raises(DataError, match="Maps with keys of type"):
            converter().to_connect("t", envelope(schema, b"[]"))


def test_schemaless_errors_are_errors_of_the_record() -> None:
    for value in ({1: object()}, {1: 2**70}, [math.nan, None, object()]):
        with pytest.raises(DataError):
            plain().from_connect("t", None, value)


def test_wrong_schema_of_the_settings() -> None:
    for content in ("{", '{"type":"nosuch"}', "5"):
        with pytest.raises(ConfigError, match=r"schema\.content"):
            converter(schema_content=content)
