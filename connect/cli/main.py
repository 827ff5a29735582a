"""The `millstream` command. Whatever takes long to import is imported by the command that needs it."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from connect.cli import connectors, logs, plugins, records, takeover, topics
from connect.cli.failure import USAGE, Failure
from connect.cli.servers import DATA_DIR, KAFKA_PORT, REST_PORT
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

# For commands whose options another program reads.
PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.callback(invoke_without_command=True)
def millstream(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"millstream {__version__}")
        raise typer.Exit


@app.command()
def up(
    data_dir: Annotated[Path, typer.Option(help="Where all data is kept.")] = DATA_DIR,
    kafka_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for Kafka clients; 0: any free one.")
    ] = KAFKA_PORT,
    rest_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            show_default=False,
            help=f"Port of the REST API on 127.0.0.1, 0: any free one; without it what --worker-config says "
            f"in listeners, else {REST_PORT}.",
        ),
    ] = None,
    broker_config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Broker settings, .properties as Kafka's."),
    ] = None,
    worker_config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Worker settings, .properties as Kafka Connect's."),
    ] = None,
    connectors: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Directory of connector JSON files to keep applied."),
    ] = None,
) -> None:
    """Start broker and worker, and keep both running until Ctrl-C."""
    if rest_port is None and not (worker_config and _names_listeners(worker_config)):
        rest_port = REST_PORT
    options = {
        "data_dir": str(data_dir),
        "kafka_port": kafka_port,
        "rest_port": rest_port,
        "broker_config": broker_config and str(broker_config),
        "worker_config": worker_config and str(worker_config),
        "connectors": connectors and str(connectors),
    }
    _become("connect.cli.supervisor", json.dumps(options))


def _names_listeners(worker_config: Path) -> bool:
    from connect.api import ConfigError
    from connect.runtime.worker_settings import read_properties

    try:
        return "listeners" in read_properties(worker_config)
    except ConfigError as exc:
        raise Failure(str(exc), USAGE) from None


def _become(module: str, *arguments: str) -> NoReturn:
    """Replace this process, so that what stays running carries nothing of the command line."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


@app.command(context_settings=PASS_ON, add_help_option=False)
def broker(context: typer.Context) -> None:
    """Run the broker alone; its options: millstream broker --help."""
    _become("broker.app", *context.args)


@app.command(context_settings=PASS_ON, add_help_option=False)
def worker(context: typer.Context) -> None:
    """Run a worker alone; its options: millstream worker --help."""
    _become("connect.cli.worker_process", *context.args)


@app.command("connect-standalone", hidden=True, context_settings=PASS_ON, add_help_option=False)
def connect_standalone(context: typer.Context) -> None:
    """As Kafka's script: WORKER.properties CONNECTOR.properties …"""
    _become("connect.cli.worker_process", "--standalone", *context.args)


@app.command("connect-distributed", hidden=True, context_settings=PASS_ON, add_help_option=False)
def connect_distributed(context: typer.Context) -> None:
    """As Kafka's script: WORKER.properties"""
    _become("connect.cli.worker_process", *context.args)


def main() -> None:
    try:
        app()
    except Failure as failure:
        sys.stderr.write(f"millstream: {failure}\n")
        sys.exit(failure.exit_code)


if __name__ == "__main__":
    main()
