"""Values of one schema as values of another."""

from dataclasses import replace
from typing import Any

import pytest

from connect.api import DataError, Schema, SchemaType, SinkRecord
from connect.api.schemas import FLOAT64, INT8, INT32, INT64, STRING, struct
from connectors.s3.compatibility import Compatibility, project


def array(of: Schema) -> Schema:
    return Schema(SchemaType.ARRAY, value_schema=of)


def mapping(of: Schema) -> Schema:
    return Schema(SchemaType.MAP, key_schema=STRING, value_schema=of)


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        (INT8, INT64, 5, 5),
        (INT32, FLOAT64, 5, 5.0),
        (array(INT8), array(INT32), [1, 2], [1, 2]),
        (mapping(struct({"a": INT8})), mapping(struct({"a": INT8, "b": STRING.as_optional()})),
         {"k": {"a": 1}}, {"k": {"a": 1, "b": None}}),
        (struct({"a": INT8, "gone": STRING}), struct({"a": INT8}), {"a": 1, "gone": "x"}, {"a": 1}),
        (INT8.as_optional(), INT8.with_default(7), None, 7),
    ],
)  # fmt: skip
def test_what_can_be_projected(source: Schema, target: Schema, value: Any, expected: Any) -> None:
    got = project(source, target, value, "the value")
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("source", "target", "value", "why"),
    [
        (INT64, INT8, 5, "is of type int64, and must be int8"),
        (STRING, INT8, "5", "is of type string"),
        (struct({"a": INT8}), struct({"b": INT8}), {"a": 1}, "the value has no field b"),
        (struct({"a": INT8.as_optional()}), struct({"a": INT8}), {"a": None}, "the value.a is null"),
        (replace(struct({"a": INT8}), name="N"), replace(struct({"a": INT8}), name="M"), {"a": 1}, "a N"),
    ],
)
def test_what_cannot(source: Schema, target: Schema, value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        project(source, target, value, "the value")


def test_a_schema_needs_a_version() -> None:
    record = SinkRecord("t", 0, 3, {"a": 1}, value_schema=struct({"a": INT8}))
    with pytest.raises(DataError, match="t-0@3 has a schema without version"):
        Compatibility.BACKWARD.settle(None, record)
    assert Compatibility.NONE.settle(None, record) is record
