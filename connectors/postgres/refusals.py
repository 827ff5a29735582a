"""Connections that were refused: whether trying again can help.

A server says why by an SQLSTATE, and libpq keeps it to itself while it connects. What it shows is the text,
which is in the server's language before a session has settings of its own. So English words are looked for
first; where a password was sent and the words are unknown, one more attempt is traced, as a trace has the
SQLSTATE.
"""

import os
import re
import select
import time
from typing import Final

import psycopg.conninfo
from psycopg import pq

_TRACED_S: Final = 5.0
_TRACE_BYTES_MAX: Final = 1 << 16

_WORDS: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|is not permitted to log in"
    r"|(role|database) \".*\" does not exist|permission denied (for database|to start WAL sender)"
    r"|must be superuser or replication role|pg_hba\.conf rejects"
    r"|certificate verify failed|does not match host name|does not support SSL|requires a valid client cert"
    r"|certificate present, but not|(certificate|private key|root) .*file|alert .*(certificate|unknown ca)"
    r"|invalid (connection option|value|integer value|\w+ value)|unrecognized configuration parameter"
)
# Invalid authorization, no such database, no right to it, a wrong parameter:
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES: Final = re.compile("28...|3D000|42501|42704|22023")
_REFUSAL: Final = re.compile(rb'ErrorResponse\t.* C "(\w{5})"')


def is_hopeless(error: psycopg.OperationalError) -> bool:
    """Whether connecting again cannot help: settings, rights or certificates are wrong."""
    if error.sqlstate is not None:  # it was connected
        return False
    if _WORDS.search(str(error)):
        return True
    if error.pgconn is None or not error.pgconn.used_password:
        return False
    sqlstate = _refusal(error.pgconn.info)
    return sqlstate is not None and _SQLSTATES.fullmatch(sqlstate) is not None


def _refusal(options: list[pq.ConninfoOption]) -> str | None:
    """The SQLSTATE with which the server refuses a connection; None if it does not, or where libpq cannot
    trace."""
    given = {option.keyword.decode(): option.val.decode() for option in options if option.val is not None}
    pgconn = pq.PGconn.connect_start(psycopg.conninfo.make_conninfo(**given).encode())
    trace = os.memfd_create("libpq")  # in memory, as there may be a password in it
    try:
        pgconn.trace(trace)
        _wait(pgconn)
        pgconn.untrace()
        found = _REFUSAL.search(os.pread(trace, _TRACE_BYTES_MAX, 0))
    except psycopg.NotSupportedError:
        return None
    finally:
        pgconn.finish()
        os.close(trace)
    return found[1].decode() if found else None


def _wait(pgconn: pq.abc.PGconn) -> None:
    """Until it is connected or refused, or too much time has passed."""
    deadline = time.monotonic() + _TRACED_S
    while (left_s := deadline - time.monotonic()) > 0:
        state = pgconn.connect_poll()
        if state in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            return
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN if state == pq.PollingStatus.READING else select.POLLOUT)
        poll.poll(left_s * 1000)
