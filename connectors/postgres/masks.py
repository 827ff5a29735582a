"""How masked columns are shown, in the schema and in the rows.

A mask changes what a column's field shows; keys are made of the values themselves, as in Debezium.
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json import loads
from json.encoder import encode_basestring as quote
from typing import Final

import structlog

from connect.api import SchemaType
from connect.api import schemas as connect
from connectors.postgres.mask_rules import MaskRule, mask_rules
from connectors.postgres.source_types import SourceType
from connectors.postgres.type_map import ColumnType

_MASKED: Final = {"masked": "true"}

Change = Callable[[str], str]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mask:
    """How a column is shown: always as the JSON `constant`, or as `change` makes it of the JSON of a value
    that is not null; the value itself where both are None. `parameters` go into its schema, as do those of
    its type, if they are wanted and `tells_type`."""

    parameters: Mapping[str, str]
    constant: str | None = None
    change: Change | None = None
    tells_type: bool = False


class Masks:
    """The masks of one config. Where several match a column, the one that shows least is taken."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._rules = mask_rules(properties)

    def mask(self, column: str, column_type: ColumnType, source: SourceType) -> Mask | None:
        """The mask of the column `schema.table.column`."""
        for rule in self._rules:
            if rule.columns.fullmatch(column):
                return _mask(rule, column, column_type, source)
        return None


def _mask(rule: MaskRule, column: str, column_type: ColumnType, source: SourceType) -> Mask | None:
    if rule.truncate is not None:
        return _truncation(rule.truncate, column_type, source)
    if not column_type.is_text:
        log.warning(
            "a column that is not text cannot be masked and is shown", column=column, type=source.name
        )
        return Mask(_MASKED)
    if rule.algorithm is None:
        return Mask(_MASKED, constant=quote("*" * (rule.stars or 0)))
    change = _hash(rule.algorithm, rule.salt, rule.java_text, source.length)
    return Mask(_MASKED, change=change, tells_type=True)


def _hash(algorithm: str, salt: bytes, java_text: bool, length: int) -> Change:
    salted = hashlib.new(algorithm, salt, usedforsecurity=False)

    def change(fragment: str) -> str:
        text = _text(fragment)
        digest = salted.copy()
        digest.update(_serialized(text) if java_text else text.encode())
        return f'"{digest.hexdigest()[:length]}"'

    return change


def _is_plain(fragment: str) -> bool:
    return fragment.isascii() and "\\" not in fragment


def _text(fragment: str) -> str:
    return fragment[1:-1] if _is_plain(fragment) else str(loads(fragment))


def _serialized(text: str) -> bytes:
    """java.io.ObjectOutputStream of a String (Java Object Serialization Specification, chapter 6)."""
    if text.isascii() and "\0" not in text:
        data = text.encode()
    else:
        units = text.encode("utf-16-be", "surrogatepass")
        data = b"".join(
            b"\xc0\x80" if unit == "\0" else unit.encode("utf-8", "surrogatepass")
            for unit in (chr(units[i] << 8 | units[i + 1]) for i in range(0, len(units), 2))
        )
    if len(data) > 0xFFFF:
        return b"\xac\xed\0\x05\x7c" + len(data).to_bytes(8, "big") + data
    return b"\xac\xed\0\x05\x74" + len(data).to_bytes(2, "big") + data


def _truncation(length: int, column_type: ColumnType, source: SourceType) -> Mask | None:
    """None for a column that can hold no more than `length` anyway."""
    if source.length <= length:
        return None
    parameters = {"truncateLength": str(length)}

    def text(fragment: str) -> str:
        if _is_plain(fragment):
            return f'{fragment[: length + 1]}"' if len(fragment) > length + 2 else fragment
        # Java counts UTF-16 units; half a character is left out.
        units = _text(fragment).encode("utf-16-le", "surrogatepass")
        return (
            quote(units[: 2 * length].decode("utf-16-le", "ignore")) if len(units) > 2 * length else fragment
        )

    def binary(fragment: str) -> str:
        return quote(b64encode(b64decode(fragment[1:-1])[:length]).decode())

    if column_type.schema.type is SchemaType.STRING:
        return Mask(parameters, change=text)
    if column_type.schema == connect.BYTES:
        return Mask(parameters, change=binary)
    return Mask(parameters)
