"""Schemas are values: equal when they say the same, usable as keys, never changed."""

from dataclasses import FrozenInstanceError

import pytest

from connect.api import Schema, SchemaType
from connect.api.per_schema import PerSchema
from connect.api.schemas import INT32, OPTIONAL_STRING, STRING, array, decimal, map_of, struct


def test_equal_schemas_are_one_key() -> None:
    first = struct([("a", INT32), ("b", array(STRING))], name="N", version=1)
    second = struct({"a": INT32, "b": array(STRING)}, name="N", version=1)
    assert first == second
    assert first is not second
    assert {first: "x"}[second] == "x"


@pytest.mark.parametrize(
    "other",
    [
        INT32.as_optional(),
        INT32.with_default(5),
        Schema(SchemaType.INT64),
        Schema(SchemaType.INT32, name="Date"),
        Schema(SchemaType.INT32, parameters={"a": "b"}),
        Schema(SchemaType.INT32, doc="d"),
    ],
)
def test_every_part_counts(other: Schema) -> None:
    assert other != INT32


def test_fields_are_found_by_name_and_keep_their_order() -> None:
    schema = struct([("z", INT32), ("a", STRING)])
    assert [(field.name, field.index) for field in schema.fields] == [("z", 0), ("a", 1)]
    found = schema.field("a")
    assert found is not None
    assert found.schema is STRING
    assert schema.field("nosuch") is None


def test_optional_and_default_make_copies() -> None:
    assert STRING.as_optional() == OPTIONAL_STRING
    assert OPTIONAL_STRING.as_optional() is OPTIONAL_STRING
    assert STRING.with_default("x").default == "x"
    assert STRING.default is None
    with pytest.raises(FrozenInstanceError):
        STRING.optional = True  # type: ignore[misc]  # what must not work


def test_walk_visits_all_inside() -> None:
    inner = map_of(STRING, decimal(2))
    schema = struct([("m", inner), ("l", array(INT32))])
    assert list(schema.walk()) == [schema, inner, STRING, decimal(2), array(INT32), INT32]


def test_decimal_keeps_scale_and_precision_as_parameters() -> None:
    schema = decimal(2, optional=True, precision=9)
    assert schema.parameters == {"scale": "2", "connect.decimal.precision": "9"}
    assert (schema.type, schema.version, schema.optional) == (SchemaType.BYTES, 1, True)


def test_plans_are_made_once_per_schema_and_bounded() -> None:
    made: list[Schema] = []

    def make(schema: Schema) -> str:
        made.append(schema)
        return schema.type.value

    plans = PerSchema(make, plans_max=2)
    one, two, three = (struct([(name, INT32)]) for name in "abc")
    assert [plans(one), plans(one), plans(two), plans(struct([("a", INT32)]))] == ["struct"] * 4
    assert made == [one, two]
    plans(three)  # pushes out the oldest
    plans(two)
    plans(one)
    assert made == [one, two, three, one]
