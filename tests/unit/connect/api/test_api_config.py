"""Settings: how they are declared, read, checked and shown."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr, field_validator

from connect.api import Config, ConfigError, FieldError, Kind, setting


class Mode(StrEnum):
    SLOW = "slow"
    FAST = "fast"


class Example(Config):
    renamed: ClassVar[dict[str, str]] = {"old.name": "name"}

    name: str = setting("name", doc="A name.")
    size: int = setting("batch.size", default=10, at_least=1, at_most=1000, group="Sizes")
    wide: int = setting("wide", default=0, kind=Kind.LONG, group="Sizes")
    ratio: float | None = setting("ratio", default=None)
    on: bool = setting("on", default=False)
    topics: list[str] = setting("topics", default=["a"])
    mode: Mode = setting("mode", default="slow", choices=tuple(Mode))
    password: SecretStr | None = setting("password", default=None)

    def check(self) -> Iterable[FieldError]:
        if self.on and self.size < 5:
            yield FieldError("batch.size", "batch.size must be at least 5 with on=true")


def test_reads_text_as_kafka_does() -> None:
    config = Example.parse(
        {
            "name": " n ",
            "batch.size": " +20 ",
            "on": "TRUE",
            "topics": " b , c,,",
            "ratio": "1e3",
            "mode": "fast",
        }
    )
    assert (config.name, config.size, config.on, config.ratio) == ("n", 20, True, 1000.0)
    assert config.topics == ["b", "c", "", ""]
    assert config.mode is Mode.FAST


def test_defaults_are_there_and_not_shared() -> None:
    first, second = Example.parse({"name": "n"}), Example.parse({"name": "n"})
    first.topics.append("x")
    assert second.topics == ["a"]
    assert (first.size, first.ratio, first.on, first.mode, first.password) == (10, None, False, "slow", None)
    assert Example.parse({"name": "n", "topics": ""}).topics == []


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("batch.size", "x", "Not a number of type INT"),
        ("batch.size", "1_0", "Not a number of type INT"),
        ("batch.size", "1.5", "Not a number of type INT"),
        ("batch.size", "2147483648", "Not a number of type INT"),
        ("wide", "9223372036854775808", "Not a number of type LONG"),
        ("batch.size", "0", "Value must be at least 1"),
        ("batch.size", "1001", "Value must be no more than 1000"),
        ("on", "yes", "Expected value to be either true or false"),
        ("ratio", "much", "Not a number of type DOUBLE"),
        ("mode", "no", "String must be one of: slow, fast"),
    ],
)
def test_refuses_in_kafkas_words(name: str, value: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Example.parse({"name": "n", name: value})
    assert str(caught.value) == f"Invalid value {value} for configuration {name}: {why}"


@pytest.mark.parametrize("properties", [{}, {"name": None}])
def test_a_required_setting_is_missing(properties: dict[str, str | None]) -> None:
    with pytest.raises(ConfigError, match='Missing required configuration "name" which has no default value'):
        Example.parse(properties)


def test_checks_between_settings() -> None:
    with pytest.raises(ConfigError, match=r"batch\.size must be at least 5 with on=true"):
        Example.parse({"name": "n", "on": "true", "batch.size": "4"})


def test_tells_all_that_is_wrong_at_once() -> None:
    config, errors = Example.examine({"batch.size": "x", "on": "y"})
    assert config is None
    assert [error.name for error in errors] == ["name", "batch.size", "on"]


def test_values_that_are_no_strings() -> None:
    properties: Any = {"name": "n", "batch.size": 20, "on": True, "topics": ["x"]}
    config = Example.parse(properties)
    assert (config.size, config.on, config.topics) == (20, True, ["x"])
    with pytest.raises(ConfigError, match=r"batch\.size"):
        Example.parse({**properties, "batch.size": True})
    with pytest.raises(ConfigError, match=r"batch\.size"):
        Example.parse({**properties, "batch.size": 1.9})


def test_keeps_what_it_was_made_from() -> None:
    properties = {"name": "n", "other": "o", "gone": None}
    assert Example.parse(properties).originals == {"name": "n", "other": "o"}


@pytest.mark.parametrize("order", [("old.name", "name"), ("name", "old.name")])
def test_old_names_work_and_new_ones_win(order: tuple[str, str]) -> None:
    assert Example.parse({"old.name": "old"}).name == "old"
    assert Example.parse({name: name for name in order}).name == "name"


def test_unknown_names() -> None:
    assert Example.unknown(["name", "old.name", "batch.size", "batchsize", "x.y"]) == ["batchsize", "x.y"]


def test_secrets_are_never_shown() -> None:
    definition = Example.definitions()["password"]
    assert definition.kind is Kind.PASSWORD
    assert definition.show("hunter2") == "[hidden]"
    config = Example.parse({"name": "n", "password": "hunter2"})
    assert config.password is not None
    assert config.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(config)


def test_a_refused_secret_is_not_in_the_error() -> None:
    class WithSecret(Config):
        password: SecretStr = setting("password")

        @field_validator("password")
        @classmethod
        def never(cls, value: SecretStr) -> SecretStr:
            raise ValueError("too weak")

    _, errors = WithSecret.examine({"password": "hunter2"})
    assert errors == [FieldError("password", "Invalid value [hidden] for configuration password: too weak")]


def test_definitions_are_in_the_order_of_declaration() -> None:
    definitions = Example.definitions()
    assert list(definitions)[:3] == ["name", "batch.size", "wide"]
    assert definitions["name"].required
    assert not definitions["batch.size"].required
    assert [definitions[name].kind for name in ("name", "batch.size", "wide", "ratio", "on", "topics")] == [
        Kind.STRING, Kind.INT, Kind.LONG, Kind.DOUBLE, Kind.BOOLEAN, Kind.LIST,
    ]  # fmt: skip
    assert definitions["mode"].recommended == ("slow", "fast")
    assert (definitions["batch.size"].order_in_group, definitions["wide"].order_in_group) == (1, 2)
    assert definitions["name"].order_in_group == -1


def test_a_setting_can_stand_behind_an_inherited_one() -> None:
    class Shared(Config):
        first: str = setting("first", default="", group="A")
        last: str = setting("last", default="", group="A")

    class Other(Config):
        other: str = setting("other", default="")

    class Longer(Shared, Other):
        second: str = setting("second", default="", group="A", after="first")
        third: str = setting("third", default="", group="A")
        last: str = setting("last", default="z", group="A")

    class Longest(Longer):
        end: str = setting("end", default="")

    definitions = Longest.definitions()
    assert list(definitions) == ["other", "first", "second", "third", "last", "end"]
    assert [definitions[name].order_in_group for name in ("first", "second", "third", "last")] == [1, 2, 3, 4]
    assert definitions["last"].default == "z"


@pytest.mark.parametrize(("value", "text"), [(None, None), (True, "true"), (["a", "b"], "a,b"), (7, "7")])
def test_shows_values_as_text(value: Any, text: str | None) -> None:
    assert Example.definitions()["batch.size"].show(value) == text


def test_a_field_without_setting_is_a_mistake_of_the_programmer() -> None:
    class Wrong(Config):
        plain: str = "x"

    with pytest.raises(TypeError, match="declare every field"):
        Wrong.definitions()
