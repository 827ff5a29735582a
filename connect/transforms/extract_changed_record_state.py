"""ExtractChangedRecordState (Debezium): which columns an update has changed, in headers."""

from collections.abc import Mapping
from math import copysign
from typing import Any, Final

from connect.api import Config, Header, Importance, Schema, Transform, Width, setting
from connect.api.schemas import OPTIONAL_STRING, array
from connect.transforms.base import R
from connect.transforms.debezium import AFTER, BEFORE, is_envelope
from connect.version import __version__

_CHANGED: Final = "header.changed.name"
_UNCHANGED: Final = "header.unchanged.name"


class ExtractChangedRecordStateConfig(Config):
    """Settings of ExtractChangedRecordState."""

    changed: str | None = setting(
        _CHANGED, default=None, importance=Importance.LOW, width=Width.LONG,
        display_name="Header change name.",
        doc="Specify the header changed name, default is null which means not send changes to header.",
    )  # fmt: skip
    unchanged: str | None = setting(
        _UNCHANGED, default=None, importance=Importance.LOW, width=Width.LONG,
        display_name="Header unchanged name.",
        doc="Specify the header unchanged name of schema, default is null which means not send changes to "
            "header.",
    )  # fmt: skip


class ExtractChangedRecordState(Transform[R]):
    """Adds headers with lists of names: of the columns that differ between before and after, of the others.

    Every change event gets the headers; their lists are empty where either row is not known.
    """

    version = __version__
    config_class = ExtractChangedRecordStateConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = ExtractChangedRecordStateConfig.parse(properties)
        self._changed, self._unchanged = _named(config.changed), _named(config.unchanged)

    def apply(self, record: R) -> R:
        wanted = self._changed is not None or self._unchanged is not None
        if not wanted or record.raw_value is None or not is_envelope(record.value_schema):
            return record
        before, after = record.value.get(BEFORE), record.value.get(AFTER)
        changed: list[str] = []
        unchanged: list[str] = []
        if before is not None and after is not None:
            for name, value in after.items():
                is_same = name in before and _same(before[name], value)
                (unchanged if is_same else changed).append(name)
            changed += [name for name in before if name not in after]
        headers = list(record.headers)
        if self._changed is not None:
            headers.append(self._changed._replace(value=changed))
        if self._unchanged is not None:
            headers.append(self._unchanged._replace(value=unchanged))
        return record.replace(headers=headers)


def _named(name: str | None) -> Header | None:
    """The header of that name, without its value; None where there is to be none."""
    if not name:
        return None
    schema: Schema = array(OPTIONAL_STRING, optional=True, name=name)
    return Header(name, schema, None)


def _same(one: Any, other: Any) -> bool:
    """Java's `equals`: NaN is equal to itself, and zero differs from minus zero."""
    if isinstance(one, float) and isinstance(other, float):
        if one != one or other != other:
            return one != one and other != other
        return one == other and copysign(1, one) == copysign(1, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    return bool(one == other)
