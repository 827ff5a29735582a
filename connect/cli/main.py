"""The `millstream` command: servers start at once, everything else is in `commands`."""

import runpy
import sys
from typing import Final

# Servers read their options themselves: what it takes to offer all commands is not loaded for them (0.1 s).
SERVERS: Final = {
    "up": ("connect.cli.supervisor",),
    "broker": ("broker.app",),
    "worker": ("connect.cli.worker_process",),
    # As Kafka's scripts: WORKER.properties CONNECTOR.properties …, and WORKER.properties.
    "connect-standalone": ("connect.cli.worker_process", "--standalone"),
    "connect-distributed": ("connect.cli.worker_process",),
}


def main() -> None:
    command, *options = sys.argv[1:] or [""]
    if command in SERVERS:
        module, *given = SERVERS[command]
        sys.argv[1:] = [*given, *options]
        # As `python -m`: what a server does before it imports anything, it does as __main__ only.
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    from connect.cli.commands import run

    run()


if __name__ == "__main__":
    main()
