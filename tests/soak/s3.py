"""S3 sinks under kills: `python -m tests.soak.s3 --kills 200 --seed 1`."""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from connect.testing.millstream import Broker, Worker
from connect.testing.s3 import S3Endpoint, S3Server

from ..support.s3_scenarios import SCENARIOS
from ..support.s3_signatures import VersityGateway, signatures_checked
from ..support.s3_trials import WORKER, S3Trial
from ..support.trials import Wrong


def main() -> None:
    """Run a trial as `sys.argv` says."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.s3")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", default="", help="scenarios, separated by commas")
    parser.add_argument("--store", choices=("moto", "signed", "versitygw"), default="moto")
    options = parser.parse_args()
    wanted = set(filter(None, options.only.split(",")))
    scenarios = [each for each in SCENARIOS if not wanted or each.name in wanted]
    directory = Path(tempfile.mkdtemp(prefix="s3-"))
    print(f"seed {options.seed}, files in {directory}", flush=True)
    with (
        Broker(directory / "broker", {"group.initial.rebalance.delay.ms": "0"}) as broker,
        Worker(directory / "worker", broker.bootstrap, WORKER) as worker,
        store(options.store) as s3,
    ):
        trial = S3Trial(worker, broker.bootstrap, s3, scenarios, "soak", options.seed)
        try:
            trial.run(options.kills)
        except (Wrong, AssertionError) as wrong:
            sys.exit(f"{wrong}\nafter {trial.report}; seed {options.seed}, files kept in {directory}")
    print(trial.report)
    shutil.rmtree(directory)


@contextmanager
def store(kind: str) -> Iterator[S3Endpoint]:
    """moto, moto that checks signatures, or versitygw."""
    if kind == "versitygw":
        with VersityGateway() as gateway:
            yield gateway
        return
    with S3Server() as server, signatures_checked(server) if kind == "signed" else nullcontext():
        yield server


if __name__ == "__main__":
    main()
