"""How results are shown: a table with the ratio to the peer of the same job."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

OURS = "Millstream"


@dataclass(frozen=True, slots=True)
class Row:
    """One job of one system: its rate, CPU seconds per million records, and memory (PSS) after it."""

    job: str
    system: str
    rate: float
    unit: str
    cpu_per_million: float
    memory_bytes: int


def print_rows(title: str, rows: Sequence[Row]) -> None:
    """Print the table; `ratio` is ours over the peer's rate, `CPU ratio` ours over the peer's CPU."""
    ours = {row.job: row for row in rows if row.system == OURS}
    table = Table(title=title, title_justify="left")
    for name in ("job", "system", "rate", "ratio", "CPU-s per million", "CPU ratio", "memory MB"):
        table.add_column(name, justify="left" if name in ("job", "system") else "right")
    for row in rows:
        base = ours.get(row.job)
        compared = base is not None and row.system != OURS
        table.add_row(
            row.job,
            row.system,
            f"{row.rate:,.0f} {row.unit}" if row.unit else "",
            f"{base.rate / row.rate:.2f}" if compared and base and row.rate else "",
            f"{row.cpu_per_million:.2f}" if row.unit else "",
            f"{base.cpu_per_million / row.cpu_per_million:.2f}"
            if compared and base and row.cpu_per_million
            else "",
            f"{row.memory_bytes / 1e6:,.0f}",
        )
    Console(width=150).print(table)
