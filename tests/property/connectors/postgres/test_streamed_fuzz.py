"""Open transactions in any interleaving come out whole, in the order of their commits; any bytes give the
one documented error or nothing."""

import contextlib
import struct
from collections.abc import Iterable, Iterator

from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres import pgoutput
from connectors.postgres.pgoutput import MalformedMessage
from connectors.postgres.streamed import StreamedTransactions

HEAD = struct.Struct(">cQQq")


class Script:
    """A reader whose messages are given; None is a pause."""

    def __init__(self, messages: Iterable[bytes | None]) -> None:
        self._messages = iter(messages)

    def receive(self) -> bytes | None:
        return next(self._messages)

    def wait(self, seconds: float) -> bool:
        return True


def sent(payload: bytes, lsn: int = 0) -> bytes:
    return HEAD.pack(b"w", lsn, 0, 0) + payload


def xid_of(number: int) -> bytes:
    return number.to_bytes(4, "big")


def insert(text: bytes, xid: bytes = b"") -> bytes:
    return b"I" + xid + xid_of(7) + b"N\0\x01t" + len(text).to_bytes(4, "big") + text


def everything(messages: list[bytes | None], memory_bytes: int) -> Iterator[bytes]:
    reader = StreamedTransactions(Script([*messages, b"end"]), lambda schema, table: True, memory_bytes, None)  # type: ignore[arg-type]
    while (message := reader.receive()) != b"end":
        if message is not None:
            yield message[25:]
    reader.close()


class World:
    """What a server would send for these steps, and what has to come out."""

    def __init__(self) -> None:
        self.sent: list[bytes | None] = []
        self.expected: list[bytes] = []
        self._open: dict[int, list[tuple[int, bytes]]] = {}
        self._aborted: dict[int, set[int]] = {}
        self._count = 0

    def block(self, xid: int, subxids: list[int], *, pause: bool) -> None:
        first = xid not in self._open
        changes = self._open.setdefault(xid, [])
        self.sent.append(sent(b"S" + xid_of(xid) + bytes([first])))
        for sub in subxids:
            self._count += 1
            text = f"{xid}.{sub}.{self._count}".encode()
            subxid = xid * 100 + sub if sub else xid
            self.sent.append(sent(insert(text, xid_of(subxid))))
            changes.append((subxid, insert(text)))
            if pause:
                self.sent.append(None)
        self.sent.append(sent(b"E"))

    def abort(self, xid: int, sub: int) -> None:
        if xid not in self._open:
            return
        subxid = xid * 100 + sub if sub else xid
        self.sent.append(sent(b"A" + xid_of(xid) + xid_of(subxid)))
        if not sub:
            del self._open[xid]
            self._aborted.pop(xid, None)
        else:
            self._aborted.setdefault(xid, set()).add(subxid)

    def commit(self, xid: int) -> None:
        if xid not in self._open:
            return
        self._count += 1
        tail = struct.pack(">QQq", self._count, self._count + 1, 5)
        self.sent.append(sent(b"c" + xid_of(xid) + b"\0" + tail))
        aborted = self._aborted.pop(xid, set())
        self.expected.append(b"B" + struct.pack(">QqI", self._count, 5, xid))
        self.expected += [change for sub, change in self._open.pop(xid) if sub not in aborted]
        self.expected.append(b"C\0" + tail)

    def plain(self) -> None:
        """A small transaction in between."""
        self._count += 1
        for payload in (b"B" + bytes(20), insert(b"plain %d" % self._count), b"C" + bytes(25)):
            self.sent.append(sent(payload))
            self.expected.append(payload)


xids = st.integers(1, 4)
steps = st.one_of(
    st.tuples(st.just("block"), xids, st.lists(st.integers(0, 3), max_size=5), st.booleans()),
    st.tuples(st.just("abort"), xids, st.integers(0, 3)),
    st.tuples(st.just("commit"), xids),
    st.tuples(st.just("plain")),
)


@given(st.lists(steps, max_size=40), st.sampled_from([0, 60, 1 << 20]))
def test_any_interleaving(script: list[tuple[object, ...]], memory_bytes: int) -> None:
    world = World()
    for name, *arguments in script:
        match name:
            case "block":
                world.block(*arguments[:2], pause=bool(arguments[2]))  # type: ignore[arg-type]
            case _:
                getattr(world, str(name))(*arguments)
    assert list(everything(world.sent, memory_bytes)) == world.expected


@given(st.lists(st.tuples(st.sampled_from(b"SEcAIUDTMRYOBC"), st.binary(max_size=60)), max_size=8))
def test_any_bytes(messages: list[tuple[int, bytes]]) -> None:
    with contextlib.suppress(MalformedMessage):
        list(everything([sent(bytes([kind]) + rest) for kind, rest in messages], 100))


@given(st.data())
def test_no_cut_of_a_streamed_message_goes_unnoticed(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from([
        b"S" + xid_of(1) + b"\1", b"A" + xid_of(1) + xid_of(2), b"c" + xid_of(1) + bytes(25),
    ]))  # fmt: skip
    reader = {b"S": pgoutput.stream_start, b"A": pgoutput.stream_abort, b"c": pgoutput.stream_commit}[
        message[:1]
    ]
    reader(message)
    cut = data.draw(st.integers(0, len(message) - 1))
    try:
        reader(message[:cut])  # type: ignore[operator]
    except MalformedMessage:
        return
    raise AssertionError(f"cut at {cut}")


def test_relations_of_parts_that_were_rolled_back_are_kept() -> None:
    """The server describes a relation once for the whole transaction."""
    relation = xid_of(7) + b"public\0t\0d\0\1\0id\0" + bytes(8)
    messages: list[bytes | None] = [
        sent(b"S" + xid_of(1) + b"\1"), sent(b"R" + xid_of(2) + relation), sent(insert(b"x", xid_of(2))),
        sent(insert(b"y", xid_of(1))), sent(b"E"), sent(b"A" + xid_of(1) + xid_of(2)),
        sent(b"c" + xid_of(1) + b"\0" + struct.pack(">QQq", 1, 2, 3)),
    ]  # fmt: skip
    assert list(everything(messages, 0))[1:-1] == [b"R" + relation, insert(b"y")]
