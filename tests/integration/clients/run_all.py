"""Every scenario with every client, those whose agents take a minute to build too.

python tests/integration/clients/run_all.py [--bootstrap HOST:PORT] [PYTEST OPTIONS]

With --bootstrap it is another cluster that is tried, an Apache Kafka for instance: what fails there is wrong
in the scenario. Tests that kill their broker, and Java's tools, are left out then.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from support.kafka_clients import BOOTSTRAP, BUILD_ALL  # noqa: E402  found by the line above

SCENARIOS = ("test_records.py", "test_groups.py", "test_transactions.py", "test_admin.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bootstrap", metavar="HOST:PORT")
    arguments, options = parser.parse_known_args()
    environment = {**os.environ, BUILD_ALL: "1"}
    tests = [str(HERE)]
    if arguments.bootstrap is not None:
        environment[BOOTSTRAP] = arguments.bootstrap
        tests = [str(HERE / name) for name in SCENARIOS]
    command = [sys.executable, "-m", "pytest", *tests, *(options or ["-q", "-n", "2"])]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
