"""PostgreSQL's changes under kills, for as long as you like: see README.md."""

import argparse
import random
import tempfile
import time
from pathlib import Path

from connect.testing.millstream import Millstream
from connect.testing.postgres import PostgresServer

from ..support.capture_world import CaptureWorld


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.capture")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    seed, rounds = options.seed, 0
    while time.monotonic() < end:
        directory = Path(tempfile.mkdtemp(prefix="capture-"))
        print(f"seed {seed}, files in {directory}", flush=True)
        streamed = {"streaming.transactions": "on", "streaming.transactions.memory.bytes": "1000"}
        settings = {"offset.flush.interval.ms": "300"}
        with (
            PostgresServer({"logical_decoding_work_mem": "64kB"}) as server,
            Millstream(directory, worker=settings) as platform,
        ):
            world = CaptureWorld(platform, server, seed, **(streamed if seed % 2 else {}))
            world.run(rounds=5, kills=10)
        rounds, seed = rounds + 5, seed + 1
    print(f"{rounds} rounds, nothing lost, nothing out of order")


if __name__ == "__main__":
    main()
