"""The command line of the soak scripts, a broker for them, and what stays when a trial fails."""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from connect.testing.millstream import Broker

from ..support.trials import Setup, Trial, Wrong

# Programs that were killed are missed soon, and the cleaner is at work.
BROKER = {
    "log.cleaner.backoff.ms": "1000",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "500",
}


def soak(name: str, kinds: Mapping[str, Callable[[Setup], Trial]]) -> None:
    """Run a trial as `sys.argv` says; `kinds` are those there are, the first of them the default."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.soak.{name}")
    parser.add_argument("--kind", choices=list(kinds), default=next(iter(kinds)))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--records", type=int, default=5000, help="in each round")
    parser.add_argument("--kill-every", type=float, default=2.0, help="seconds between kills, on average")
    parser.add_argument("--bootstrap", help="another Kafka cluster, whose broker is not killed")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    print(f"seed {options.seed}, files in {directory}", flush=True)
    with ExitStack() as stack:
        broker = None
        if not options.bootstrap:
            broker = stack.enter_context(Broker(directory / "broker", BROKER))
        setup = Setup(
            broker.bootstrap if broker is not None else options.bootstrap,
            directory,
            f"{name}-{options.seed}",
            options.seed,
            broker,
            options.records,
            options.kill_every,
        )
        trial = kinds[options.kind](setup)
        try:
            trial.run(60 * options.minutes)
        except Wrong as wrong:
            sys.exit(f"{wrong}\nafter {trial.report}; seed {options.seed}, files kept in {directory}")
    print(trial.report)
    shutil.rmtree(directory)
