"""Which form log lines have: JSON for machines, text for people."""

import os
import sys


def wants_json() -> bool:
    """What MILLSTREAM_LOG_FORMAT says (json or text); without it text on a terminal, JSON elsewhere."""
    chosen = os.environ.get("MILLSTREAM_LOG_FORMAT", "")
    return chosen == "json" if chosen else not sys.stderr.isatty()
