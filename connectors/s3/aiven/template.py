"""Templates of object names: `{{topic}}-{{partition:padding=true}}-{{start_offset}}`.

Variables: `topic`, `partition` and `start_offset` (with `padding=true` 10 and 20 digits), `timestamp` (with
`unit=yyyy`, `MM`, `dd` or `HH`), and `key`. Which of them stand together says what shares a file.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

from connect.api.java_patterns import JavaPattern

_VARIABLE: Final = re.compile(r"\{\{\s*([\w.-]+)\s*(?::\s*([^{}]*?)\s*)?\}\}")
_SETS: Final = (
    ({"topic", "partition", "start_offset"}, {"timestamp"}),
    ({"topic", "partition", "start_offset", "key"}, {"timestamp"}),
    ({"key"}, {"topic", "partition"}),
)
_PARAMETERS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "partition": ("padding", ("true", "false")),
    "start_offset": ("padding", ("true", "false")),
    "timestamp": ("unit", ("yyyy", "MM", "dd", "HH", "YYYY")),
}
_TIME_UNITS: Final = frozenset(f"unit={unit}" for unit in _PARAMETERS["timestamp"][1])
_DATES: Final = ("utc_date", "local_date")  # in the oldest prefixes
_SLOT_MS: Final = 60_000
_KNOWN_SLOTS_MAX: Final = 4_096
_PADDED_DIGITS: Final = {"partition": 10, "start_offset": 20}


class Variable(NamedTuple):
    name: str
    parameter: str = ""

    def __str__(self) -> str:
        return f"{{{{{self.name}:{self.parameter}}}}}" if self.parameter else f"{{{{{self.name}}}}}"

    @property
    def is_padded(self) -> bool:
        return self.parameter == "padding=true"


class Name(NamedTuple):
    """What an object is named by. `times` are the texts of those variables that show a time."""

    topic: str
    partition: int
    start_offset: int
    key: str = ""
    times: Mapping[Variable, str] = {}


@dataclass(frozen=True, slots=True)
class Template:
    """Texts and variables, in turn."""

    parts: Sequence[str | Variable]

    @classmethod
    def parse(cls, text: str) -> "Template":
        parts: list[str | Variable] = []
        end = 0
        for match in _VARIABLE.finditer(text):
            parts += [text[end : match.start()], Variable(match[1], match[2] or "")]
            end = match.end()
        return cls([part for part in (*parts, text[end:]) if part != ""])

    @property
    def variables(self) -> Sequence[Variable]:
        return [part for part in self.parts if isinstance(part, Variable)]

    def has(self, name: str) -> bool:
        return any(variable.name == name for variable in self.variables)

    def render(self, name: Name) -> str:
        """The text; a variable that is unknown stays as it is."""
        return "".join([_value(part, name) if isinstance(part, Variable) else part for part in self.parts])


def check_template(text: str | None) -> str | None:
    """What is wrong with a template of object names."""
    if text is None:
        return None
    variables = Template.parse(text).variables
    used = {variable.name for variable in variables}
    if not any(needed <= used <= needed | optional for needed, optional in _SETS):
        return f"unsupported set of template variables, supported sets are: {_sets()}"
    if (wrong := next(_wrong_parameters(text, variables), None)) is not None:
        return wrong
    return None


def _wrong_parameters(text: str, variables: Iterable[Variable]) -> Iterator[str]:
    # What has a colon and nothing behind it was parsed as if it had none.
    if re.search(r"\{\{\s*[\w.-]+\s*:\s*\}\}", text):
        yield "a variable with a colon needs a parameter behind it, as in {{start_offset:padding=true}}"
    for variable in variables:
        name, values = _PARAMETERS.get(variable.name, ("", ()))
        if variable.parameter in [f"{name}={value}" for value in values]:
            continue
        if variable.name == "timestamp" or (variable.parameter and name):
            allowed = ", ".join(f"{name}={value}" for value in values)
            yield f"{variable} needs one of the parameters {allowed}"
        elif variable.parameter:
            yield f"{variable.name} has no parameters"


def _sets() -> str:
    shown = []
    for needed, optional in _SETS:
        names = [*sorted(needed), *(f"{name} (if wanted)" for name in sorted(optional))]
        shown.append(", ".join(names))
    return "; ".join(shown)


def _value(variable: Variable, name: Name) -> str:
    match variable.name:
        case "topic":
            return name.topic
        case "key":
            return name.key
        case "partition" | "start_offset":
            number = str(name.partition if variable.name == "partition" else name.start_offset)
            return number.zfill(_PADDED_DIGITS[variable.name]) if variable.is_padded else number
    return name.times.get(variable, str(variable))


class Clock:
    """Times as the variables of a template show them, in a zone."""

    def __init__(self, template: Template, zone: tzinfo) -> None:
        self._patterns = {
            variable: JavaPattern.simple_date_format(pattern, zone)
            for variable in template.variables
            if (pattern := _time_pattern(variable)) is not None
        }
        self._texts = lru_cache(_KNOWN_SLOTS_MAX)(self._render)

    @property
    def variables(self) -> Collection[Variable]:
        """Those that show a time."""
        return self._patterns.keys()

    def texts(self, time_ms: int) -> tuple[str, ...]:
        """The time as each of `variables` shows it."""
        # An hour is the smallest unit, and no zone changes within a minute.
        return self._texts(time_ms // _SLOT_MS)

    def _render(self, slot: int) -> tuple[str, ...]:
        return tuple([pattern.format(slot * _SLOT_MS) for pattern in self._patterns.values()])


def _time_pattern(variable: Variable) -> str | None:
    if variable.name == "timestamp" and variable.parameter in _TIME_UNITS:
        return variable.parameter.removeprefix("unit=")
    return "yyyy-MM-dd" if variable.name in _DATES else None
