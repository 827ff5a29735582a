"""The consumer group protocol (KIP-848), heartbeat by heartbeat, without a network or a disk."""

import uuid
from typing import Any

import pytest
from support.consumer_groups import GROUP, SESSION_MS, ConsumerGroups

from broker.coordinator.consumer_group import ConsumerLimits
from broker.coordinator.consumer_messages import ConsumerHeartbeat, ConsumerHeartbeatResult, SetGroupConfigs
from broker.coordinator.messages import (
    DeleteGroup,
    DeleteOffsets,
    DescribeGroup,
    FetchOffsets,
    ForgetTopics,
    Leave,
    LeavingMember,
    ListGroups,
)
from broker.wire.errors import ErrorCode

NONE = ErrorCode.none


@pytest.fixture
def groups() -> ConsumerGroups:
    return ConsumerGroups()


def outcome(result: ConsumerHeartbeatResult) -> tuple[ErrorCode, int]:
    return result.error_code, result.member_epoch


# Joining, and getting to the target.


def test_the_first_member_gets_everything_at_once(groups: ConsumerGroups) -> None:
    result = groups.join("a")
    assert outcome(result) == (NONE, 2)
    assert (result.member_id, result.heartbeat_interval_ms) == ("a", 5_000)
    assert set(result.assigned or ()) == groups.ids(0, 1, 2, 3)
    assert groups.beat("a", 2).assigned is None  # as it was told before
    assert groups.describe().group_state == "Stable"


def test_a_member_gives_up_before_another_one_gets(groups: ConsumerGroups) -> None:
    groups.join("a")
    second = groups.join("b")
    assert (outcome(second), list(second.assigned or ())) == ((NONE, 3), [])
    told = groups.beat("a", 2)
    assert (outcome(told), set(told.assigned or ())) == ((NONE, 2), groups.ids(0, 1))
    assert groups.describe().group_state == "Reconciling"
    assert set(groups.members()["a"].assigned) == groups.ids(0, 1, 2, 3)  # what it may hold yet
    assert groups.beat("b", 3).assigned is None
    assert groups.beat("a", 2, owned=groups.ids(0, 1, 2, 3)).member_epoch == 2  # not yet
    assert groups.beat("a", 2, owned=groups.ids(0, 1)).member_epoch == 3
    got = groups.beat("b", 3)
    assert (outcome(got), set(got.assigned or ())) == ((NONE, 3), groups.ids(2, 3))
    assert groups.describe().group_state == "Stable"


def test_a_member_gets_what_is_free_and_waits_for_the_rest(groups: ConsumerGroups) -> None:
    groups.join("a")
    groups.join("b")
    groups.beat("a", 2)
    groups.put_topic("t", 6)
    first = groups.beat("b", 3)  # the topic has grown: of the new partitions nobody has to be asked for
    assert outcome(first) == (NONE, 4)
    assert set(first.assigned or ()) < groups.ids(2, 3, 4, 5)
    groups.beat("a", 2, owned=groups.ids(0, 1))
    groups.beat("b", 4)
    members = groups.members()
    assert {n for _, n in [*members["a"].assigned, *members["b"].assigned]} == set(range(6))
    assert groups.describe().group_state == "Stable"


def test_a_full_heartbeat_is_told_everything_again(groups: ConsumerGroups) -> None:
    groups.join("a")
    again = groups.beat("a", 2, rebalance_timeout_ms=1, topics=frozenset(["t"]), owned=groups.ids(0, 1, 2, 3))
    assert set(again.assigned or ()) == groups.ids(0, 1, 2, 3)
    rejoined = groups.join("a")
    assert outcome(rejoined) == (NONE, 2)
    assert set(rejoined.assigned or ()) == groups.ids(0, 1, 2, 3)


def test_a_lost_answer_can_be_asked_for_again(groups: ConsumerGroups) -> None:
    groups.join("a")
    groups.put_topic("t", 5)
    assert groups.beat("a", 2).member_epoch == 3
    retry: dict[str, Any] = {"rebalance_timeout_ms": 1, "topics": frozenset(["t"])}
    again = groups.beat("a", 2, owned=groups.ids(0, 1, 2, 3), **retry)
    assert outcome(again) == (NONE, 3)
    assert set(again.assigned or ()) == groups.ids(0, 1, 2, 3, 4)
    # One that says to have what it should not is somebody else, or out of its mind.
    wrong = groups.beat("a", 2, owned=groups.ids(0, 7), **retry)
    assert wrong.error_code is ErrorCode.fenced_member_epoch


def test_an_older_heartbeat_does_not_count_as_a_revocation(groups: ConsumerGroups) -> None:
    groups.join("a")
    groups.join("b")
    groups.beat("a", 2)
    groups.beat("a", 2, owned=groups.ids(0, 1))  # a is in epoch 3, after 2
    groups.answer(Leave(GROUP, (LeavingMember("b"),)))
    assert set(groups.beat("a", 3).assigned or ()) == groups.ids(0, 1, 2, 3)
    groups.join("c")
    groups.beat("a", 4)  # is to give up again
    late = groups.beat("a", 3, owned=groups.ids(0, 1))
    assert late.error_code is ErrorCode.fenced_member_epoch


@pytest.mark.parametrize(("epoch", "word"), [(1, "smaller"), (3, "greater")])
def test_a_wrong_epoch_is_fenced(groups: ConsumerGroups, epoch: int, word: str) -> None:
    groups.join("a")
    result = groups.beat("a", epoch)
    assert result.error_code is ErrorCode.fenced_member_epoch
    assert result.error_message == (
        f"The consumer group member has a {word} member epoch ({epoch}) than the one known by the group "
        "coordinator (2). The member must abandon all its partitions and rejoin."
    )


def test_who_is_no_member_is_told_so(groups: ConsumerGroups) -> None:
    for epoch, message in [(1, f"Consumer group {GROUP} not found."), (-1, f"Group {GROUP} not found.")]:
        result = groups.beat("a", epoch)
        assert (result.error_code, result.error_message) == (ErrorCode.group_id_not_found, message)
    groups.join("a")
    for epoch in (1, -1):
        result = groups.beat("b", epoch)
        assert result.error_code is ErrorCode.unknown_member_id
        assert result.error_message == f"Member b is not a member of group {GROUP}."


def test_a_full_group_takes_nobody_else() -> None:
    groups = ConsumerGroups(size_max=1)
    groups.join("a")
    result = groups.join("b")
    assert result.error_code is ErrorCode.group_max_size_reached
    assert result.error_message == "The consumer group has reached its maximum capacity of 1 members."
    assert outcome(groups.beat("a", 2)) == (NONE, 2)


def test_assignments_are_not_worked_out_too_often() -> None:
    groups = ConsumerGroups(assignment_interval_ms=1_000)
    groups.join("a")
    assert outcome(groups.join("b")) == (NONE, 2)
    assert groups.describe().group_state == "Assigning"
    groups.world.pass_time(999)
    assert outcome(groups.beat("a", 2)) == (NONE, 2)
    groups.world.pass_time(1)
    assert groups.describe().group_state == "Reconciling"
    assert set(groups.beat("a", 2).assigned or ()) == groups.ids(0, 1)


def test_most_members_decide_on_the_assignor(groups: ConsumerGroups) -> None:
    groups.join("a")
    assert groups.describe().assignor_name == "uniform"
    groups.join("b", assignor="range")
    assert groups.describe().assignor_name == "range"
    groups.join("c", assignor="uniform")
    groups.join("d", assignor="uniform")
    assert groups.describe().assignor_name == "uniform"


# Leaving, and being found dead.


def test_who_leaves_hands_over_at_once(groups: ConsumerGroups) -> None:
    groups.join("a")
    groups.join("b")
    assert outcome(groups.beat("a", -1)) == (NONE, -1)
    assert set(groups.beat("b", 3).assigned or ()) == groups.ids(0, 1, 2, 3)
    assert outcome(groups.beat("b", -1)) == (NONE, -1)
    assert groups.describe().group_state == "Empty"


def test_who_is_not_heard_of_is_out(groups: ConsumerGroups) -> None:
    groups.join("a")
    groups.world.pass_time(SESSION_MS - 1)
    groups.join("b")
    groups.world.pass_time(1)
    assert list(groups.members()) == ["b"]
    assert set(groups.beat("b", 3).assigned or ()) == groups.ids(0, 1, 2, 3)
    assert groups.beat("a", 2).error_code is ErrorCode.unknown_member_id


def test_who_does_not_give_up_in_time_is_out(groups: ConsumerGroups) -> None:
    groups.join("a", rebalance_timeout_ms=3_000)
    groups.join("b")
    groups.beat("a", 2)
    groups.world.pass_time(2_999)
    assert groups.beat("a", 2, owned=groups.ids(0, 1, 2, 3)).error_code is NONE
    groups.world.pass_time(1)
    assert list(groups.members()) == ["b"]


def test_a_group_can_have_timeouts_of_its_own(groups: ConsumerGroups) -> None:
    own = {"consumer.session.timeout.ms": 30_000, "consumer.heartbeat.interval.ms": 7_000}
    groups.answer(SetGroupConfigs(GROUP, own))
    assert groups.join("a").heartbeat_interval_ms == 7_000
    groups.world.pass_time(29_999)
    assert list(groups.members()) == ["a"]
    groups.answer(SetGroupConfigs(GROUP, {}))
    assert groups.beat("a", 2).heartbeat_interval_ms == ConsumerLimits().heartbeat_interval_ms


def test_an_administrator_removes_members(groups: ConsumerGroups) -> None:
    groups.join("a")
    groups.join("b", instance_id="i")
    left = groups.answer(Leave(GROUP, (LeavingMember("", "i"), LeavingMember("x"), LeavingMember("a"))))
    assert [m.error_code for m in left.members] == [NONE, ErrorCode.unknown_member_id, NONE]
    assert groups.describe().group_state == "Empty"


# Static members.


def test_a_static_member_that_will_be_back_keeps_what_it_has(groups: ConsumerGroups) -> None:
    groups.join("a", instance_id="i")
    groups.join("b")
    groups.beat("a", 2, instance_id="i")
    groups.beat("a", 2, instance_id="i", owned=groups.ids(0, 1))
    groups.beat("b", 3)
    assert outcome(groups.beat("a", -2, instance_id="i")) == (NONE, -2)
    back = groups.join("a2", instance_id="i")
    assert (outcome(back), set(back.assigned or ())) == ((NONE, 3), groups.ids(0, 1))
    assert groups.describe().group_state == "Stable"  # and b was not disturbed
    fenced = groups.beat("a", 3, instance_id="i")
    assert fenced.error_code is ErrorCode.fenced_instance_id
    assert fenced.error_message == "Static member a with instance id i was fenced by member a2."


def test_a_static_member_that_does_not_come_back_is_out_after_its_session(groups: ConsumerGroups) -> None:
    groups.join("a", instance_id="i")
    groups.beat("a", -2, instance_id="i")
    groups.world.pass_time(SESSION_MS)
    assert groups.describe().group_state == "Empty"


def test_an_instance_id_that_is_in_use_is_not_given_away(groups: ConsumerGroups) -> None:
    groups.join("a", instance_id="i")
    result = groups.join("b", instance_id="i")
    assert result.error_code is ErrorCode.unreleased_instance_id
    assert result.error_message == (
        "Static member b with instance id i cannot join the group because the instance id is owned by a "
        "member."
    )
    assert outcome(groups.join("a", instance_id="i")) == (NONE, 2)  # the same process again
    unknown = groups.beat("a", 2, instance_id="j")
    assert (unknown.error_code, unknown.error_message) == (
        ErrorCode.unknown_member_id,
        "Instance id j is unknown.",
    )


def test_a_member_may_take_an_instance_id_later(groups: ConsumerGroups) -> None:
    groups.join("a")
    named = groups.join("a", instance_id="i")
    assert (outcome(named), set(named.assigned or ())) == ((NONE, 2), groups.ids(0, 1, 2, 3))
    groups.join("b", instance_id="j")
    groups.beat("b", -2, instance_id="j")
    taken_over = groups.join("a", instance_id="j")  # and b's place with it
    assert set(taken_over.assigned or ()) == groups.ids(0, 1, 2, 3)
    assert [(m.member_id, m.instance_id) for m in groups.describe().members] == [("a", "j")]


# Topics.


def test_what_is_subscribed_may_come_grow_and_go(groups: ConsumerGroups) -> None:
    groups.join("a", "t", "later")
    groups.put_topic("unrelated", 3)
    assert outcome(groups.beat("a", 2)) == (NONE, 2)
    groups.put_topic("later", 1)
    grown = groups.beat("a", 2)
    assert set(grown.assigned or ()) == groups.ids(0, 1, 2, 3) | groups.ids(0, topic="later")
    later = groups.ids(0, topic="later")
    groups.delete_topic("later")
    gone = groups.beat("a", 3)
    assert set(gone.assigned or ()) == groups.ids(0, 1, 2, 3)
    assert groups.beat("a", 3, owned=groups.ids(0, 1, 2, 3)).member_epoch == 4
    assert groups.put_topic("later", 1) != next(iter(later))[0]
    assert set(groups.beat("a", 4).assigned or ()) == groups.ids(0, 1, 2, 3) | groups.ids(0, topic="later")


def test_a_new_subscription_takes_effect_at_once(groups: ConsumerGroups) -> None:
    groups.put_topic("u", 1)
    groups.join("a", "t", "u")
    changed = groups.beat("a", 2, topics=frozenset(["u"]))
    assert set(changed.assigned or ()) == groups.ids(0, topic="u")
    assert groups.beat("a", 2, owned=groups.ids(0, topic="u")).member_epoch == 3


def test_a_pattern_matches_whole_names(groups: ConsumerGroups) -> None:
    groups.put_topic("log-a", 1)
    result = groups.join("a", regex="log-.", topics=None)
    assert set(result.assigned or ()) == groups.ids(0, topic="log-a")
    groups.put_topic("log-b", 1)
    groups.put_topic("catalog-c", 1)
    groups.put_topic("log-dd", 1)
    both = groups.ids(0, topic="log-a") | groups.ids(0, topic="log-b")
    assert set(groups.beat("a", 2).assigned or ()) == both
    named = groups.beat("a", 3, topics=frozenset(["t"]))
    assert set(named.assigned or ()) == both | groups.ids(0, 1, 2, 3)
    only_named = groups.beat("a", 4, regex="")
    assert set(only_named.assigned or ()) == groups.ids(0, 1, 2, 3)


def test_a_pattern_that_is_none_changes_nothing(groups: ConsumerGroups) -> None:
    result = groups.join("a", regex="a[")
    assert result.error_code is ErrorCode.invalid_regular_expression
    assert result.error_message == (
        "SubscribedTopicRegex `a[` is not a valid regular expression: missing closing ]."
    )
    assert groups.describe().error_code is ErrorCode.group_id_not_found


# Commits.


def test_who_may_commit_and_read(groups: ConsumerGroups) -> None:
    groups.join("a")
    assert groups.commit("a", 2) is NONE
    assert groups.commit("a", 3) is ErrorCode.stale_member_epoch
    assert groups.commit("b", 2) is ErrorCode.unknown_member_id
    assert groups.commit("", -1) is ErrorCode.unknown_member_id
    assert groups.commit("a", 2, knows_member_epochs=False) is ErrorCode.unsupported_version
    for member_id, epoch, error in [
        ("a", 2, NONE),
        ("a", 1, ErrorCode.stale_member_epoch),
        ("b", 2, ErrorCode.unknown_member_id),
        (None, -1, NONE),
    ]:
        assert groups.answer(FetchOffsets(GROUP, None, member_id, epoch)).error_code is error
    groups.beat("a", -1)
    assert groups.commit("", -1) is NONE  # an administrator, when there are no members


def test_an_older_epoch_may_commit_what_it_had_then(groups: ConsumerGroups) -> None:
    groups.join("a")
    groups.join("b")
    groups.beat("a", 2)
    groups.beat("a", 2, owned=groups.ids(0, 1))
    groups.beat("b", 3)
    assert groups.commit("a", 2, partition=0) is NONE  # it has had it since epoch 2
    assert groups.commit("a", 2, partition=2) is ErrorCode.stale_member_epoch  # it is b's by now
    assert groups.commit("b", 2, partition=2) is ErrorCode.stale_member_epoch  # it got it in epoch 3


def test_offsets_of_topics_that_are_read_are_not_deleted(groups: ConsumerGroups) -> None:
    groups.join("a")
    groups.commit("a", 2)
    kept = groups.answer(DeleteOffsets(GROUP, [("t", 0)]))
    assert (kept.error_code, list(kept.subscribed)) == (NONE, [("t", 0)])
    groups.answer(ForgetTopics(frozenset(["t"])))
    assert groups.answer(FetchOffsets(GROUP, None)).offsets == {}


# What administrators see.


def test_groups_are_listed_by_state_and_type(groups: ConsumerGroups) -> None:
    groups.join("a")
    for states, types, count in [
        ((), (), 1),
        (("stable",), ("CONSUMER",), 1),
        ((), ("classic",), 0),
        (("empty",), (), 0),
    ]:
        assert len(groups.answer(ListGroups(states, types)).groups) == count
    classic = groups.answer(DescribeGroup(GROUP))
    assert (classic.error_code, classic.group_state) == (ErrorCode.group_id_not_found, "Dead")
    assert classic.error_message == f"Group {GROUP} is not a classic group."
    assert groups.answer(DeleteGroup(GROUP)).error_code is ErrorCode.non_empty_group
    groups.beat("a", -1)
    assert groups.answer(DeleteGroup(GROUP)).error_code is NONE
    assert groups.describe().error_message == f"Group {GROUP} not found."


# Restarts.


def test_after_a_restart_members_go_on_and_nobody_rebalances(groups: ConsumerGroups) -> None:
    groups.put_topic("log-a", 1)
    groups.join("a", regex="log-.")
    groups.join("b", instance_id="i", rack_id="r")
    groups.beat("a", 2)
    before = groups.describe()
    assert before.group_state == "Reconciling"  # a is to give partitions up
    groups.world.crash()
    assert groups.describe() == before
    assert outcome(groups.beat("b", 3, instance_id="i")) == (NONE, 3)
    assert groups.describe() == before
    target = frozenset(groups.members()["a"].target)
    assert groups.beat("a", 2, owned=target).member_epoch == 3
    groups.world.pass_time(SESSION_MS)
    assert groups.describe().group_state == "Empty"  # sessions began anew, and ended


def test_after_a_restart_who_does_not_give_up_in_time_is_out(groups: ConsumerGroups) -> None:
    groups.join("a", rebalance_timeout_ms=3_000)
    groups.join("b")
    groups.beat("a", 2)
    groups.world.crash()
    groups.world.pass_time(3_000)
    assert list(groups.members()) == ["b"]


def test_nothing_is_stored_when_nothing_changes(groups: ConsumerGroups) -> None:
    groups.join("a")
    groups.hand_over(ConsumerHeartbeat(GROUP, "a", 2, "c", "/h"))
    assert not groups.world.unsynced


def test_a_store_that_fails_is_as_if_nothing_had_been_asked(groups: ConsumerGroups) -> None:
    groups.join("a")
    before = groups.describe()
    groups.hand_over(ConsumerHeartbeat(GROUP, "b", 0, "c", "/h", topics=frozenset(["t"])))
    groups.world.fail()
    assert groups.describe() == before


def test_ids_are_not_mixed_up_with_names() -> None:
    groups = ConsumerGroups()
    groups.join("a")
    stranger = frozenset([(uuid.uuid4(), 0)])
    assert outcome(groups.beat("a", 2, owned=stranger)) == (NONE, 2)
