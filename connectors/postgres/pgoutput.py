"""The messages of pgoutput: protocol version 1, and what version 2 adds for transactions that are still open.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html. Numbers are big-endian.
Every function takes one whole message, its type byte included, and raises `MalformedMessage` for
anything else, such as a message that is cut short.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Final, NamedTuple

from connect.api import ConnectError

POSTGRES_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01, from which PostgreSQL counts, in microseconds since 1970."""

BEGIN, COMMIT, ORIGIN, RELATION = b"B"[0], b"C"[0], b"O"[0], b"R"[0]
INSERT, UPDATE, DELETE, TRUNCATE, MESSAGE = b"I"[0], b"U"[0], b"D"[0], b"T"[0], b"M"[0]
TYPE, STREAM_START, STREAM_STOP = b"Y"[0], b"S"[0], b"E"[0]
STREAM_COMMIT, STREAM_ABORT = b"c"[0], b"A"[0]
NEW, _KEY, _OLD = b"N"[0], b"K"[0], b"O"[0]
_NULL, _UNSENT, _TEXT = b"n"[0], b"u"[0], b"t"[0]

_BEGIN: Final = struct.Struct(">cQqI")
_COMMIT: Final = struct.Struct(">cBQQq")
_STREAM_START: Final = struct.Struct(">cIB")
_STREAM_COMMIT: Final = struct.Struct(">cIBQQq")
_STREAM_ABORT: Final = struct.Struct(">cII")
_RELATION_HEAD: Final = struct.Struct(">cI")
_COLUMN_TAIL: Final = struct.Struct(">Ii")
_VALUE_HEAD: Final = struct.Struct(">BI").unpack_from
# Room to read the head of a value that has none behind the last one, NULL or unchanged.
_PADDING: Final = b"\0\0\0\0"
# Kind, relation, kind of row and number of columns come before the values.
_TUPLE: Final = 8
_SHORT_TEXT: Final = "t\0\0\0"
_behind_length: Final = itemgetter(slice(1, None))
_TRUNCATE_HEAD: Final = struct.Struct(">xIB")
_MESSAGE_HEAD: Final = struct.Struct(">xBQ")

Encode = Callable[[str], str]
NULL: Final = "null"
ABSENT: Final = "\0null"
UNCHANGED: Final = "\0unchanged"
"""What stands for NULL, and for a value that was not sent, among texts: none of PostgreSQL's has such a
character."""


class MalformedMessage(ConnectError):
    """Bytes that are no message of the protocol."""


class Begin(NamedTuple):
    """A transaction starts. `final_lsn` is where its commit record starts; `commit_us` since 1970."""

    final_lsn: int
    commit_us: int
    xid: int


class Commit(NamedTuple):
    """It ends; `end_lsn` is behind its commit record."""

    commit_lsn: int
    end_lsn: int
    commit_us: int


class StreamCommit(NamedTuple):
    """A transaction that was streamed while it was open is committed; the values are those of `Commit`."""

    xid: int
    commit_lsn: int
    end_lsn: int
    commit_us: int


class Origin(NamedTuple):
    """The transaction was replayed here from another server."""

    commit_lsn: int
    name: str


class RelationColumn(NamedTuple):
    """A column of a relation; `identity` where it belongs to the replica identity."""

    identity: bool
    name: str
    type_oid: int
    typmod: int


class Relation(NamedTuple):
    """What the next rows of a table look like. `replica_identity` is pg_class.relreplident."""

    oid: int
    schema: str
    name: str
    replica_identity: str
    columns: tuple[RelationColumn, ...]


class Truncate(NamedTuple):
    """Tables were truncated."""

    oids: tuple[int, ...]
    cascade: bool
    restart_identity: bool


class Message(NamedTuple):
    """pg_logical_emit_message."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


@contextmanager
def _whole(message: bytes) -> Iterator[None]:
    try:
        yield
    except (struct.error, IndexError, ValueError) as exc:
        raise _malformed(message, str(exc)) from exc


def _malformed(message: bytes, why: str) -> MalformedMessage:
    return MalformedMessage(f"malformed pgoutput message of {len(message)} bytes, {message[:40]!r}: {why}")


def begin(message: bytes) -> Begin:
    try:
        _, final_lsn, commit_us, xid = _BEGIN.unpack(message)
    except struct.error as exc:
        raise _malformed(message, str(exc)) from exc
    return Begin(final_lsn, commit_us + POSTGRES_EPOCH_US, xid)


def commit(message: bytes) -> Commit:
    try:
        _, _, commit_lsn, end_lsn, commit_us = _COMMIT.unpack(message)
    except struct.error as exc:
        raise _malformed(message, str(exc)) from exc
    return Commit(commit_lsn, end_lsn, commit_us + POSTGRES_EPOCH_US)


def stream_start(message: bytes) -> int:
    """The xid of the transaction whose next block begins."""
    with _whole(message):
        _, xid, _ = _STREAM_START.unpack(message)
        return int(xid)


def stream_commit(message: bytes) -> StreamCommit:
    with _whole(message):
        _, xid, _, commit_lsn, end_lsn, commit_us = _STREAM_COMMIT.unpack(message)
        return StreamCommit(xid, commit_lsn, end_lsn, commit_us + POSTGRES_EPOCH_US)


def stream_abort(message: bytes) -> tuple[int, int]:
    """The xids of the transaction and of the part of it that is rolled back: equal where all of it is."""
    with _whole(message):
        _, xid, subxid = _STREAM_ABORT.unpack(message)
        return xid, subxid


def begin_message(commit: StreamCommit) -> bytes:
    """The `Begin` with which the transaction would have come if it had not been streamed."""
    return _BEGIN.pack(b"B", commit.commit_lsn, commit.commit_us - POSTGRES_EPOCH_US, commit.xid)


def commit_message(commit: StreamCommit) -> bytes:
    """And its `Commit`."""
    return _COMMIT.pack(b"C", 0, commit.commit_lsn, commit.end_lsn, commit.commit_us - POSTGRES_EPOCH_US)


def origin(message: bytes) -> Origin:
    with _whole(message):
        name, pos = _string(message, 9)
        _at_end(message, pos)
        return Origin(int.from_bytes(message[1:9], "big"), name)


def relation(message: bytes) -> Relation:
    with _whole(message):
        _, oid = _RELATION_HEAD.unpack_from(message)
        schema, pos = _string(message, 5)
        name, pos = _string(message, pos)
        identity = chr(message[pos])
        count = int.from_bytes(message[pos + 1 : pos + 3], "big")
        pos += 3
        columns: list[RelationColumn] = []
        for _ in range(count):
            flags = message[pos]
            column, pos = _string(message, pos + 1)
            columns.append(RelationColumn(bool(flags & 1), column, *_COLUMN_TAIL.unpack_from(message, pos)))
            pos += 8
        _at_end(message, pos)
        # pgoutput leaves the schema out for pg_catalog.
        return Relation(oid, schema or "pg_catalog", name, identity, tuple(columns))


def truncate(message: bytes) -> Truncate:
    with _whole(message):
        count, options = _TRUNCATE_HEAD.unpack_from(message)
        oids = struct.unpack_from(f">{count}I", message, 6)
        _at_end(message, 6 + 4 * count)
        return Truncate(oids, bool(options & 1), bool(options & 2))


def logical_message(message: bytes) -> Message:
    with _whole(message):
        flags, lsn = _MESSAGE_HEAD.unpack_from(message)
        prefix, pos = _string(message, 10)
        length = int.from_bytes(message[pos : pos + 4], "big")
        _at_end(message, pos + 4 + length)
        return Message(bool(flags & 1), lsn, prefix, message[pos + 4 :])


def row(
    message: bytes, encoders: Sequence[Encode | None], unavailable: Sequence[str], base: int = 0
) -> tuple[list[str] | None, bool, list[str] | None]:
    """(old row, whether it has the columns of the replica identity only, new row) of an insert, update or
    delete that starts at `base`.

    Rows are JSON fragments, one per column of the relation; `encoders` and `unavailable` are those of its
    plan.
    """
    try:
        kind, tag, pos = message[base], message[base + 5], base + 6
        padded = message + _PADDING
        if tag == NEW:
            new, pos = _read_tuple(padded, pos, encoders, unavailable)
            if pos != len(message) or kind == DELETE:
                raise ValueError(f"it should have {pos - base} bytes")
            return None, False, new
        if tag != _KEY and tag != _OLD:
            raise ValueError(f"unknown kind of row {tag:#x}")
        old, pos = _read_tuple(padded, pos, encoders, unavailable)
        after = None
        if kind == UPDATE:
            if padded[pos] != NEW:
                raise ValueError("the new row is missing")
            # A full old row has the values that the new one leaves out as unchanged.
            after, pos = _read_tuple(padded, pos + 1, encoders, old if tag == _OLD else unavailable)
        if pos != len(message) or kind == INSERT:
            raise ValueError(f"it should have {pos - base} bytes")
        return old, tag == _KEY, after
    except (struct.error, IndexError, ValueError) as exc:
        raise _malformed(message[base:], str(exc)) from exc


def _read_tuple(
    message: bytes, pos: int, encoders: Sequence[Encode | None], unavailable: Sequence[str]
) -> tuple[list[str], int]:
    """The row's JSON fragments and where it ends, which may be behind the end of a message that is cut."""
    if int.from_bytes(message[pos : pos + 2], "big") != len(encoders):
        raise ValueError(f"{len(encoders)} columns expected")
    pos += 2
    fragments: list[str] = []
    append = fragments.append
    for encode in encoders:
        kind, size = _VALUE_HEAD(message, pos)
        if kind == _TEXT:
            start = pos + 5
            pos = start + size
            text = message[start:pos].decode()
            append(text if encode is None else encode(text))
        else:
            pos += 1
            if kind == _NULL:
                append(NULL)
            elif kind == _UNSENT:
                append(unavailable[len(fragments)])
            else:
                raise ValueError(f"unknown kind of value {kind:#x}")
    return fragments, pos


def texts(messages: Sequence[bytes], width: int, base: int = 0) -> tuple[list[Sequence[str]], bool]:
    """The texts of the new rows of inserts, and of updates without an old row, each starting at `base`, by
    column; and whether `ABSENT` or `UNCHANGED` are among them."""
    rows = [message[base + _TUPLE :] for message in messages]
    quick = _plain_texts(rows, width)
    if quick is not None:
        return quick, False
    by_row = [_texts(row, width) for row in rows]
    return list(zip(*by_row, strict=True)), True


def _plain_texts(rows: Sequence[bytes], width: int) -> list[Sequence[str]] | None:
    """None unless each value is a text of less than 256 bytes. Such a one begins with `_SHORT_TEXT` and a
    byte that is its length; no text has a NUL, so that these bytes are found nowhere else."""
    pieces = b"".join(rows).decode("latin-1").split(_SHORT_TEXT)
    if len(pieces) != width * len(rows) + 1 or pieces[0] or not width:
        return None
    columns = [list(map(_behind_length, pieces[place::width])) for place in range(1, width + 1)]
    try:
        # Whatever is missing of a message is missing at its end.
        lengths = "".join([piece[:1] for piece in pieces[width::width]]).encode("latin-1")
        if lengths != bytes(map(len, columns[-1])):
            return None
        return [_decoded(column) for column in columns]
    except ValueError:
        return None


def _decoded(column: Sequence[str]) -> Sequence[str]:
    """The texts of UTF-8 that was read as Latin-1; raises `ValueError` for what is no UTF-8 or has a NUL."""
    if "".join(column).isascii():
        return column
    texts = "\0".join(column).encode("latin-1").decode().split("\0")
    if len(texts) != len(column):
        raise ValueError("a text with a NUL")
    return texts


def _texts(row: bytes, width: int) -> list[str]:
    texts: list[str] = []
    append = texts.append
    padded, pos = row + _PADDING, 0
    try:
        for _ in range(width):
            kind, size = _VALUE_HEAD(padded, pos)
            if kind == _TEXT:
                start = pos + 5
                pos = start + size
                append(row[start:pos].decode())
            else:
                pos += 1
                if kind == _NULL:
                    append(ABSENT)
                elif kind == _UNSENT:
                    append(UNCHANGED)
                else:
                    raise ValueError(f"unknown kind of value {kind:#x}")
        _at_end(row, pos)
    except (struct.error, ValueError) as exc:
        raise _malformed(row, str(exc)) from exc
    return texts


def _string(message: bytes, pos: int) -> tuple[str, int]:
    end = message.index(0, pos)
    return str(message[pos:end], "utf-8"), end + 1


def _at_end(message: bytes, pos: int) -> None:
    if pos != len(message):
        raise ValueError(f"it should have {pos} bytes")
