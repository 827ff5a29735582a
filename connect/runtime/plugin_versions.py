"""Which version of a plugin is asked for: Maven's version ranges, as in KIP-891.

There is one version of each plugin, so a requirement either takes it or is refused.
"""

import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from connect.api import ConfigError

_RANGE: Final = re.compile(r"\s*([\[(])([^\[\](),]*)(?:(,)([^\[\](),]*))?([\])])\s*")
_PART: Final = re.compile(r"\d+|[a-z]+")
# Maven's qualifiers, in their order; "" is the release itself.
_QUALIFIERS: Final = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_SAME: Final = {"a": "alpha", "b": "beta", "m": "milestone", "cr": "rc", "ga": "", "final": "", "release": ""}


@dataclass(frozen=True, slots=True)
class _Range:
    """Versions between two bounds; None is no bound."""

    low: str | None
    low_included: bool
    high: str | None
    high_included: bool

    def holds(self, version: str) -> bool:
        above = self.low is None or _order(self.low, version) < (1 if self.low_included else 0)
        below = self.high is None or _order(version, self.high) < (1 if self.high_included else 0)
        return above and below

    def __str__(self) -> str:
        left, right = "[" if self.low_included else "(", "]" if self.high_included else ")"
        return f"{left}{self.low or ''},{self.high or ''}{right}"


def check_version(plugin: str, available: str, required: str | None) -> None:
    """Raises `ConfigError` if a version is required that is not the one there is.

    `required` is a version, ranges such as `[1.0,2.0)` separated by commas, or `latest`; None and the empty
    text take any.
    """
    required = (required or "").strip()
    if required in ("", "latest"):
        return
    ranges = _ranges(required)
    if not any(one.holds(available) for one in ranges):
        raise ConfigError(
            f"Plugin {plugin} not found that matches the version range {','.join(map(str, ranges))}, "
            f"available versions: [{available}]"
        )


def _ranges(required: str) -> list[_Range]:
    if not set(required) & set("[](),"):
        return [_Range(required, True, required, True)]
    found = []
    position = 0
    while position < len(required):
        match = _RANGE.match(required, position)
        if match is None:
            raise ConfigError(
                f"{required} is no version range: write a version, or ranges such as [1.0,2.0), separated by "
                "commas"
            )
        left, first, comma, second, right = match.groups("")
        low = first.strip() or None
        high = (second.strip() or None) if comma else low
        if not comma and low is None:
            raise ConfigError(f"{required} is no version range: it names no version")
        if low is not None and high is not None and _order(low, high) > 0:
            raise ConfigError(f"{required} is no version range: {low} is above {high}")
        found.append(_Range(low, left == "[", high, right == "]"))
        position = match.end()
        if required[position : position + 1] == ",":
            position += 1
    return found


def _order(one: str, other: str) -> int:
    """Below, at or above 0, as `one` is below, at or above `other`."""
    for left, right in zip_longest(_parts(one), _parts(other)):
        # What is missing counts as 0 or as the release, whichever the other has.
        a, b = _key(left, right), _key(right, left)
        if a != b:
            return -1 if a < b else 1
    return 0


def _parts(version: str) -> list[str]:
    return _PART.findall(version.lower())


def _key(part: str | None, beside: str | None) -> tuple[int, int, str]:
    """Qualifiers are below numbers."""
    if part is None:
        part = "0" if beside is not None and beside.isdecimal() else ""
    if part.isdecimal():
        return 1, int(part), ""
    named = _SAME.get(part, part)
    known = named in _QUALIFIERS
    return 0, _QUALIFIERS.index(named) if known else len(_QUALIFIERS), "" if known else named
