"""What the output plugin is told at the start of the stream.

https://www.postgresql.org/docs/current/protocol-logical-replication.html
"""

from typing import Final

from connectors.postgres.config import PostgresSourceConfig

_STREAMED: Final = "2"
"""The first version of the protocol in which open transactions are streamed: PostgreSQL 14. What later ones
add, two-phase commits and what parallel appliers need, is not for us."""


def stream_options(config: PostgresSourceConfig) -> list[tuple[str, str]]:
    """The options of START_REPLICATION, in order."""
    streams = config.streamed_transactions == "on"
    return [
        ("proto_version", _STREAMED if streams else "1"),
        ("publication_names", _quoted_list(config.publication_name)),
        ("messages", "true"),
        *([("streaming", "on")] if streams else []),
        *config.stream_params(),
    ]


def _quoted_list(name: str) -> str:
    """A name in a list of names."""
    return '"' + name.replace('"', '""') + '"'
