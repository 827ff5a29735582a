"""All benchmarks, or those named: python -m benchmarks [NAME …], see `ALL`."""

import sys

from benchmarks import broker, cdc, connectors, files, start, transactions

ALL = {
    "broker": broker.main,
    "transactions": transactions.main,
    "cdc": cdc.main,
    "files": files.main,
    "connectors": connectors.main,
    "start": start.main,
}


def main() -> int:
    names = sys.argv[1:] or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    for name in names:
        ALL[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
