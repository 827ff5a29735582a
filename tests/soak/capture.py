"""PostgreSQL's changes under kills, for as long as you like: see README.md."""

import argparse
import random
import tempfile
import time
from pathlib import Path

from connect.testing.millstream import Millstream
from connect.testing.postgres import PostgresServer

from ..support.capture_world import CaptureWorld

STREAMED = {"streaming.transactions": "on", "streaming.transactions.memory.bytes": "1000"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.capture")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--kind", choices=["both", "once", "at-least-once"], default="both")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    seed, rounds = options.seed, 0
    while time.monotonic() < end:
        once = options.kind == "once" or (options.kind == "both" and seed // 2 % 2 == 0)
        directory = Path(tempfile.mkdtemp(prefix="capture-"))
        print(f"seed {seed}, {'exactly' if once else 'at least'} once, files in {directory}", flush=True)
        settings = {"offset.flush.interval.ms": "300"}
        if once:
            settings["exactly.once.source.support"] = "enabled"
        with (
            PostgresServer({"logical_decoding_work_mem": "64kB"}) as server,
            Millstream(directory, worker=settings) as platform,
        ):
            streamed = STREAMED if seed % 2 else {}
            CaptureWorld(platform, server, seed, exactly_once=once, **streamed).run(rounds=5, kills=10)
        rounds, seed = rounds + 5, seed + 1
    print(f"{rounds} rounds, nothing lost, nothing out of order, with exactly once nothing twice")


if __name__ == "__main__":
    main()
