"""Reading the settings file."""

from pathlib import Path

import javaproperties


class PropertiesError(Exception):
    """The file cannot be read, or is no properties file; the message says why."""


def read_properties(path: Path) -> dict[str, str]:
    """Keys and values of a Java .properties file in UTF-8. A key that is there twice has its last value."""
    try:
        return javaproperties.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise PropertiesError(f"cannot read {path}: {exc}") from exc
