"""Tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="A table, or one JSON document.")]


def show(form: Format, document: Any, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """The document as JSON, or the rows as a table."""
    if form is Format.JSON:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    # In a pipe a line stays whole, for grep and awk.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def say(form: Format, document: Any, sentence: str) -> None:
    """The document as JSON, or a sentence."""
    typer.echo(json.dumps(document, ensure_ascii=False) if form is Format.JSON else sentence)
