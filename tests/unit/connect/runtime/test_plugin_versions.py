"""Version requirements of plugins."""

import pytest

from connect.api import ConfigError
from connect.runtime.plugin_versions import check_version


@pytest.mark.parametrize(
    ("available", "required"),
    [
        ("1.2.3", None),
        ("1.2.3", " latest "),
        ("1.2.3", "1.2.3"),
        ("1.2.0", "1.2"),
        ("1.2.3", "[1.2.3]"),
        ("1.2.3", "[1.2,)"),
        ("1.2.3", "(,1.2.3]"),
        ("1.10", "[1.9,2.0)"),
        ("1.2.3", "(,1.0],[1.2,1.3)"),
        ("2.0-rc1", "[1.0,2.0)"),
        ("2.0.Final", "2.0"),
        ("undefined", "undefined"),
    ],
)
def test_the_version_there_is_is_taken(available: str, required: str | None) -> None:
    check_version("P", available, required)


@pytest.mark.parametrize(
    ("available", "required", "shown"),
    [
        ("1.2.3", "1.0", "[1.0,1.0]"),
        ("1.2.3", "[1.2.4,)", "[1.2.4,)"),
        ("1.2.3", "(1.2.3,2.0]", "(1.2.3,2.0]"),
        ("2.0", "[1.0,2.0)", "[1.0,2.0)"),
        ("1.1", "(,1.0],[1.2,1.3)", "(,1.0],[1.2,1.3)"),
        ("2.0-SNAPSHOT", "2.0", "[2.0,2.0]"),
    ],
)
def test_another_version_is_refused(available: str, required: str, shown: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_version("P", available, required)
    assert str(refused.value) == (
        f"Plugin P not found that matches the version range {shown}, available versions: [{available}]"
    )


@pytest.mark.parametrize("required", ["[1.0", "1.0,2.0", "[]", "[2.0,1.0]", "[1.0,2.0,3.0]", "1.0]"])
def test_what_is_no_range_is_refused(required: str) -> None:
    with pytest.raises(ConfigError, match="is no version range"):
        check_version("P", "1.0", required)
