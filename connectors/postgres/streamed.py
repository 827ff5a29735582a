"""Large transactions that the server sends while they are still open, put back together.

With `streaming 'on'` (https://www.postgresql.org/docs/current/protocol-logical-replication.html) the changes
of a transaction that outgrows logical_decoding_work_mem come in blocks, before it is known whether it will be
committed. They wait here, beyond a bound of memory in files, until its commit comes; then it is handed on in
the form that every other transaction has: Begin, changes, Commit. So nobody behind sees a difference.
"""

import io
import struct
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

from connect.api import ConnectError
from connectors.postgres import pgoutput
from connectors.postgres.connection import XLOG_DATA, XLOG_HEAD_BYTES, CopyReader

_KIND: Final = XLOG_HEAD_BYTES
_XID: Final = slice(_KIND + 1, _KIND + 5)
_OID: Final = slice(_KIND + 5, _KIND + 9)
_FRAME: Final = struct.Struct(">II")  # the xid of a change, the length of its message
_READ_BYTES: Final = 1 << 20
_TURN: Final = 1_000
"""So many messages are put away before whoever reads gets a turn to answer the server."""
_ROWS: Final = frozenset({pgoutput.INSERT, pgoutput.UPDATE, pgoutput.DELETE})
_KEPT: Final = _ROWS | {pgoutput.TRUNCATE, pgoutput.MESSAGE, pgoutput.RELATION}


class _Open:
    """A transaction whose commit has not come yet. `file` is what did not fit into memory; it comes first.
    `head` is that of its first block, whose position is that of its first change."""

    __slots__ = ("aborted", "buffer", "disk_bytes", "file", "head", "unwanted", "xid")

    def __init__(self, xid: int, head: bytes) -> None:
        self.xid = xid
        self.head = head
        self.buffer = bytearray()
        self.file: io.FileIO | None = None
        self.disk_bytes = 0
        self.aborted: array[int] = array("I")
        self.unwanted: set[int] = set()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class StreamedTransactions:
    """Reads from a `CopyReader` and gives the messages as if the server streamed no open transaction.

    `keeps` says of a relation whether its changes matter; the others are not kept. All open transactions
    together take `memory_bytes_max` of memory, and files without a name in `directory` (None: where temporary
    files go), which end with the process however it ends.
    """

    def __init__(
        self, reader: CopyReader, keeps: Callable[[str, str], bool], memory_bytes_max: int,
        directory: str | None,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._keeps = keeps
        self._memory_bytes_max = memory_bytes_max
        self._directory = directory
        self._transactions: dict[int, _Open] = {}
        self._memory_bytes = 0
        self._disk_bytes = 0
        self._block: _Open | None = None
        self._replay: Iterator[bytes] = iter(())
        self._more = False

    def receive(self) -> bytes | None:
        """As `CopyReader.receive`; also None once in a while when much was put away, see `wait`."""
        if (message := next(self._replay, None)) is not None:
            return message
        self._more = False
        for _ in range(_TURN):
            received = self._reader.receive()
            if received is None or received[0] != XLOG_DATA or len(received) <= _KIND:
                return received
            kind = received[_KIND]
            if self._block is not None:
                self._in_block(self._block, kind, received)
            elif kind == pgoutput.STREAM_START:
                xid = pgoutput.stream_start(received[_KIND:])
                self._block = self._transactions.setdefault(xid, _Open(xid, received[:_KIND]))
            elif kind == pgoutput.STREAM_COMMIT:
                self._replay = self._committed(received)
                return next(self._replay)
            elif kind == pgoutput.STREAM_ABORT:
                self._abort(*pgoutput.stream_abort(received[_KIND:]))
            else:
                return received
        self._more = True
        return None

    def take(self, count_max: int, bytes_max: int) -> list[bytes]:
        """As `CopyReader.take`, with the pauses of `receive`."""
        taken: list[bytes] = []
        while bytes_max > 0 and len(taken) < count_max and (message := self.receive()) is not None:
            taken.append(message)
            bytes_max -= len(message)
        return taken

    @property
    def held(self) -> tuple[int, int, int]:
        """How many transactions are open, and their bytes in memory and on disk."""
        return len(self._transactions), self._memory_bytes, self._disk_bytes

    def wait(self, seconds: float) -> bool:
        """As `CopyReader.wait`; at once where `receive` has only made a pause."""
        return self._more or self._reader.wait(seconds)

    def close(self) -> None:
        """Forget all that is kept: the server sends it again."""
        for transaction in self._transactions.values():
            transaction.close()
        self._transactions.clear()
        self._replay = iter(())

    # --- what the server sends

    def _in_block(self, transaction: _Open, kind: int, message: bytes) -> None:
        if kind == pgoutput.STREAM_STOP:
            self._block = None
        elif kind == pgoutput.ORIGIN:
            self._keep(transaction, transaction.xid, message)
        elif kind in _KEPT and len(message) >= _OID.stop:
            plain = message[: _XID.start] + message[_XID.stop :]
            if kind == pgoutput.RELATION:
                self._note_relation(transaction, plain)
            elif kind in _ROWS and int.from_bytes(message[_OID], "big") in transaction.unwanted:
                return
            self._keep(transaction, int.from_bytes(message[_XID], "big"), plain)
        elif kind != pgoutput.TYPE:
            raise pgoutput.MalformedMessage(
                f"a message of kind {kind:#x} and {len(message)} bytes in transaction {transaction.xid}"
            )

    def _note_relation(self, transaction: _Open, message: bytes) -> None:
        relation = pgoutput.relation(message[_KIND:])
        if self._keeps(relation.schema, relation.name):
            transaction.unwanted.discard(relation.oid)
        else:
            transaction.unwanted.add(relation.oid)

    def _keep(self, transaction: _Open, xid: int, message: bytes) -> None:
        transaction.buffer += _FRAME.pack(xid, len(message))
        transaction.buffer += message
        self._memory_bytes += _FRAME.size + len(message)
        if self._memory_bytes > self._memory_bytes_max:
            self._spill(max(self._transactions.values(), key=lambda each: len(each.buffer)))

    def _spill(self, transaction: _Open) -> None:
        try:
            if transaction.file is None:
                transaction.file = tempfile.TemporaryFile(  # noqa: SIM115 - closed with the transaction
                    dir=self._directory, prefix="millstream-", buffering=0
                )
            self._write(transaction.file, transaction.buffer)
        except OSError as exc:
            directory = self._directory or tempfile.gettempdir()
            raise ConnectError(
                f"transaction {transaction.xid} does not fit into memory and cannot be written to "
                f"{directory}: {exc}. Make room there, set streaming.transactions.directory to another "
                "directory, or streaming.transactions=off, so that the server keeps it until its commit"
            ) from exc
        self._memory_bytes -= len(transaction.buffer)
        self._disk_bytes += len(transaction.buffer)
        transaction.disk_bytes += len(transaction.buffer)
        transaction.buffer = bytearray()

    @staticmethod
    def _write(file: io.FileIO, data: bytearray) -> None:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]

    def _abort(self, xid: int, subxid: int) -> None:
        transaction = self._transactions.get(xid)
        if transaction is None:
            return
        if xid == subxid:
            self._forget(transaction)
        else:
            transaction.aborted.append(subxid)

    def _forget(self, transaction: _Open) -> None:
        self._memory_bytes -= len(transaction.buffer)
        self._disk_bytes -= transaction.disk_bytes
        transaction.close()
        del self._transactions[transaction.xid]

    # --- handing on

    def _committed(self, message: bytes) -> Iterator[bytes]:
        """The whole transaction, in the form of protocol version 1."""
        commit = pgoutput.stream_commit(message[_KIND:])
        transaction = self._transactions.get(commit.xid)
        if transaction is None:
            raise pgoutput.MalformedMessage(f"transaction {commit.xid} is committed, and never began")
        aborted = array("I", sorted(transaction.aborted))
        yield transaction.head + pgoutput.begin_message(commit)
        for xid, change in self._changes(transaction):
            # The server describes a relation once for the whole transaction, in whichever part of it.
            if not aborted or change[_KIND] == pgoutput.RELATION or not _contains(aborted, xid):
                yield change
        self._forget(transaction)
        yield message[:_KIND] + pgoutput.commit_message(commit)

    def _changes(self, transaction: _Open) -> Iterator[tuple[int, bytes]]:
        if transaction.file is not None:
            self._spill(transaction)
            transaction.file.seek(0)
            read = io.BufferedReader(transaction.file, _READ_BYTES).read
        else:
            read = io.BytesIO(transaction.buffer).read
        while frame := read(_FRAME.size):
            xid, size = _FRAME.unpack(frame)
            yield xid, read(size)


def _contains(ordered: "array[int]", xid: int) -> bool:
    place = bisect_left(ordered, xid)
    return place < len(ordered) and ordered[place] == xid
