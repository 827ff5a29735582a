"""Committed offsets: who may commit, how long they are kept, how groups are listed and deleted."""

import struct
from typing import Any

import pytest
from support.group_world import GroupWorld

from broker.coordinator.classic_group import GroupLimits
from broker.coordinator.group_coordinator import CoordinatorSettings
from broker.coordinator.messages import (
    Commit,
    DeleteGroup,
    DeleteOffsets,
    FetchOffsets,
    ForgetTopics,
    Heartbeat,
    Join,
    Leave,
    LeavingMember,
    ListGroups,
    Protocol,
    Request,
    Sync,
)
from broker.coordinator.records import (
    CommittedOffset,
    GroupRecord,
    MemberRecord,
    decode_group_record,
    encode_group_record,
)
from broker.coordinator.subscription import subscribed_topics
from broker.wire.errors import ErrorCode

DAY_MS = 24 * 3_600_000
RETENTION_MS = 7 * DAY_MS


class Offsets:
    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}
        self.world = GroupWorld(
            CoordinatorSettings(GroupLimits(initial_rebalance_delay_ms=0), offsets_retention_ms=RETENTION_MS),
            self.answers.__setitem__,
        )

    def answer(self, request: Request) -> Any:
        self.world.ask(request, 1)
        self.world.sync()
        return self.answers.pop(1)

    def commit(
        self,
        offset: int,
        *,
        group: str = "g",
        topic: str = "t",
        member_id: str = "",
        generation_id: int = -1,
        expires_in_ms: int | None = None,
    ) -> Any:
        now_ms = self.world.wall_clock_ms
        expire_time_ms = None if expires_in_ms is None else now_ms + expires_in_ms
        offsets = {(topic, 0): CommittedOffset(offset, 3, "note", now_ms, expire_time_ms)}
        return self.answer(Commit(group, member_id, None, generation_id, offsets)).error_code

    def offsets(self, group: str = "g") -> dict[str, int]:
        fetched = self.answer(FetchOffsets(group, None)).offsets
        return {topic: committed.offset for (topic, _), committed in fetched.items()}

    def member(self, group: str = "g", metadata: bytes = b"", protocol_type: str = "consumer") -> str:
        """A member of a stable group that heartbeats never again."""
        protocols = (Protocol("range", metadata),)
        joined = self.answer(
            Join(group, "", None, "c", "/h", 1_800_000, 60_000, protocol_type, protocols, "m")
        )
        self.answer(Sync(group, "m", None, joined.generation_id, None, None, {"m": b"all"}))
        return "m"

    def pass_days(self, days: float) -> None:
        """The clock moves on; only the expiry timer matters here."""
        self.world.pass_time(int(days * DAY_MS))


def test_a_consumer_without_a_group_protocol_commits() -> None:
    offsets = Offsets()
    assert offsets.commit(5) is ErrorCode.none
    assert offsets.commit(3) is ErrorCode.none  # it may go back
    assert offsets.offsets() == {"t": 3}
    assert [(g.group_id, g.protocol_type, g.group_state) for g in offsets.answer(ListGroups()).groups] == [
        ("g", "", "Empty")
    ]


def test_while_a_group_has_members_others_cannot_commit() -> None:
    offsets = Offsets()
    member_id = offsets.member()
    assert offsets.commit(5) is ErrorCode.unknown_member_id
    assert offsets.commit(5, member_id="other", generation_id=1) is ErrorCode.unknown_member_id
    assert offsets.commit(5, member_id=member_id, generation_id=1) is ErrorCode.none


def test_a_member_cannot_commit_before_it_has_an_assignment() -> None:
    offsets = Offsets()
    protocols = (Protocol("range", b""),)
    offsets.answer(Join("g", "", None, "c", "/h", 10_000, 60_000, "consumer", protocols, "m"))
    assert offsets.commit(5, member_id="m", generation_id=1) is ErrorCode.rebalance_in_progress


def test_what_was_committed_comes_back_whole_after_a_restart() -> None:
    offsets = Offsets()
    offsets.commit(5)
    before = offsets.answer(FetchOffsets("g", [("t", 0), ("t", 1)])).offsets
    offsets.world.crash()
    after = offsets.answer(FetchOffsets("g", [("t", 0), ("t", 1)])).offsets
    assert after == before
    assert after[("t", 0)] == CommittedOffset(5, 3, "note", offsets.world.wall_clock_ms)


class TestExpiry:
    def test_offsets_of_a_simple_consumer_expire_each_by_its_commit(self) -> None:
        offsets = Offsets()
        offsets.commit(1, topic="old")
        offsets.pass_days(6)
        offsets.commit(2, topic="new")
        offsets.pass_days(1.1)
        assert offsets.offsets() == {"new": 2}
        offsets.pass_days(6)
        assert offsets.answer(ListGroups()).groups == ()
        offsets.world.crash()
        assert offsets.answer(ListGroups()).groups == ()

    def test_a_group_with_members_keeps_its_offsets(self) -> None:
        offsets = Offsets()
        member_id = offsets.member()
        offsets.commit(1, member_id=member_id, generation_id=1)
        for _ in range(8 * 48):
            offsets.pass_days(1 / 49)  # within its session
            assert offsets.answer(Heartbeat("g", member_id, None, 1)).error_code is ErrorCode.none
        assert offsets.offsets() == {"t": 1}

    def test_a_group_that_was_left_keeps_them_for_the_retention(self) -> None:
        offsets = Offsets()
        member_id = offsets.member()
        offsets.commit(1, member_id=member_id, generation_id=1)
        offsets.answer(Leave("g", (LeavingMember(member_id),)))
        offsets.pass_days(6.9)
        assert offsets.offsets() == {"t": 1}
        offsets.world.crash()  # the time that it was left is remembered
        offsets.pass_days(0.2)
        assert offsets.offsets() == {}

    def test_a_commit_may_bring_its_own_retention(self) -> None:
        offsets = Offsets()
        offsets.commit(1, expires_in_ms=DAY_MS)
        offsets.pass_days(0.9)
        assert offsets.offsets() == {"t": 1}
        offsets.pass_days(0.2)
        assert offsets.offsets() == {}


class TestDeleting:
    def test_a_group_goes_with_its_offsets(self) -> None:
        offsets = Offsets()
        offsets.commit(1)
        assert offsets.answer(DeleteGroup("g")).error_code is ErrorCode.none
        assert offsets.answer(DeleteGroup("g")).error_code is ErrorCode.group_id_not_found
        offsets.world.crash()
        assert offsets.offsets() == {}

    def test_a_group_with_members_stays(self) -> None:
        offsets = Offsets()
        offsets.member()
        assert offsets.answer(DeleteGroup("g")).error_code is ErrorCode.non_empty_group

    def test_offsets_of_topics_that_members_read_stay(self) -> None:
        offsets = Offsets()
        subscription = struct.pack(">hih4si", 0, 1, 4, b"read", -1)
        member_id = offsets.member(metadata=subscription)
        for topic in ("read", "other"):
            offsets.commit(1, topic=topic, member_id=member_id, generation_id=1)
        result = offsets.answer(DeleteOffsets("g", [("read", 0), ("other", 0)]))
        assert (result.error_code, result.subscribed) == (ErrorCode.none, [("read", 0)])
        assert offsets.offsets() == {"read": 1}

    def test_only_consumers_say_what_they_read(self) -> None:
        offsets = Offsets()
        offsets.member(protocol_type="connect")
        result = offsets.answer(DeleteOffsets("g", [("t", 0)]))
        assert result.error_code is ErrorCode.non_empty_group
        assert offsets.answer(DeleteOffsets("none", [("t", 0)])).error_code is ErrorCode.group_id_not_found

    def test_offsets_of_deleted_topics_go_in_all_groups(self) -> None:
        offsets = Offsets()
        for group in ("g", "h"):
            offsets.commit(1, group=group, topic="gone")
            offsets.commit(1, group=group, topic="kept")
        offsets.answer(ForgetTopics(frozenset({"gone"})))
        offsets.world.crash()
        assert offsets.offsets("g") == offsets.offsets("h") == {"kept": 1}


@pytest.mark.parametrize(
    ("states", "types", "found"),
    [
        ((), (), {"empty", "full"}),
        (("stable",), (), {"full"}),
        (("Empty", "Dead"), ("Classic",), {"empty"}),
        ((), ("consumer",), set()),
        (("nonsense",), (), set()),
    ],
)
def test_groups_are_listed_by_state_and_type(
    states: tuple[str, ...], types: tuple[str, ...], found: set[str]
) -> None:
    offsets = Offsets()
    offsets.commit(1, group="empty")
    offsets.member("full")
    assert {group.group_id for group in offsets.answer(ListGroups(states, types)).groups} == found


def test_a_record_survives_its_encoding() -> None:
    member = MemberRecord("m", "i", "c", "/h", 1, 2, b"\x00\xff", b"")
    record = GroupRecord(
        7, "consumer", "range", "m", 123, (member, MemberRecord("n", None, "", "", 1, 2, b"", b"x"))
    )
    assert decode_group_record(encode_group_record(record)) == record
    empty = GroupRecord(8, "consumer", None, None, 124)
    assert decode_group_record(encode_group_record(empty)) == empty


@pytest.mark.parametrize(
    ("metadata", "topics"),
    [
        (struct.pack(">hih1sh2s", 0, 2, 1, b"a", 2, b"bb"), {"a", "bb"}),
        (struct.pack(">hi", 0, 0), set()),
        (struct.pack(">hih2s", 0, 1, 9, b"bb"), None),
        (struct.pack(">hih", 0, 1, -1), None),
        (struct.pack(">hi", 0, 2**31 - 1), None),
        (struct.pack(">hih1s", 0, 1, 1, b"\xff"), None),
        (b"", None),
    ],
)
def test_subscriptions_are_read_or_refused(metadata: bytes, topics: set[str] | None) -> None:
    assert subscribed_topics(metadata) == topics
