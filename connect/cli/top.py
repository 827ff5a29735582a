"""`millstream connectors top`: what connectors do right now."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from connect.cli.failure import Failure
from connect.cli.output import Format
from connect.cli.rest_client import Worker

_SUMMED: Final = (
    "records_per_second", "bytes_per_second", "lag", "errors", "restarts", "memory_bytes", "cpu_percent",
)  # fmt: skip
_COLUMNS: Final = (
    "CONNECTOR", "TYPE", "STATE", "TASKS", "RECORDS/S", "MB/S", "LAG", "ERRORS", "RESTARTS", "MEMORY", "CPU",
)  # fmt: skip
_STYLES: Final = {"RUNNING": "green", "FAILED": "bold red", "PAUSED": "yellow", "STOPPED": "yellow"}

Row = dict[str, Any]


def watch(
    worker: Worker, names: Sequence[str], form: Format, *, tasks: bool, once: bool, interval_s: float
) -> None:
    """Show it again and again, or once; raises `Failure` if the worker does not answer at first."""
    rows = look(worker, names)
    if once:
        if form is Format.JSON:
            typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        else:
            _console().print(_table(rows, tasks))
    elif form is Format.JSON or not sys.stdout.isatty():
        while True:
            if form is Format.JSON:
                typer.echo(json.dumps(rows, ensure_ascii=False))
            else:
                _console().print(_table(rows, tasks))
            time.sleep(interval_s)
            rows = look(worker, names)
    else:
        _live(worker, names, rows, tasks, interval_s)


def look(worker: Worker, names: Sequence[str]) -> list[Row]:
    """A row for each of these connectors, for all without names: sums over its tasks, and `tasks` one by one.

    Raises `Failure` if the worker does not answer or a name is not known.
    """
    found = worker.get("/connectors?expand=status")
    if unknown := [name for name in names if name not in found]:
        raise Failure(f"there is no connector {', '.join(unknown)}")
    return [_row(found[name]["status"]) for name in names or sorted(found)]


def _row(status: Mapping[str, Any]) -> Row:
    tasks = [
        {"id": task["id"], "state": task["state"], "worker_id": task["worker_id"], **task.get("metrics", {})}
        for task in status["tasks"]
    ]
    row = {"name": status["name"], "type": status["type"], "state": status["connector"]["state"]}
    for field in _SUMMED:
        values = [task[field] for task in tasks if field in task]
        row[field] = sum(values) if values else None
    row["lag_ms"] = max((task["lag_ms"] for task in tasks if "lag_ms" in task), default=None)
    return {**row, "tasks": tasks}


def _live(worker: Worker, names: Sequence[str], rows: list[Row], tasks: bool, interval_s: float) -> None:
    with Live(_table(rows, tasks), auto_refresh=False, screen=True) as live:
        live.refresh()
        while True:
            time.sleep(interval_s)
            why = None
            try:
                rows = look(worker, names)
            except Failure as exc:  # it may come back: what was last seen stays, with the reason below
                why = str(exc)
            live.update(_table(rows, tasks, why), refresh=True)


def _console() -> Console:
    # In a pipe a line stays whole, for grep and awk.
    return Console(width=None if sys.stdout.isatty() else 10_000)


def _table(rows: list[Row], tasks: bool, why: str | None = None) -> Table:
    table = Table(*_COLUMNS, box=None, pad_edge=False, header_style="bold", caption_justify="left")
    for column in table.columns[4:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*_cells(row["name"], row["type"], row, _states(row["tasks"])))
        if tasks:
            for task in row["tasks"]:
                table.add_row(*_cells(f"  task {task['id']}", "", task, Text(task["worker_id"])))
    if why is not None:
        table.caption = Text(why, style="bold red")
    return table


def _states(tasks: Sequence[Mapping[str, Any]]) -> Text:
    """How many run, and how many have failed."""
    states = [task["state"] for task in tasks]
    text = Text(f"{states.count('RUNNING')}/{len(states)}")
    if failed := states.count("FAILED"):
        text.append(f" {failed} FAILED", style=_STYLES["FAILED"])
    return text


def _cells(name: str, kind: str, row: Mapping[str, Any], tasks: Text) -> Iterator[Text]:
    yield Text(name)
    yield Text(kind)
    yield Text(row["state"], style=_STYLES.get(row["state"], ""))
    yield tasks
    yield Text(_number(row.get("records_per_second")))
    yield Text(_decimal(row.get("bytes_per_second"), 1e6, 2))
    lag, lag_ms = row.get("lag"), row.get("lag_ms")
    yield Text(_number(lag) if lag is not None else f"{lag_ms:,.0f} ms" if lag_ms is not None else "-")
    yield Text(_number(row.get("errors")))
    yield Text(_number(row.get("restarts")))
    yield Text(_decimal(row.get("memory_bytes"), 1 << 20, 1, " MiB"))
    yield Text(_decimal(row.get("cpu_percent"), 1, 1, "%"))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _decimal(value: float | None, unit: float, digits: int, suffix: str = "") -> str:
    return "-" if value is None else f"{value / unit:,.{digits}f}{suffix}"
