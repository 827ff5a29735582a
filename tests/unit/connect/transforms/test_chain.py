"""The chain of transforms that a connector's properties declare."""

from collections.abc import Mapping
from typing import Any

import pytest

from connect.api import ConfigError, DataError, Plugin, Predicate, SinkRecord, Transform
from connect.transforms.chain import TransformChain, build_chain


class Append(Transform[Any]):
    """Appends to the topic's name; fails for `bad`."""

    version = "1"
    closed: list[str]

    def configure(self, properties: Mapping[str, str]) -> None:
        self.seen = dict(properties)
        if "text" not in properties:
            raise ConfigError('Missing required configuration "text" which has no default value.')

    def apply(self, record: Any) -> Any:
        if record.topic.startswith("bad"):
            raise DataError("bad topic")
        return record.replace(topic=record.topic + self.seen["text"])

    def close(self) -> None:
        CLOSED.append(self.seen["text"])


class Drop(Transform[Any]):
    version = "1"

    def configure(self, properties: Mapping[str, str]) -> None:
        assert properties == {}

    def apply(self, record: Any) -> Any:
        return None


class IsLong(Predicate[Any]):
    version = "1"

    def configure(self, properties: Mapping[str, str]) -> None:
        self.length = int(properties["length"])

    def test(self, record: Any) -> bool:
        return len(record.topic) >= self.length


CLOSED: list[str] = []
CLASSES: dict[str, type[Plugin]] = {"x.Append": Append, "Drop": Drop, "IsLong": IsLong}


def find(name: str) -> type[Plugin]:
    if name not in CLASSES:
        raise ConfigError(f"Class {name} could not be found.")
    return CLASSES[name]


def chain(properties: Mapping[str, str | None]) -> TransformChain:
    built = build_chain(properties, find, find)
    assert built is not None
    return built


def topic_after(properties: Mapping[str, str | None], topic: str) -> str | None:
    record = chain(properties).apply(SinkRecord(topic, 0, 0, None))
    return None if record is None else record.topic


APPEND_A = {"transforms.a.type": "x.Append", "transforms.a.text": "a"}
APPEND_B = {"transforms.b.type": "x.Append", "transforms.b.text": "b"}
LONG = {"predicates": "long", "predicates.long.type": "IsLong", "predicates.long.length": "3"}


@pytest.mark.parametrize("properties", [{}, {"transforms": ""}, {"transforms": None}, LONG])
def test_without_transforms_there_is_no_chain(properties: dict[str, str | None]) -> None:
    assert build_chain(properties, find, find) is None


def test_transforms_in_their_order() -> None:
    assert topic_after({"transforms": "b, a", **APPEND_A, **APPEND_B}, "t") == "tba"


def test_a_dropped_record_goes_no_further() -> None:
    assert (
        topic_after({"transforms": "a,d,b", "transforms.d.type": "Drop", **APPEND_A, **APPEND_B}, "t") is None
    )
    # not even to a transform that fails
    assert topic_after({"transforms": "d,a", "transforms.d.type": "Drop", **APPEND_A}, "bad") is None


@pytest.mark.parametrize(
    ("negate", "short", "long"),
    [
        ({}, "t", "topica"),
        ({"transforms.a.negate": "false"}, "t", "topica"),
        ({"transforms.a.negate": "true"}, "ta", "topic"),
    ],
)
def test_predicates_choose_the_records(negate: dict[str, str], short: str, long: str) -> None:
    properties = {"transforms": "a", **APPEND_A, **LONG, "transforms.a.predicate": "long", **negate}
    assert topic_after(properties, "t") == short
    assert topic_after(properties, "topic") == long


def test_a_predicate_sees_what_the_transforms_before_it_made() -> None:
    properties = {"transforms": "a,b", **APPEND_A, **APPEND_B, **LONG, "transforms.b.predicate": "long"}
    assert topic_after(properties, "t") == "ta"
    assert topic_after(properties, "tt") == "ttab"


def test_an_error_says_which_transform_it_is_from() -> None:
    with pytest.raises(DataError, match="bad topic") as caught:
        topic_after({"transforms": "b,a", **APPEND_A, **APPEND_B}, "bad")
    assert caught.value.__notes__ == ["in the transform b"]


def test_a_transform_sees_its_own_settings_only() -> None:
    others = {
        "transforms.ab.text": "x",
        "transforms.a.plugin.version": "1",
        "transforms.a.gone": None,
        "name": "n",
    }
    built = chain({"transforms": "a", **APPEND_A, **LONG, "transforms.a.predicate": "long", **others})
    assert [vars(transform) for transform in built._transforms] == [{"seen": {"text": "a"}}]


def test_close_closes_all() -> None:
    CLOSED.clear()
    chain({"transforms": "a,b", **APPEND_A, **APPEND_B}).close()
    assert CLOSED == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transforms.a.type": None}, 'Missing required configuration "transforms.a.type"'),
        (
            {"transforms.a.type": "Nope"},
            r"Nope for configuration transforms\.a\.type: Class Nope could not be found",
        ),
        ({"transforms.a.type": "IsLong"}, r"transforms\.a\.type: the class is not a Transform"),
        ({"transforms.a.text": None}, r'transforms\.a: Missing required configuration "text"'),
        ({"transforms": "a,a"}, "a,a for configuration transforms: aliases must be different"),
        ({"transforms": "a,"}, "configuration transforms: aliases"),
        (
            {"transforms.a.predicate": "short"},
            r"short for configuration transforms\.a\.predicate: .*\[long\]",
        ),
        (
            {"transforms.a.negate": "true"},
            r"transforms\.a\.negate: there is no config 'transforms\.a\.predicate'",
        ),
        (
            {"transforms.a.negate": "maybe", "transforms.a.predicate": "long"},
            "maybe for configuration negate",
        ),
        ({"predicates.long.type": None}, 'Missing required configuration "predicates.long.type"'),
        ({"predicates.long.type": "Drop"}, r"predicates\.long\.type: the class is not a Predicate"),
        ({"predicates": "long,long"}, "configuration predicates: aliases"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chain({"transforms": "a", **APPEND_A, **LONG, **changes})
