"""Connections to PostgreSQL: ordinary ones for the catalog and the snapshot, and the replication one."""

import re
import select
from collections.abc import Generator, Sequence
from typing import Any, Final, Protocol

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import make_conninfo

from connectors.postgres.config import PostgresSourceConfig

# One text form of every value, whatever the server, the database or the user are set to.
_SESSION: Final = {
    "datestyle": "ISO", "intervalstyle": "postgres", "timezone": "UTC", "extra_float_digits": "1",
    "bytea_output": "hex", "lc_monetary": "C", "standard_conforming_strings": "on",
}  # fmt: skip
XLOG_DATA: Final = b"w"[0]
"""The kind of a message of a replication stream with data of the output plugin,"""
XLOG_HEAD_BYTES: Final = 25
"""which starts after kind, position in the WAL, end of the WAL and the time."""
_STATEMENT_END: Final = re.compile(r"(?<!;);(?!;)")


def _conninfo(config: PostgresSourceConfig, application: str, **more: str) -> str:
    parameters = {"application_name": application} | config.conninfo() | more
    session = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    parameters["options"] = f"{parameters.get('options', '')} {session}".strip()
    return make_conninfo(**parameters)


def connect(config: PostgresSourceConfig) -> psycopg.Connection[Any]:
    """An ordinary connection in autocommit; raises `psycopg.OperationalError`."""
    info = _conninfo(config, "Millstream General")
    connection = psycopg.connect(info, autocommit=True, prepare_threshold=None)
    try:
        if config.query_timeout_ms:
            connection.execute(f"SET statement_timeout = {config.query_timeout_ms}".encode())
        for statement in _STATEMENT_END.split(config.initial_statements or ""):
            if statement.strip():
                connection.execute(statement.replace(";;", ";").encode())
    except BaseException:
        connection.close()
        raise
    return connection


def server_error(message: str, sqlstate: str | None) -> psycopg.Error:
    """The exception of psycopg's that stands for an error of the server or of the connection."""
    if sqlstate is None:
        return psycopg.OperationalError(message)
    try:
        return errors.lookup(sqlstate)(message)
    except KeyError:
        return psycopg.DatabaseError(message)


def quote_name(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


class MessageReader(Protocol):
    """Where the messages of a replication stream come from."""

    def receive(self) -> bytes | None:
        """The next message, or None when none has come yet; raises `EOFError` at the end of the stream."""
        ...

    def take(self, count_max: int, bytes_max: int) -> list[bytes]:
        """As many as have come, up to a number, or until they have so many bytes; raises as `receive`."""
        ...

    def wait(self, seconds: float) -> bool:
        """Sleep until something has come or the time is over; True when something has."""
        ...

    def close(self) -> None:
        """Forget what was read and not handed on."""
        ...


class CopyReader:
    """Receives the messages of a COPY without blocking: rows of COPY TO STDOUT, or a replication stream."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        self._get = pgconn.get_copy_data
        self._ended = False
        self._poll = select.poll()
        self._poll.register(pgconn.socket, select.POLLIN)

    def receive(self) -> bytes | None:
        """The next message, or None when none has come yet; raises `EOFError` at the end of the COPY."""
        if not self._ended:
            size, data = self._get(1)
            if size == 0:
                self._pgconn.consume_input()
                size, data = self._get(1)
            if size > 0:
                return bytes(data)
            if size == 0:
                return None
            self._ended = True
        self._finish()
        return None

    def take(self, count_max: int, bytes_max: int) -> list[bytes]:
        """Messages that have come, up to a number, or until they have so many bytes; raises as `receive`."""
        first = self.receive()
        if first is None:
            return []
        get, taken, left = self._get, [first], bytes_max - len(first)
        while left > 0 and len(taken) < count_max:
            size, data = get(1)
            if size <= 0:
                self._ended = size < 0
                break
            taken.append(bytes(data))
            left -= size
        return taken

    def _finish(self) -> None:
        """Raises what the COPY ended with, once the server has said it."""
        self._pgconn.consume_input()
        # `get_result` waits for the server, and no other thread runs meanwhile.
        while not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
                raise _result_error(self._pgconn, result)
            # In a replication stream it waits for us to end our direction, too.
            if result is None or result.status == pq.ExecStatus.COPY_IN:
                raise EOFError("the server ended the COPY")

    def wait(self, seconds: float) -> bool:
        """Sleep until something has come or the time is over; True when something has."""
        return bool(self._poll.poll(seconds * 1000))

    def close(self) -> None:
        """Nothing is kept here: what was read and not handed on is the connection's."""


def _result_error(pgconn: pq.abc.PGconn, result: pq.abc.PGresult) -> psycopg.Error:
    sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE)
    message = result.error_message.decode(errors="replace").strip()
    if pgconn.status == pq.ConnStatus.BAD:
        return psycopg.OperationalError(message)
    return server_error(message, sqlstate.decode() if sqlstate else None)


def start_copy(connection: psycopg.Connection[Any], sql: str) -> CopyReader:
    """Run a COPY … TO STDOUT and read its rows."""
    pgconn = connection.pgconn
    result = pgconn.exec_(sql.encode())
    if result.status != pq.ExecStatus.COPY_OUT:
        raise _result_error(pgconn, result)
    return CopyReader(pgconn)


class ReplicationConnection:
    """A connection that can create slots and stream from them.

    https://www.postgresql.org/docs/current/protocol-replication.html
    """

    def __init__(self, config: PostgresSourceConfig) -> None:
        info = _conninfo(config, "Millstream Streaming", replication="database")
        # Not by libpq's own blocking call, in which no other thread would run.
        self._connection = psycopg.connect(info, autocommit=True)
        self._pgconn = self._connection.pgconn

    @property
    def server_version(self) -> int:
        """180006 is 18.6."""
        return self._connection.info.server_version

    def execute(self, sql: str, turn_s: float) -> Generator[tuple[()], None, list[list[str | None]]]:
        """Run a command; the rows of its answer as text. Yields every `turn_s` while the server is at
        it."""
        self._pgconn.send_query(sql.encode())
        poll = select.poll()
        poll.register(self._pgconn.socket, select.POLLIN)
        while self._pgconn.is_busy():
            if poll.poll(turn_s * 1000):
                self._pgconn.consume_input()
            else:
                yield ()
        result = self._pgconn.get_result()
        while self._pgconn.get_result() is not None:
            pass
        if result is None:
            raise psycopg.OperationalError("the server gave no answer")
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise _result_error(self._pgconn, result)
        values = [
            [result.get_value(row, column) for column in range(result.nfields)]
            for row in range(result.ntuples)
        ]
        return [[None if value is None else value.decode() for value in row] for row in values]

    def start(self, slot: str, start_lsn: str, options: Sequence[tuple[str, str]]) -> CopyReader:
        """Stream from a slot; raises `psycopg.errors.ObjectInUse` while another connection has it."""
        shown = ", ".join(f"{quote_name(name)} {quote_text(value)}" for name, value in options)
        sql = f"START_REPLICATION SLOT {quote_name(slot)} LOGICAL {start_lsn} ({shown})"
        result = self._pgconn.exec_(sql.encode())
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise _result_error(self._pgconn, result)
        return CopyReader(self._pgconn)

    def send(self, message: bytes) -> None:
        """Send a message into the stream."""
        try:
            self._pgconn.put_copy_data(message)
            self._pgconn.flush()
        except psycopg.Error as exc:
            raise psycopg.OperationalError(str(exc)) from exc

    def close(self) -> None:
        self._connection.close()
