"""What a plugin's author reads: every public name is documented and typed."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import connect.api


def _members(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    """The methods and properties that the class itself defines."""
    for name, value in vars(cls).items():
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
            yield name, value


@pytest.mark.parametrize("name", connect.api.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    found = getattr(connect.api, name)
    # Not what a dataclass or named tuple makes up, nor what a base class says of itself.
    doc = vars(found).get("__doc__") if isinstance(found, type) else found.__doc__
    assert doc, f"{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"{name} has no docstring of its own"
    if isinstance(found, type):
        missing = [member for member, _ in _members(found) if not inspect.getdoc(getattr(found, member))]
        assert missing == []


@pytest.mark.parametrize("name", connect.api.__all__)
def test_every_public_method_is_typed(name: str) -> None:
    found = getattr(connect.api, name)
    for member, value in _members(found) if isinstance(found, type) else [(name, found)]:
        function = (
            value.fget if isinstance(value, property) else inspect.unwrap(getattr(value, "__func__", value))
        )
        if not inspect.isfunction(function) or (isinstance(found, type) and issubclass(found, tuple)):
            continue  # named tuples' own methods
        hints = function.__annotations__
        given = set(inspect.signature(function).parameters) - {"self", "cls", "_cls"}
        assert "return" in hints, f"{name}.{member}"
        assert given <= hints.keys(), f"{name}.{member}"
