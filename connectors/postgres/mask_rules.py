"""The settings of masks: `column.mask.with.N.chars`, `column.mask.hash[.v2].ALGORITHM.with.salt.SALT` and
`column.truncate.to.N.chars`, each with a list of columns."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from connect.api import ConfigError
from connectors.postgres.patterns import any_of

MASK_NAME: Final = re.compile(
    r"column\.(?:mask\.with\.(?P<mask>\d+)\.chars"
    r"|mask\.hash\.(?P<v2>v2\.)?(?P<algorithm>[^.]+)\.with\.salt\.(?P<salt>.+)"
    r"|truncate\.to\.(?P<truncate>\d+)\.chars)"
)
_LENGTH_MAX: Final = 1_000_000
_KNOWN_HASHES: Final = "MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/256 or SHA3-256"


class MaskRule(NamedTuple):
    """One property. Of `stars`, `algorithm` (hashlib's name) and `truncate` one is not None; `java_text`:
    what is hashed is Java's serialisation of the text, not the text."""

    columns: re.Pattern[str]
    stars: int | None
    algorithm: str | None
    salt: bytes
    java_text: bool
    truncate: int | None


def mask_rules(properties: Mapping[str, str]) -> list[MaskRule]:
    """The rules of a config, those first that show least; raises `ConfigError` for a wrong one."""
    rules = [
        _rule(found, value)
        for name, value in properties.items()
        if (found := MASK_NAME.fullmatch(name)) is not None
    ]
    return sorted(rules, key=lambda rule: (rule.stars is None, rule.algorithm is None, rule.truncate or 0))


def _rule(found: re.Match[str], value: str) -> MaskRule:
    name = found[0]
    try:
        columns = any_of(value)
    except ValueError as exc:
        raise ConfigError.invalid(name, value, str(exc)) from None
    stars, truncate = (int(found[kind]) if found[kind] else None for kind in ("mask", "truncate"))
    if max(stars or 0, truncate or 0) > _LENGTH_MAX:
        raise ConfigError.invalid(name, value, f"give at most {_LENGTH_MAX} characters")
    if truncate == 0:
        raise ConfigError.invalid(name, value, "Maximum length must be positive")
    algorithm = None
    if found["algorithm"]:
        algorithm = _hashlib_name(found["algorithm"])
        if algorithm is None:
            raise ConfigError.invalid(name, value, f"unknown hash {found['algorithm']}: give {_KNOWN_HASHES}")
    return MaskRule(columns, stars, algorithm, (found["salt"] or "").encode(), not found["v2"], truncate)


def _hashlib_name(java_name: str) -> str | None:
    """hashlib's name of a `java.security.MessageDigest`."""
    name = java_name.lower()
    name = name.replace("-", "_") if name.startswith("sha3") else name.replace("-", "")
    name = name.replace("/", "_")
    try:
        size = hashlib.new(name, usedforsecurity=False).digest_size
    except ValueError:
        return None
    return name if size else None
