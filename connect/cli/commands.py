"""All commands of `millstream`. Whatever takes long to import is imported by the command that needs it."""

import sys
from typing import Annotated

import typer

from connect.cli import connectors, logs, plugins, records, takeover, topics
from connect.cli.failure import Failure
from connect.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Event streaming: a broker that speaks the Kafka protocol, and a Kafka Connect worker.",
    epilog="Exit codes: 0 done, 1 what was asked for failed, 2 bad options or settings, "
    "3 a connector or task is FAILED (connectors status).",
)
app.add_typer(connectors.app, name="connectors")
app.add_typer(topics.app, name="topics")
app.add_typer(logs.app, name="log")
app.add_typer(plugins.app, name="plugin")
app.command()(records.produce)
app.command()(records.consume)
app.command()(takeover.takeover)


@app.callback(invoke_without_command=True)
def millstream(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"millstream {__version__}")
        raise typer.Exit


# Those that `main` starts, for the list of commands.


@app.command()
def up() -> None:
    """Start broker and worker, and keep both running until Ctrl-C; its options: millstream up --help."""


@app.command()
def broker() -> None:
    """Run the broker alone; its options: millstream broker --help."""


@app.command()
def worker() -> None:
    """Run a worker alone; its options: millstream worker --help."""


def run() -> None:
    try:
        app()
    except Failure as failure:
        sys.stderr.write(f"millstream: {failure}\n")
        sys.exit(failure.exit_code)
