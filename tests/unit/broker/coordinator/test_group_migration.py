"""A group changes its protocol while it has members (KIP-848), and what its classic members are told."""

from typing import Any

import orjson
import pytest
from support.consumer_groups import GROUP, REBALANCE_MS, SESSION_MS, ConsumerGroups
from support.subscriptions import pack_subscription

from broker.coordinator.consumer_group import MigrationPolicy
from broker.coordinator.messages import (
    DescribeGroup,
    FetchOffsets,
    Heartbeat,
    Join,
    Leave,
    LeavingMember,
    ListGroups,
    Protocol,
    Sync,
)
from broker.coordinator.records import GroupRecord, decode_group_record, encode_group_record
from broker.coordinator.subscription import pack_assignment
from broker.wire.errors import ErrorCode

NONE = ErrorCode.none


def pack(*numbers: int) -> bytes:
    return pack_assignment([("t", n) for n in numbers], 1)


def with_classic(**limits: Any) -> ConsumerGroups:
    """A group of one classic member "c", which has all partitions."""
    groups = ConsumerGroups(**limits)
    groups.join_classic("", new_member_id="c")
    assert groups.sync("c", 1, {"c": pack(0, 1, 2, 3)}) == [0, 1, 2, 3]
    return groups


def beat(groups: ConsumerGroups, member_id: str, generation_id: int) -> ErrorCode:
    error: ErrorCode = groups.answer(Heartbeat(GROUP, member_id, None, generation_id)).error_code
    return error


def type_of(groups: ConsumerGroups) -> str:
    (listed,) = groups.answer(ListGroups()).groups
    kind: str = listed.group_type
    return kind


def test_up_and_down_again() -> None:
    groups = with_classic()
    groups.commit("c", 1)
    joined = groups.join("k")
    assert (joined.member_epoch, list(joined.assigned or ())) == (2, [])
    assert type_of(groups) == "consumer"
    assert [m.is_classic for m in groups.describe().members] == [True, False]
    assert groups.commit("c", 1) is NONE
    assert beat(groups, "c", 1) is ErrorCode.rebalance_in_progress
    assert groups.sync("c", 1) is ErrorCode.rebalance_in_progress
    back = groups.join_classic("c")  # eager: it has given up everything
    assert (back.error_code, back.generation_id, back.leader, back.members) == (NONE, 2, "", ())
    assert groups.sync("c", 2) == [0, 1]
    assert beat(groups, "c", 2) is NONE
    assert set(groups.beat("k", 2).assigned or ()) == groups.ids(2, 3)
    assert groups.describe().group_state == "Stable"
    groups.beat("k", -1)
    assert type_of(groups) == "classic"
    assert beat(groups, "c", 2) is ErrorCode.rebalance_in_progress
    alone = groups.join_classic("c")
    assert (alone.generation_id, alone.leader) == (3, "c")
    assert groups.sync("c", 3, {"c": pack(0, 1, 2, 3)}) == [0, 1, 2, 3]
    assert len(groups.answer(FetchOffsets(GROUP, None)).offsets) == 1


def test_a_cooperative_member_keeps_what_it_may_and_gives_up_the_rest() -> None:
    groups = with_classic()
    groups.join("k")
    told = groups.join_classic("c", 0, 1, 2, 3)
    assert told.generation_id == 1  # the same, until it has given up
    assert groups.sync("c", 1) == [0, 1]
    assert set(groups.beat("k", 2).assigned or ()) == set()
    assert groups.join_classic("c", 0, 1).generation_id == 2
    assert set(groups.beat("k", 2).assigned or ()) == groups.ids(2, 3)


def test_a_classic_member_is_told_to_rejoin_when_it_can_get_something() -> None:
    groups = with_classic()
    groups.join("k")
    groups.join_classic("c")
    groups.sync("c", 2)
    groups.beat("k", 2)
    groups.join_classic("", new_member_id="d")  # is to get one of c's
    late = groups.join_classic("d")
    assert groups.sync("d", late.generation_id) == []
    assert beat(groups, "d", late.generation_id) is NONE  # to rejoin now would bring it nothing
    groups.join_classic("c")
    assert beat(groups, "d", late.generation_id) is ErrorCode.rebalance_in_progress
    assert groups.sync("d", groups.join_classic("d").generation_id) == [1]


@pytest.mark.parametrize("times_out", ["join", "sync", "session"])
def test_a_classic_member_that_does_not_do_as_it_is_told_is_out(times_out: str) -> None:
    groups = with_classic()
    groups.join("k", rebalance_timeout_ms=REBALANCE_MS)
    if times_out == "sync":
        groups.join_classic("c")
    generation_id = 1 if times_out == "join" else 2
    for _ in range(REBALANCE_MS // SESSION_MS * 2):
        if times_out != "session":
            beat(groups, "c", generation_id)
        groups.beat("k", groups.members()["k"].member_epoch)
        groups.world.pass_time(SESSION_MS // 2)
    assert list(groups.members()) == ["k"]


def test_members_of_the_other_protocol_are_not_members_of_this_one() -> None:
    groups = with_classic()
    groups.join("k")
    assert beat(groups, "k", 2) is ErrorCode.unknown_member_id
    assert groups.sync("k", 2) is ErrorCode.unknown_member_id
    assert beat(groups, "nobody", 2) is ErrorCode.unknown_member_id
    assert beat(groups, "c", 7) is ErrorCode.illegal_generation
    assert groups.commit("c", 7) is ErrorCode.illegal_generation
    assert groups.beat("k", 2).error_code is NONE


def test_a_member_can_change_its_protocol() -> None:
    groups = with_classic()
    groups.join("c")
    assert [m.is_classic for m in groups.describe().members if m.member_id == "c"] == [False]


def test_a_static_member_can_come_back_by_either_protocol() -> None:
    groups = ConsumerGroups()
    groups.join("k")
    groups.join("s", instance_id="i")
    groups.beat("s", -2, instance_id="i")
    back = groups.join_classic("", group_instance_id="i", new_member_id="s2")
    assert back.error_code is NONE
    assert groups.members()["s2"].is_classic
    again = groups.join("s3", instance_id="i")  # a classic one need not have said that it goes
    assert again.error_code is NONE
    assert not groups.members()["s3"].is_classic
    fenced = groups.join_classic("s2", group_instance_id="i")
    assert fenced.error_code is ErrorCode.fenced_instance_id


def test_what_a_cooperative_member_still_has_to_give_up_is_not_given_away() -> None:
    groups = with_classic()
    groups.hand_over(_join("", new_member_id="d"))
    groups.answer(_join("c", owned=(0, 1, 2, 3)))  # KIP-429: in this generation nobody gets 2 and 3
    groups.hand_over(Sync(GROUP, "d", None, 2, None, None, {}))
    assert groups.sync("c", 2, {"c": pack(0, 1), "d": pack()}) == [0, 1]
    first = groups.join("k")
    assert list(first.assigned or ()) == []
    assert set(groups.members()["c"].assigned) == groups.ids(0, 1, 2, 3)
    assert beat(groups, "c", 2) is ErrorCode.rebalance_in_progress
    groups.join_classic("c", 0, 1)
    assert set(groups.beat("k", 3).assigned or ()) <= groups.ids(2, 3)


def test_a_leader_may_have_assigned_a_partition_twice() -> None:
    groups = with_classic()
    waiting = groups.hand_over(_join("", new_member_id="d"))
    groups.join_classic("c")
    groups.answers.pop(waiting)
    groups.hand_over(Sync(GROUP, "d", None, 2, None, None, {}))
    groups.sync("c", 2, {"c": pack(0, 1), "d": pack(1, 2)})
    assert groups.join("k").error_code is NONE
    members = groups.members()
    assert [set(members[name].assigned) for name in "cd"] == [groups.ids(0, 1), groups.ids(2)]


def test_an_upgrade_answers_who_waits_in_the_classic_group() -> None:
    groups = with_classic()
    waiting = groups.hand_over(_join("", new_member_id="d"))
    groups.join("k")
    assert groups.answers.pop(waiting).error_code is ErrorCode.rebalance_in_progress


def test_a_restart_in_between_changes_nothing() -> None:
    groups = with_classic()
    groups.join("k")
    groups.join_classic("c")
    before = groups.describe()
    groups.world.crash()
    assert groups.describe() == before
    assert groups.sync("c", 2) == [0, 1]
    groups.beat("k", -1)
    groups.world.crash()
    assert groups.answer(DescribeGroup(GROUP)).group_state == "PreparingRebalance"
    assert beat(groups, "c", 2) is ErrorCode.rebalance_in_progress  # what k had is nobody's yet


@pytest.mark.parametrize("policy", MigrationPolicy)
def test_the_policy_decides(policy: MigrationPolicy) -> None:
    groups = with_classic(migration_policy=policy)
    result = groups.join("k")
    if not policy.may_upgrade:
        assert (result.error_code, result.error_message) == (
            ErrorCode.group_id_not_found,
            f"Cannot upgrade classic group {GROUP} to consumer group because online upgrade is disabled.",
        )
        assert beat(groups, "c", 1) is NONE
        return
    groups.join_classic("c")
    groups.beat("k", -1)
    assert type_of(groups) == ("classic" if policy.may_downgrade else "consumer")


def test_without_migration_classic_members_cannot_join() -> None:
    groups = ConsumerGroups(migration_policy=MigrationPolicy.DISABLED)
    groups.join("k")
    assert groups.join_classic("").error_code is ErrorCode.inconsistent_group_protocol


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol_type": "connect"}, "the group does not use the consumer embedded protocol."),
        ({"protocols": (Protocol("range", b"?"),)}, "the embedded consumer protocol is malformed."),
    ],
)
def test_not_every_classic_group_can_be_upgraded(changes: dict[str, Any], reason: str) -> None:
    groups = ConsumerGroups()
    groups.join_classic("", new_member_id="c", **changes)
    result = groups.join("k")
    assert result.error_code is ErrorCode.group_id_not_found
    assert result.error_message == f"Cannot upgrade classic group {GROUP} to consumer group because {reason}"
    assert groups.beat("k", 5).error_message == f"Group {GROUP} is not a consumer group."
    assert groups.describe().error_message == f"Group {GROUP} is not a consumer group."


def test_a_custom_assignor_keeps_its_group() -> None:
    groups = ConsumerGroups()
    groups.join_classic("", new_member_id="c")
    groups.sync("c", 1, {"c": pack(0)[:-4] + b"\0\0\0\1?"})
    result = groups.join("k")
    assert result.error_message is not None
    assert "an unsupported custom assignor is in use" in result.error_message


def test_a_pattern_that_is_none_does_not_upgrade() -> None:
    groups = with_classic()
    assert groups.join("k", regex="a[").error_code is ErrorCode.invalid_regular_expression
    assert type_of(groups) == "classic"
    assert beat(groups, "c", 1) is NONE


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol_type": "connect"},
        {"protocols": ()},
        {"protocols": (Protocol("other", pack_subscription(["t"])),)},
        {"protocols": (Protocol("range", b"?"),)},
    ],
)
def test_a_protocol_that_does_not_fit_is_inconsistent(changes: dict[str, Any]) -> None:
    groups = with_classic()
    groups.join("k")
    assert groups.join_classic("d", **changes).error_code is ErrorCode.inconsistent_group_protocol


def test_an_id_that_was_only_handed_out_holds_up_nobody() -> None:
    groups = ConsumerGroups()
    asked = groups.join_classic("", new_member_id="c", require_known_member_id=True)
    assert asked.error_code is ErrorCode.member_id_required
    assert groups.join("k").error_code is NONE
    assert groups.join_classic("c").error_code is NONE
    assert [m.member_id for m in groups.describe().members] == ["k", "c"]


def test_a_classic_group_stored_before_there_was_migration_is_read() -> None:
    record = GroupRecord(3, "consumer", "range", "m", 17)
    document = orjson.loads(encode_group_record(record))
    del document["is_rebalancing"]
    assert decode_group_record(orjson.dumps(document)) == record


def test_empty_groups_change_freely_and_epochs_go_on() -> None:
    groups = with_classic()
    groups.answer(Leave(GROUP, (LeavingMember("c"),)))
    first = groups.join("k")
    assert first.error_code is NONE
    groups.beat("k", -1)
    joined = groups.join_classic("", new_member_id="c")
    assert type_of(groups) == "classic"
    assert joined.generation_id > first.member_epoch
    assert joined.leader == "c"


def _join(member_id: str, owned: tuple[int, ...] = (), new_member_id: str = "") -> Join:
    protocol = Protocol("range", pack_subscription(["t"], [("t", n) for n in owned]))
    return Join(
        GROUP, member_id, None, "c", "/h", SESSION_MS, REBALANCE_MS, "consumer", (protocol,), new_member_id
    )
