"""Where the PostgreSQL source reads: the server, the slot, the publication."""

import re
from typing import Any, Final

from pydantic import SecretStr

from connect.api import Config, Importance, Kind, setting
from connectors.postgres.driver_settings import libpq_parameters

# A name, an address (IPv6 in brackets where a port follows) or the directory of a socket.
_PLACE: Final = re.compile(r"(?:\[(?P<bracketed>[^]]*)\]|(?P<name>[^:]*|.*:.*:.*))(?::(?P<port>\d+))?")
HIGH, LOW = Importance.HIGH, Importance.LOW


class ConnectionSettings(Config):
    """The part of `PostgresSourceConfig` for connections and what they stream."""

    # Connection
    topic_prefix: str = setting("topic.prefix", importance=HIGH, doc="First part of every topic name.")
    hostname: str = setting(
        "database.hostname", importance=HIGH,
        doc="Server name or address, or several with commas, each with `:port` where it is another than "
        "database.port: the first one that is no standby is taken.",
    )  # fmt: skip
    port: int = setting(
        "database.port", default=5432, importance=HIGH, doc="Server port.", at_least=0, at_most=65535
    )
    user: str = setting("database.user", importance=HIGH, doc="User; needs REPLICATION and SELECT.")
    password: SecretStr | None = setting("database.password", default=None, importance=HIGH, doc="Password.")
    dbname: str = setting("database.dbname", importance=HIGH, doc="Database to capture.")
    sslmode: str = setting(
        "database.sslmode", default="prefer", doc="libpq's sslmode.",
        choices=["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    )  # fmt: skip
    sslcert: str | None = setting("database.sslcert", default=None, doc="Client certificate file.")
    sslkey: str | None = setting("database.sslkey", default=None, doc="Client key file.")
    sslpassword: SecretStr | None = setting(
        "database.sslpassword", default=None, doc="Password of the client key."
    )
    sslrootcert: str | None = setting(
        "database.sslrootcert", default=None, doc="File of trusted authorities."
    )
    sslfactory: str | None = setting("database.sslfactory", default=None, importance=LOW, doc="Java only.")
    tcp_keep_alive: bool = setting("database.tcpKeepAlive", default=True, doc="TCP keepalive probes.")
    initial_statements: str | None = setting(
        "database.initial.statements", default=None, importance=LOW,
        doc="SQL for each new connection but the replication one; `;` ends a statement, `;;` is a semicolon.",
    )  # fmt: skip
    query_timeout_ms: int = setting(
        "database.query.timeout.ms", default=600_000, importance=LOW, at_least=0,
        doc="Limit of a catalog query; 0 is none.",
    )  # fmt: skip

    # Slot and publication
    plugin_name: str = setting(
        "plugin.name", default="pgoutput", choices=["pgoutput"], doc="Output plugin of the slot."
    )
    slot_name: str = setting(
        "slot.name", default="debezium", importance=HIGH, doc="Replication slot; unique per connector."
    )
    slot_drop_on_stop: bool = setting(
        "slot.drop.on.stop", default=False, doc="Drop the slot at a regular stop."
    )
    slot_failover: bool = setting(
        "slot.failover", default=False, doc="Create a failover slot (PostgreSQL 17+)."
    )
    slot_stream_params: str | None = setting(
        "slot.stream.params",
        default=None,
        importance=LOW,
        doc="More options for the output plugin, `name=value;…`; pgoutput has `origin` (PostgreSQL 16+).",
    )
    slot_max_retries: int = setting(
        "slot.max.retries",
        default=6,
        at_least=0,
        doc="How often to try a slot that another connection holds.",
    )
    slot_retry_delay_ms: int = setting(
        "slot.retry.delay.ms", default=10_000, at_least=0, doc="Longest wait between two tries."
    )
    status_update_interval_ms: int = setting(
        "status.update.interval.ms",
        default=10_000,
        at_least=1,
        doc="How often the server is told the position.",
    )
    xmin_fetch_interval_ms: int = setting(
        "xmin.fetch.interval.ms",
        default=0,
        importance=LOW,
        at_least=0,
        doc="How often to read the slot's xmin.",
    )
    lsn_flush_mode: str = setting(
        "lsn.flush.mode", default="connector", choices=["connector", "manual", "connector_and_driver"],
        doc="Who moves the slot's confirmed position.",
    )  # fmt: skip
    offset_mismatch_strategy: str = setting(
        "offset.mismatch.strategy", default="no_validation",
        choices=["no_validation", "trust_offset", "trust_slot", "trust_greater_lsn"],
        doc="What to do when the stored offset and the slot disagree.",
    )  # fmt: skip
    publication_name: str = setting("publication.name", default="dbz_publication", doc="Publication to read.")
    publication_autocreate_mode: str = setting(
        "publication.autocreate.mode", default="all_tables",
        choices=["all_tables", "disabled", "filtered", "no_tables"],
        doc="How a missing publication is made.",
    )  # fmt: skip
    publish_via_partition_root: bool = setting(
        "publish.via.partition.root",
        default=False,
        doc="Let a created publication name the partitioned table.",
    )
    replica_identity_autoset_values: str | None = setting(
        "replica.identity.autoset.values", default=None, doc="`schema.table:IDENTITY, …` to set at start."
    )

    streamed_transactions: str = setting(
        "streaming.transactions", default="off", choices=["off", "on"],
        doc="on: the server sends large transactions while they are still open, and they wait here for their "
        "commit; off: it keeps them on its own disk.",
    )  # fmt: skip
    streamed_memory_bytes: int = setting(
        "streaming.transactions.memory.bytes", default=16 << 20, kind=Kind.LONG, at_least=0,
        doc="Memory of all open transactions; what is more goes to streaming.transactions.directory.",
    )  # fmt: skip
    streamed_directory: str | None = setting(
        "streaming.transactions.directory", default=None,
        doc="Where open transactions wait that do not fit into memory; the system's directory of temporary "
        "files when not set.",
    )  # fmt: skip

    silence_timeout_ms: int = setting(
        "stream.silence.timeout.ms", default=60_000, at_least=0,
        doc="So long may the server say nothing, although asked, before the connection counts as lost; twice "
        "as long the next time. 0: no limit.",
    )  # fmt: skip

    def stream_params(self) -> list[tuple[str, str]]:
        """slot.stream.params as (name, value)."""
        parts = (part.partition("=") for part in (self.slot_stream_params or "").split(";") if part.strip())
        return [(name.strip(), value.strip()) for name, _, value in parts]

    def conninfo(self) -> dict[str, Any]:
        """libpq's parameters."""
        hosts, ports = _places(self.hostname, self.port)
        params: dict[str, Any] = {
            "host": hosts, "port": ports, "user": self.user, "dbname": self.dbname,
            "target_session_attrs": "primary" if "," in hosts else None,
            "password": self.password and self.password.get_secret_value(), "sslmode": self.sslmode,
            "sslcert": self.sslcert, "sslkey": self.sslkey, "sslrootcert": self.sslrootcert,
            "sslpassword": self.sslpassword and self.sslpassword.get_secret_value(),
            "connect_timeout": 10, "client_encoding": "UTF8", "keepalives": int(self.tcp_keep_alive),
            # A network that is cut without a word is noticed within a minute.
            "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        }  # fmt: skip
        given = {name: value for name, value in params.items() if value is not None}
        return given | libpq_parameters(self.originals)


def _places(hostname: str, port: int) -> tuple[str, str]:
    """libpq's host and port: `a:5433,[::1]:5434,b` is `a,::1,b` and `5433,5434,…`."""
    places: list[tuple[str, str]] = []
    for text in map(str.strip, hostname.split(",")):
        found = _PLACE.fullmatch(text)
        host = (found["bracketed"] or found["name"]) if found else text
        places.append((host, (found and found["port"]) or str(port)))
    return ",".join(host for host, _ in places), ",".join(port for _, port in places)
