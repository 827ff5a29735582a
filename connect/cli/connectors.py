"""`millstream connectors`: what the worker's REST API does, from a shell."""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connect.cli.failure import UNHEALTHY, USAGE, Failure
from connect.cli.output import Format, Output, say, show
from connect.cli.servers import Url, worker_url

if TYPE_CHECKING:
    from connect.cli.rest_client import Worker

app = typer.Typer(no_args_is_help=True, help="Deploy, watch and steer connectors.")
offsets = typer.Typer(no_args_is_help=True, help="Read and set the offsets of a connector.")
app.add_typer(offsets, name="offsets")

Name = Annotated[str, typer.Argument(help="Name of the connector.", show_default=False)]
Names = Annotated[list[str], typer.Argument(help="Names of connectors.", show_default=False)]


def _worker(url: str | None) -> "Worker":
    from connect.cli.rest_client import Worker

    return Worker(worker_url(url))


def _path(name: str, *parts: str) -> str:
    from connect.cli.rest_client import connector_path

    return connector_path(name, *parts)


@app.command("list")
def list_connectors(url: Url = None, output: Output = Format.TABLE) -> None:
    """All connectors with their states."""
    found = _worker(url).get("/connectors?expand=status&expand=info")
    rows = []
    for name, expanded in sorted(found.items()):
        status, info = expanded["status"], expanded["info"]
        plugin = info["config"].get("connector.class", "").rpartition(".")[2]
        rows.append((name, info["type"], status["connector"]["state"], _tasks(status["tasks"]), plugin))
    show(output, found, ("NAME", "TYPE", "STATE", "TASKS", "PLUGIN"), rows)


def _tasks(tasks: list[dict[str, Any]]) -> str:
    """`2 RUNNING, 1 FAILED`."""
    states = [task["state"] for task in tasks]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


@app.command()
def apply(
    files: Annotated[list[Path], typer.Argument(help="JSON files.", show_default=False)],
    url: Url = None,
    output: Output = Format.TABLE,
) -> None:
    """Create connectors, or change those that are there.

    A file holds {"name": …, "config": {…}}, or the bare config of a connector that is named like the file.
    All files are read before the first connector is touched.
    """
    from connect.cli.connector_files import BadFile, read_connector

    try:
        wanted = [read_connector(file) for file in files]
    except BadFile as exc:
        raise Failure(str(exc), USAGE) from None
    worker = _worker(url)
    done = []
    for connector in wanted:
        present = worker.response("GET", _path(connector.name, "config"))
        if present.status_code == 404:
            state = connector.initial_state.value.replace("STARTED", "RUNNING")
            body = {"name": connector.name, "config": connector.config, "initial_state": state}
            worker.call("POST", "/connectors", body)
            result = "created"
        elif not present.is_error and present.json() == connector.config:
            result = "unchanged"
        else:
            worker.call("PUT", _path(connector.name, "config"), connector.config)
            result = "updated"
        done.append({"name": connector.name, "result": result})
    show(output, done, ("NAME", "RESULT"), (one.values() for one in done))


@app.command()
def status(
    names: Annotated[list[str] | None, typer.Argument(help="Names of connectors; none: all.")] = None,
    url: Url = None,
    output: Output = Format.TABLE,
) -> None:
    """States of connectors and tasks, and why they failed. Exit code 3 if one of them is FAILED."""
    worker = _worker(url)
    found = [worker.get(_path(name, "status")) for name in names or sorted(worker.get("/connectors"))]
    rows = []
    for one in found:
        parts = [("connector", one["connector"])]
        parts += [(f"task {task['id']}", task) for task in one["tasks"]]
        for what, instance in parts:
            why = instance.get("trace", "").partition("\n")[0]
            row = one["name"], what, instance["state"], instance["worker_id"], _restarts(instance), why
            rows.append(row)
    show(output, found, ("NAME", "WHAT", "STATE", "WORKER", "RESTARTS", "WHY"), rows)
    if any(state == "FAILED" for _, _, state, *_ in rows):
        raise typer.Exit(UNHEALTHY)


def _restarts(instance: dict[str, Any]) -> str:
    """`2 of 1000, next 12:00:03`: failures in a row, and when the next restart is due (UTC)."""
    budget = instance.get("restarts")
    if budget is None:
        return ""
    text = f"{budget['failures']} of {budget['max_attempts']}"
    return f"{text}, next {budget['next_at'][11:19]}" if "next_at" in budget else text


@app.command()
def top(
    names: Annotated[list[str] | None, typer.Argument(help="Names of connectors; none: all.")] = None,
    url: Url = None,
    output: Output = Format.TABLE,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    tasks: Annotated[bool, typer.Option("--tasks", help="A line for each task too.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.1, metavar="SECONDS", help="How often to look.")
    ] = 2.0,
) -> None:
    """What connectors do right now, until Ctrl-C: rates, lag, errors, restarts, memory and CPU of the tasks.

    Rates are of the last five seconds. With -o json a line holds all connectors at one moment.
    """
    from connect.cli.top import watch

    with contextlib.suppress(KeyboardInterrupt):
        watch(_worker(url), names or (), output, tasks=tasks, once=once, interval_s=interval)


def _for_each(url: str | None, names: list[str], method: str, part: str, done: str, output: Format) -> None:
    worker = _worker(url)
    for name in names:
        worker.call(method, _path(name, *filter(None, [part])))
        say(output, {"name": name, "result": done}, f"{name} {done}")


@app.command()
def pause(names: Names, url: Url = None, output: Output = Format.TABLE) -> None:
    """Let the tasks do nothing, but keep them and what they hold."""
    _for_each(url, names, "PUT", "pause", "paused", output)


@app.command()
def resume(names: Names, url: Url = None, output: Output = Format.TABLE) -> None:
    """Go on after pause or stop."""
    _for_each(url, names, "PUT", "resume", "resumed", output)


@app.command()
def stop(names: Names, url: Url = None, output: Output = Format.TABLE) -> None:
    """End the tasks; offsets may then be changed."""
    _for_each(url, names, "PUT", "stop", "stopped", output)


@app.command()
def delete(names: Names, url: Url = None, output: Output = Format.TABLE) -> None:
    """Remove connectors; their offsets stay, for one that is created again."""
    _for_each(url, names, "DELETE", "", "deleted", output)


@app.command()
def restart(
    names: Names,
    tasks: Annotated[bool, typer.Option("--tasks", help="The tasks too.")] = False,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Only what is FAILED.")] = False,
    url: Url = None,
    output: Output = Format.TABLE,
) -> None:
    """Restart connectors, with --tasks their tasks too."""
    flags = f"restart?includeTasks={str(tasks).lower()}&onlyFailed={str(only_failed).lower()}"
    _for_each(url, names, "POST", flags, "restarted", output)


@offsets.command("get")
def get_offsets(name: Name, url: Url = None, output: Output = Format.TABLE) -> None:
    """How far a connector is, by source partition or topic partition."""
    found = _worker(url).get(_path(name, "offsets"))
    rows = [(json.dumps(one["partition"]), json.dumps(one["offset"])) for one in found["offsets"]]
    show(output, found, ("PARTITION", "OFFSET"), rows)


@offsets.command("alter")
def alter_offsets(
    name: Name,
    file: Annotated[Path, typer.Argument(help="JSON as `offsets get -o json` shows it; - for stdin.")],
    url: Url = None,
    output: Output = Format.TABLE,
) -> None:
    """Set the offsets of a stopped connector; a null offset resets that partition."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        body = json.loads(text)
    except OSError as exc:
        raise Failure(f"{file} cannot be read: {exc.strerror}", USAGE) from None
    except ValueError as exc:
        raise Failure(f"{file} is not JSON: {exc}", USAGE) from None
    answer = _worker(url).call("PATCH", _path(name, "offsets"), body)
    say(output, answer, answer["message"])


@offsets.command("reset")
def reset_offsets(name: Name, url: Url = None, output: Output = Format.TABLE) -> None:
    """Forget the offsets of a stopped connector, so that it begins anew."""
    answer = _worker(url).call("DELETE", _path(name, "offsets"))
    say(output, answer, answer["message"])
