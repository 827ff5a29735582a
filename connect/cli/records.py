"""`millstream produce` and `millstream consume`: their options; the work is in produce.py and consume.py."""

from pathlib import Path
from typing import Annotated

import typer

from connect.cli.failure import USAGE, Failure
from connect.cli.output import Format, Output
from connect.cli.servers import Bootstrap, bootstrap_servers
from connect.cli.topics import ClientSettings, Topic


def produce(
    topic: Topic,
    values: Annotated[
        list[str] | None, typer.Argument(help="The values; none: a value per line of stdin.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", "-k", help="Key of every record.")] = None,
    key_separator: Annotated[
        str | None, typer.Option("--key-separator", "-K", help="What parts key and value in each line.")
    ] = None,
    partition: Annotated[
        int | None, typer.Option("--partition", "-p", min=0, help="Where to; without it by the key.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="NAME=VALUE", help="Header of every record.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", exists=True, dir_okay=False, help="A value per line of it.")
    ] = None,
    bootstrap: Bootstrap = None,
    client: ClientSettings = None,
    output: Output = Format.TABLE,
) -> None:
    """Write records to a topic, and say where they went once the broker has them for good."""
    if values and file:
        raise Failure("give values or --file, not both", USAGE)
    if key is not None and key_separator is not None:
        raise Failure("give --key or --key-separator, not both", USAGE)
    if key_separator == "":
        raise Failure("--key-separator is empty: give at least one character", USAGE)
    from connect.cli.produce import Production, records_of

    production = Production(bootstrap_servers(bootstrap), client or (), topic, partition, header or ())
    production.run(records_of(values, file, key, key_separator))
    production.report(output)


def consume(
    topic: Topic,
    from_beginning: Annotated[
        bool,
        typer.Option("--from-beginning", help="From the first record; without it what comes from now on."),
    ] = False,
    max_messages: Annotated[
        int | None, typer.Option("--max-messages", "-n", min=1, help="Stop after so many.")
    ] = None,
    partition: Annotated[int | None, typer.Option("--partition", "-p", min=0, help="Only this one.")] = None,
    offset: Annotated[
        int | None, typer.Option("--offset", min=0, help="Begin there; needs --partition.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="Read as a member of this group, and commit offsets.")
    ] = None,
    timeout_ms: Annotated[
        int | None, typer.Option("--timeout-ms", min=0, help="Stop when nothing came for so long.")
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="A JSON document per line; the same as --output json.")
    ] = False,
    bootstrap: Bootstrap = None,
    client: ClientSettings = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the records of a topic with partition, offset, timestamp, key and headers.

    Exit code 1 if the timeout comes before --max-messages records did.
    """
    if offset is not None and partition is None:
        raise Failure("--offset needs --partition", USAGE)
    if offset is not None and from_beginning:
        raise Failure("give --offset or --from-beginning, not both", USAGE)
    if group is not None and partition is not None:
        raise Failure(
            "give --group or --partition, not both: a group shares the partitions out itself", USAGE
        )
    from connect.cli.consume import Consumption, json_line, text_line

    form = json_line if json_lines or output is Format.JSON else text_line
    consumption = Consumption(bootstrap_servers(bootstrap), client or (), topic, form)
    if group is not None:
        consumption.join(group, from_beginning)
    else:
        consumption.assign(partition, offset, from_beginning)
    consumption.run(max_messages, timeout_ms)
