"""The list of faults in README.md is complete, and each test that it names is there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
ENTRIES = 18
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    """Number, fault, how, oracle, tests."""
    lines = Path(__file__).with_name("README.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in cells if row[0]]


def names_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_no_entry_is_missing_or_empty() -> None:
    assert {row[0] for row in rows()} == {str(number) for number in range(1, ENTRIES + 1)}
    for row in rows():
        assert len(row) == 5, row
        assert all(row), row


def test_every_test_that_is_named_is_there() -> None:
    for number, fault, _, _, named in rows():
        found = NAMED.findall(named)
        assert found, f"{number} {fault}"
        assert NAMED.sub("", named).strip(", ") == "", f"{number} {fault}: {named}"
        for path, name in found:
            assert name in names_in(TESTS / path), f"{number} {fault}: {path}::{name}"


def test_every_test_of_this_folder_is_in_the_list() -> None:
    named = {(path, name) for row in rows() for path, name in NAMED.findall(row[4])}
    for path in Path(__file__).parent.glob("test_*.py"):
        if path != Path(__file__):
            assert any(f"faults/{path.name}" == other for other, _ in named), path.name
