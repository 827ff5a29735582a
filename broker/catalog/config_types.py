"""What a config is: its name, type and range, and how its text becomes a value, with Kafka's error texts."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1
ConfigValue = bool | int | float | str | tuple[str, ...]


class ConfigType(IntEnum):
    """As DescribeConfigs numbers them (KIP-569)."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


class ConfigSource(IntEnum):
    """Where a value in force comes from, as DescribeConfigs numbers it (KIP-226)."""

    TOPIC = 1
    STATIC_BROKER = 4
    DEFAULT = 5
    GROUP = 8


class InvalidConfig(ValueError):
    """A config that Kafka would refuse with INVALID_CONFIG; the text is Kafka's."""


@dataclass(frozen=True, slots=True)
class Synonym:
    """A broker setting that gives a topic config its value, multiplied by `scale` (hours to ms, say)."""

    name: str
    scale: int = 1


@dataclass(frozen=True, slots=True)
class ConfigValueSource:
    """One place that has a value for a config; the first of several is the one in force."""

    name: str
    text: str
    source: ConfigSource


@dataclass(frozen=True, slots=True)
class ConfigDefinition:
    """One config. Ranges include their ends."""

    name: str
    type: ConfigType
    default: str
    doc: str
    synonyms: tuple[Synonym, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> ConfigValue:
        """The value; InvalidConfig in Kafka's words when `text` has the wrong type or range."""
        trimmed = text.strip()
        match self.type:
            case ConfigType.BOOLEAN:
                if trimmed.lower() not in ("true", "false"):
                    raise self._invalid(text, "Expected value to be either true or false")
                return trimmed.lower() == "true"
            case ConfigType.INT | ConfigType.LONG | ConfigType.DOUBLE:
                return self._parse_number(text)
            case ConfigType.LIST:
                return self._parse_list(trimmed)
            case _:
                self._check_choice(trimmed)
                return trimmed

    def _parse_number(self, text: str) -> int | float:
        number: int | float
        if self.type is ConfigType.DOUBLE:
            # Unlike Kafka, NaN is refused: as a ratio or a size it means nothing.
            if not (match := _DOUBLE.fullmatch(text.strip())):
                raise self._invalid(text, "Not a number of type DOUBLE")
            number = float(match[1])
        else:
            limit = INT_MAX if self.type is ConfigType.INT else LONG_MAX
            if not _INTEGER.fullmatch(text.strip()) or not -limit - 1 <= (number := int(text)) <= limit:
                raise self._invalid(text, f"Not a number of type {self.type.name}")
        if self.name == "compression.gzip.level":
            if number != -1 and not 1 <= number <= 9:
                raise self._invalid(number, "Value must be between 1 and 9 or equal to -1")
        elif self.minimum is not None and number < self.minimum:
            raise self._invalid(to_text(number), f"Value must be at least {self.minimum}")
        elif self.maximum is not None and number > self.maximum:
            raise self._invalid(to_text(number), f"Value must be no more than {self.maximum}")
        return number

    def _parse_list(self, text: str) -> tuple[str, ...]:
        items = tuple(item.strip() for item in text.split(",")) if text else ()
        if not self.choices:
            if items != ("*",) and not all(_THROTTLED.fullmatch(item) for item in items):
                raise self._invalid(
                    f"[{', '.join(items)}]",
                    f"{self.name} must be the literal '*' or a list of replicas in the following format: "
                    "[partitionId]:[brokerId],[partitionId]:[brokerId],...",
                )
            return items
        for item in items:
            if not item:
                raise InvalidConfig(f"Configuration '{self.name}' values must not be empty.")
            self._check_choice(item)
        return tuple(dict.fromkeys(items))

    def _check_choice(self, item: str) -> None:
        if self.choices and item not in self.choices:
            raise self._invalid(item, f"String must be one of: {', '.join(self.choices)}")

    def _invalid(self, value: object, why: str) -> InvalidConfig:
        return InvalidConfig(f"Invalid value {value} for configuration {self.name}: {why}")


_INTEGER = re.compile(r"[+-]?\d+")
_DOUBLE = re.compile(
    r"([+-]?(?:Infinity|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))[dDfF]?", re.ASCII
)
_THROTTLED = re.compile(r"(?:[0-9]+:[0-9]+)?", re.ASCII)


def to_text(value: ConfigValue) -> str:
    """As Kafka writes it: `true`, `1.5`, `1.0E-5`, `a,b`."""
    match value:
        case bool():
            return str(value).lower()
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case float() if value and not 1e-3 <= abs(value) < 1e7:
            sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
            assert isinstance(exponent, int)
            rest = "".join(map(str, digits[1:])) or "0"
            return f"{'-' * sign}{digits[0]}.{rest}E{exponent + len(digits) - 1}"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
