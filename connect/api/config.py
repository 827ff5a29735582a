"""Settings, declared once.

A config class is a pydantic model whose fields are declared with `setting("dotted.name", …)`. Parsing,
validation with Kafka's wording, masking of secrets, REST definitions and the generated docs read that.

    class FileStreamSourceConfig(Config):
        file: str | None = setting("file", default=None, importance=Importance.HIGH, doc="Source filename.")
        batch_size: int = setting("batch.size", default=2000, doc="Lines per poll.", at_least=1)

    config = FileStreamSourceConfig.parse({"file": "a.txt"})

Values arrive as strings, as in a JSON config or a .properties file, and are read as Kafka's `ConfigDef`
reads them: trimmed, lists split at commas, `true`/`false` in any case.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Final, NamedTuple, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from connect.api.errors import ConfigError


class Kind(StrEnum):
    """Kafka's `ConfigDef.Type`."""

    BOOLEAN = "BOOLEAN"
    STRING = "STRING"
    INT = "INT"
    SHORT = "SHORT"
    LONG = "LONG"
    DOUBLE = "DOUBLE"
    LIST = "LIST"
    CLASS = "CLASS"
    PASSWORD = "PASSWORD"


class Importance(StrEnum):
    """Kafka's `ConfigDef.Importance`: HIGH is what nearly everybody sets."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class Width(StrEnum):
    """How wide an input field a form should give it."""

    NONE = "NONE"
    SHORT = "SHORT"
    MEDIUM = "MEDIUM"
    LONG = "LONG"


class FieldError(NamedTuple):
    """What is wrong with one setting. `name` is its dotted name."""

    name: str
    message: str


class FieldWarning(FieldError):
    """What is accepted and deserves a word: in `check_connection` beside errors."""

    __slots__ = ()


HIDDEN: Final = "[hidden]"
REQUIRED: Final[Any] = object()
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_INTEGER_RANGE: Final = {Kind.SHORT: 1 << 15, Kind.INT: 1 << 31, Kind.LONG: 1 << 63}


@dataclass(frozen=True, slots=True)
class Definition:
    """All that is known of one setting. `default` is `REQUIRED` where there is none."""

    name: str
    kind: Kind
    default: Any = REQUIRED
    importance: Importance = Importance.MEDIUM
    doc: str = ""
    group: str | None = None
    order_in_group: int = -1
    width: Width = Width.NONE
    display_name: str | None = None
    dependents: tuple[str, ...] = ()
    recommended: tuple[str, ...] = ()
    check: Callable[[Any], str | None] | None = None
    internal: bool = False

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED

    def parse(self, raw: Any) -> Any:
        """The value of the right type for what a user wrote, not yet checked further."""
        return _READERS[self.kind](self, raw.strip() if isinstance(raw, str) else raw)

    def read(self, raw: Any) -> Any:
        """The value for what a user wrote; raises `ConfigError` in Kafka's words."""
        value = self.parse(raw)
        if self.check is not None and (why := self.check(value)) is not None:
            raise ConfigError.invalid(self.name, self.show(value), why)
        return value

    def show(self, value: Any) -> str | None:
        """The value as text, as REST answers show it; secrets as `[hidden]`."""
        if value is None:
            return None
        if self.kind is Kind.PASSWORD:
            return HIDDEN
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, list | tuple):
            return ",".join(str(v) for v in value)
        return str(value)


def _read_boolean(definition: Definition, raw: Any) -> Any:
    if isinstance(raw, bool) or raw is None:
        return raw
    lowered = str(raw).lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    raise ConfigError.invalid(definition.name, raw, "Expected value to be either true or false")


def _read_integer(definition: Definition, raw: Any) -> Any:
    if raw is None:
        return None
    # As Java's parseInt: `int` would also take 1_000, and 1.9 or true where the JSON was no string.
    if isinstance(raw, bool) or _INTEGER.fullmatch(str(raw)) is None:
        raise ConfigError.invalid(definition.name, raw, f"Not a number of type {definition.kind}")
    value = int(raw)
    limit = _INTEGER_RANGE[definition.kind]
    if not -limit <= value < limit:
        raise ConfigError.invalid(definition.name, raw, f"Not a number of type {definition.kind}")
    return value


def _read_double(definition: Definition, raw: Any) -> Any:
    try:
        return None if raw is None else float(raw)
    except ValueError:
        raise ConfigError.invalid(definition.name, raw, "Not a number of type DOUBLE") from None


def _read_list(definition: Definition, raw: Any) -> Any:
    if raw is None or isinstance(raw, list):
        return raw
    return [part.strip() for part in str(raw).split(",")] if raw != "" else []


def _read_text(definition: Definition, raw: Any) -> Any:
    return None if raw is None else str(raw)


_READERS: Final[Mapping[Kind, Callable[[Definition, Any], Any]]] = {
    Kind.BOOLEAN: _read_boolean,
    Kind.SHORT: _read_integer,
    Kind.INT: _read_integer,
    Kind.LONG: _read_integer,
    Kind.DOUBLE: _read_double,
    Kind.LIST: _read_list,
    Kind.STRING: _read_text,
    Kind.CLASS: _read_text,
    Kind.PASSWORD: _read_text,
}


@dataclass(frozen=True, slots=True)
class _Declaration:
    """What `setting` was told; becomes a `Definition` once the field's annotation is known."""

    name: str
    kind: Kind | None
    after: str | None
    details: Mapping[str, Any] = field(default_factory=dict)


def setting(
    name: str,
    *,
    default: Any = REQUIRED,
    kind: Kind | None = None,
    importance: Importance = Importance.MEDIUM,
    doc: str = "",
    group: str | None = None,
    width: Width = Width.NONE,
    display_name: str | None = None,
    dependents: Sequence[str] = (),
    recommended: Sequence[str] = (),
    choices: Sequence[str] | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    check: Callable[[Any], str | None] | None = None,
    internal: bool = False,
    after: str | None = None,
) -> Any:
    """Declare a setting as the default of a `Config` field.

    `kind` follows from the annotation (bool, int → INT, float, list[str], SecretStr, else STRING) unless
    given. `choices`, `at_least`, `at_most` check with Kafka's texts; `check` returns what is wrong or None.
    Settings are listed in the order of their declaration, those of a base class first; one that is `after`
    an inherited one stands right behind it, and those declared below it follow.
    """
    details = {
        "default": default, "importance": importance, "doc": doc, "group": group, "width": width,
        "display_name": display_name, "dependents": tuple(dependents), "internal": internal,
        "recommended": tuple(recommended) or tuple(choices or ()),
        "check": check or _range_check(at_least, at_most) or _choice_check(choices),
    }  # fmt: skip
    declared = _Declaration(name, kind, after, details)
    extra: dict[str, Any] = {"setting": declared}
    if default is REQUIRED:
        return Field(alias=name, json_schema_extra=extra)
    if isinstance(default, list):
        return Field(default_factory=lambda: list(default), alias=name, json_schema_extra=extra)
    return Field(default, alias=name, validate_default=True, json_schema_extra=extra)


def _range_check(at_least: float | None, at_most: float | None) -> Callable[[Any], str | None] | None:
    if at_least is None and at_most is None:
        return None

    def check(value: Any) -> str | None:
        if value is None:
            return None
        if at_least is not None and value < at_least:
            return f"Value must be at least {at_least}"
        if at_most is not None and value > at_most:
            return f"Value must be no more than {at_most}"
        return None

    return check


def _choice_check(choices: Sequence[str] | None) -> Callable[[Any], str | None] | None:
    if choices is None:
        return None
    allowed = frozenset(choices)

    def check(value: Any) -> str | None:
        if value is None or value in allowed:
            return None
        return f"String must be one of: {', '.join(choices)}"

    return check


def _kind_of(annotation: Any) -> Kind:
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(arg for arg in get_args(annotation) if arg is not NoneType)
    if get_origin(annotation) is list:
        return Kind.LIST
    by_type = {bool: Kind.BOOLEAN, int: Kind.INT, float: Kind.DOUBLE, SecretStr: Kind.PASSWORD}
    return by_type.get(annotation, Kind.STRING)


class Config(BaseModel):
    """Base of all config classes. `originals` are the strings that it was made from, unknown ones too."""

    model_config = ConfigDict(
        frozen=True, populate_by_name=False, extra="ignore", arbitrary_types_allowed=True
    )

    # Names that carry a part of their own, such as `column.truncate.to.10.chars`.
    patterns: ClassVar[tuple[re.Pattern[str], ...]] = ()
    # Old name → today's name.
    renamed: ClassVar[Mapping[str, str]] = {}

    _originals: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def originals(self) -> dict[str, str]:
        """What the config was made from, secrets too; with a task's share added it is that task's config."""
        return self._originals

    def check(self) -> Iterable[FieldError]:
        """What is wrong between several settings."""
        return ()

    def warnings(self) -> Iterable[FieldError]:
        """What is accepted but will not do what it seems to."""
        return ()

    @classmethod
    def definitions(cls) -> Mapping[str, Definition]:
        """The settings by name, in the order that `setting` tells of."""
        return _definitions(cls)

    @classmethod
    def parse(cls, properties: Mapping[str, str | None]) -> Self:
        """The config for these properties; raises `ConfigError` with all that is wrong."""
        config, errors = cls.examine(properties)
        if config is None or errors:
            raise ConfigError("; ".join(error.message for error in errors))
        return config

    @classmethod
    def examine(cls, properties: Mapping[str, str | None]) -> tuple[Self | None, list[FieldError]]:
        """The config, or None where it cannot be made, and all that is wrong with it."""
        # Where a setting is given by its old name and by its new one, the new one counts.
        given = {cls.renamed[name]: value for name, value in properties.items() if name in cls.renamed}
        given |= {name: value for name, value in properties.items() if name not in cls.renamed}
        values: dict[str, Any] = {}
        errors: list[FieldError] = []
        for name, definition in cls.definitions().items():
            if given.get(name) is None:
                if definition.required:
                    why = f'Missing required configuration "{name}" which has no default value.'
                    errors.append(FieldError(name, why))
                continue
            try:
                values[name] = definition.read(given[name])
            except ConfigError as exc:
                errors.append(FieldError(name, str(exc)))
        if errors:
            return None, errors
        try:
            config = cls.model_validate(values)
        except ValidationError as exc:
            return None, [_field_error(cls.definitions(), error, given) for error in exc.errors()]
        config._originals = {name: value for name, value in properties.items() if value is not None}
        return config, list(config.check())

    @classmethod
    def unknown(cls, names: Iterable[str]) -> list[str]:
        """Those of `names` that mean nothing to this class."""
        known = cls.definitions()
        return [
            name
            for name in names
            if name not in known
            and name not in cls.renamed
            and not any(pattern.fullmatch(name) for pattern in cls.patterns)
        ]


def _field_error(definitions: Mapping[str, Definition], error: Any, given: Mapping[str, Any]) -> FieldError:
    name = str(error["loc"][0]) if error["loc"] else ""
    message = error["msg"].removeprefix("Value error, ")
    if name not in definitions:
        return FieldError(name, message)
    shown = definitions[name].show(given.get(name))
    return FieldError(name, str(ConfigError.invalid(name, shown, message)))


@cache
def _definitions(cls: type[Config]) -> Mapping[str, Definition]:
    found: dict[str, Definition] = {}
    orders: dict[str | None, int] = {}
    for field_name in _in_order(cls):
        info = cls.model_fields[field_name]
        declared = _declaration(info)
        group = declared.details["group"]
        orders[group] = orders.get(group, 0) + 1
        order_in_group = orders[group] if group is not None else -1
        kind = declared.kind or _kind_of(info.annotation)
        found[declared.name] = Definition(
            declared.name, kind, order_in_group=order_in_group, **declared.details
        )
    return found


def _in_order(cls: type[Config]) -> list[str]:
    """The names of the fields as `setting` says."""
    order: list[str] = []
    names: list[str] = []  # of the settings, in the same order
    for base in reversed(cls.__mro__):
        if not issubclass(base, Config):
            continue
        position = len(order)
        for field_name, info in base.model_fields.items():
            if field_name in order:
                continue  # inherited, or declared again where it stands
            declared = _declaration(info)
            if declared.after is not None:
                position = names.index(declared.after) + 1
            order.insert(position, field_name)
            names.insert(position, declared.name)
            position += 1
    return order


def _declaration(info: FieldInfo) -> _Declaration:
    extra = info.json_schema_extra
    declared = extra.get("setting") if isinstance(extra, dict) else None
    if not isinstance(declared, _Declaration):
        raise TypeError(f"declare every field of a Config with setting(…), not {info!r}")
    return declared
