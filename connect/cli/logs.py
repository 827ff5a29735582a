"""`millstream log`: the files of a broker's topics, looked at and repaired without the broker."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connect.cli.defaults import DATA_DIR
from connect.cli.failure import FAILED, USAGE, Failure
from connect.cli.output import Format, Output

if TYPE_CHECKING:
    from broker.log.inspect import PartitionReport, Stretch
    from broker.log.repair import Plan

app = typer.Typer(no_args_is_help=True, help="Verify, dump and repair the files of a broker's topics.")


def _of_broker(data_dir: Path) -> Path:
    """`millstream up` keeps its broker's data in a directory of its own."""
    inner = data_dir / "broker"
    return inner if (inner / "catalog.sqlite").exists() else data_dir


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        callback=_of_broker,
        help="Data directory of `millstream up`, or of a broker (log.dirs).",
    ),
]
Partitions = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TOPIC|TOPIC-PARTITION]...", help="Which ones; without it, all.", show_default=False
    ),
]


@app.command()
def verify(
    partitions: Partitions = None, data_dir: DataDir = DATA_DIR, output: Output = Format.TABLE
) -> None:
    """Read every segment, index and snapshot, and tell each damage. Exit code 1 when there is any.

    Changes nothing. What a running broker writes meanwhile may look torn.
    """
    reports = _inspect(data_dir, partitions)
    if output is Format.JSON:
        import json

        typer.echo(json.dumps([_document(report) for report in reports], indent=2))
    else:
        for report in reports:
            for line in _lines(report):
                typer.echo(line)
    damaged = [report.directory.name for report in reports if not report.is_intact]
    if damaged:
        raise Failure(
            f"{len(damaged)} of {len(reports)} partitions are damaged: {', '.join(damaged)}. "
            "Restore the files from a copy, or stop the broker and see: "
            f"millstream log repair --data-dir {data_dir}"
        )


@app.command()
def dump(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Files (.log, .index, .timeindex, .txnindex, .snapshot), or partitions' folders."
        ),
    ],
    print_data_log: Annotated[
        bool, typer.Option("--print-data-log", help="Also print the records: keys, values, header keys.")
    ] = False,
) -> None:
    """Print what is in the files, as kafka-dump-log does."""
    from broker.log.dump import dump as lines
    from broker.log.inspect import NotALog

    try:
        for path in paths:
            for line in lines(path, print_data_log=print_data_log):
                typer.echo(line)
    except NotALog as exc:
        raise Failure(str(exc), USAGE) from exc
    except OSError as exc:
        raise Failure(f"cannot read {exc.filename}: {exc.strerror}") from exc


@app.command()
def repair(
    partitions: Partitions = None,
    data_dir: DataDir = DATA_DIR,
    truncate: Annotated[
        bool,
        typer.Option(
            "--truncate",
            help="End the log at its first damage. Without it, only the damaged bytes are cut out.",
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without it, only say what would be done.")
    ] = False,
) -> None:
    """Make damaged partitions readable again, with the broker stopped.

    By default the bytes that are no intact records are cut out: all other records stay, at their offsets.
    Copies of all files that change are kept in the data directory, under repair-originals.
    """
    import os

    from broker.data_dir import DataDirInUse, lock_data_dir

    if not data_dir.is_dir():  # locking would make it
        raise Failure(f"{data_dir} is no directory", USAGE)
    try:
        lock = lock_data_dir(data_dir)
    except DataDirInUse as exc:
        raise Failure(str(exc)) from exc
    try:
        _repair(data_dir, partitions, truncate=truncate, yes=yes)
    finally:
        os.close(lock)


def _repair(data_dir: Path, names: list[str] | None, *, truncate: bool, yes: bool) -> None:
    from broker.log.repair import ORIGINALS, Way, perform, plan_repair

    way = Way.TRUNCATE if truncate else Way.CUT
    plans = [plan for report in _inspect(data_dir, names) if (plan := plan_repair(report, way)) is not None]
    if not plans:
        typer.echo("Nothing is damaged.")
        return
    originals = data_dir / ORIGINALS / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    for plan in plans:
        for line in _plan_lines(plan, truncate=truncate):
            typer.echo(line)
        if yes:
            try:
                after = perform(plan, originals)
            except OSError as exc:
                raise Failure(
                    f"{plan.report.directory.name}: {exc}. It can be repaired again once the cause is gone; "
                    f"copies of the files are in {originals}"
                ) from exc
            if not after.is_intact:
                raise Failure(f"{after.directory.name} is still damaged; copies are in {originals}", FAILED)
            typer.echo(f"  done; the originals are in {originals / plan.report.directory.name}")
    if not yes:
        typer.echo("Nothing was changed. Add --yes to do it.")


def _inspect(data_dir: Path, names: list[str] | None) -> "list[PartitionReport]":
    from broker.log.inspect import NotALog, inspect_partition, partition_directories
    from broker.logs import configure_logging

    configure_logging()
    try:
        return [inspect_partition(directory) for directory in partition_directories(data_dir, names)]
    except NotALog as exc:
        raise Failure(str(exc), USAGE) from exc
    except OSError as exc:
        raise Failure(f"cannot read {exc.filename}: {exc.strerror}") from exc


def _lines(report: "PartitionReport") -> list[str]:
    last = report.end_offset - 1
    content = f"offsets {report.start_offset} to {last}" if last >= report.start_offset else "empty"
    state = "intact" if report.is_intact else "DAMAGED"
    lines = [
        f"{report.directory.name}: {state}, {content}, {len(report.segments)} segments, "
        f"{report.batches} batches, {report.records} records"
    ]
    for stretch in report.stretches:
        name = "torn tail: " if stretch.is_torn_tail else ""
        lines.append(f"  {_place(stretch)}: {name}{stretch.problem}")
        lines.append(f"    {_extent(stretch)}; {stretch.lost}")
    for found in report.derived:
        lines.append(f"  {found.file}, position {found.position}: {found.problem}")
        lines.append("    nothing is lost: it is made anew when it is needed, and by a repair at once")
    return lines


def _place(stretch: "Stretch") -> str:
    return f"{stretch.file}, position {stretch.start}, offset {stretch.first_offset}"


def _extent(stretch: "Stretch") -> str:
    size = stretch.end - stretch.start
    return f"{size} bytes without intact records" if size else "no bytes are there"


def _plan_lines(plan: "Plan", *, truncate: bool) -> list[str]:
    name = plan.report.directory.name
    lines = [f"{name}:"]
    for stretch in plan.report.damage:
        lines.append(f"  {_place(stretch)}: {stretch.problem}")
        lines.append(f"    {_extent(stretch)}; {stretch.lost}")
    if plan.report.damage and truncate:
        lines.append(
            f"  the log is ended at offset {plan.end_offset}: all that follows is lost, and its offsets are "
            "given out again"
        )
    elif plan.report.damage:
        lines.append(f"  these bytes are cut out; the log still ends at offset {plan.end_offset}")
    if plan.report.damage and plan.report.has_transactions:
        lines.append(
            "  a transaction whose end is among what is lost stays open: see kafka-transactions find-hanging"
        )
    lines += [f"  {path.name} is rewritten" for path in plan.kept]
    lines += [f"  {path.name} is taken away" for path in plan.removed_segments]
    if plan.removed_files:
        lines.append(f"  made anew: {', '.join(path.name for path in plan.removed_files)}")
    return lines


def _document(report: "PartitionReport") -> dict[str, Any]:
    return {
        "partition": report.directory.name,
        "intact": report.is_intact,
        "start_offset": report.start_offset,
        "end_offset": report.end_offset,
        "segments": len(report.segments),
        "batches": report.batches,
        "records": report.records,
        "stretches": [
            {
                "file": str(stretch.file),
                "position": stretch.start,
                "bytes": stretch.end - stretch.start,
                "first_offset": stretch.first_offset,
                "next_offset": stretch.next_offset,
                "problem": stretch.problem,
                "torn_tail": stretch.is_torn_tail,
            }
            for stretch in report.stretches
        ],
        "derived": [
            {"file": str(found.file), "position": found.position, "problem": found.problem}
            for found in report.derived
        ],
    }
