"""Workers with many connectors under kills: `python -m tests.soak.workers --minutes 10`."""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from ..support.trials import Wrong
from ..support.worker_trials import WorkerSetup, WorkerTrial


def main() -> None:
    """Run a trial as `sys.argv` says."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.workers")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--connectors", type=int, default=30)
    parser.add_argument("--trouble-every", type=float, default=2.0, help="seconds, on average")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="workers-"))
    print(f"seed {options.seed}, files in {directory}", flush=True)
    trial = WorkerTrial(
        WorkerSetup(directory, options.workers, options.connectors, options.seed, options.trouble_every)
    )
    try:
        trial.run(60 * options.minutes)
    except Wrong as wrong:
        sys.exit(f"{wrong}\nafter {trial.report}; seed {options.seed}, files kept in {directory}")
    print(trial.report)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
