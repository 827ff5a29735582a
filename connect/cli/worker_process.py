"""`millstream worker`: its options and settings, and the forkserver, which is forked off before anything is
imported that only the worker needs."""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # while importing: all of it stays
    # structlog imports it if it is installed, for colours that nobody sees here: 4 MB.
    sys.modules["rich"] = None  # type: ignore[assignment]  # None: not importable

import structlog

from connect.api import ConfigError
from connect.cli.connector_files import BadFile
from connect.cli.failure import USAGE
from connect.runtime.config import OFFSETS_FILE
from connect.runtime.forks import ForkServer
from connect.runtime.logs import configure_logging
from connect.runtime.secret_names import hide
from connect.runtime.worker_settings import read_properties, resolved

log = structlog.get_logger("connect.cli.worker_process")  # __name__ is __main__ here


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="millstream worker", description="Run a Kafka Connect worker.")
    parser.add_argument(
        "properties", nargs="?", type=Path, help="settings, as in connect-distributed.properties"
    )
    parser.add_argument(
        "connector_files", nargs="*", type=Path, metavar="connector",
        help="with --standalone: connectors to start, .properties or JSON",
    )  # fmt: skip
    parser.add_argument(
        "--standalone", action="store_true",
        help="one worker without a group, as connect-standalone: connectors end with it, source offsets are "
        "in the file that offset.storage.file.filename names",
    )  # fmt: skip
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="Kafka brokers, before bootstrap.servers")
    parser.add_argument("--rest-port", type=int, metavar="N", help="REST on 127.0.0.1:N, before listeners")
    parser.add_argument("--connectors", type=Path, metavar="DIR", help="connector JSON files to keep applied")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the REST port there when ready")
    parser.add_argument(
        "--ready-fd", type=int, metavar="FD", help="write REST's URL to this descriptor when ready"
    )
    return parser


def _written(options: argparse.Namespace) -> dict[str, str]:
    """The properties of the file under those of the options."""
    properties = {} if options.properties is None else read_properties(options.properties)
    given: dict[str, str] = {}
    if options.bootstrap is not None:
        given["bootstrap.servers"] = options.bootstrap
    if options.rest_port is not None:
        given["listeners"] = f"http://127.0.0.1:{options.rest_port}"
    for name, value in given.items():
        if properties.get(name, value) != value:
            log.warning("an option overrides the file", setting=name, file=properties[name], option=value)
    return properties | given


def _by_mode(options: argparse.Namespace, properties: dict[str, str]) -> dict[str, str]:
    """The settings of a standalone worker are those with a file for the offsets."""
    if options.standalone and not properties.get(OFFSETS_FILE):
        raise ConfigError(
            f'Missing required configuration "{OFFSETS_FILE}" which has no default value: --standalone keeps '
            "the source offsets there"
        )
    if not options.standalone:
        if options.connector_files:
            raise ConfigError("connector files are for --standalone; else deploy over REST or --connectors")
        if properties.pop(OFFSETS_FILE, None) is not None:
            log.warning("worker setting", setting=OFFSETS_FILE, why="has no effect without --standalone")
    return properties


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_intermixed_args(arguments)  # options may stand between files
    configure_logging()
    secrets: set[str] = set()
    try:
        settings = resolved(_by_mode(options, _written(options)))
        if settings.errors:
            raise ConfigError("; ".join(f"{error.name}: {error.message}" for error in settings.errors))
        secrets = settings.secrets
        gc.freeze()
        forks = ForkServer(keeps_stdin=options.standalone)
        forks.fork_off()
        from connect.cli.worker_service import WorkerService  # not for the forkserver: 20 MB

        service = WorkerService(settings.values, options, forks)
    except (BadFile, ConfigError) as exc:
        sys.stderr.write(f"millstream worker: {hide(str(exc), secrets)}\n")
        return USAGE
    gc.freeze()
    gc.enable()
    return service.run_until_told()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
