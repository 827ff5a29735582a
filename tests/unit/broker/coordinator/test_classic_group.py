"""The classic group protocol, request by request, without a network or a disk."""

from dataclasses import replace
from typing import Any

import pytest
from support.group_world import GroupWorld

from broker.coordinator.classic_group import GroupLimits
from broker.coordinator.group_coordinator import CoordinatorSettings
from broker.coordinator.group_state import TRANSITIONS, GroupState
from broker.coordinator.messages import (
    Commit,
    CommitResult,
    DescribeGroup,
    FetchOffsets,
    Heartbeat,
    Join,
    JoinResult,
    Leave,
    LeavingMember,
    LeftMember,
    ListGroups,
    Protocol,
    Request,
    Sync,
    SyncResult,
)
from broker.coordinator.records import CommittedOffset
from broker.wire.errors import ErrorCode

SESSION_MS = 10_000
REBALANCE_MS = 60_000
GROUP = "g"


class Groups:
    """A coordinator whose disk is always fast, and short ways to speak to it."""

    def __init__(
        self, initial_delay_ms: int = 0, size_max: int = 100, settings: CoordinatorSettings | None = None
    ):
        self.answers: dict[int, Any] = {}
        limits = GroupLimits(initial_delay_ms, size_max)
        settings = replace(settings or CoordinatorSettings(), limits=limits)
        self.world = GroupWorld(settings, self.answers.__setitem__)
        self._ids = 0
        self._tokens = 0

    def ask(self, request: Request) -> int:
        token = self.hand_over(request)
        self.world.sync()
        return token

    def hand_over(self, request: Request) -> int:
        """Ask, with a disk that is not ready yet."""
        self._tokens += 1
        self.world.ask(request, self._tokens)
        return self._tokens

    def answer(self, request: Request) -> Any:
        return self.answers.pop(self.ask(request))

    def join(self, member_id: str = "", **changes: Any) -> int:
        self._ids += 1
        request = Join(
            group_id=GROUP,
            member_id=member_id,
            group_instance_id=None,
            client_id="c",
            client_host="/127.0.0.1",
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            protocol_type="consumer",
            protocols=(Protocol("range", b"r"),),
            new_member_id=f"m{self._ids}",
        )
        return self.ask(replace(request, **changes))

    def joined(self, token: int) -> JoinResult:
        result = self.answers.pop(token)
        assert isinstance(result, JoinResult)
        return result

    def sync(self, joined: JoinResult, assignments: dict[str, bytes] | None = None, **changes: Any) -> int:
        request = Sync(GROUP, joined.member_id, None, joined.generation_id, None, None, assignments or {})
        return self.ask(replace(request, **changes))

    def synced(self, token: int) -> SyncResult:
        result = self.answers.pop(token)
        assert isinstance(result, SyncResult)
        return result

    def heartbeat(self, member_id: str, generation_id: int, instance_id: str | None = None) -> ErrorCode:
        error = self.answer(Heartbeat(GROUP, member_id, instance_id, generation_id)).error_code
        assert isinstance(error, ErrorCode)
        return error

    def commit(
        self, offset: int, member_id: str = "", generation_id: int = -1, instance_id: str | None = None
    ) -> ErrorCode:
        offsets = {("t", 0): CommittedOffset(offset, -1, "", self.world.wall_clock_ms)}
        result = self.answer(Commit(GROUP, member_id, instance_id, generation_id, offsets))
        assert isinstance(result, CommitResult)
        return result.error_code

    def committed(self) -> int | None:
        result = self.answer(FetchOffsets(GROUP, [("t", 0)]))
        return result.offsets[("t", 0)].offset if result.offsets else None

    def state(self) -> str:
        state = self.answer(DescribeGroup(GROUP)).group_state
        assert isinstance(state, str)
        return state

    def stable_pair(self, **changes: Any) -> tuple[JoinResult, JoinResult]:
        """Two members, the first of them the leader, with assignments b'1' and b'2'."""
        first = self.joined(self.join(**changes))
        second_token = self.join(**(changes | {"group_instance_id": "second"} if changes else {}))
        again = self.join(first.member_id, **changes)
        leader, follower = self.joined(again), self.joined(second_token)
        token = self.sync(follower, group_instance_id="second" if changes else None)
        self.sync(
            leader,
            {leader.member_id: b"1", follower.member_id: b"2"},
            group_instance_id=changes.get("group_instance_id"),
        )
        assert self.synced(token).assignment == b"2"
        return leader, follower


def test_one_member_forms_a_generation_at_once() -> None:
    groups = Groups()
    joined = groups.joined(groups.join())
    assert joined == JoinResult(ErrorCode.none, "m1", 1, "consumer", "range", "m1", members=joined.members)
    assert [(m.member_id, m.metadata) for m in joined.members] == [("m1", b"r")]
    assert groups.state() == "CompletingRebalance"
    synced = groups.synced(groups.sync(joined, {"m1": b"all"}))
    assert synced == SyncResult(ErrorCode.none, "consumer", "range", b"all")
    assert groups.state() == "Stable"
    assert groups.heartbeat("m1", 1) is ErrorCode.none


def test_a_second_member_waits_until_the_first_rejoins() -> None:
    groups = Groups()
    first = groups.joined(groups.join())
    groups.sync(first, {"m1": b"all"})
    second = groups.join()
    assert second not in groups.answers
    assert groups.heartbeat("m1", 1) is ErrorCode.rebalance_in_progress
    leader = groups.joined(groups.join("m1"))
    follower = groups.joined(second)
    assert (leader.generation_id, follower.generation_id) == (2, 2)
    assert (leader.leader, follower.leader) == ("m1", "m1")
    assert ([m.member_id for m in leader.members], follower.members) == (["m1", "m2"], ())


def test_followers_wait_for_the_leaders_assignment_and_those_it_forgot_get_nothing() -> None:
    groups = Groups()
    leader, follower = groups.stable_pair()
    again = groups.join(leader.member_id)  # the leader asks for a new assignment
    follower_again = groups.join(follower.member_id)
    leader, follower = groups.joined(again), groups.joined(follower_again)
    token = groups.sync(follower)
    assert token not in groups.answers
    groups.sync(leader, {leader.member_id: b"both"})
    assert groups.synced(token) == SyncResult(ErrorCode.none, "consumer", "range", b"")


def test_a_follower_that_rejoins_unchanged_does_not_disturb_a_stable_group() -> None:
    groups = Groups()
    _, follower = groups.stable_pair()
    assert groups.joined(groups.join(follower.member_id)) == follower
    assert groups.state() == "Stable"
    groups.join(follower.member_id, protocols=(Protocol("range", b"other"),))
    assert groups.state() == "PreparingRebalance"


def test_a_member_that_does_not_rejoin_in_time_is_out() -> None:
    groups = Groups()
    first = groups.joined(groups.join(rebalance_timeout_ms=5000))
    groups.sync(first, {"m1": b"all"})
    second = groups.join(rebalance_timeout_ms=7000)
    groups.world.pass_time(6999)
    assert second not in groups.answers
    groups.world.pass_time(1)
    joined = groups.joined(second)
    assert (joined.leader, joined.generation_id, len(joined.members)) == ("m2", 2, 1)
    assert groups.heartbeat("m1", 1) is ErrorCode.unknown_member_id


def test_a_member_that_never_syncs_is_out() -> None:
    groups = Groups()
    first = groups.joined(groups.join())
    groups.sync(first, {"m1": b"all"})
    second = groups.join()
    groups.join("m1")
    for _ in range(20):  # the second heartbeats, but does not fetch its assignment
        groups.world.pass_time(REBALANCE_MS // 20)
        groups.heartbeat("m2", 2)
        groups.heartbeat("m1", 2)
    assert groups.joined(second).generation_id == 2
    assert groups.heartbeat("m2", 2) is ErrorCode.unknown_member_id


def test_a_silent_member_is_out_after_its_session() -> None:
    groups = Groups()
    leader, follower = groups.stable_pair()
    groups.world.pass_time(SESSION_MS - 1)
    assert groups.heartbeat(leader.member_id, 2) is ErrorCode.none
    groups.world.pass_time(1)
    assert groups.heartbeat(follower.member_id, 2) is ErrorCode.unknown_member_id
    assert groups.heartbeat(leader.member_id, 2) is ErrorCode.rebalance_in_progress


def test_a_commit_counts_as_a_heartbeat() -> None:
    groups = Groups()
    joined = groups.joined(groups.join())
    groups.sync(joined, {"m1": b"all"})
    for _ in range(5):
        groups.world.pass_time(SESSION_MS - 1)
        assert groups.commit(1, "m1", 1) is ErrorCode.none


def test_leaving_rebalances_at_once_and_the_last_one_leaves_an_empty_group() -> None:
    groups = Groups()
    leader, follower = groups.stable_pair()
    result = groups.answer(Leave(GROUP, (LeavingMember(leader.member_id), LeavingMember("ghost"))))
    assert result.members == (
        LeftMember(leader.member_id, None, ErrorCode.none),
        LeftMember("ghost", None, ErrorCode.unknown_member_id),
    )
    joined = groups.joined(groups.join(follower.member_id))
    assert (joined.generation_id, joined.leader) == (3, follower.member_id)
    groups.answer(Leave(GROUP, (LeavingMember(follower.member_id),)))
    assert groups.state() == "Empty"
    assert groups.joined(groups.join()).generation_id == 5  # being empty was a generation, too


def test_kip_394_hands_out_the_id_first() -> None:
    groups = Groups()
    told = groups.joined(groups.join(require_known_member_id=True))
    assert (told.error_code, told.member_id) == (ErrorCode.member_id_required, "m1")
    joined = groups.joined(groups.join("m1", require_known_member_id=True))
    assert (joined.error_code, joined.member_id, joined.generation_id) == (ErrorCode.none, "m1", 1)


def test_an_id_that_nobody_comes_back_with_is_waited_for_as_long_as_a_session() -> None:
    groups = Groups()
    groups.join(require_known_member_id=True)
    waiting = groups.join()
    groups.world.pass_time(SESSION_MS - 1)
    assert waiting not in groups.answers
    groups.world.pass_time(1)
    assert groups.joined(waiting).generation_id == 1
    assert groups.joined(groups.join("m1")).error_code is ErrorCode.unknown_member_id


def test_leaving_with_an_id_only_handed_out_ends_the_wait() -> None:
    groups = Groups()
    groups.join(require_known_member_id=True)
    waiting = groups.join()
    groups.answer(Leave(GROUP, (LeavingMember("m1"),)))
    assert groups.joined(waiting).generation_id == 1


def test_the_initial_delay_gathers_members_and_grows_with_each_new_one() -> None:
    groups = Groups(initial_delay_ms=3000)
    first = groups.join()
    groups.world.pass_time(2000)
    second = groups.join()
    groups.world.pass_time(1000)
    assert not groups.answers
    groups.world.pass_time(3000)
    assert len(groups.joined(first).members) == 2
    assert groups.joined(second).generation_id == 1


def test_the_initial_delay_ends_with_the_rebalance_timeout() -> None:
    groups = Groups(initial_delay_ms=3000)
    first = groups.join(rebalance_timeout_ms=10_000)
    for _ in range(4):
        groups.world.pass_time(2499)
        groups.join(rebalance_timeout_ms=10_000)
    assert first not in groups.answers
    groups.world.pass_time(4)
    assert len(groups.joined(first).members) == 5


def test_the_protocol_is_one_that_all_know_and_most_like_best() -> None:
    groups = Groups()
    first = groups.joined(groups.join(protocols=(Protocol("a", b"1a"), Protocol("b", b"1b"))))
    second = groups.join(protocols=(Protocol("c", b""), Protocol("b", b"2b"), Protocol("a", b"2a")))
    third = groups.join(protocols=(Protocol("b", b"3b"), Protocol("a", b"3a")))
    leader = groups.joined(
        groups.join(first.member_id, protocols=(Protocol("a", b"1a"), Protocol("b", b"1b")))
    )
    assert leader.protocol_name == "b"
    assert [m.metadata for m in leader.members] == [b"1b", b"2b", b"3b"]
    assert groups.joined(second).protocol_name == groups.joined(third).protocol_name == "b"


@pytest.mark.parametrize(
    "changes",
    [
        {"protocols": (Protocol("sticky", b""),)},
        {"protocols": ()},
        {"protocol_type": "connect"},
        {"protocol_type": ""},
    ],
)
def test_a_member_that_cannot_agree_with_the_others_is_refused(changes: dict[str, Any]) -> None:
    groups = Groups()
    groups.join()
    assert groups.joined(groups.join(**changes)).error_code is ErrorCode.inconsistent_group_protocol


def test_the_first_member_needs_a_protocol() -> None:
    groups = Groups()
    assert groups.joined(groups.join(protocols=())).error_code is ErrorCode.inconsistent_group_protocol


@pytest.mark.parametrize("session_timeout_ms", [5_999, 1_800_001])
def test_a_session_timeout_out_of_range_is_refused(session_timeout_ms: int) -> None:
    groups = Groups()
    joined = groups.joined(groups.join(session_timeout_ms=session_timeout_ms))
    assert joined.error_code is ErrorCode.invalid_session_timeout


def test_a_full_group_takes_nobody_in() -> None:
    groups = Groups(size_max=2)
    groups.stable_pair()
    assert groups.joined(groups.join()).error_code is ErrorCode.group_max_size_reached


def test_a_full_group_that_rebalances_takes_those_who_come_first() -> None:
    groups = Groups(size_max=2)
    leader, follower = groups.stable_pair()
    groups.join(leader.member_id)  # rebalances
    late = groups.join()
    assert groups.joined(groups.join(follower.member_id)).error_code is ErrorCode.group_max_size_reached
    groups.world.pass_time(REBALANCE_MS)
    assert groups.joined(late).generation_id == 3


def test_nobody_is_told_a_foreign_generation() -> None:
    groups = Groups()
    leader, _ = groups.stable_pair()
    for generation_id in (1, 3, -1):
        assert groups.heartbeat(leader.member_id, generation_id) is ErrorCode.illegal_generation
        assert groups.commit(7, leader.member_id, generation_id) is ErrorCode.illegal_generation
        stale = replace(leader, generation_id=generation_id)
        assert groups.synced(groups.sync(stale)).error_code is ErrorCode.illegal_generation
    assert groups.committed() is None


def test_sync_with_another_protocol_is_refused() -> None:
    groups = Groups()
    joined = groups.joined(groups.join())
    for changes in ({"protocol_type": "connect"}, {"protocol_name": "sticky"}):
        synced = groups.synced(groups.sync(joined, **changes))
        assert synced.error_code is ErrorCode.inconsistent_group_protocol
    assert groups.synced(groups.sync(joined, protocol_type="consumer", protocol_name="range"))


def test_a_group_that_is_not_there_knows_no_members() -> None:
    groups = Groups()
    assert groups.joined(groups.join("m9")).error_code is ErrorCode.unknown_member_id
    assert groups.heartbeat("m9", 1) is ErrorCode.unknown_member_id
    assert groups.commit(1, "m9", 1) is ErrorCode.group_id_not_found
    assert groups.answer(ListGroups()).groups == ()


def test_a_repeated_join_takes_the_place_of_the_one_before() -> None:
    groups = Groups()
    leader, follower = groups.stable_pair()
    one = groups.join(follower.member_id, protocols=(Protocol("range", b"new"),))
    two = groups.join(follower.member_id, protocols=(Protocol("range", b"newer"),))
    assert groups.joined(one).error_code is ErrorCode.rebalance_in_progress
    joined = groups.joined(groups.join(leader.member_id))
    assert [m.metadata for m in joined.members] == [b"r", b"newer"]
    assert groups.joined(two).generation_id == 3
    assert groups.joined(groups.join(leader.member_id)) == joined  # as if the answer had got lost


def test_a_repeated_sync_takes_the_place_of_the_one_before() -> None:
    groups = Groups()
    leader, follower = groups.stable_pair()
    leader_token, follower_token = groups.join(leader.member_id), groups.join(follower.member_id)
    leader, follower = groups.joined(leader_token), groups.joined(follower_token)
    one, two = groups.sync(follower), groups.sync(follower)
    assert groups.synced(one).error_code is ErrorCode.rebalance_in_progress
    groups.sync(leader, {follower.member_id: b"x"})
    assert groups.synced(two).assignment == b"x"


class TestStaticMembers:
    def test_coming_back_changes_nothing_but_the_id(self) -> None:
        groups = Groups()
        _, follower = groups.stable_pair(group_instance_id="first")
        back = groups.joined(groups.join(group_instance_id="second"))
        assert back.error_code is ErrorCode.none
        assert (back.generation_id, back.member_id != follower.member_id) == (2, True)
        assert groups.state() == "Stable"
        assert groups.synced(groups.sync(back, group_instance_id="second")).assignment == b"2"

    def test_the_old_process_is_fenced(self) -> None:
        groups = Groups()
        _, follower = groups.stable_pair(group_instance_id="first")
        groups.join(group_instance_id="second")
        old = follower.member_id
        assert groups.heartbeat(old, 2, "second") is ErrorCode.fenced_instance_id
        assert groups.heartbeat(old, 2) is ErrorCode.unknown_member_id
        assert groups.commit(9, old, 2, "second") is ErrorCode.fenced_instance_id
        rejoined = groups.joined(groups.join(old, group_instance_id="second"))
        assert rejoined.error_code is ErrorCode.fenced_instance_id
        left = groups.answer(Leave(GROUP, (LeavingMember(old, "second"),)))
        assert left.members[0].error_code is ErrorCode.fenced_instance_id

    def test_a_duplicate_fences_the_one_that_waits(self) -> None:
        groups = Groups()
        groups.stable_pair(group_instance_id="first")
        waiting = groups.join()  # a dynamic member: rebalance
        one = groups.join(group_instance_id="second")
        two = groups.join(group_instance_id="second")
        assert groups.joined(one).error_code is ErrorCode.fenced_instance_id
        groups.join(group_instance_id="first")
        assert groups.joined(two).generation_id == 3
        assert groups.joined(waiting).generation_id == 3

    def test_the_leader_comes_back_as_a_follower_before_kip_814(self) -> None:
        groups = Groups()
        leader, _ = groups.stable_pair(group_instance_id="first")
        back = groups.joined(groups.join(group_instance_id="first"))
        assert (back.leader, back.skip_assignment, back.members) == (leader.member_id, False, ())

    def test_the_leader_comes_back_as_leader_and_skips_the_assignment(self) -> None:
        groups = Groups()
        groups.stable_pair(group_instance_id="first")
        back = groups.joined(groups.join(group_instance_id="first", supports_skip_assignment=True))
        assert (back.leader, back.skip_assignment, len(back.members)) == (back.member_id, True, 2)
        follower = groups.joined(groups.join(group_instance_id="second", supports_skip_assignment=True))
        assert (follower.leader, follower.skip_assignment) == (back.member_id, False)

    def test_coming_back_with_another_protocol_rebalances(self) -> None:
        groups = Groups()
        both = (Protocol("range", b"r"), Protocol("sticky", b"s"))
        groups.stable_pair(group_instance_id="first", protocols=both)
        groups.join(group_instance_id="second", protocols=(Protocol("sticky", b"s"),))
        assert groups.state() == "PreparingRebalance"

    def test_coming_back_while_the_leader_assigns_rebalances(self) -> None:
        groups = Groups()
        joined = groups.joined(groups.join(group_instance_id="first"))
        groups.join(group_instance_id="first")
        assert groups.state() == "CompletingRebalance"
        synced = groups.synced(groups.sync(joined, {joined.member_id: b"x"}, group_instance_id="first"))
        assert synced.error_code is ErrorCode.fenced_instance_id

    def test_an_administrator_removes_one_by_its_instance_id(self) -> None:
        groups = Groups()
        groups.stable_pair(group_instance_id="first")
        left = groups.answer(Leave(GROUP, (LeavingMember("", "second"), LeavingMember("", "nobody"))))
        assert [m.error_code for m in left.members] == [ErrorCode.none, ErrorCode.unknown_member_id]

    def test_one_that_is_away_keeps_its_place_until_its_session_ends(self) -> None:
        groups = Groups()
        leader, _ = groups.stable_pair(group_instance_id="first", session_timeout_ms=600_000)
        token = groups.join(leader.member_id, group_instance_id="first", session_timeout_ms=600_000)
        groups.world.pass_time(REBALANCE_MS)  # the second does not rejoin
        assert [m.group_instance_id for m in groups.joined(token).members] == ["first", "second"]


class TestRestart:
    def test_a_stable_group_goes_on(self) -> None:
        groups = Groups()
        leader, follower = groups.stable_pair()
        groups.commit(5, leader.member_id, 2)
        groups.world.crash()
        assert groups.state() == "Stable"
        assert groups.heartbeat(leader.member_id, 2) is ErrorCode.none
        assert groups.synced(groups.sync(follower)).assignment == b"2"
        assert groups.commit(6, follower.member_id, 2) is ErrorCode.none
        assert groups.committed() == 6

    def test_a_group_that_is_too_large_now_rebalances(self) -> None:
        groups = Groups()
        leader, follower = groups.stable_pair()
        groups.world.settings = replace(groups.world.settings, limits=GroupLimits(0, size_max=1))
        groups.world.crash()
        assert groups.heartbeat(leader.member_id, 2) is ErrorCode.rebalance_in_progress
        back = groups.join(follower.member_id)
        assert groups.joined(groups.join(leader.member_id)).error_code is ErrorCode.group_max_size_reached
        groups.world.pass_time(REBALANCE_MS)
        assert groups.joined(back).generation_id == 3

    def test_members_that_died_meanwhile_are_noticed(self) -> None:
        groups = Groups()
        groups.stable_pair()
        groups.world.crash()
        groups.world.pass_time(SESSION_MS)
        assert groups.state() == "Empty"

    def test_static_members_come_back_to_their_assignment(self) -> None:
        groups = Groups()
        groups.stable_pair(group_instance_id="first")
        groups.world.crash()
        back = groups.joined(groups.join(group_instance_id="second"))
        assert groups.synced(groups.sync(back, group_instance_id="second")).assignment == b"2"

    def test_a_generation_without_an_assignment_is_forgotten(self) -> None:
        groups = Groups()
        leader, follower = groups.stable_pair()
        groups.join(leader.member_id)
        groups.join(follower.member_id)
        groups.world.crash()
        assert groups.heartbeat(leader.member_id, 3) is ErrorCode.illegal_generation
        assert groups.heartbeat(leader.member_id, 2) is ErrorCode.none

    def test_what_is_not_stored_is_not_answered(self) -> None:
        groups = Groups()
        joined = groups.joined(groups.join())
        token = groups.hand_over(Sync(GROUP, "m1", None, joined.generation_id, None, None, {"m1": b"x"}))
        assert token not in groups.answers
        heartbeat = groups.hand_over(Heartbeat(GROUP, "m1", None, 1))
        assert heartbeat not in groups.answers  # it could tell of the assignment
        groups.world.sync()
        assert groups.synced(token).assignment == b"x"
        assert heartbeat in groups.answers

    def test_after_a_failed_write_the_group_is_as_stored(self) -> None:
        groups = Groups()
        leader, _ = groups.stable_pair()
        groups.commit(5, leader.member_id, 2)
        offsets = {("t", 0): CommittedOffset(6, -1, "", 0)}
        token = groups.hand_over(Commit(GROUP, leader.member_id, None, 2, offsets))
        groups.world.fail()
        assert groups.answers.pop(token) == "not stored"
        assert groups.committed() == 5
        assert groups.heartbeat(leader.member_id, 2) is ErrorCode.none


def test_every_state_can_be_left_but_dead() -> None:
    assert all(TRANSITIONS[state] for state in GroupState if state is not GroupState.DEAD)
    assert set(TRANSITIONS) == set(GroupState)
