"""Signals and what stands in offsets, taken apart."""

import pytest

from connect.api import ConnectError
from connectors.postgres.incremental_chunks import XidSnapshot
from connectors.postgres.incremental_context import Collection, IncrementalContext
from connectors.postgres.signals import (
    SnapshotRequest,
    parse_line,
    parse_row,
    read_requests,
    show_requests,
    snapshot_request,
)
from connectors.postgres.snapshot_chunks import Progress


def test_a_row_and_a_line_say_the_same() -> None:
    data = '{"data-collections": ["public.t"], "type": "blocking"}'
    line = f'{{"id": "1", "type": "execute-snapshot", "data": {data}}}'
    row = [
        '"1"',
        '"execute-snapshot"',
        '"{\\"data-collections\\": [\\"public.t\\"], \\"type\\": \\"blocking\\"}"',
    ]
    assert parse_line(line) == parse_row(row)
    assert snapshot_request(parse_line(line)) == SnapshotRequest("1", "BLOCKING", ("public.t",))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("{}", "data-collections"), ('{"data-collections": "t"}', "list of strings"),
        ('{"data-collections": ["t"], "type": "quick"}', "INCREMENTAL or BLOCKING, not QUICK"),
        ('{"data-collections": ["t"], "additional-conditions": [{"filter": "1=1"}]}', "data-collection"),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense(data: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        snapshot_request(parse_line(f'{{"type": "execute-snapshot", "data": {data}}}'))


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"type": "log", "data": 3}', '{"type": 3}'])
def test_lines_that_are_no_signals(line: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|type|object|char"):
        parse_line(line)


def test_requests_in_an_offset() -> None:
    requests = [SnapshotRequest("1", "BLOCKING", ("public.t",), (("public.t", "SELECT 1"),))]
    assert read_requests(show_requests(requests)) == requests
    with pytest.raises(ValueError, match="no requests of blocking snapshots"):
        read_requests('[{"id": 1}]')


def test_a_context_comes_back_from_an_offset() -> None:
    context = IncrementalContext()
    assert context.fields() == {}
    context.add([Collection("public.t", "(a < 3)"), Collection("public.u", None, "k")], "s1")
    context.begin(("9", "z"), ["int4", "text"])
    context.advance(("3", "b"), ["int4", "text"])
    context.pause(True)
    again = IncrementalContext()
    again.load(context.fields())
    assert again.fields() == context.fields()
    assert (again.last_key, again.maximum_key, again.paused) == (("3", "b"), ("9", "z"), True)
    again.next_table()
    assert again.fields()["incremental_snapshot_primary_key"] == "aced000570"
    assert again.paused
    again.next_table()
    assert again.fields() == {}


def test_a_damaged_context_is_refused() -> None:
    fields = {"incremental_snapshot_collections": '[{"incremental_snapshot_collections_id":"public.t"}]'}
    with pytest.raises(ConnectError, match="incremental_snapshot_primary_key: it is cut off"):
        IncrementalContext().load({**fields, "incremental_snapshot_primary_key": "aced0005757200"})


@pytest.mark.parametrize(
    "progress",
    [
        Progress(), Progress(("public.a",)), Progress(("public.a",), "public.t", "ctid", 128, 16384),
        Progress((), "public.t", "key", ("3", "it's"), 0),
    ],
)  # fmt: skip
def test_progress_comes_back(progress: Progress) -> None:
    assert Progress.from_json(progress.to_json()) == progress


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"done": 3}'])
def test_damaged_progress_is_refused(text: str) -> None:
    with pytest.raises(ConnectError, match="snapshot_progress in the offset cannot be read"):
        Progress.from_json(text)


def test_which_transactions_a_query_has_seen() -> None:
    seen = XidSnapshot.parse("100:110:103,107")
    assert [xid for xid in range(98, 113) if seen.sees(xid)] == [
        98,
        99,
        100,
        101,
        102,
        104,
        105,
        106,
        108,
        109,
    ]
    wrapped = XidSnapshot.parse(f"{(1 << 32) - 5}:{(1 << 32) + 5}:")
    assert wrapped.sees((1 << 32) - 1)
    assert wrapped.sees(4)
    assert not wrapped.sees(5)
