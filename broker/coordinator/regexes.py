"""Subscriptions by pattern: RE2 syntax (KIP-848), which takes linear time whatever the pattern is."""

from collections.abc import Iterable

import re2

from broker.wire.errors import ErrorCode, KafkaError

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False

# The library's words, and those of Kafka's (re2j), which clients have been shown so far.
_KAFKAS_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "trailing \\": "trailing backslash at end of expression",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


def check_regex(regex: str) -> None:
    """Raise INVALID_REGULAR_EXPRESSION unless it is one."""
    try:
        re2.compile(regex, _OPTIONS)
    except re2.error as exc:
        detail = (
            exc.args[0].decode("utf-8", "replace") if isinstance(exc.args[0], bytes) else str(exc.args[0])
        )
        words = next((kafkas for ours, kafkas in _KAFKAS_WORDS.items() if detail.startswith(ours)), None)
        raise KafkaError(
            ErrorCode.invalid_regular_expression,
            f"SubscribedTopicRegex `{regex}` is not a valid regular expression: "
            f"{words or detail.split(':')[0]}.",
        ) from exc


def matching(regex: str, names: Iterable[str]) -> frozenset[str]:
    """The names that match as a whole. `regex` has been checked."""
    fullmatch = re2.compile(regex, _OPTIONS).fullmatch
    return frozenset(name for name in names if fullmatch(name))
