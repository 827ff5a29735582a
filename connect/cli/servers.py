"""Where the servers are: options and environment first, then ./millstream-data, then the usual ports."""

import json
from typing import Annotated

import typer

from connect.cli.defaults import DATA_DIR, KAFKA_PORT, REST_PORT

Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap", "-b", envvar="MILLSTREAM_BOOTSTRAP", metavar="HOST:PORT",
        help="The Kafka brokers; without it those of ./millstream-data, else 127.0.0.1:9092.",
        show_default=False,
    ),
]  # fmt: skip
Url = Annotated[
    str | None,
    typer.Option(
        "--url", "-u", envvar="MILLSTREAM_URL", metavar="URL",
        help="The worker's REST API; without it that of ./millstream-data, else http://127.0.0.1:8083.",
        show_default=False,
    ),
]  # fmt: skip


def bootstrap_servers(given: str | None) -> str:
    return given or f"127.0.0.1:{_running('kafka') or KAFKA_PORT}"


def worker_url(given: str | None) -> str:
    running = f"http://127.0.0.1:{_running('rest') or REST_PORT}"
    return (given or _running("rest_url") or running).rstrip("/")


def _running(which: str) -> str | None:
    """What a running `millstream up` of this directory told."""
    try:
        return str(json.loads((DATA_DIR / "ports.json").read_text())[which])
    except (OSError, ValueError, KeyError, TypeError):
        return None
